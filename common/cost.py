"""What a training will cost on a GPU: a prediction from the arithmetic of one step, not a measurement."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd.graph import saved_tensors_hooks

from .arithmetic import CountFlops
from .bundles import configured
from .steps.iteration import bare_engine

__all__ = ["DEVICES", "EFFICIENCY", "Cost", "predict_training", "sample_batch"]

DEVICES = {"A100": 312e12, "RTX 4090": 165e12, "RTX 3090": 71e12, "V100": 125e12, "T4": 65e12}
"""Operations per second of dense matrix products in half precision, by the makers' data sheets."""

EFFICIENCY = 0.25  # of that; trainings of small convolutions reach more here (docs/performance.md), less on a large GPU
BYTES_PER_WEIGHT = 16  # weight, gradient and Adam's two moments, in fp32
FIXED_BYTES = 1.5e9  # a CUDA context and the workspace of its convolutions

LABEL_MAPS = ("label_map", "image_label_map")


@dataclass(frozen=True)
class Cost:
    """What is predicted, and what it follows from.

    Attributes:
        seconds: of all steps, without validation.
        step_seconds: of one.
        memory_gb: on the device.
        steps: optimiser steps (of the generator, in a GAN).
        step_flops: operations of one step.
        weights: trainable numbers of all networks.
    """

    seconds: float
    step_seconds: float
    memory_gb: float
    steps: int
    step_flops: float
    weights: int


def predict_training(
    bundle: str,
    overlays: Sequence[str],
    settings: dict[str, Any],
    cases: int,
    device: str = "A100",
    efficiency: float = EFFICIENCY,
) -> Cost:
    """Predict time and memory of a training from one step with a single sample, which is run here, on the CPU.

    Operations and what is kept for the backward pass grow with the batch; weights and their optimiser do not.

    Args:
        bundle, overlays, settings: as for `common.bundles.train`, with "size": [H, W, D] among the settings.
        cases: of the training data; what an epoch draws unless "draws_per_epoch" says otherwise.
        device: one of `DEVICES`.
        efficiency: share of the device's speed that the training reaches; 0.25 is a guess, stated as such.

    Raises:
        ValueError: an unknown device.
    """
    if device not in DEVICES:
        raise ValueError(f"device {device!r} is not known; expected one of {', '.join(DEVICES)}.")
    parser = configured(bundle, overlays, {**settings, "device": torch.device("cpu"), "accumulate": 1})
    step = parser.get_parsed_content("train#step")
    knobs = {key: parser.get(key) for key in ("epochs", "batch_size", "draws_per_epoch", "n_critic")}
    batch = sample_batch(parser, bundle)
    optimizers = [value for name, value in vars(step).items() if name.endswith("optimizer")]
    weights = sum(p.numel() for one in optimizers for group in one.param_groups for p in group["params"])

    counter, kept = CountFlops(), _Kept()
    with counter, kept:
        step(bare_engine(), batch)

    samples = knobs["batch_size"]
    accumulate = int(settings.get("accumulate", 1))
    draws = knobs["draws_per_epoch"] or cases
    steps = knobs["epochs"] * max(draws // (samples * (knobs["n_critic"] or 1)), 1)
    flops = samples * float(counter.total)
    memory = FIXED_BYTES + BYTES_PER_WEIGHT * weights + -(-samples // accumulate) * kept.peak
    step_seconds = flops / (DEVICES[device] * efficiency)
    return Cost(step_seconds * steps, step_seconds, memory / 1e9, steps, flops, weights)


def sample_batch(parser, bundle: str) -> dict[str, torch.Tensor]:
    """A batch of one sample, of zeros, for the step of a bundle."""
    size = [int(edge) for edge in parser.get_parsed_content("size")]
    if bundle == "lesion_wgan":
        return {"lesion": torch.zeros(parser.get("n_critic"), 1, *size)}
    if bundle == "stroke_unet":
        return {"image": torch.zeros(1, 1, *size), "label": torch.zeros(1, 1, *size)}
    edges = size if parser.get("spatial_dims") == 3 else size[:2]
    planes = 2 * (parser.get("context") or 0) + 1
    label_maps = {key: torch.zeros(1, planes, *edges, dtype=torch.uint8) for key in LABEL_MAPS}
    return {"image": torch.zeros(1, 1, *edges), **label_maps}


class _Kept(saved_tensors_hooks):
    """Peak number of bytes that autograd keeps for the backward pass, weights left out."""

    def __init__(self):
        self.peak = self._now = 0
        self._seen: dict[int, int] = {}
        super().__init__(self._pack, lambda tensor: tensor)

    def _pack(self, tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        place = storage.data_ptr()
        if not tensor.is_leaf and place not in self._seen:
            self._seen[place] = storage.nbytes()
            self._now += storage.nbytes()
            self.peak = max(self.peak, self._now)
            weakref.finalize(tensor, self._free, place)
        return tensor

    def _free(self, place: int) -> None:
        self._now -= self._seen.pop(place, 0)
