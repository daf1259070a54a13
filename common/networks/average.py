"""Moving averages of a network's weights."""

from __future__ import annotations

from collections.abc import Callable

import torch

__all__ = ["warming_average"]


def warming_average(decay: float) -> Callable:
    """`multi_avg_fn` of torch's AveragedModel: an exponential moving average, shorter while there were few updates.

    The average keeps `decay` of itself in an update, but no more than (1 + n) / (10 + n) in the n-th; without that, a
    short training would publish its first weights. 0 keeps nothing: the average is the network.

    Source:
        TensorFlow's ExponentialMovingAverage with `num_updates`.
    """

    @torch.no_grad()
    def update(averages: list[torch.Tensor], weights: list[torch.Tensor], count: torch.Tensor) -> None:
        kept = min(decay, (1 + int(count)) / (10 + int(count)))
        torch._foreach_lerp_(averages, weights, 1 - kept)

    return update
