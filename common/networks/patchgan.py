"""The discriminators of all image translations: they judge patches, not images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.layers.factories import Conv, Pad
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from .initialisation import channels_last, initialise_normal
from .instance_norm import InstanceNorm

__all__ = ["MultiScaleDiscriminator", "PatchDiscriminator"]

LEAK = 0.2
NORMS = ("instance", "spectral")


class PatchDiscriminator(nn.Module):
    """Tell real images from generated ones, patch by patch.

    Args:
        in_channels: of the image and the condition together: 30 for one image and 29 labels.
        filters: feature maps of the three convolutions.
        receptive_field: edge of a patch in pixels: 70 (all three halve the image; a fourth, as wide, does not) or 34
            (only the first two halve it; there is no fourth).
        spatial_dims: 2 for slices, 3 for volumes.
        norm: "instance", as in the paper, or "spectral": every convolution is divided by its largest singular value,
            and there is no instance norm, which would undo that.

    Shape:
        image (B, C, H, W) in [-1, 1] and, unless the discriminator is unconditional, a one-hot label map (B, L, H, W)
        -> one logit per patch (B, 1, H / 8, W / 8), or a quarter of each edge for 34. Large is real. At least 16 pixels
        per edge.

    Raises:
        ValueError: another receptive field, another number of convolutions, or another norm.

    Source:
        Paper, Appendix A.3a. Its text (three convolutions, 34x34) and its number (888,898 parameters) tell of
        different networks. The default is that of the authors' code: 444,449 parameters, which Keras counted twice. 34
        is that of the text.
    """

    def __init__(
        self,
        in_channels: int,
        filters: Sequence[int] = (32, 64, 128),
        receptive_field: int = 70,
        spatial_dims: int = 2,
        norm: str = "instance",
    ):
        super().__init__()
        if norm not in NORMS:
            raise ValueError(f"norm is one of {', '.join(NORMS)}, not {norm!r}.")
        if receptive_field not in (70, 34) or len(filters) != 3:
            raise ValueError(
                f"receptive_field is 70 or 34, filters are three numbers; found {receptive_field} and {list(filters)}."
            )
        conv = Conv[Conv.CONV, spatial_dims]
        # "Same" padding of a 4x4 kernel of stride 1 takes one row before and two after.
        pad = Pad[Pad.CONSTANTPAD, spatial_dims]((1, 2) * spatial_dims, 0.0)

        first, second, third = filters
        plan = [(first, 2), (second, 2), *([(third, 2), (third, 1)] if receptive_field == 70 else [(third, 1)])]
        layers: list[nn.Module] = []
        before = in_channels
        for after, stride in plan:
            layers += [conv(before, after, 4, 2, padding=1)] if stride == 2 else [pad, conv(before, after, 4)]
            layers += [InstanceNorm(after)] if norm == "instance" else []
            layers += [nn.LeakyReLU(LEAK, inplace=True)]
            before = after
        layers += [pad, conv(before, 1, 4)]
        self.layers = nn.Sequential(*layers)
        channels_last(initialise_normal(self))
        if norm == "spectral":
            for layer in self.layers:
                if isinstance(layer, conv):
                    spectral_norm(layer)

    def forward(self, image: torch.Tensor, label_map: torch.Tensor | None = None) -> torch.Tensor:
        return self.layers(image if label_map is None else _pair(image, label_map))

    @torch.jit.unused
    def judge(
        self, image: torch.Tensor, label_map: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, list[list[torch.Tensor]]]:
        """The logits, and what each activation before them gives: one list, as there is one scale."""
        x = image if label_map is None else _pair(image, label_map)
        features = []
        for layer in self.layers:
            x = layer(x)
            if isinstance(layer, nn.LeakyReLU):
                features.append(x)
        return x, [features]


def _pair(image: torch.Tensor, label_map: torch.Tensor) -> torch.Tensor:
    """Both as channels of one, the last axis in memory: an image of one channel would make it the first.

    In the type of the label map, which is the one that the convolutions compute in.
    """
    return torch.cat([image.movedim(1, -1).to(label_map.dtype), label_map.movedim(1, -1)], -1).movedim(-1, 1)


class MultiScaleDiscriminator(nn.Module):
    """Several patch discriminators: the first judges the image, each further one the image at half the size before.

    A small image has few patches, which see far: they judge whether a brain is a brain, the first judges its texture.

    Args:
        scales: number of discriminators.
        in_channels, filters, norm: of each, see `PatchDiscriminator`.

    Shape:
        image (B, C, H, W) in [-1, 1] and a one-hot label map (B, L, H, W) -> logits (B, scales, H / 8, W / 8). Those of
        smaller scales are repeated, so that all scales weigh the same in any mean. Averages of the one-hot label map
        are given to smaller scales. At least 16 * 2 ** (scales - 1) pixels per edge.

    Source:
        pix2pixHD, arXiv:1711.11585, sec. 3.2, and SPADE. (MONAI's class of this kind deepens instead of halving.)
    """

    def __init__(self, scales: int, in_channels: int, filters: Sequence[int], norm: str):
        super().__init__()
        self.scales = nn.ModuleList([PatchDiscriminator(in_channels, filters, norm=norm) for _ in range(scales)])

    def forward(self, image: torch.Tensor, label_map: torch.Tensor) -> torch.Tensor:
        return self.judge(image, label_map)[0]

    def judge(self, image: torch.Tensor, label_map: torch.Tensor) -> tuple[torch.Tensor, list[list[torch.Tensor]]]:
        """The logits, and one list of features per scale."""
        pair = _pair(image, label_map)
        logits, features = [], []
        for number, scale in enumerate(self.scales):
            if number:
                pair = F.avg_pool2d(pair, 3, 2, padding=1, count_include_pad=False)
            some, seen = scale.judge(pair)
            logits.append(some)
            features += seen
        grid = logits[0].shape[2:]
        return torch.cat([F.interpolate(some, grid, mode="nearest") for some in logits], 1), features
