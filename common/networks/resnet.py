"""The other generator that the paper tried for Pix2Pix: residual blocks on a quarter of the resolution."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.layers.factories import Conv
from torch import nn

from .initialisation import channels_last, initialise_normal
from .instance_norm import InstanceNorm
from .noise_input import NoiseInput, TakesNoise
from .upconv import UpConv

__all__ = ["ResNetGenerator"]

LEAK = 0.2
HALVINGS = 2


class ResNetGenerator(TakesNoise, nn.Module):
    """Translate a label map into an image.

    c7-64, c3s2-128, c3s2-256, residual blocks, two doublings to 128 and 64, c7-1, tanh. Unlike the U-Net nothing is
    handed across, and each pixel of the output sees a window, not the whole slice.

    Args:
        spatial_dims: 2 for slices, 3 for volumes.
        in_channels: labels of the one-hot map.
        out_channels: of the image.
        size: shape of the map in voxels, each edge a multiple of 4.
        dropout: probability in the residual blocks, in training only.
        depth: residual blocks.
        filters: feature maps of the first convolution.
        noise_channels: planes of Gaussian noise beside the label map; see `NoiseInput`.

    Shape:
        (B, in_channels, H, W[, D]), one-hot, and noise or None -> (B, out_channels, H, W[, D]) in [-1, 1].

    Raises:
        ValueError: an edge that is no multiple of 4, or no residual block.

    Source:
        Paper, sec. II.B.1 ("trained both architectures but found little difference"); layers as in its authors' code.
        Ours: blocks add their input (He et al., arXiv:1512.03385) where theirs concatenate it, which widens the maps by
        256 with every block; the image itself is not normalised. Six blocks at 128x128: CycleGAN, arXiv:1703.10593.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        size: Sequence[int],
        dropout: float,
        depth: int,
        filters: int = 64,
        noise_channels: int = 0,
    ):
        super().__init__()
        if any(edge % 2**HALVINGS for edge in size) or not depth:
            raise ValueError(
                f"size {tuple(size)}, depth {depth}: every edge must be a multiple of {2**HALVINGS}, and depth is the "
                "number of residual blocks, such as 6."
            )
        conv = Conv[Conv.CONV, spatial_dims]
        self.noise_input = NoiseInput(noise_channels, size)
        layers: list[nn.Module] = [
            conv(in_channels + noise_channels, filters, 7, padding=3), InstanceNorm(filters), nn.LeakyReLU(LEAK)
        ]  # fmt: skip
        width = filters
        for _ in range(HALVINGS):
            layers += [conv(width, 2 * width, 3, 2, padding=1), InstanceNorm(2 * width), nn.LeakyReLU(LEAK)]
            width *= 2
        layers += [_Residual(spatial_dims, width, dropout) for _ in range(depth)]
        for _ in range(HALVINGS):
            layers += [UpConv(spatial_dims, width, width // 2, 3), InstanceNorm(width // 2), nn.LeakyReLU(LEAK)]
            width //= 2
        self.layers = nn.Sequential(*layers, conv(width, out_channels, 7, padding=3), nn.Tanh())
        channels_last(initialise_normal(self))

    def forward(self, label_map: torch.Tensor, noise: torch.Tensor | None = None) -> torch.Tensor:
        return self.layers(self.noise_input(label_map, noise))


class _Residual(nn.Module):
    def __init__(self, spatial_dims: int, width: int, dropout: float):
        super().__init__()
        conv = Conv[Conv.CONV, spatial_dims]
        self.layers = nn.Sequential(
            conv(width, width, 3, padding=1),
            InstanceNorm(width),
            nn.LeakyReLU(LEAK),
            nn.Dropout(dropout),
            conv(width, width, 3, padding=1),
            InstanceNorm(width),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x)
