"""The generator of Pix2Pix: a U-Net from label maps to images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.layers.factories import Conv
from torch import nn

from .initialisation import channels_last, initialise_normal
from .instance_norm import InstanceNorm
from .noise_input import NoiseInput, TakesNoise
from .upconv import UpConv

__all__ = ["UNetGenerator"]

LEAK = 0.2
MINIMUM_LEVELS = 3


class UNetGenerator(TakesNoise, nn.Module):
    """Translate a label map into an image.

    The map is halved as often as `size` allows (7 times at 128x128, down to one pixel) and doubled again as often; what
    each halving saw is handed across.

    Args:
        spatial_dims: 2 for slices, 3 for volumes.
        in_channels: labels of the one-hot map.
        out_channels: of the image.
        size: shape of the map in voxels; it limits the depth. Powers of two give the full depth.
        filters: feature maps of the first level; they double with each level up to 8 times that (512).
        dropout: probability in the doubling blocks, in training only.
        tanh: end in tanh; without it the output has no bounds, as logits must.
        depth: halvings; None: as many as `size` allows.
        noise_channels: planes of Gaussian noise beside the label map; see `NoiseInput`.

    Shape:
        (B, in_channels, H, W[, D]), one-hot, and noise or None -> (B, out_channels, H, W[, D]), with tanh in [-1, 1].

    Raises:
        ValueError: `size` cannot be halved three times, or not `depth` times.

    Source:
        Paper, Appendix A.2. Its list of layers ("D512" eight levels deep, three "U" blocks) does not give its 41.8e6
        parameters; seven levels do, with 41,856,001. Instance norm of a single pixel is a constant, so that the
        innermost level goes without when it is one pixel.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        size: Sequence[int],
        dropout: float,
        filters: int = 64,
        tanh: bool = True,
        depth: int | None = None,
        noise_channels: int = 0,
    ):
        super().__init__()
        levels = _levels(size, depth)
        widths = [min(filters * 2**level, 8 * filters) for level in range(levels)]
        single = max(size) == 2**levels
        conv = Conv[Conv.CONV, spatial_dims]

        self.noise_input = NoiseInput(noise_channels, size)
        self.down = nn.ModuleList()
        for level, (before, after) in enumerate(zip([in_channels + noise_channels, *widths[:-1]], widths)):
            block: list[nn.Module] = [conv(before, after, 4, stride=2, padding=1)]
            if level > 0 and not (single and level == levels - 1):
                block.append(InstanceNorm(after))
            self.down.append(nn.Sequential(*block, nn.LeakyReLU(LEAK)))

        self.up = nn.ModuleList()
        before = widths[-1]
        for after in reversed(widths[:-1]):
            self.up.append(
                nn.Sequential(
                    UpConv(spatial_dims, before, after, 4),
                    nn.LeakyReLU(LEAK, inplace=True),
                    nn.Dropout(dropout),
                    InstanceNorm(after),
                )
            )
            before = 2 * after  # the skip connection is concatenated
        self.act = nn.LeakyReLU(LEAK)
        self.head = nn.Sequential(UpConv(spatial_dims, before, out_channels, 4), nn.Tanh() if tanh else nn.Identity())
        channels_last(initialise_normal(self))

    def forward(self, label_map: torch.Tensor, noise: torch.Tensor | None = None) -> torch.Tensor:
        x = self.noise_input(label_map, noise)
        skips: list[torch.Tensor] = []
        for down in self.down:
            x = down(x)
            skips.append(x)
        skips.pop()  # the innermost is where the way up starts
        for up in self.up:
            x = self.act(torch.cat([up(x), skips.pop()], 1))
        return self.head(x)


def _levels(size: Sequence[int], depth: int | None) -> int:
    """How often all edges can be halved without a remainder, but no more than `depth`."""
    levels = min((edge & -edge).bit_length() - 1 for edge in size)
    if depth is not None and not MINIMUM_LEVELS <= depth <= levels:
        raise ValueError(f"depth {depth}: size {tuple(size)} can be halved {MINIMUM_LEVELS} to {levels} times.")
    if levels < MINIMUM_LEVELS:
        raise ValueError(
            f"size {tuple(size)} can be halved only {levels} times, the generator needs {MINIMUM_LEVELS}: make every "
            f"edge a multiple of {2**MINIMUM_LEVELS}, best a power of two."
        )
    return depth or levels
