"""What an import loses: error of the registration, and of a mask that goes to the grid and back."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from scipy import ndimage

from ..grids import PAPER_SIZE, grid_affine, read_volume
from ..mask_library import read_masks
from ..metrics import case_metrics
from ..phantom.cohort import make_phantom
from ..phantom.mni import MNI_AFFINE, mni_maps
from ..preprocessing.brain import brain_of
from ..preprocessing.gridding import mask_back, mask_on_grid
from ..preprocessing.registration import dice_overlap, resample
from ..preprocessing.to_mni import register_dwi
from .harness import Table, timed

__all__ = ["SCANNER_SHAPE", "SCANNER_VOXEL", "benchmark", "turned"]

ANGLES = ((0, 0, 0), (15, 3, -4), (-18, -5, 6), (8, 2, 10), (25, 10, 10))  # degrees about x, y, z
SCANNER_SHAPE, SCANNER_VOXEL = (192, 192, 24), (1.25, 1.25, 6.0)
SCALPS = (0.0, 0.2, 0.4, 0.6, 0.8)
SKULL_MM = (8.0, 14.0)  # where the scalp begins and ends, from the brain
EYES_MM, EYE_RADIUS_MM, EYE_SIGNAL = ((-32, 62, -38), (32, 62, -38)), 12.0, 1.0
GOOD_MM, SLOW_SECONDS = 2.0, 20.0
SOURCE_MM = 2.0
BINS = ((0, 1), (1, 5), (5, 20), (20, 1000))
CASES = {"normal": 0, "training": 2, "validation": 0, "test": 6}  # the data set of the segmenter's benchmark
SOME = 100


def benchmark(folder: Path) -> list[Table]:
    """The brain in a simulated head; registration of the MNI brain, turned; masks of 2 mm on a grid and back."""
    return [_extraction(), _registration(), _round_trip(folder)]


def _extraction() -> Table:
    """Dice of `brain_of` with the true brain, in heads with a dark skull, a scalp and eyes."""
    maps = mni_maps()
    tissue = (1.2 * maps.grey + 0.95 * maps.white + 0.3 * maps.csf).astype(np.float32)
    affine = np.diag([*SCANNER_VOXEL, 1.0])
    affine[:3, 3] = (-120, -138, -62)
    tissue = resample(tissue, MNI_AFFINE, np.eye(4), SCANNER_SHAPE, affine, order=1)
    brain = tissue > 0.15
    away = ndimage.distance_transform_edt(~brain, sampling=SCANNER_VOXEL)
    scalp = (away > SKULL_MM[0]) & (away < SKULL_MM[1])
    eyes = np.min([np.linalg.norm(_millimetres(affine) - eye, axis=-1) for eye in EYES_MM], 0) < EYE_RADIUS_MM
    rng, rows = np.random.default_rng(0), []
    for share in SCALPS:
        head = np.where(brain, tissue, np.where(eyes, EYE_SIGNAL, share * scalp)) * 400
        image = np.hypot(head + rng.normal(0, 20, head.shape), rng.normal(0, 20, head.shape))
        found = brain_of(image, affine)
        rows.append(
            {
                "signal of the scalp, share of the brain's": share,
                "Dice": round(float(dice_overlap(found, brain)), 3),
                "volume, share of the true one": round(float(found.sum() / brain.sum()), 3),
            }
        )
    return Table("The brain found in heads of noise 20 in 400, with eyes as bright as the brain (simulated)", rows)


def _millimetres(affine: np.ndarray) -> np.ndarray:
    """(H, W, D, 3) mm of the scanner's voxels."""
    return np.moveaxis(np.indices(SCANNER_SHAPE), 0, -1) @ affine[:3, :3].T + affine[:3, 3]


