"""DICOM series from a PACS, as volumes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..preprocessing.pipeline import Volume
from .reading import BadCase, checked_dwi, itk_affine

__all__ = ["dwi_series", "is_dicom", "read_series"]

DIFFUSION = re.compile(r"dwi|diff|trace|b\s*=?\s*1000", re.IGNORECASE)
NOT_DWI = re.compile(r"adc|apparent|exponential|eadc|fa\b|colfa|tensor|b0\b|localiz", re.IGNORECASE)
DESCRIPTION = "0008|103e"
GAP = 0.01  # of the median step between slices


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM, by its preamble."""
    try:
        with open(path, "rb") as file:
            file.seek(128)
            return file.read(4) == b"DICM"
    except OSError:
        return False


def dwi_series(folder: Path, description: str | None = None) -> tuple[Path, str]:
    """Folder and series UID of a patient's DWI.

    Args:
        folder: of one patient; series may lie together or in folders of their own.
        description: regular expression for the SeriesDescription; None: what reads like a trace-weighted DWI.

    Raises:
        BadCase: no series fits, or several do; the message lists them.
    """
    series = _series(folder)
    wanted = re.compile(description, re.IGNORECASE) if description else DIFFUSION
    fits = [
        (place, uid)
        for (place, uid), text in series.items()
        if wanted.search(text) and (description or not NOT_DWI.search(text))
    ]
    listed = "; ".join(sorted(f"{text or '(no description)'} in {place}" for (place, _), text in series.items()))
    if len(fits) != 1:
        found = "no series reads" if not fits else f"{len(fits)} series read"
        raise BadCase(
            f"{folder}: {found} like a DWI. It holds: {listed}. Name it by a part of its SeriesDescription: "
            "--images TEXT"
        )
    return fits[0]


def read_series(folder: Path, uid: str) -> tuple[Volume, list[str]]:
    """The volume of a series, as `read_dwi` gives it, slices sorted by position whatever their numbers.

    Raises:
        BadCase: slices are missing or lie twice at one place, the files cannot be read, or as for `read_dwi`.
    """
    files = [Path(file) for file in sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), uid)]
    if len(files) < 2:
        raise BadCase(f"{folder}: the series {uid} has {len(files)} files; expected one per slice. Export it again")
    try:
        slices = [sitk.ReadImage(str(file)) for file in files]
    except RuntimeError as error:
        raise BadCase(f"{folder}: the series {uid} cannot be read ({error}). Export it again") from error
    normal = np.cross(*np.reshape(slices[0].GetDirection(), (3, 3)).T[:2])
    places = np.array([np.dot(one.GetOrigin(), normal) for one in slices])
    order = np.argsort(places)
    steps = np.diff(places[order])
    usual = float(np.median(steps))
    if usual <= 0 or (steps < GAP * usual).any():
        raise BadCase(
            f"{folder}: slices of the series {uid} lie at the same place: it holds several volumes (b-values). "
            "Convert it with dcm2niix and import the result as folder or bids"
        )
    missing = steps > (1 + GAP * 10) * usual
    if missing.any():
        count = int(np.round(steps[missing] / usual - 1).sum())
        raise BadCase(
            f"{folder}: {count} slices of the series {uid} are missing (steps of {steps.max():.1f} mm where "
            f"{usual:.1f} mm is usual). Export it again"
        )
    voxels = np.stack([np.squeeze(sitk.GetArrayFromImage(slices[i])).T for i in order], -1).astype(np.float64)
    affine = itk_affine(slices[order[0]])
    affine[:3, 2] = (np.diag([-1, -1, 1]) @ normal) * usual
    description = slices[0].GetMetaData(DESCRIPTION).strip() if slices[0].HasMetaDataKey(DESCRIPTION) else uid
    notes = [f"{len(files)} slices of {description}"]
    return checked_dwi(folder, voxels, affine, notes), notes


def _series(folder: Path) -> dict[tuple[Path, str], str]:
    """{(folder, series uid): description} of all series below a folder."""
    found = {}
    for place in sorted({path.parent for path in folder.rglob("*") if path.is_file() and is_dicom(path)}):
        for uid in sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(place)):
            first = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(place), uid)[0]
            reader = sitk.ImageFileReader()
            reader.SetFileName(first)
            reader.ReadImageInformation()
            found[place, uid] = reader.GetMetaData(DESCRIPTION).strip() if reader.HasMetaDataKey(DESCRIPTION) else ""
    return found
