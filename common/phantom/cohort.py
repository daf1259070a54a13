"""Make a phantom data set: simulated normal and stroke subjects on disk.

Every subject is a function of (seed, split, kind, index) alone, so the number of workers changes nothing, and a
larger set begins with the subjects of a smaller one.
"""

from __future__ import annotations

import hashlib
import json
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from scipy import ndimage
from tqdm import tqdm

from ..datalists import SPLITS, Case, Dataset, write_dataset
from ..grids import PAPER_SIZE, grid_affine, minimum_lesion_voxels, voxel_ml, write_volume
from ..labels import PARENCHYMA
from ..mask_library import MaskLibrary, read_masks
from ..preprocessing.intensity import scale_intensity
from .anatomy import Brain, default_brains, read_brains
from .lesions import TERRITORIES, LesionField, draw_lesion, lesion_field, sample_field, territory_map
from .mni import MNI_AFFINE
from .signal import draw_acquisition, render
from .warp import FineGrid, draw_warp, nearest_labels, source_points

__all__ = ["make_phantom", "plan_subjects", "split_brains"]

VENTRICLE_ML = {"normal": (9.1, 6.6), "stroke": (20.0, 12.0)}
SMALLEST_VENTRICLES_ML = 3.0
SPLIT_SHARES = {"training": 0.5, "validation": 0.2, "test": 0.3}
BRAIN_SHARES = {"training": 8 / 14, "validation": 2 / 14, "test": 4 / 14}
KINDS = ("positive", "negative", "normal")
REDRAWS = 60
PARAMETERS_FILE = ".phantom.json"


@dataclass(frozen=True)
class Subject:
    """One line of the plan; `kind` is positive, negative (DWI-negative stroke case) or normal."""

    name: str
    split: str
    kind: str
    index: int
    count: int

    @property
    def cohort(self) -> str:
        return "normal" if self.kind == "normal" else "stroke"


@dataclass(frozen=True)
class Recipe:
    """What all subjects of a data set share; picklable, for the workers."""

    out: Path
    size: tuple[int, int, int]
    seed: int
    anatomies: str | None
    lesions: str | None


def make_phantom(
    out: str | Path,
    subjects: int | dict[str, int] = 48,
    size: tuple[int, int, int] = (64, 64, 16),
    seed: int = 1,
    anatomies: str | Path | None = None,
    lesions: str | Path | None = None,
    workers: int = 1,
    negatives: float = 0.25,
) -> Dataset:
    """Simulate a data set; the same call again goes on where it stopped.

    Args:
        out: folder of the data set.
        subjects: how many, half of them normal (all for training) and half stroke cases (50 : 20 : 30 over the
            splits); or numbers for "normal", "training", "validation", "test", where the last three count cases
            with a lesion.
        size: voxels of the grid (H, W, D) over the MNI box.
        seed: of everything random.
        anatomies: folder of FreeSurfer label maps that replace the default brain; a brain serves one split only.
        lesions: mask library (`read_masks`) that replaces procedural lesions; a mask serves one split only.
        workers: processes.
        negatives: DWI-negative stroke cases, as a share of the stroke cases of each split; on top of the numbers when
            these are given one by one.

    Raises:
        FileNotFoundError, ValueError: bad input, or `out` holds a data set with other parameters.
    """
    out = Path(out)
    recipe = Recipe(
        out,
        _checked_size(size),
        int(seed),
        str(anatomies) if anatomies else None,
        str(lesions) if lesions else None,
    )
    plan = plan_subjects(subjects, negatives)
    _claim(out, recipe, subjects, negatives)
    _prepare(recipe)
    waiting = [subject for subject in plan if not _sidecar(out, subject).is_file()]
    progress = tqdm(total=len(plan), initial=len(plan) - len(waiting), desc="phantom", unit="subject")
    if workers > 1 and len(waiting) > 1:
        with ProcessPoolExecutor(workers) as pool:
            for _ in pool.map(_make_subject, [recipe] * len(waiting), waiting):
                progress.update()
    else:
        for subject in waiting:
            _make_subject(recipe, subject)
            progress.update()
    progress.close()
    return write_dataset(out, _header(recipe, subjects, negatives), [_case(out, subject) for subject in plan])


