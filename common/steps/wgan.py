"""Training of the lesion GAN: Wasserstein with gradient penalty."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from ignite.engine import Engine
from torch import nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from ..losses import critic_loss, gradient_penalty
from ..precision import TRAINING, autocast, checked_precision
from .iteration import fetch, finish, frozen, split, tally, update

__all__ = ["WassersteinStep"]


class WassersteinStep:
    """One iteration: the critic is updated `n_critic` times, on new masks each time, then the generator once.

    Give it to `monai.engines.Trainer` as `iteration_update`, with a loader that gives `n_critic` times the batch size.

    Args:
        generator: noise (B, latent_size) -> class probabilities (B, 2, H, W, D).
        critic: one-hot or probable masks (B, 2, H, W, D) -> scores (B, 1), large for real.
        g_optimizer: of the generator's parameters.
        c_optimizer: of the critic's parameters.
        latent_size: length of the noise vector.
        n_critic: critic updates per generator update.
        penalty_weight: of the gradient penalty, 10 in the paper.
        precision: "fp32", "bf16" or "auto" (see `common.precision`), of the generator's forward pass; the critic and
            its penalty are always fp32.
        average: moving average of the generator, updated after it.
        accumulate: parts that a batch is worked through in, one after the other, before each update.

    A batch holds "lesion" (n_critic * B, 1, H, W, D), 0 or 1. Returns "loss" (the estimated Wasserstein distance of
    real and generated masks), "c_loss" and "penalty", these three as means over the critic updates, and "g_loss".

    Source:
        Paper, Appendix A.4; WGAN-GP, arXiv:1704.00028, algorithm 1. The authors' code updates the critic once per
        iteration, in three separate steps; `n_critic=1` is nearest to it.
    """

    def __init__(
        self,
        generator: nn.Module,
        critic: nn.Module,
        g_optimizer: Optimizer,
        c_optimizer: Optimizer,
        latent_size: int,
        n_critic: int = 5,
        penalty_weight: float = 10.0,
        precision: str = "auto",
        average: AveragedModel | None = None,
        accumulate: int = 1,
    ):
        self.generator = generator
        self.critic = critic
        self.g_optimizer = g_optimizer
        self.c_optimizer = c_optimizer
        self.latent_size = latent_size
        self.n_critic = n_critic
        self.penalty_weight = penalty_weight
        self.precision = checked_precision(precision, TRAINING)
        self.average = average
        self.accumulate = accumulate

    def __call__(self, engine: Engine, batch: Mapping) -> dict[str, float]:
        lesion = fetch(engine, batch, "lesion").float()  # (n_critic * B, 1, H, W, D)
        if len(lesion) < self.n_critic:
            raise ValueError(
                f"{self.n_critic} critic updates need as many masks per iteration, this batch holds {len(lesion)}. "
                "Load n_critic * batch_size masks at a time, with drop_last; or lower n_critic."
            )
        self.generator.train()
        self.critic.train()
        output: dict[str, float] = {}

        # 1. Critic, n_critic times: real masks up, generated masks down, slope 1 in between.
        for real in lesion.tensor_split(self.n_critic):
            losses = self._critic_losses(real, output)
            tally(output, 1 / self.n_critic, {"c_loss": update(engine, self.c_optimizer, "c_loss", losses)})

        # 2. Generator: masks that the critic scores high.
        with frozen(self.critic):
            losses = (-share * self.critic(self._generate(part)).mean() for share, part in split(self.accumulate, real))
            output["g_loss"] = update(engine, self.g_optimizer, "g_loss", losses)
        if self.average is not None:
            self.average.update_parameters(self.generator)
        return finish(engine, output)

    def _critic_losses(self, lesion: torch.Tensor, output: dict[str, float]) -> Iterator[torch.Tensor]:
        for share, part in split(self.accumulate, lesion):
            real = torch.cat([1 - part, part], 1)  # (B, 2, H, W, D), one-hot
            with torch.no_grad():
                fake = self._generate(part)
            real_score, fake_score = self.critic(torch.cat([real, fake])).chunk(2)
            wasserstein = critic_loss(real_score, fake_score)
            penalty = gradient_penalty(self.critic, real, fake)
            tally(output, share / self.n_critic, {"loss": -wasserstein, "penalty": penalty})
            yield share * (wasserstein + self.penalty_weight * penalty)

    def _generate(self, real: torch.Tensor) -> torch.Tensor:
        """As many masks as there are real ones."""
        noise = torch.randn(len(real), self.latent_size, device=real.device)
        with autocast(real.device, self.precision):
            return self.generator(noise)
