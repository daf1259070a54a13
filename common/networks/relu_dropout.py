"""ReLU and dropout as one operation, with random numbers for the dropped values only."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

__all__ = ["ReluDropout"]

FEW = 0.2  # above, drawing a number for every value is as fast


class ReluDropout(nn.Module):
    """max(x, 0), of which each value is set to 0 with probability `dropout` in training, the others scaled up.

    `nn.Dropout` draws a random number per value, on a CPU one after the other: a quarter of the U-Net's training step.
    Here the number of hits is drawn, Poisson with mean -n log(1 - dropout), and a place for each. Hits of one place are
    Poisson then, and independent of those of others, so that a value is spared with probability 1 - dropout exactly.

    Shape:
        any -> the same; in evaluation the input is overwritten.
    """

    def __init__(self, dropout: float):
        super().__init__()
        self.dropout = dropout
        self.few = 0 < dropout <= FEW

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not torch.jit.is_scripting():  # noqa: SIM102 (TorchScript compiles what `and` joins)
            if self.training and self.few and not x.is_cuda:
                return _ReluDropout.apply(x, self.dropout)
        return F.dropout(F.relu(x, inplace=not self.training), self.dropout, self.training)

    def extra_repr(self) -> str:
        return f"dropout={self.dropout}"


class _ReluDropout(torch.autograd.Function):
    """What is dropped is 0 as what is negative is, so that the output tells both apart from the rest."""

    @staticmethod
    def forward(ctx, x: torch.Tensor, dropout: float) -> torch.Tensor:
        dense = x if _fills_its_memory(x) else x.contiguous()
        y = F.relu(dense)
        hits = int(torch.poisson(torch.tensor(-y.numel() * math.log1p(-dropout), dtype=torch.float64)))
        places = torch.randint(y.numel(), (hits,))
        ctx.scale = 1 / (1 - dropout)
        y.mul_(ctx.scale).as_strided((y.numel(),), (1,)).index_fill_(0, places, 0)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        (y,) = ctx.saved_tensors
        return torch.ops.aten.threshold_backward(gradient, y, 0).mul_(ctx.scale), None


def _fills_its_memory(x: torch.Tensor) -> bool:
    """Whether the values lie side by side, in whatever order of the axes."""
    steps = sorted((step, edge) for step, edge in zip(x.stride(), x.shape) if edge > 1)
    expected = 1
    for step, edge in steps:
        if step != expected:
            return False
        expected *= edge
    return True