def plan_subjects(subjects: int | dict[str, int], negatives: float) -> list[Subject]:
    """Who is made, in file order: per split the lesions, then the DWI-negative cases, then the normal cohort."""
    if not 0 <= negatives < 1:
        raise ValueError(f"negatives is {negatives}; expected a share from 0 up to, but not including, 1.")
    counts: dict[tuple[str, str], int] = {}
    if isinstance(subjects, dict):
        unknown = sorted(set(subjects) - {"normal", *SPLITS})
        if unknown:
            raise ValueError(f"subjects has unknown keys {unknown}; expected normal, {', '.join(SPLITS)}.")
        for split in SPLITS:
            counts[split, "positive"] = int(subjects.get(split, 0))
            counts[split, "negative"] = round(negatives * counts[split, "positive"])
        counts["training", "normal"] = int(subjects.get("normal", 0))
    else:
        stroke = int(subjects) - int(subjects) // 2
        validation, test = (round(SPLIT_SHARES[split] * stroke) for split in ("validation", "test"))
        for split, total in zip(SPLITS, (stroke - validation - test, validation, test)):
            counts[split, "negative"] = min(round(negatives * total), max(0, total - 1))
            counts[split, "positive"] = total - counts[split, "negative"]
        counts["training", "normal"] = int(subjects) // 2
    if min(counts.values()) < 0 or sum(counts.values()) == 0:
        raise ValueError(f"subjects is {subjects}; expected at least one subject and no negative number.")
    plan, stroke_number = [], 0
    for split in SPLITS:
        for kind in KINDS:
            total = counts.get((split, kind), 0)
            for index in range(total):
                stroke_number += kind != "normal"
                name = f"normal-{index + 1:04d}" if kind == "normal" else f"stroke-{stroke_number:04d}"
                plan.append(Subject(name, split, kind, index, total))
    return plan


def split_brains(brains: list[Brain], seed: int) -> dict[str, list[Brain]]:
    """Brains of each split, about 57 : 14 : 29 %, drawn by the seed; default brains serve all splits.

    Raises:
        ValueError: fewer than three brains.
    """
    if all(brain.source is None for brain in brains):
        return dict.fromkeys(SPLITS, brains)
    if len(brains) < 3:
        raise ValueError(f"{len(brains)} label maps cannot be split by brain; give at least 3 (one for each split).")
    order = np.random.default_rng([seed, 101]).permutation(len(brains))
    validation, test = (max(1, round(BRAIN_SHARES[split] * len(brains))) for split in ("validation", "test"))
    ends = [len(brains) - validation - test, len(brains) - test, len(brains)]
    return {split: [brains[i] for i in order[a:b]] for split, a, b in zip(SPLITS, [0, *ends], ends)}


@cache
def _brains(anatomies: str | None, seed: int) -> dict[str, list[Brain]]:
    return split_brains(read_brains(anatomies) if anatomies else default_brains(), seed)


@cache
def _masks(lesions: str, split: str) -> MaskLibrary:
    return read_masks(lesions, PAPER_SIZE, split)


def _prepare(recipe: Recipe) -> None:
    """Read and register once, before workers start: bad input fails here, and workers inherit the rest."""
    _brains(recipe.anatomies, recipe.seed)
    if recipe.lesions:
        for split in SPLITS:
            _masks(recipe.lesions, split)


def _make_subject(recipe: Recipe, subject: Subject) -> None:
    """Draw, apply, write. The sidecar comes last: it says that the subject is finished."""
    rng = np.random.default_rng([recipe.seed, SPLITS.index(subject.split), KINDS.index(subject.kind), subject.index])
    grid = FineGrid(recipe.size)
    affine = grid_affine(recipe.size)

    # 1. Draw the numbers.
    wanted_ml = 0.0
    while wanted_ml < SMALLEST_VENTRICLES_ML:
        wanted_ml = float(rng.normal(*VENTRICLE_ML[subject.cohort]))
    brain = _choose_brain(rng, _brains(recipe.anatomies, recipe.seed)[subject.split], wanted_ml)
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
    _write_json(_sidecar(recipe.out, subject), sidecar)


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
    library = _masks(recipe.lesions, subject.split)
    # A permutation shared by the split: no mask twice before all were used.
    order = np.random.default_rng([recipe.seed, 102, SPLITS.index(subject.split)]).permutation(len(library.ids))
    chosen = order[(subject.index + attempt * subject.count) % len(order)]
    field = LesionField(library.masks[chosen].astype(np.float32), grid_affine(PAPER_SIZE))
    return field, {"source_mask": library.ids[chosen]}


