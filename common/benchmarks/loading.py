"""Speed and memory of the data side: reading volumes, waiting for batches, more and more subjects."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from monai.data import DataLoader, Dataset
from monai.transforms import Compose, EnsureTyped, LoadImaged

from ..datalists import items
from ..phantom.cohort import make_phantom
from ..sampling import SeededDataset
from ..transforms import EmptyLesiond
from .harness import Comparison, Table, compare, timed

__all__ = ["benchmark"]

CASES = {"normal": 0, "training": 2, "validation": 0, "test": 6}  # the data set of the segmenter's benchmark
SIZE = (128, 128, 32)
SLACK = 0.01  # seconds: six volumes take hardly longer


def benchmark(folder: Path) -> list[Comparison | Table]:
    """An epoch over compressed volumes of 128x128x32, read again or kept decoded."""
    data = str(make_phantom(folder / "data", CASES, SIZE, negatives=0.0).folder)
    cases = items(data, "test", lesions_only=True)
    cache = folder / "cache"
    shutil.rmtree(cache, ignore_errors=True)
    transforms = Compose(
        [
            LoadImaged(["image", "label"], ensure_channel_first=True, image_only=True, allow_missing_keys=True),
            EmptyLesiond(),
            EnsureTyped(["image", "label"], dtype=torch.float32, track_meta=False),
        ]
    )
    ours, plain = SeededDataset(cases, transforms, 1, str(cache)), Dataset(cases, transforms)

    def epoch(dataset: Dataset) -> torch.Tensor:
        return torch.cat([batch["image"] for batch in DataLoader(dataset, batch_size=1)])

    def agreement(a: torch.Tensor, b: torch.Tensor) -> str:
        if not torch.equal(a, b):
            raise ValueError("the kept volumes differ from those that are read again.")
        return "equal"

    rows = []
    for what in ("the first ever, which fills the cache", "the first of another training", "a later one"):
        rows.append({"epoch": what, "s": round(timed(lambda: epoch(ours))[0], 3)})
    return [
        compare(
            f"an epoch of {len(cases)} volumes of 128x128x32 after the first",
            lambda: epoch(ours),
            lambda: epoch(plain),
            "NIfTI read and decoded again, one process",
            agreement,
            goal=5.0,
        ),
        Table(
            "Epochs over the same volumes, with the cache from empty", rows, rows[1]["s"] < 1.3 * rows[2]["s"] + SLACK
        ),
    ]
