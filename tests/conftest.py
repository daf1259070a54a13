"""Fixtures: a random generator, and small data sets on disk that owe nothing to the phantom."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from common.datalists import Case, Dataset, write_dataset
from common.grids import grid_affine, voxel_ml, write_volume
from common.labels import PARENCHYMA, inject

pytest_plugins = ["synthetic_world", "bundle_runs"]

os.environ.setdefault("MONAI_FAIL_ON_DUPLICATE_CONFIG", "1")

# Unequal on purpose, so that a swapped axis shows; divisible by 8, so that networks with three levels take it.
SIZE = (16, 24, 8)
COUNTS = {"normal": 3, "training": 4, "validation": 2, "test": 3}
BRIGHTNESS = np.array([-1.0] + [-0.3] * 2 + [-0.1] * 2 + [-0.8] * 2 + [-0.2] * 19 + [-0.8] * 2 + [0.6])


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def make_dataset() -> Callable[..., Dataset]:
    """`make_dataset(folder, size=SIZE, counts=COUNTS, seed=0)` fabricates a valid data set."""
    return fabricate


@pytest.fixture(scope="session")
def dataset(tmp_path_factory) -> Path:
    """Folder of a data set with all splits, both cohorts and DWI-negative cases. Shared by tests: do not change it."""
    return fabricate(tmp_path_factory.mktemp("fabricated") / "data").folder


@pytest.fixture
def dataset_copy(dataset, tmp_path) -> Path:
    """A copy of `dataset` that a test may damage."""
    return Path(shutil.copytree(dataset, tmp_path / "data"))


def fabricate(
    folder: Path, size: tuple[int, int, int] = SIZE, counts: dict[str, int] | None = None, seed: int = 0
) -> Dataset:
    """Ellipsoid brains with ten labels; stroke cases have a bright ball, but for one negative case per split."""
    counts = counts or COUNTS
    plan = [("training", "stroke", True)] * counts["training"] + [("training", "stroke", False)]
    plan += [("training", "normal", False)] * counts["normal"]
    for split in ("validation", "test"):
        plan += [(split, "stroke", True)] * counts[split] + [(split, "stroke", False)]
    cases = [
        _fabricated_case(folder, f"case-{number:02d}", *kind, size, np.random.default_rng([seed, number]))
        for number, kind in enumerate(plan, 1)
    ]
    header = {
        "name": "fabricated",
        "description": "ellipsoids for tests",
        "licence": "none needed",
        "simulated": True,
        "synthetic": False,
        "size": size,
        "affine": grid_affine(size),
        "intensity": {"range": [-1, 1]},
    }
    return write_dataset(folder, header, cases)


def _fabricated_case(folder, subject, split, cohort, has_lesion, size, rng) -> Case:
    affine = grid_affine(size)
    anatomy = _ellipsoid_brain(size, affine, rng)
    lesion = _ball(anatomy, affine, rng) if has_lesion else np.zeros(size, np.uint8)
    label_map = inject(anatomy, lesion)
    image = BRIGHTNESS[label_map] + rng.normal(0, 0.05, size)
    image = np.where(anatomy > 0, np.clip(image, -0.99, 1), -1).astype(np.float32)
    files = {key: folder / key / f"{subject}.nii.gz" for key in ("images", "lesions", "anatomy")}
    write_volume(files["images"], image, affine)
    write_volume(files["anatomy"], anatomy, affine)
    if has_lesion:
        write_volume(files["lesions"], lesion, affine)
    sidecar = folder / "sidecars" / f"{subject}.json"
    sidecar.parent.mkdir(exist_ok=True)
    content = {
        "subject": subject,
        "cohort": cohort,
        "source_brain": f"brain-{subject}",
        "source_mask": f"mask-{subject}" if has_lesion else None,
        "lesion_ml": float(lesion.sum()) * voxel_ml(affine),
        "lateral_ventricle_ml": float(np.isin(anatomy, (5, 6)).sum()) * voxel_ml(affine),
    }
    sidecar.write_text(json.dumps(content))
    return Case(
        subject,
        cohort,
        split,
        image=files["images"],
        label=files["lesions"] if has_lesion else None,
        anatomy=files["anatomy"],
        sidecar=sidecar,
    )


def _ellipsoid_brain(size, affine, rng) -> np.ndarray:
    """Shells of CSF, cortex and white matter around thalami and ventricles, and a brainstem; uint8 (H, W, D)."""
    x, y, z = _millimetres(size, affine)
    radius = np.sqrt((x / 68) ** 2 + ((y + 18) / 85) ** 2 + ((z - 18) / 62) ** 2) * rng.uniform(0.95, 1.1)
    right = (x > 0).astype(np.uint8)
    anatomy = np.zeros(size, np.uint8)
    anatomy[radius < 1] = 27
    for outer, left_label in ((0.93, 3), (0.75, 1), (0.38, 11), (0.25 * rng.uniform(0.9, 1.3), 5)):
        inside = radius < outer
        anatomy[inside] = left_label + right[inside]
    anatomy[(np.abs(x) < 14) & (np.abs(y + 30) < 15) & (z < -20) & (radius < 0.93)] = 25
    return anatomy


def _ball(anatomy, affine, rng) -> np.ndarray:
    """A ball of 12 to 30 mm around a voxel of white matter or cortex, clipped to the parenchyma; uint8."""
    centre = rng.choice(np.argwhere(np.isin(anatomy, (1, 2, 3, 4))))
    centre = (affine @ [*centre, 1])[:3]
    distance = np.linalg.norm(np.stack(_millimetres(anatomy.shape, affine), -1) - centre, axis=-1)
    return ((distance < rng.uniform(12, 30)) & PARENCHYMA[anatomy]).astype(np.uint8)


def _millimetres(size, affine) -> list[np.ndarray]:
    axes = [affine[axis, 3] + affine[axis, axis] * np.arange(n) for axis, n in enumerate(size)]
    return np.meshgrid(*axes, indexing="ij")