def _describe(lesion: np.ndarray, anatomy: np.ndarray, size: tuple[int, int, int]) -> dict:
    """Side and territory of a library mask, measured: bilateral if the smaller side holds over 5 %."""
    affine = grid_affine(size)
    axes = [affine[axis, 3] + affine[axis, axis] * np.arange(n) for axis, n in enumerate(size)]
    left = float(lesion[axes[0] < 0].sum() / lesion.sum())
    territories = np.bincount(territory_map(anatomy, axes)[lesion > 0], minlength=len(TERRITORIES) + 1)[1:]
    side = "left" if left > 0.95 else "right" if left < 0.05 else "bilateral"
    return {"side": side, "territory": list(TERRITORIES)[int(territories.argmax())]}


def _checked_size(size) -> tuple[int, int, int]:
    size = tuple(int(n) for n in size)
    if len(size) != 3 or min(size) < 4:
        raise ValueError(f"size is {size}; expected three numbers of at least 4, such as 64,64,16.")
    return size


def _made_by(recipe: Recipe, subjects, negatives: float) -> dict:
    return {
        "command": "phantom",
        "subjects": subjects,
        "negatives": negatives,
        "size": list(recipe.size),
        "seed": recipe.seed,
        "anatomies": _fingerprint(recipe.anatomies),
        "lesions": _fingerprint(recipe.lesions),
    }


def _fingerprint(path: str | None) -> str | None:
    """SHA-256 over the names and contents of a file or folder: the same data elsewhere are the same."""
    if path is None:
        return None
    if not Path(path).exists():
        raise FileNotFoundError(f"{path}: no such file or folder.")
    digest = hashlib.sha256()
    files = [Path(path)] if Path(path).is_file() else sorted(p for p in Path(path).iterdir() if p.is_file())
    for file in files:
        digest.update(file.name.encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _claim(out: Path, recipe: Recipe, subjects, negatives: float) -> None:
    """Note the parameters in `out`, or refuse a folder that was begun with others."""
    ours = json.loads(json.dumps(_made_by(recipe, subjects, negatives)))
    path = out / PARAMETERS_FILE
    if path.is_file():
        theirs = json.loads(path.read_text())
        differing = sorted(key for key in ours if ours[key] != theirs.get(key))
        if differing:
            changes = "; ".join(f"{key} was {theirs.get(key)}, now {ours[key]}" for key in differing)
            raise ValueError(f"{out} holds a phantom with other parameters: {changes}. Choose another --out.")
    elif (out / "dataset.json").exists():
        raise ValueError(f"{out} holds a data set that this command did not make. Choose another --out.")
    else:
        _write_json(path, ours)


def _header(recipe: Recipe, subjects, negatives: float) -> dict:
    return {
        "name": "phantom",
        "description": "simulated phantom: no patient images; scores on it say nothing of clinical accuracy",
        "licence": "simulated; brains and masks given by the user keep their own licences",
        "simulated": True,
        "synthetic": False,
        "size": recipe.size,
        "affine": grid_affine(recipe.size),
        "intensity": {"range": [-1, 1], "percentile": 99.5, "floor": 35.0, "background": -1},
        "made_by": _made_by(recipe, subjects, negatives),
    }


def _case(out: Path, subject: Subject) -> Case:
    files = {key: out / key / f"{subject.name}.nii.gz" for key in ("images", "lesions", "anatomy")}
    label = files["lesions"] if subject.kind == "positive" else None
    sidecar = _sidecar(out, subject)
    return Case(subject.name, subject.cohort, subject.split, files["images"], label, files["anatomy"], sidecar)


def _sidecar(out: Path, subject: Subject) -> Path:
    return out / "sidecars" / f"{subject.name}.json"


def _write_json(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    temporary.write_text(json.dumps(content, indent=1))
    temporary.replace(path)
