"""The 3D Wasserstein GAN that draws lesion masks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F

from .initialisation import channels_last, initialise_normal
from .instance_norm import InstanceNorm
from .upconv import UpConv

__all__ = ["Critic", "LesionGenerator"]

LEAK = 0.2


class LesionGenerator(nn.Module):
    """Draw a 3D lesion mask from noise.

    The noise becomes a coarse volume, which is doubled in size until it reaches `size`. Each stage is a 3x3x3
    convolution, instance norm, nearest-neighbour doubling and a leaky ReLU; a 7x7x7 convolution and a softmax end it.

    Args:
        latent_size: length of the noise vector.
        size: mask shape in voxels (H, W, D), each divisible by 2 ** len(channels).
        channels: feature maps of each stage, coarse to fine; the coarse volume has `channels[0]` as well.

    Shape:
        noise (B, latent_size), standard normal -> class probabilities (B, 2, H, W, D), summing to 1; channel 1 is
        lesion. 128x128x32 starts from 4x4x1.

    Raises:
        ValueError: `size` cannot be halved as often as there are stages.

    Source:
        Paper, Appendix A.4, and its authors' code for the kernels (3, then 7, no biases). That starts at 4x4x4 and
        crops the middle of a 128 cube; starting flat gives the same convolutions for a quarter of the work.
    """

    def __init__(
        self,
        latent_size: int = 128,
        size: Sequence[int] = (128, 128, 32),
        channels: Sequence[int] = (128, 64, 32, 16, 8),
    ):
        super().__init__()
        scale = 2 ** len(channels)
        start = [edge // scale for edge in size]
        if any(edge % scale for edge in size) or max(start) < 2:
            raise ValueError(
                f"size {tuple(size)} does not fit {len(channels)} stages: every edge must be divisible by {scale}, and "
                f"one of them at least {2 * scale}. Choose another size, or another number of channels."
            )
        self.latent_size = latent_size
        self.coarse = [-1, channels[0], *start]
        self.dense = nn.Linear(latent_size, channels[0] * math.prod(start))
        layers = [*_norm_act(channels[0]), nn.Conv3d(channels[0], channels[0], 3, padding=1, bias=False)]
        # A leaky ReLU may come before the doubling instead of after it; then the doubling merges with the convolution
        # that follows it.
        for wide, narrow in pairwise(channels):
            layers += [*_norm_act(wide), UpConv(3, wide, narrow, 3, bias=False)]
        layers += [*_norm_act(channels[-1]), UpConv(3, channels[-1], 2, 7, bias=False)]
        self.layers = nn.Sequential(*layers)
        channels_last(initialise_normal(self))

    def forward(self, noise: torch.Tensor) -> torch.Tensor:
        coarse = self.dense(noise).reshape(self.coarse)  # (B, channels[0], 4, 4, 1)
        return self.layers(coarse).float().softmax(1)  # (B, 2, H, W, D)


def _norm_act(channels: int) -> list[nn.Module]:
    return [InstanceNorm(channels), nn.LeakyReLU(LEAK, inplace=True)]


class HalvingConv(nn.Conv3d):
    """A 5x5x5 convolution of stride 2 that leaves out what of its kernel meets nothing but the zeros around.

    Of an axis with one voxel only the middle of the kernel meets it, of one with two the middle and the next: 4 entries
    of 125 in the critic's last layer, which holds most of its parameters.

    Shape:
        (B, in_channels, H, W, D) -> (B, out_channels, H / 2, W / 2, D / 2), rounded up.
    """

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__(in_channels, out_channels, 5, stride=2, padding=2, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        few = [edge <= 2 for edge in x.shape[2:]]
        start = [2 if one else 0 for one in few]
        end = [2 + edge if one else 5 for one, edge in zip(few, x.shape[2:])]
        kernel = self.weight[:, :, start[0] : end[0], start[1] : end[1], start[2] : end[2]]
        return F.conv3d(x, kernel, stride=2, padding=[2 - zeros for zeros in start])


class Critic(nn.Module):
    """Score how lesion-like a mask is; the score has no scale or zero of its own.

    5x5x5 convolutions of stride 2 halve the volume until one voxel is left. There is no norm, for the gradient penalty
    is about single masks.

    Args:
        size: mask shape in voxels (H, W, D).
        filters: feature maps of the first convolution; they double with each up to 64 times that.
        in_channels: classes of the mask, one-hot or probabilities.

    Shape:
        (B, in_channels, H, W, D) in [0, 1] -> (B, 1).

    Source:
        Paper, Appendix A.4, and its authors' code: 7 convolutions at 128x128x32, a linear layer of 512, no biases.
    """

    def __init__(self, size: Sequence[int] = (128, 128, 32), filters: int = 8, in_channels: int = 2):
        super().__init__()
        widest = 64 * filters
        halvings = (max(size) - 1).bit_length()
        widths = [in_channels] + [min(filters * 2**level, widest) for level in range(halvings)]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [HalvingConv(before, after), nn.LeakyReLU(LEAK)]
        layers += [nn.Flatten(), nn.Linear(widths[-1], widest, bias=False), nn.Linear(widest, 1, bias=False)]
        self.layers = nn.Sequential(*layers)
        channels_last(initialise_normal(self))

    def forward(self, mask: torch.Tensor) -> torch.Tensor:
        return self.layers(mask)
