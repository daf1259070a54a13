"""Losses: what a network is punished for. How often and in which order is in `common.steps`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from monai.losses import DiceCELoss
from torch.nn import functional as F

__all__ = ["DiceCrossEntropy", "critic_loss", "gradient_penalty", "least_squares", "log_loss"]


def least_squares(logits: torch.Tensor, is_real: bool) -> torch.Tensor:
    """Mean square distance of a discriminator's output, of any shape, from its target: 1 for real, 0 for generated.

    For the generator, call it with generated logits and `is_real=True`.

    Source:
        LSGAN, arXiv:1611.04076; what the paper's authors train with, who however give both sides the target 1.
    """
    return (logits - float(is_real)).square().mean()


def log_loss(logits: torch.Tensor, is_real: bool) -> torch.Tensor:
    """Mean -log of the probability (the sigmoid of the logits) that the discriminator gives to the right answer.

    For the generator, call it with generated logits and `is_real=True`: the non-saturating form, whose gradient does
    not vanish when the discriminator is sure.

    Source:
        Paper, eq. 1, with its second term read as log(1 - D(G(x))).
    """
    return F.softplus(-logits if is_real else logits).mean()


def critic_loss(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """What a Wasserstein critic minimises: mean score of generated samples minus that of real ones.

    Its negative estimates the Wasserstein distance of the two sets. The generator minimises `-fake.mean()`.

    Source:
        arXiv:1701.07875, eq. 2.
    """
    return fake.mean() - real.mean()


def gradient_penalty(
    critic: Callable[[torch.Tensor], torch.Tensor], real: torch.Tensor, fake: torch.Tensor
) -> torch.Tensor:
    """Mean of (|gradient of the critic| - 1)^2 at random points between real and generated samples.

    Always in fp32: the second derivative overflows in less.

    Args:
        critic: samples (B, ...) -> scores (B, 1) or (B,); the score of a sample must not depend on the others.
        real: (B, ...).
        fake: (B, ...), of the same shape; no gradient reaches it.

    Source:
        WGAN-GP, arXiv:1704.00028, eq. 3, without its factor 10.
    """
    with torch.autocast(real.device.type, enabled=False):
        real, fake = real.detach().float(), fake.detach().float()
        share = torch.rand([len(real)] + [1] * (real.ndim - 1), device=real.device)  # one per sample
        mixed = (share * real + (1 - share) * fake).requires_grad_()
        (gradient,) = torch.autograd.grad(critic(mixed).sum(), mixed, create_graph=True)
        return (gradient.flatten(1).norm(dim=1) - 1).square().mean()


class DiceCrossEntropy(DiceCELoss):
    """1 - soft Dice of the foreground + mean cross-entropy, 0 for a perfect answer.

    Args:
        batch_dice: sum over the batch before the ratio, as eq. 3 reads and as is steadier when some volumes hold no
            lesion (alone, those add a constant 1 and hardly a gradient); otherwise the mean of one Dice per volume.

    Shape:
        logits (B, C, H, W[, D]), channel 0 the background, and class ids (B, 1, H, W[, D]) -> a number.

    Source:
        Paper, eq. 2 and 3, with the sign of the cross-entropy put right. Dice leaves the background out: it is nearly 1
        there, whatever the network does.
    """

    def __init__(self, batch_dice: bool = True):
        super().__init__(include_background=False, to_onehot_y=True, softmax=True, batch=batch_dice)
