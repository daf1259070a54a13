"""Slice context: which neighbours a translator of slices sees beside the slice that it paints."""

from __future__ import annotations

import torch

__all__ = ["label_channels", "neighbours"]


def label_channels(num_labels: int, context: int, spatial_dims: int) -> int:
    """Channels of a translator's one-hot input: the slice and `context` neighbours on each side, or a volume.

    Raises:
        ValueError: a context below 0, or one for volumes, which hold all slices.
    """
    if context < 0 or (context and spatial_dims == 3):
        raise ValueError(
            f"context is {context} with spatial_dims {spatial_dims}; expected 0 or more neighbours on each side of a "
            "slice (spatial_dims 2), and 0 for whole volumes (spatial_dims 3)."
        )
    return (2 * context + 1) * num_labels


def neighbours(depth: int, context: int) -> torch.Tensor:
    """Row z holds z - context, ..., z, ..., z + context; beyond the volume the border slice repeats.

    Returns:
        int64 (depth, 2 * context + 1), slice numbers of 0 to depth - 1.
    """
    offsets = torch.arange(-context, context + 1)
    return (torch.arange(depth)[:, None] + offsets).clamp(0, depth - 1)
