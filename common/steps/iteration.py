"""What the training steps share: fetching a batch, one update, freezing a network, handing over results."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
import torch.distributed as dist
from ignite.engine import Engine
from monai.engines.utils import IterationEvents
from monai.utils import convert_to_tensor
from torch import nn

__all__ = [
    "average_buffers",
    "average_gradients",
    "bare_engine",
    "fetch",
    "finish",
    "frozen",
    "one_hot",
    "split",
    "tally",
    "update",
]


def bare_engine() -> Engine:
    """An engine without a loop, to call a step by hand on the CPU."""
    engine = Engine(lambda *_: None)
    engine.register_events(*IterationEvents)
    engine.state.device = torch.device("cpu")
    return engine


def fetch(engine: Engine, batch: Mapping, key: str) -> torch.Tensor:
    """One entry of a batch on the engine's device, as a plain tensor (MONAI's meta data slow every operation).

    The copy to a GPU goes on while the step begins, if the loader has pinned the batch in memory.
    """
    return convert_to_tensor(batch[key], track_meta=False).to(engine.state.device, non_blocking=True)


def one_hot(label_map: torch.Tensor, num_labels: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Label ids (B, S, H, W[, D]) as channels (B, S * num_labels, H, W[, D]) of 0 and 1, channels last in memory.

    In the type that the networks compute in, no pass has to convert them. S is 1, or the slice with its context
    (`common.context`): then the labels of the first slice come first.
    """
    ids = label_map.movedim(1, -1).long().unsqueeze(-1)  # (B, H, W[, D], S, 1)
    channels = torch.zeros(*ids.shape[:-1], num_labels, dtype=dtype, device=ids.device)
    return channels.scatter_(-1, ids, 1).flatten(-2).movedim(-1, 1)


def split(parts: int, *tensors: torch.Tensor) -> Iterator[tuple]:
    """A batch in parts: (share of the batch, a part of each tensor), none of them empty."""
    for chunks in zip(*(tensor.tensor_split(parts) for tensor in tensors), strict=True):
        if len(chunks[0]):
            yield len(chunks[0]) / len(tensors[0]), *chunks


def tally(output: dict[str, float], share: float, values: Mapping[str, torch.Tensor | float]) -> None:
    """Add a part's numbers to those of the batch."""
    for name, value in values.items():
        number = value.item() if isinstance(value, torch.Tensor) else value
        output[name] = output.get(name, 0.0) + share * number


def update(
    engine: Engine, optimizer: torch.optim.Optimizer, name: str, loss: torch.Tensor | Iterable[torch.Tensor]
) -> float:
    """One optimiser step down the gradient of a loss.

    Args:
        loss: a number, or parts that add up to it. Each part is let go before the next is asked for, so that a
            generator of parts holds the graph of one in memory.

    Returns:
        The loss as a number.

    Raises:
        FloatingPointError: the loss is not finite; the weights are left as they were.
    """
    optimizer.zero_grad(set_to_none=True)
    total = 0.0
    for part in (loss,) if isinstance(loss, torch.Tensor) else loss:
        value = part.item()
        if not math.isfinite(value):
            raise FloatingPointError(
                f"{name} is {value} in epoch {engine.state.epoch}, iteration {engine.state.iteration}. The run "
                "folder's last.pt holds the last good state, and the same command goes on from there; if this happens "
                "again, train with --precision fp32 or a lower learning rate in a new run folder."
            )
        part.backward()
        total += value
    average_gradients(optimizer)
    optimizer.step()
    return total


def average_gradients(optimizer: torch.optim.Optimizer) -> None:
    """Mean of the gradients over the processes of a torchrun; nothing in a single process.

    By hand instead of DistributedDataParallel, which cannot serve a critic whose penalty is a gradient of a gradient,
    nor a discriminator that is frozen in every other pass.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return
    gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for gradient, mean in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(mean.view(gradient.shape))


def average_buffers(network: torch.nn.Module) -> None:
    """Mean over the processes of a torchrun of a network's buffers, the running statistics of batch norm."""
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return
    for buffer in network.buffers():
        if buffer.is_floating_point():
            dist.all_reduce(buffer)
            buffer /= dist.get_world_size()


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Inside, gradients flow through a network, but its parameters get none.

    Forward and backward pass both belong inside.
    """
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


def finish(engine: Engine, output: dict[str, float]) -> dict[str, float]:
    """Hand the numbers of an iteration to the engine's handlers."""
    engine.state.output = output
    engine.fire_event(IterationEvents.MODEL_COMPLETED)
    return output
