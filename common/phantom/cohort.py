"""Make a phantom data set: simulated normal and stroke subjects on disk.

Every subject is a function of (seed, split, kind, index), so the number of workers changes nothing.
"""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tqdm import tqdm

from ..datalists import SPLITS, Case, Dataset, read_dataset, write_dataset
from ..grids import grid_affine
from .anatomy import read_brains
from .plan import Subject, plan_subjects
from .subject import Recipe, brains_of, make_subject, masks_of, sidecar_path, write_json

__all__ = ["make_phantom"]

PARAMETERS_FILE = ".phantom.json"


def make_phantom(
    out: str | Path,
    subjects: int | dict[str, int] = 48,
    size: tuple[int, int, int] = (64, 64, 16),
    seed: int = 1,
    anatomies: str | Path | None = None,
    lesions: str | Path | None = None,
    workers: int = 1,
    negatives: float | dict[str, int] = 0.25,
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
    _prepare(recipe, workers)
    waiting = [subject for subject in plan if not sidecar_path(out, subject).is_file()]
    progress = tqdm(total=len(plan), initial=len(plan) - len(waiting), desc="phantom", unit="subject")
    if workers > 1 and len(waiting) > 1:
        with ProcessPoolExecutor(workers) as pool:
            try:
                for _ in pool.map(make_subject, [recipe] * len(waiting), waiting):
                    progress.update()
            except BaseException:  # Ctrl-C too: finish what is being made, drop the rest
                pool.shutdown(cancel_futures=True)
                raise
    else:
        for subject in waiting:
            make_subject(recipe, subject)
            progress.update()
    progress.close()
    if not waiting and (out / "dataset.json").is_file():
        return read_dataset(out)  # it may have been split anew since
    return write_dataset(out, _header(recipe, subjects, negatives), [_case(out, subject) for subject in plan])


def _prepare(recipe: Recipe, workers: int) -> None:
    """Read and register once, before workers start: bad input fails here, and workers inherit the rest."""
    if recipe.anatomies:
        read_brains(recipe.anatomies, workers)  # into the cache that the next line reads
    brains_of(recipe.anatomies, recipe.seed)
    if recipe.lesions:
        for split in SPLITS:
            masks_of(recipe.lesions, split)


def _checked_size(size) -> tuple[int, int, int]:
    size = tuple(int(n) for n in size)
    if len(size) != 3 or min(size) < 4:
        raise ValueError(f"size is {size}; expected three numbers of at least 4, such as 64,64,16.")
    return size


def _made_by(recipe: Recipe, subjects, negatives: float | dict[str, int]) -> dict:
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


def _claim(out: Path, recipe: Recipe, subjects, negatives: float | dict[str, int]) -> None:
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
        write_json(path, ours)


def _header(recipe: Recipe, subjects, negatives: float | dict[str, int]) -> dict:
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
    sidecar = sidecar_path(out, subject)
    return Case(subject.name, subject.cohort, subject.split, files["images"], label, files["anatomy"], sidecar)
