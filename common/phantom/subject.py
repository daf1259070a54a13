"""Make one simulated subject: draw its numbers, apply them, write its files."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from scipy import ndimage

from ..datalists import SPLITS
from ..grids import PAPER_SIZE, axes_of, grid_affine, minimum_lesion_voxels, voxel_ml, write_volume
from ..labels import PARENCHYMA
from ..mask_library import MaskLibrary, read_masks
from ..preprocessing.intensity import scale_intensity
from .anatomy import Brain, default_brains, read_brains
from .lesions import TERRITORIES, LesionField, draw_lesion, lesion_field, sample_field, territory_map
from .mni import MNI_AFFINE
from .plan import KINDS, Subject, split_brains
from .signal import draw_acquisition, render
from .warp import FineGrid, draw_warp, nearest_labels, source_points

__all__ = [
    "VENTRICLE_ML",
    "Recipe",
    "brains_of",
    "draw_ventricle_ml",
    "make_subject",
    "masks_of",
    "sidecar_path",
    "write_json",
]

VENTRICLE_ML = {"normal": (9.1, 6.6), "stroke": (20.0, 12.0)}
"""Mean and standard deviation of the lateral ventricles' volume in ml: 9.1 +- 6.6 and 20 +- 12 in the paper."""
SMALLEST_VENTRICLES_ML = 3.0
REDRAWS = 60
ENOUGH_SPARES = 20


@dataclass(frozen=True)
class Recipe:
    """What all subjects of a data set share; picklable, for the workers."""

    out: Path
    size: tuple[int, int, int]
    seed: int
    anatomies: str | None
    lesions: str | None


def sidecar_path(out: Path, subject: Subject) -> Path:
    """The sidecar of a subject; it is written last, so it exists when the subject is finished."""
    return out / "sidecars" / f"{subject.name}.json"


@cache
def brains_of(anatomies: str | None, seed: int) -> dict[str, list[Brain]]:
    return split_brains(read_brains(anatomies) if anatomies else default_brains(), seed)


@cache
def masks_of(lesions: str, split: str) -> MaskLibrary:
    return read_masks(lesions, PAPER_SIZE, split)


def make_subject(recipe: Recipe, subject: Subject) -> None:
    """Draw, apply, write. The sidecar comes last: it says that the subject is finished."""
    rng = np.random.default_rng([recipe.seed, SPLITS.index(subject.split), KINDS.index(subject.kind), subject.index])
    grid = FineGrid(recipe.size)
    affine = grid_affine(recipe.size)

    # 1. Draw the numbers.
    wanted_ml = draw_ventricle_ml(rng, subject.cohort)
    brain = _choose_brain(rng, brains_of(recipe.anatomies, recipe.seed)[subject.split], wanted_ml)
    warp = draw_warp(rng, brain, wanted_ml)
    acquisition = draw_acquisition(rng, subject.cohort)

    # 2. Apply them: shape, lesion, signal.
    points = source_points(warp, brain, grid.axes)
    fine = nearest_labels(brain, points)
    anatomy = _majority(fine, grid)
    lesion, soft, origin = np.zeros(grid.size, np.uint8), np.zeros(grid.shape, np.float32), {}
    if subject.kind == "positive":
        lesion, soft, origin = _place_lesion(rng, recipe, subject, brain, grid, points, fine, anatomy)
    source = source_points(warp, brain, grid.centre_axes)
    depth = ndimage.map_coordinates(
        brain.depth, (source - MNI_AFFINE[:3, 3].reshape(3, 1, 1, 1)) / 2, order=1, mode="nearest"
    )
    image = render(acquisition, grid, fine, soft, depth, source, anatomy > 0)
    scaled, intensity = scale_intensity(image, anatomy > 0)

    # 3. Write.
    write_volume(recipe.out / "images" / f"{subject.name}.nii.gz", scaled, affine)
    write_volume(recipe.out / "anatomy" / f"{subject.name}.nii.gz", anatomy, affine)
    if subject.kind == "positive":
        write_volume(recipe.out / "lesions" / f"{subject.name}.nii.gz", lesion, affine)
    sidecar = {
        "subject": subject.name,
        "cohort": subject.cohort,
        "simulated": True,
        "seed": recipe.seed,
        "index": subject.index,
        "source_brain": brain.name if brain.source else None,
        "source_brain_sha256": brain.source,
        "template": brain.name,
        "source_mask": origin.get("source_mask"),
        "side": origin.get("side"),
        "territory": origin.get("territory"),
        "lesion_ml": float(lesion.sum() * voxel_ml(affine)),
        "lateral_ventricle_ml": float(np.isin(fine, (5, 6)).mean() * np.prod(recipe.size) * voxel_ml(affine)),
        "tesla": acquisition.tesla,
        "snr": acquisition.snr,
        "intensity": intensity,
        "lesion": origin.get("parameters"),
        "warp": warp.as_dict(),
        "acquisition": acquisition.as_dict(),
    }
    write_json(sidecar_path(recipe.out, subject), sidecar)


