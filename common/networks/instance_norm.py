"""Instance norm that keeps the layout of its input."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

__all__ = ["InstanceNorm"]


class InstanceNorm(nn.Module):
    """Bring every channel of every sample to mean 0 and variance 1, then scale and shift it by learned numbers.

    PyTorch's instance norm goes by way of the layout with channels first, there and back, which on a CPU takes several
    times as long as the norm itself. The batch norm of a single sample is the same, and keeps channels last.

    Args:
        channels: of the input.
        affine: learn a scale and a shift of each channel, as `nn.InstanceNorm2d` names them: `weight` and `bias`.

    Shape:
        (B, channels, H, W[, D]) with more than one pixel -> the same.

    Source:
        arXiv:1607.08022; PyTorch's defaults, no running statistics.
    """

    def __init__(self, channels: int, affine: bool = True):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels)) if affine else None
        self.bias = nn.Parameter(torch.zeros(channels)) if affine else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not torch.jit.is_scripting():  # noqa: SIM102 (TorchScript compiles what `and` joins)
            if not x.is_cuda and not torch.onnx.is_in_onnx_export():
                alone = [F.batch_norm(one, None, None, self.weight, self.bias, True) for one in x.split(1)]
                return alone[0] if len(alone) == 1 else torch.cat(alone)
        return F.instance_norm(x, weight=self.weight, bias=self.bias)

    def extra_repr(self) -> str:
        return f"affine={self.weight is not None}"
