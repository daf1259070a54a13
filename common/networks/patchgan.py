"""The discriminator of all image translations: it judges patches, not images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.layers.factories import Conv, Norm, Pad
from torch import nn

from .initialisation import channels_last, initialise_normal

__all__ = ["PatchDiscriminator"]

LEAK = 0.2


class PatchDiscriminator(nn.Module):
    """Tell real images from generated ones, patch by patch.

    Args:
        in_channels: of the image and the condition together: 30 for one image and 29 labels.
        filters: feature maps of the three convolutions.
        receptive_field: edge of a patch in pixels: 70 (all three halve the image; a fourth, as wide, does not) or 34
            (only the first two halve it; there is no fourth).
        spatial_dims: 2 for slices, 3 for volumes.

    Shape:
        image (B, C, H, W) in [-1, 1] and, unless the discriminator is unconditional, a one-hot label map (B, L, H, W)
        -> one logit per patch (B, 1, H / 8, W / 8), or a quarter of each edge for 34. Large is real. At least 16 pixels
        per edge.

    Raises:
        ValueError: another receptive field, or another number of convolutions.

    Source:
        Paper, Appendix A.3a. Its text (three convolutions, 34x34) and its number (888,898 parameters) tell of
        different networks. The default is that of the authors' code: 444,449 parameters, which Keras counted twice. 34
        is that of the text.
    """

    def __init__(
        self, in_channels: int, filters: Sequence[int] = (32, 64, 128), receptive_field: int = 70, spatial_dims: int = 2
    ):
        super().__init__()
        if receptive_field not in (70, 34) or len(filters) != 3:
            raise ValueError(
                f"receptive_field is 70 or 34, filters are three numbers; found {receptive_field} and {list(filters)}."
            )
        conv, norm = Conv[Conv.CONV, spatial_dims], Norm[Norm.INSTANCE, spatial_dims]
        # "Same" padding of a 4x4 kernel of stride 1 takes one row before and two after.
        pad = Pad[Pad.CONSTANTPAD, spatial_dims]((1, 2) * spatial_dims, 0.0)

        first, second, third = filters
        plan = [(first, 2), (second, 2), *([(third, 2), (third, 1)] if receptive_field == 70 else [(third, 1)])]
        layers: list[nn.Module] = []
        before = in_channels
        for after, stride in plan:
            layers += [conv(before, after, 4, 2, padding=1)] if stride == 2 else [pad, conv(before, after, 4)]
            layers += [norm(after, affine=True), nn.LeakyReLU(LEAK, inplace=True)]
            before = after
        layers += [pad, conv(before, 1, 4)]
        self.layers = nn.Sequential(*layers)
        channels_last(initialise_normal(self))

    def forward(self, image: torch.Tensor, label_map: torch.Tensor | None = None) -> torch.Tensor:
        pair = image if label_map is None else torch.cat([image, label_map], 1)
        return self.layers(pair)
