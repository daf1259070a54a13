"""One case of an import: read, prepared, written."""

from __future__ import annotations

import hashlib
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..grids import grid_affine, voxel_ml, write_volume
from ..labels import fitted, from_freesurfer
from ..preprocessing.atlas import atlas_labels
from ..preprocessing.deformation import Deformation, Space, forward
from ..preprocessing.pipeline import Options, prepare_case
from ..preprocessing.registration import resample
from ..resumable import write_json
from .dicom import dwi_series, read_series
from .layouts import Found
from .reading import BadCase, read_contrast, read_dwi, read_label_map, read_lesion_mask

__all__ = ["Job", "import_case"]


@dataclass(frozen=True)
class Job:
    """What the cases of an import share; picklable, for the workers.

    Attributes:
        out: folder of the data set.
        cohort: normal or stroke.
        options: of the preparation.
        volume: of 4D images, counted from 0.
        anatomy: "none"; "atlas", the labels of the MNI brain, clipped to the subject's; "maps", each case's own.
    """

    out: Path
    cohort: str
    options: Options
    volume: int | None = None
    anatomy: str = "none"


def import_case(job: Job, found: Found) -> dict:
    """Import one case, or say why not: a row of import.csv. The sidecar is written last."""
    row = {"subject": found.subject, "dwi": str(found.dwi), "status": "imported", "message": ""}
    try:
        notes, lesion_ml = _import(job, found)
    except BadCase as error:
        return {**row, "status": "skipped", "message": str(error)}
    except ValueError as error:  # the preparation does not know the files' names
        return {**row, "status": "skipped", "message": f"{found.dwi}: {error}"}
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        message = f"{found.dwi}: {type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
        return {**row, "status": "skipped", "message": message}
    return {**row, "message": "; ".join(notes), "lesion_ml": lesion_ml}


def _import(job: Job, found: Found) -> tuple[list[str], float]:
    if found.dwi.is_dir():
        image, notes = read_series(*dwi_series(found.dwi, found.series))
    else:
        image, notes = read_dwi(found.dwi, job.volume)
    masks, extra = {}, {}
    for rater, path in found.masks.items():
        masks[rater], more = read_lesion_mask(path, image)
        notes += more
    for name, path in found.extra.items():
        try:
            extra[name], more = read_contrast(path)
            notes += more
        except BadCase as error:  # a case is worth having without its FLAIR
            notes.append(f"{name} left out: {error}")
    brain = None
    if found.brain is not None:
        brain, more = read_lesion_mask(found.brain, image)
        notes += more
    prepared = prepare_case(image, masks, extra, job.options, brain)
    affine = grid_affine(job.options.size)
    lesion = _majority(prepared.masks)
    write_volume(job.out / "images" / f"{found.subject}.nii.gz", prepared.image, affine)
    if lesion is not None and lesion.any():
        write_volume(job.out / "lesions" / f"{found.subject}.nii.gz", lesion, affine)
    if isinstance(prepared.space, Deformation):
        write_volume(job.out / "warps" / f"{found.subject}.nii.gz", prepared.space.field, prepared.space.affine)
    anatomy = _anatomy(job, found, prepared.brain, prepared.space)
    if anatomy is not None:
        write_volume(job.out / "anatomy" / f"{found.subject}.nii.gz", anatomy, affine)
    if len(prepared.masks) > 1:
        for rater, mask in prepared.masks.items():
            write_volume(job.out / "raters" / f"{found.subject}_{rater}.nii.gz", mask, affine)
    for name, contrast in prepared.extra.items():
        write_volume(job.out / "extra" / f"{found.subject}_{name}.nii.gz", contrast, affine)
    lesion_ml = 0.0 if lesion is None else float(lesion.sum() * voxel_ml(affine))
    sidecar = {
        "subject": found.subject,
        "cohort": job.cohort,
        "simulated": False,
        "source_brain": found.person,
        "centre": found.centre,
        "source": {key: str(path) for key, path in (("dwi", found.dwi), *found.masks.items(), *found.extra.items())},
        "sha256": _digest(found.dwi),
        "raters": list(prepared.masks),
        "lesion_ml": lesion_ml,
        "lateral_ventricle_ml": None if anatomy is None else float(np.isin(anatomy, (5, 6)).sum() * voxel_ml(affine)),
        "anatomy": job.anatomy,
        "notes": notes,
        "preparation": prepared.record,
    }
    write_json(job.out / "sidecars" / f"{found.subject}.json", sidecar)
    return notes, lesion_ml


def _majority(masks: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """Where at least half of the raters see a lesion; None without any."""
    if not masks:
        return None
    return (2 * np.sum(list(masks.values()), 0) >= len(masks)).astype(np.uint8)


def _anatomy(job: Job, found: Found, brain: np.ndarray, space: Space) -> np.ndarray | None:
    """Label map on the grid, uint8 0 to 27: 0 outside the brain, CSF where the brain has no label."""
    affine = grid_affine(job.options.size)
    if job.anatomy == "atlas":
        labels = atlas_labels(job.options.size)
    elif job.anatomy == "maps":
        if found.anatomy is None:
            raise BadCase(f"{found.dwi}: has no label map (--anatomies)")
        voxels, own = read_label_map(found.anatomy)
        labels = resample(from_freesurfer(voxels, str(found.anatomy)), own, forward(space), job.options.size, affine)
    else:
        return None
    return fitted(labels, brain)


def _digest(path: Path) -> str:
    """SHA-256 of a file, or of those of all files in a folder."""
    if path.is_file():
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return hashlib.sha256("".join(map(_digest, files)).encode()).hexdigest()