def _registration() -> Table:
    maps = mni_maps()
    brain = (1.2 * maps.grey + 0.95 * maps.white + 0.3 * maps.csf).astype(np.float32) * 400
    centre = np.array([60, 110, 90])
    lesion = (np.linalg.norm(np.indices(brain.shape).T - centre, axis=-1).T < 28) & (brain > 0)
    points = np.argwhere(brain > 0)[::2000] @ MNI_AFFINE[:3, :3].T + MNI_AFFINE[:3, 3]
    rng, rows = np.random.default_rng(0), []
    for angles in ANGLES:
        for bright in (False, True):
            truth = turned(angles)
            affine = np.diag([-SCANNER_VOXEL[0], *SCANNER_VOXEL[1:], 1.0])
            affine[:3, 3] = (132, -158, -47)
            image = np.where(lesion & bright, 2 * brain, brain)
            image = resample(image, MNI_AFFINE, np.linalg.inv(truth), SCANNER_SHAPE, affine, order=1)
            image = np.where(image > 0, np.abs(image + rng.normal(0, 20, image.shape)), 0)
            job = (image, brain_of(image, affine), affine)
            seconds, found = timed(lambda job=job: register_dwi(*job))
            error = np.linalg.norm(points @ (found - truth)[:3, :3].T + (found - truth)[:3, 3], axis=1)
            rows.append(
                {
                    "turned by, degrees": str(angles), "lesion of 90 ml": "yes" if bright else "no",
                    "mean error, mm": round(float(error.mean()), 2), "largest, mm": round(float(error.max()), 2),
                    "s": round(seconds, 1),
                }
            )  # fmt: skip
    kept = all(row["mean error, mm"] < GOOD_MM and row["s"] < SLOW_SECONDS for row in rows)
    return Table("Affine registration of the MNI brain, turned, in slices of 6 mm with noise (simulated)", rows, kept)


def turned(angles: tuple[float, float, float]) -> np.ndarray:
    """(4, 4) from mm of MNI to mm of a scanner: turned, 3 % larger, and shifted."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(angles)):
        a, b = [other for other in range(3) if other != axis]
        one = np.eye(3)
        one[a, a] = one[b, b] = np.cos(angle)
        one[a, b], one[b, a] = -np.sin(angle), np.sin(angle)
        matrix = matrix @ one
    result = np.eye(4)
    result[:3, :3], result[:3, 3] = 1.03 * matrix, (12, -20, 30)
    return result


def _round_trip(folder: Path) -> Table:
    """Dice of a mask of 2 mm with itself after it was put on a grid and carried back, by lesion volume."""
    source = np.diag([SOURCE_MM, SOURCE_MM, SOURCE_MM, 1.0])
    source[:3, 3] = (-90, -126, -54)
    shape = (91, 109, 72)
    grids = {"128x128x32 (4.5 mm slices)": PAPER_SIZE, "128x128x128 (finer than 2 mm)": (128, 128, 128)}
    scores: dict[str, list[tuple[float, float]]] = {name: [] for name in grids}
    for mask in _masks(folder):
        smooth = resample(mask.astype(np.float32), grid_affine(PAPER_SIZE), np.eye(4), shape, source, order=1)
        fine = (smooth > 0.5).astype(np.uint8)
        if not fine.any():
            continue
        for name, size in grids.items():
            grid = grid_affine(size)
            back = mask_back(mask_on_grid(fine, source, np.eye(4), size, grid), grid, np.eye(4), shape, source)
            dice = case_metrics(back, fine, (SOURCE_MM,) * 3)["dice"]
            scores[name].append((fine.sum() * SOURCE_MM**3 / 1000, dice))
    rows = []
    for low, high in BINS:
        row: dict = {"lesion, ml": f"{low} to {high}"}
        for name, pairs in scores.items():
            some = [dice for volume, dice in pairs if low <= volume < high]
            row[f"{name}: mean, 5th percentile"] = (
                f"{np.mean(some):.3f}, {np.percentile(some, 5):.3f} (n = {len(some)})" if some else "-"
            )
        rows.append(row)
    return Table("Dice of masks of 2 mm after the way to a grid and back: what bounds every score", rows)


def _masks(folder: Path) -> list[np.ndarray]:
    libraries = sorted(Path(os.environ.get("REAL_DATA", "none")).glob("*lesion_masks.npz"))
    if libraries:
        return list(read_masks(libraries[0], PAPER_SIZE, "test").masks[:SOME])
    dataset = make_phantom(folder / "data", CASES, PAPER_SIZE, negatives=0.0)
    return [read_volume(case.label)[0] for case in dataset.select("test")]
