"""The paper's 3D U-Net, which finds lesions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from .initialisation import channels_last, with_channels_last
from .instance_norm import InstanceNorm
from .relu_dropout import ReluDropout

__all__ = ["UNet3D"]


class UNet3D(nn.Module):
    """Segment a volume.

    Two convolutions with ReLU and dropout per level, max-pooling between the levels; on the way up a transposed
    convolution, batch norm and ReLU, the features of the same level from before the pooling, and two convolutions.

    The output are logits, not the paper's softmax: cross-entropy from logits does not overflow, and a sliding-window
    or test-time average stays free to take either. Apply `softmax(1)` for probabilities, `argmax(1)` for a mask.

    Args:
        in_channels: images.
        out_channels: classes; 2 are background and lesion.
        dropout: probability after each convolution, in training only.
        channels: feature maps per level, fine to coarse.
        instance_norm: instance norm after each convolution and in the place of the paper's batch norm: short trainings
            go further, the brightness of a scan matters less, and steps of one volume keep no running statistics.

    Shape:
        (B, in_channels, H, W, D) in [-1, 1] -> logits (B, out_channels, H, W, D). Every edge must be divisible by
        2 ** (len(channels) - 1), 16 by default.

    Raises:
        ValueError: an edge of the input is not.

    Source:
        Paper, Appendix A.1, started as its reference does (arXiv:1505.04597, section 3: variance 2 / inputs). "All
        kernels 3x3x3" cannot include the transposed ones: its 5.6e6 parameters need 2x2x2 there (5,645,410).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        dropout: float,
        channels: Sequence[int] = (16, 32, 64, 128, 256),
        instance_norm: bool = False,
    ):
        super().__init__()
        self.divisor = 2 ** (len(channels) - 1)
        self.down = nn.ModuleList()
        for before, after in zip([in_channels, *channels[:-2]], channels[:-1]):
            self.down.append(_two_convolutions(before, after, dropout, instance_norm))
        self.bottleneck = _two_convolutions(channels[-2], channels[-1], dropout, instance_norm)
        self.up = nn.ModuleList()
        self.merge = nn.ModuleList()
        for before, after in zip(channels[:0:-1], channels[-2::-1]):
            norm = InstanceNorm(after) if instance_norm else nn.BatchNorm3d(after)
            self.up.append(nn.Sequential(nn.ConvTranspose3d(before, after, 2, stride=2), norm, nn.ReLU(inplace=True)))
            self.merge.append(_two_convolutions(2 * after, after, dropout, instance_norm))
        self.head = nn.Conv3d(channels[0], out_channels, 1)
        channels_last(self)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        if any([edge % self.divisor != 0 for edge in image.shape[2:]]):  # noqa: C419 (TorchScript has no generators)
            raise ValueError(
                f"image has shape {image.shape}: this U-Net halves every edge {len(self.down)} times, so that each "
                f"must be divisible by {self.divisor}. Resample or pad the data."
            )
        x = image
        if not torch.jit.is_scripting():
            x = with_channels_last(image)
        skips: list[torch.Tensor] = []
        for down in self.down:
            x = down(x)
            skips.append(x)
            x = _halved(x)
        x = self.bottleneck(x)
        for up, merge in zip(self.up, self.merge):
            x = merge(torch.cat([up(x), skips.pop()], 1))
        return self.head(x)


def _halved(x: torch.Tensor) -> torch.Tensor:
    """The largest of each 2x2x2 voxels. Autocast would convert them to fp32 first."""
    if not torch.jit.is_scripting():
        with torch.autocast(x.device.type, enabled=False):
            return F.max_pool3d(x, 2)
    return F.max_pool3d(x, 2)


def _two_convolutions(before: int, after: int, dropout: float, instance_norm: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (before, after):
        convolution = nn.Conv3d(channels, after, 3, padding=1)
        nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
        nn.init.zeros_(convolution.bias)
        norm = [InstanceNorm(after)] if instance_norm else []
        layers += [convolution, *norm, ReluDropout(dropout)]
    return nn.Sequential(*layers)
