"""Supervised training of a segmenter."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from ignite.engine import Engine
from torch import nn
from torch.optim import Optimizer

from ..precision import TRAINING, autocast, checked_precision
from .iteration import average_buffers, fetch, finish, split, update

__all__ = ["SupervisedStep"]


class SupervisedStep:
    """One iteration: compare the network's answer with the reference, improve the network.

    Give it to `monai.engines.Trainer` as `iteration_update`.

    Args:
        network: (B, C, H, W, D) -> logits.
        optimizer: of its parameters.
        loss: (logits, label) -> a number.
        precision: "fp32", "bf16" or "auto" (see `common.precision`), of the forward pass; the loss is always fp32.
        accumulate: parts that a batch is worked through in, one after the other, before the update. Batch statistics
            and a loss over the whole batch are then those of a part.

    A batch holds "image" (B, C, H, W, D) in [-1, 1] and "label" (B, 1, H, W, D). Returns "loss".
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: Optimizer,
        loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
        precision: str = "auto",
        accumulate: int = 1,
    ):
        self.network = network
        self.optimizer = optimizer
        self.loss = loss
        self.precision = checked_precision(precision, TRAINING)
        self.accumulate = accumulate

    def __call__(self, engine: Engine, batch: Mapping) -> dict[str, float]:
        image, label = fetch(engine, batch, "image"), fetch(engine, batch, "label")
        self.network.train()
        losses = (share * self._loss(*part) for share, *part in split(self.accumulate, image, label))
        loss = update(engine, self.optimizer, "loss", losses)
        average_buffers(self.network)
        return finish(engine, {"loss": loss})

    def _loss(self, image: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        with autocast(image.device, self.precision):
            logits = self.network(image)
        return self.loss(logits.float(), label)