def draw_ventricle_ml(rng: np.random.Generator, cohort: str) -> float:
    """Log-normal with the paper's mean and standard deviation: a normal law would give a sixth of it below 3 ml."""
    mean, deviation = VENTRICLE_ML[cohort]
    variance = np.log(1 + (deviation / mean) ** 2)
    return max(SMALLEST_VENTRICLES_ML, float(np.exp(rng.normal(np.log(mean) - variance / 2, np.sqrt(variance)))))


def _choose_brain(rng: np.random.Generator, brains: list[Brain], ventricle_ml: float) -> Brain:
    """Prefer brains whose ventricles need little change (a factor of e costs a factor of 1.6 in odds)."""
    distance = np.array([np.log(brain.ventricle_ml / ventricle_ml) for brain in brains])
    odds = np.exp(-(distance**2) / 2)
    return brains[int(rng.choice(len(brains), p=odds / odds.sum()))]


def _majority(fine: np.ndarray, grid: FineGrid) -> np.ndarray:
    """The commonest label in each voxel, uint8 of `grid.size`."""
    voxels = np.arange(np.prod(grid.size)).reshape(grid.size)
    for axis, samples in enumerate(grid.per_voxel):
        voxels = np.repeat(voxels, samples, axis)
    counts = np.bincount((voxels * 28 + fine).ravel(), minlength=28 * int(np.prod(grid.size)))
    return counts.reshape(-1, 28).argmax(1).reshape(grid.size).astype(np.uint8)


def _place_lesion(rng, recipe: Recipe, subject: Subject, brain, grid: FineGrid, points, fine, anatomy):
    """Draw lesions until one leaves enough voxels in the parenchyma."""
    minimum = minimum_lesion_voxels(grid_affine(recipe.size))
    tissue = PARENCHYMA[anatomy]
    for attempt in range(REDRAWS):
        field, origin = _draw_field(rng, recipe, subject, brain, attempt)
        soft = sample_field(field, points)
        inside = (soft > 0.5) & PARENCHYMA[fine]
        shape = [n for pair in zip(grid.size, grid.per_voxel) for n in pair]
        covered = inside.reshape(shape).mean((1, 3, 5))
        lesion = ((covered > 0.5) & tissue).astype(np.uint8)
        if lesion.sum() >= minimum:
            if recipe.lesions:
                origin |= _describe(lesion, anatomy, recipe.size)
            return lesion, inside.astype(np.float32), {**origin, "attempts": attempt + 1}
    raise ValueError(
        f"{subject.name}: {REDRAWS} lesions in a row left fewer than {minimum} voxels in the parenchyma of "
        f"{brain.name}. Use a finer grid than {recipe.size}, or check that the masks are in MNI space."
    )


def _draw_field(rng, recipe: Recipe, subject: Subject, brain: Brain, attempt: int) -> tuple[LesionField, dict]:
    if not recipe.lesions:
        lesion = draw_lesion(rng)
        origin = {"territory": lesion.territory, "side": lesion.side, "parameters": lesion.as_dict()}
        return lesion_field(lesion, brain), origin
    library = masks_of(recipe.lesions, subject.split)
    # A permutation shared by the split: all begin with another mask while there are enough. One that does not fit this
    # brain is replaced from those that nobody begins with, or from all if those are few.
    order = np.random.default_rng([recipe.seed, 102, SPLITS.index(subject.split)]).permutation(len(library.ids))
    spare = order[subject.count :]
    spare = spare if len(spare) >= ENOUGH_SPARES else order
    chosen = rng.choice(spare) if attempt else order[subject.index % len(order)]
    field = LesionField(library.masks[chosen].astype(np.float32), grid_affine(PAPER_SIZE))
    return field, {"source_mask": library.ids[chosen]}


def _describe(lesion: np.ndarray, anatomy: np.ndarray, size: tuple[int, int, int]) -> dict:
    """Side and territory of a library mask, measured: bilateral if the smaller side holds over 5 %."""
    axes = axes_of(grid_affine(size), size)
    left = float(lesion[axes[0] < 0].sum() / lesion.sum())
    territories = np.bincount(territory_map(anatomy, axes)[lesion > 0], minlength=len(TERRITORIES) + 1)[1:]
    side = "left" if left > 0.95 else "right" if left < 0.05 else "bilateral"
    return {"side": side, "territory": list(TERRITORIES)[int(territories.argmax())]}


def write_json(path: Path, content: dict) -> None:
    """Write under a temporary name first, so that a killed run leaves no half file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    temporary.write_text(json.dumps(content, indent=1))
    temporary.replace(path)
