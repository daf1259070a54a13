"""Speed of the lesion GAN: a critic update at the size of the paper."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from ..allocation import keep_freed_memory
from ..losses import critic_loss, gradient_penalty
from ..networks.lesion_gan import Critic, LesionGenerator
from ..steps.wgan import WassersteinStep
from .baselines import literal
from .harness import Comparison, compare, count_flops

__all__ = ["benchmark"]

SIZE, BATCH = (128, 128, 32), 8
BETAS = (0.0, 0.9)


def benchmark(folder: Path) -> list[Comparison]:
    """One critic update with its penalty, batch 8 of 128x128x32."""
    keep_freed_memory()
    torch.manual_seed(0)
    generator, critic = LesionGenerator(size=SIZE), Critic(SIZE)
    real = torch.zeros(BATCH, 1, *SIZE)
    real[:, :, 40:60, 50:80, 10:20] = 1
    step = _critic_step(generator, critic)
    flops = count_flops(lambda: step(real))  # an update already, so that the copies come after it
    plain = _plain_critic_step(literal(generator), literal(critic))
    return [
        compare(
            "lesion GAN, one critic update, 8 masks of 128x128x32",
            lambda: step(real),
            lambda: plain(real),
            "the paper's layers as written, fp32",
            _near,
            rounds=3,
            flops=flops,
            goal=2.0,
        )
    ]


def _critic_step(generator: nn.Module, critic: nn.Module):
    optimizers = [torch.optim.Adam(network.parameters(), 2e-4, BETAS, fused=True) for network in (generator, critic)]
    step = WassersteinStep(generator, critic, *optimizers, latent_size=128)

    def update(real: torch.Tensor) -> float:
        output: dict[str, float] = {}
        optimizers[1].zero_grad()
        loss = sum(step._critic_losses(real, output))
        loss.backward()
        optimizers[1].step()
        return loss.item()

    return update


def _plain_critic_step(generator: nn.Module, critic: nn.Module):
    optimizer = torch.optim.Adam(critic.parameters(), 2e-4, BETAS)

    def update(lesion: torch.Tensor) -> float:
        real = torch.cat([1 - lesion, lesion], 1)
        with torch.no_grad():
            fake = generator(torch.randn(len(real), 128))
        optimizer.zero_grad()
        loss = critic_loss(critic(real), critic(fake)) + 10 * gradient_penalty(critic, real, fake)
        loss.backward()
        optimizer.step()
        return loss.item()

    return update


def _near(ours: float, theirs: float) -> str:
    if not np.isclose(ours, theirs, rtol=0.1):
        raise ValueError(f"the losses of the first update differ: {ours} and {theirs}.")
    return f"loss of the first update {ours:.2f} and {theirs:.2f}"
