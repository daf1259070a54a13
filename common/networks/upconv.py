"""UpConv: nearest-neighbour doubling and a convolution, as one cheaper operation."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

__all__ = ["UpConv"]


class UpConv(nn.Module):
    """Double the size by nearest neighbour, then convolve with stride 1 and "same" zero padding.

    Each value is doubled along an axis, so a kernel that slides over the doubled map sees it twice, one step apart. The
    sum is therefore a transposed convolution of stride 2 with the same kernel (mirrored), of which neighbours are then
    added: the same numbers, borders included, with 4 (in 2D) or 8 (in 3D) times fewer multiplications.

    Even kernels are padded like in TensorFlow, one less before than after.

    Args:
        spatial_dims: 2 or 3.
        in_channels: of the input.
        out_channels: of the output.
        kernel_size: edge of the kernel, at least 3.
        bias: add a learned constant to each output channel.

    Shape:
        (B, in_channels, H, W[, D]) -> (B, out_channels, 2H, 2W[, 2D]). `weight` is laid out as in `ConvTranspose`:
        (in_channels, out_channels, k, k[, k]), mirrored with respect to that of the plain convolution.
    """

    def __init__(self, spatial_dims: int, in_channels: int, out_channels: int, kernel_size: int, bias: bool = True):
        super().__init__()
        if spatial_dims not in (2, 3) or kernel_size < 3:
            raise ValueError(
                f"UpConv needs 2 or 3 spatial_dims and a kernel_size of 3 or more: {spatial_dims}, {kernel_size}."
            )
        self.spatial_dims = spatial_dims
        # With p = (k - 1) // 2 zeros before the doubled map, output i is the sum of z[i + k - 2 - p] and its successor,
        # z being the unpadded transposed convolution. Cropping z to these 2n + 1 values is its `padding`.
        self.padding = kernel_size - 2 - (kernel_size - 1) // 2
        self.output_padding = 1 - kernel_size % 2
        self.weight = nn.Parameter(torch.empty(in_channels, out_channels, *[kernel_size] * spatial_dims))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        nn.init.kaiming_uniform_(self.weight.transpose(0, 1), a=5**0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # Each output adds 2 ** spatial_dims values, and each of them holds the bias.
        bias = self.bias / 2**self.spatial_dims if self.bias is not None else None
        stride, padding, extra = [2], [self.padding], [self.output_padding]
        if self.spatial_dims == 2:
            z = F.conv_transpose2d(x, self.weight, bias, stride * 2, padding * 2, extra * 2)
        else:
            z = F.conv_transpose3d(x, self.weight, bias, stride * 3, padding * 3, extra * 3)
        for axis in range(2, 2 + self.spatial_dims):
            last = z.shape[axis] - 1
            z = z.narrow(axis, 0, last) + z.narrow(axis, 1, last)
        return z
