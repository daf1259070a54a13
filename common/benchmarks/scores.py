"""Speed of the metrics against MedPy's separate calls."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy import ndimage

from ..grids import PAPER_SIZE, grid_affine, read_volume, spacing_of
from ..mask_library import read_masks
from ..metrics import case_metrics
from ..phantom.cohort import make_phantom
from .harness import Comparison, timed

__all__ = ["benchmark"]

SPACING = spacing_of(grid_affine(PAPER_SIZE))
CASES = {"normal": 0, "training": 2, "validation": 0, "test": 6}  # the data set of the segmenter's benchmark
PREDICTIONS = 5  # of each simulated lesion, where there is no library of real ones
FALSE_POSITIVES = 3
NAMES = {"dc": "dice", "precision": "precision", "recall": "recall", "hd": "hd_max", "hd95": "hd95", "assd": "assd"}


def benchmark(folder: Path) -> list[Comparison]:
    """Every column of a result at 128x128x32, for predictions with false positives far from the lesion."""
    times = []
    for truth, prediction in _pairs(folder):
        ours, scores = timed(lambda pair=(prediction, truth): case_metrics(*pair, SPACING))
        theirs, reference = timed(lambda pair=(prediction, truth): _medpy(*pair))
        for name, value in reference.items():
            if not np.isclose(scores[name], value, rtol=0, atol=1e-6):
                raise ValueError(f"{name} is {scores[name]}, MedPy's is {value}.")
        times.append((ours, theirs))
    seconds, baseline = np.array(times).T
    low, high = np.percentile(seconds, (25, 75))
    return [
        Comparison(
            job=f"all metrics of a case, {len(times)} pairs of 128x128x32",
            baseline="MedPy: dc, ravd, precision, recall, hd, hd95, assd",
            seconds=float(np.median(seconds)),
            baseline_seconds=float(np.median(baseline)),
            spread=float((high - low) / np.median(seconds)),
            ratio=float(np.median(baseline / seconds)),
            agreement=f"1e-6; slowest case {np.min(baseline / seconds):.0f} times",
            goal=20.0,
        )
    ]


def _medpy(prediction: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    from medpy.metric import binary

    spaced = ("hd", "hd95", "assd")
    scores = {
        ours: getattr(binary, name)(prediction, truth, *([SPACING] if name in spaced else []))
        for name, ours in NAMES.items()
    }
    return {**scores, "relative_volume_difference": abs(binary.ravd(prediction, truth))}


def _pairs(folder: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Lesions and predictions of them: shifted, rough at the border, and with blobs elsewhere."""
    rng = np.random.default_rng(0)
    for truth in _lesions(folder):
        shifted = np.roll(truth, rng.integers(-2, 3, 3), (0, 1, 2)).astype(float)
        prediction = ndimage.gaussian_filter(shifted, 1) + 0.2 * rng.standard_normal(truth.shape) * shifted > 0.5
        for centre in rng.integers(4, np.array(truth.shape) - 4, (FALSE_POSITIVES, 3)):
            distance = np.sqrt(sum((axis - c) ** 2 for axis, c in zip(np.indices(truth.shape), centre)))
            prediction |= distance < rng.uniform(1, 4)
        yield truth, prediction


def _lesions(folder: Path) -> Iterator[np.ndarray]:
    libraries = sorted(Path(os.environ.get("REAL_DATA", "none")).glob("*lesion_masks.npz"))
    if libraries:
        for split in ("validation", "test"):
            yield from read_masks(libraries[0], PAPER_SIZE, split).masks > 0
        return
    for case in make_phantom(folder / "data", CASES, PAPER_SIZE, negatives=0.0).select("test") * PREDICTIONS:
        yield read_volume(case.label)[0] > 0
