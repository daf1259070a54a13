"""Losses: what a network is punished for. How often and in which order is in `common.steps`.

An adversarial loss is called in three ways: (logits, True) and (logits, False) is what a discriminator pays for real
and for generated samples, (logits, True, for_generator=True) what a generator pays for samples that it passes as real.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from monai.losses import DiceCELoss
from torch.nn import functional as F

__all__ = [
    "DiceCrossEntropy",
    "balanced_loss",
    "class_weights",
    "critic_loss",
    "feature_matching",
    "gradient_penalty",
    "hinge",
    "least_squares",
    "log_loss",
]


def least_squares(logits: torch.Tensor, is_real: bool, for_generator: bool = False) -> torch.Tensor:
    """Mean square distance of a discriminator's output, of any shape, from its target: 1 for real, 0 for generated.

    A generator pays what a discriminator pays for real samples.

    Source:
        LSGAN, arXiv:1611.04076; what the paper's authors train with, who however give both sides the target 1.
    """
    return (logits - float(is_real)).square().mean()


def log_loss(logits: torch.Tensor, is_real: bool, for_generator: bool = False) -> torch.Tensor:
    """Mean -log of the probability (the sigmoid of the logits) that the discriminator gives to the right answer.

    A generator pays what a discriminator pays for real samples: the non-saturating form, whose gradient does not vanish
    when the discriminator is sure.

    Source:
        Paper, eq. 1, with its second term read as log(1 - D(G(x))).
    """
    return F.softplus(-logits if is_real else logits).mean()


def hinge(logits: torch.Tensor, is_real: bool, for_generator: bool = False) -> torch.Tensor:
    """What logits lack to 1 (real) or exceed -1 by (generated), on average; for a generator -mean(logits).

    A discriminator gains nothing from being surer than 1; a generator does.

    Source:
        arXiv:1705.02894; the loss of SPADE, arXiv:1903.07291.
    """
    if for_generator:
        return -logits.mean()
    return F.relu(1 - logits if is_real else 1 + logits).mean()


def feature_matching(fake: Sequence[Sequence[torch.Tensor]], real: Sequence[Sequence[torch.Tensor]]) -> torch.Tensor:
    """Mean absolute difference of a discriminator's features of generated and of real samples.

    Features are lists of layers, one list per scale; layers add up, scales are averaged. No gradient reaches `real`.

    Source:
        pix2pixHD, arXiv:1711.11585, eq. 4.
    """
    scales = [
        sum((a.float() - b.detach().float()).abs().mean() for a, b in zip(some, others, strict=True))
        for some, others in zip(fake, real, strict=True)
    ]
    return torch.stack(scales).mean()


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


def class_weights(label: torch.Tensor, cap: float) -> torch.Tensor:
    """Weight of each class (L,) by its inverse frequency in a batch of one-hot label maps (B, L, H, W[, D]).

    1 is a class that fills its even share of the pixels; none weighs more than `cap`.
    """
    pixels = label.sum([0, *range(2, label.ndim)])
    share = pixels.sum() / (pixels > 0).sum()
    return (share / pixels.clamp(min=1)).clamp(max=cap)


def balanced_loss(logits: torch.Tensor, label: torch.Tensor, cap: float) -> torch.Tensor:
    """Class-weighted cross-entropy + 1 - mean soft Dice of the classes in the batch, so that small classes count.

    Args:
        logits: (B, L, H, W[, D]).
        label: one-hot, of the same shape; channel 0, the background, is left out of the Dice.
        cap: of the weights, see `class_weights`.

    Source:
        The weights as in OASIS, arXiv:2012.04781, sec. 3.2, with a cap.
    """
    probabilities = logits.softmax(1)
    weights = torch.einsum("l,bl...->b...", class_weights(label, cap), label)  # (B, H, W[, D])
    entropy = -(label * logits.log_softmax(1)).sum(1)
    axes = [0, *range(2, label.ndim)]
    present = label[:, 1:].sum(axes) > 0
    overlap = (probabilities * label)[:, 1:].sum(axes)[present]
    size = (probabilities + label)[:, 1:].sum(axes)[present]
    dice = (2 * overlap / size).mean() if present.any() else label.new_ones(())
    return (weights * entropy).sum() / weights.sum() + 1 - dice
