"""What a study's stages will take: steps, time on one device, and room on the disk.

Trainings are predicted from the arithmetic of one step (`common.cost`); everything else by rates that were measured in
the benchmark on two CPU cores and grow with the voxels. Both are for planning, not promises.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .datalists import SPLITS
from .study import ARM_WORDS, Stage
from .study_cases import Cases, cases_of
from .study_parts import externals, gans, mask_sets, synthetic_sets

__all__ = ["RUNS_AT_A_TIME", "STEP_SECONDS", "Need", "knob", "knobs", "needs_of", "part_of", "room_of", "set_size"]

BUNDLES = Path(__file__).resolve().parents[1] / "bundles"
BENCHMARK_VOXELS = 64 * 64 * 16
# docs/results.md, the benchmark: 280 cases in 44 s, 320 sets' cases in 39 s, 400 masks in 90 s (26 candidates each).
# epochs: the metrics of scattered masks alone, 34 ms at 128x128x32 (docs/performance.md has 7 ms for compact ones);
# that a GPU's forward pass hides behind them is a guess.
SECONDS_PER_CASE = {"data": 0.16, "images": 0.12, "masks": 0.2, "score": 0.05, "epochs": 0.0043}
GB_PER_CASE = 105e-6  # an image, its label map and mask, compressed; 330 kB at most in the benchmark's data
GB_PER_READING = 4e-7  # a row of results
BYTES_PER_VOXEL = 4  # of the decoded copy that a training keeps beside a data set (cache/)
RUNS_AT_A_TIME = 20  # jobs of scripts/profiles/slurm; epochs are scored before another run begins
STEP_SECONDS = 0.02  # at least, for kernels must be started: a guess
COPIES_OF_WEIGHTS = 4  # model.pt once, last.pt with Adam's two moments three times

# Knobs that change neither the arithmetic of a step nor its memory: trainings that differ in them are predicted once.
SAME_STEP = {
    "dataset_dir", "output_dir", "synthetic_dir", "pretrained", "segmenter", "seed", "epochs", "patience",
    "learning_rate", "lr_decay_power", "clinical_cases", "draws_per_epoch", "synthetic_share", "val_interval",
    "keep_last", "stroke_share", "lesion_share", "augmentation", "intensity_augmentation", "remap_augmentation",
    "noise_augmentation",
    "l1_weight", "lesion_weight", "mask_library", "val_masks", "size", "average_decay",
}  # fmt: skip


@dataclass(frozen=True)
class Need:
    """Of one stage. `seconds` None: not predicted. `gb` on the disk; `kept_gb` of it goes when epochs are scored."""

    seconds: float | None
    gb: float
    kept_gb: float = 0.0
    memory_gb: float = 0.0
    steps: int = 0


def needs_of(study: dict, stage: Stage, cases: Cases, device: str | None) -> Need:
    """What a stage takes; `device` one of `common.cost.DEVICES`, None leaves out the times of trainings."""
    voxels = float(np.prod(cases.size))
    scale = voxels / BENCHMARK_VOXELS
    if stage.kind in ("gan", "translator", "segmenter"):
        return _training(study, stage, cases, device)
    if stage.kind == "external" or (stage.kind == "data" and stage.name != "data"):
        cases = cases_of(externals(study)[stage.name.split()[-1]])
    if stage.kind == "data":
        if "folder" in stage.settings:
            return Need(1.0, 0.0)
        count = sum(cases.positive.values()) + sum(cases.negative.values()) + cases.normal
    elif stage.kind == "images":
        count = set_size(study, stage.name.removeprefix("make "), cases)
    elif stage.kind == "masks":
        count = mask_sets(study)[stage.name.removeprefix("draw ")]["count"]
        return Need(SECONDS_PER_CASE["masks"] * scale * count, 4e-6 * scale * count)
    else:
        splits = SPLITS if stage.kind == "external" else ("test",)
        count = sum(cases.positive[split] + cases.negative[split] for split in splits)
        if stage.kind == "epochs":
            part = _segmenter_part(study, stage.settings["arm"])
            readings = count * min(int(knob(part, "keep_last")), int(knob(part, "epochs")))
            return Need(SECONDS_PER_CASE["epochs"] * scale * readings, GB_PER_READING * readings)
        return Need(SECONDS_PER_CASE["score"] * scale * count, GB_PER_READING * count)
    gb = count * (GB_PER_CASE * scale + BYTES_PER_VOXEL * 2 * voxels / 1e9)
    return Need(SECONDS_PER_CASE[stage.kind] * scale * count, gb)


def room_of(needs: Iterable[Need]) -> float:
    """GB that stages fill together, with the kept epochs of `RUNS_AT_A_TIME` runs: those of others are gone by then."""
    needs = list(needs)
    kept = sorted((need.kept_gb for need in needs), reverse=True)
    return sum(need.gb - need.kept_gb for need in needs) + sum(kept[:RUNS_AT_A_TIME])


def set_size(study: dict, name: str, cases: Cases) -> int:
    """How many cases a synthetic set will have."""
    choice = synthetic_sets(study)[name]
    if choice.get("count"):
        return int(choice["count"])
    donors = choice.get("donors", "normal")
    negative, positive = cases.negative["training"], cases.positive["training"]
    count = {
        "normal": cases.normal,
        "stroke": negative + positive,
        "stroke_negative": negative,
        "all": cases.normal + negative + positive,
    }.get(donors, len(donors.split(",")) if isinstance(donors, str) else len(donors))
    return count * int(choice.get("per_donor", 1))


def knobs(bundle: str, overlays: Sequence[str] = ()) -> dict:
    """train.json of a bundle with its overlays: {knob: value}."""
    found: dict = {}
    for name in ("train", *overlays):
        found |= json.loads((BUNDLES / bundle / "configs" / f"{name}.json").read_text())
    return found


def knob(part: dict, name: str):
    """What a part of a study ("bundle", "overlays", "settings") has for a knob."""
    return part["settings"].get(name, knobs(part["bundle"], part["overlays"]).get(name))


def _training(study: dict, stage: Stage, cases: Cases, device: str | None) -> Need:
    part = part_of(study, stage)
    draws = knob(part, "draws_per_epoch") or _items(study, stage, part, cases)
    per_step = int(knob(part, "batch_size")) * int(knob(part, "n_critic") or 1)
    steps = int(knob(part, "epochs")) * max(int(draws) // per_step, 1)
    size = tuple(part["settings"].get("size", cases.size))
    step = {key: value for key, value in part["settings"].items() if key not in SAME_STEP}
    try:
        cost = _predicted(
            part["bundle"], tuple(part["overlays"]), json.dumps(step, sort_keys=True), size, device or "A100"
        )
    except ValueError as error:
        raise ValueError(f"{stage.name}: {error}") from error
    weights_gb = 4e-9 * cost.weights
    kept = weights_gb * min(int(knob(part, "keep_last") or 0), int(knob(part, "epochs")))
    seconds = max(cost.step_seconds, STEP_SECONDS) * steps if device else None
    return Need(seconds, COPIES_OF_WEIGHTS * weights_gb + kept, kept, cost.memory_gb, steps)


@functools.cache
def _predicted(bundle: str, overlays: tuple[str, ...], settings: str, size: tuple[int, ...], device: str):
    from .cost import predict_training  # PyTorch: seconds

    known = {"dataset_dir": "", "output_dir": ""}
    return predict_training(bundle, overlays, {**json.loads(settings), **known, "size": list(size)}, 1, device)


def part_of(study: dict, stage: Stage) -> dict:
    """{"bundle", "overlays", "settings"} of a training stage."""
    name = stage.name.removeprefix("train ")
    if stage.kind == "translator":
        return study["translators"][name]
    if stage.kind == "gan":
        return {"bundle": "lesion_wgan", **gans(study)[name]}
    return _segmenter_part(study, name.rpartition(" seed ")[0])


def _segmenter_part(study: dict, arm: str) -> dict:
    choice = {key: value for key, value in study["arms"][arm].items() if key not in ARM_WORDS}
    settings = study["segmenter"]["settings"] | choice
    return {"bundle": "stroke_unet", "overlays": study["segmenter"]["overlays"], "settings": settings}


def _items(study: dict, stage: Stage, part: dict, cases: Cases) -> int:
    """How many cases one epoch of a training goes through."""
    limit = part["settings"].get("clinical_cases")
    positive = cases.positive["training"] if limit is None else limit
    if stage.kind == "gan":
        library = part["settings"].get("mask_library")
        if library and Path(library).suffix == ".npz":
            with np.load(library) as file:
                return len(file["train_masks"])
        return positive
    if stage.kind == "translator":
        return positive + cases.normal + (cases.negative["training"] if limit is None else 0)
    name = study["arms"][stage.name.removeprefix("train ").rpartition(" seed ")[0]].get("synthetic")
    return positive + (set_size(study, name, cases) if name else 0)
