"""How the networks of this project start: their first weights, and their layout in memory."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

__all__ = ["channels_last", "initialise_normal", "with_channels_last"]

Network = TypeVar("Network", bound=nn.Module)


def initialise_normal(network: Network, std: float = 0.02) -> Network:
    """Draw all kernels from N(0, std), set biases to 0, and leave the scales of normalisations at 1.

    Source:
        The usual start of GANs since DCGAN (arXiv:1511.06434) and Pix2Pix (arXiv:1611.07004).
    """
    for name, parameter in network.named_parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, 0.0, std)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
    return network


def with_channels_last(x: torch.Tensor) -> torch.Tensor:
    """A batch (B, C, H, W[, D]) with channels last in memory; no copy if C is 1.

    A single channel lies in memory both ways. PyTorch takes it for the layout that its strides say, so that a
    convolution would give its many channels first.
    """
    if torch.onnx.is_in_onnx_export():
        return x
    if x.shape[1] > 1:
        return x.contiguous(memory_format=torch.channels_last if x.ndim == 4 else torch.channels_last_3d)
    strides = list(x.contiguous().stride())
    strides[1] = 1
    return x.contiguous().as_strided(x.shape, strides)


def channels_last(network: Network) -> Network:
    """Lay the kernels out with channels last, in place; convolutions then take and return that layout by themselves.

    Without it, bf16 is slower than fp32 for some of these networks. It belongs to a network's construction: changing
    the layout after an optimiser was built would cost a copy of every gradient.
    """
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        elif parameter.ndim == 5:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last_3d)
    return network
