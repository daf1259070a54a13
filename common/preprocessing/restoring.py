"""From the grid of a data set back to the scanner's space."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..datalists import Case, Dataset, read_dataset
from ..grids import read_volume, write_volume
from .deformation import Deformation, Space
from .gridding import image_back, mask_back
from .intensity import restore_intensity

__all__ = ["restore_volume"]


def restore_volume(data: str | Path, subject: str, file: str | Path, out: str | Path) -> Path:
    """Carry a mask or an image on a data set's grid to the voxels of the file that the subject was imported from.

    A volume of 0 and 1 comes back as a mask, any other as an image in the units of the source.

    Args:
        data: folder of an imported data set.
        subject: whose space it lies in (of a synthetic case: its donor).
        file: NIfTI on the grid of `data`: a predicted mask, or a (synthetic) image in [-1, 1].
        out: NIfTI file to write.

    Raises:
        FileNotFoundError, ValueError: no such subject, it was not imported, or the volume lies on another grid; an
            existing `out` is not overwritten.
    """
    dataset, out = read_dataset(data), Path(out)
    case = next((case for case in dataset.cases if case.subject == subject), None)
    if case is None:
        raise ValueError(f"--subject {subject}: not in {dataset.folder / 'dataset.json'}.")
    if "preparation" not in case.source:
        raise ValueError(f"--subject {subject}: was not imported, so that there is no space to go back to.")
    if out.exists():
        raise ValueError(f"--out {out}: is there already and is not overwritten.")
    record = case.source["preparation"]
    voxels, affine = read_volume(file)
    if voxels.shape != dataset.size or not np.allclose(affine, dataset.affine, atol=1e-3):
        raise ValueError(f"{file}: does not lie on the grid of {dataset.folder}, {dataset.size}.")
    space, shape, target = _space(dataset, case, record), tuple(record["shape"]), np.array(record["affine"])
    if np.isin(voxels, (0, 1)).all():
        back = mask_back(voxels, dataset.affine, space, shape, target)
    else:
        back = restore_intensity(image_back(voxels, dataset.affine, space, shape, target), record["intensity"])
    write_volume(out, back, target)
    return out


def _space(dataset: Dataset, case: Case, record: dict) -> Space:
    matrix = np.array(record["matrix"])
    if record["space"] != "deform":
        return matrix
    path = dataset.folder / "warps" / f"{case.subject}.nii.gz"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: not there, and subject {case.subject} was registered deformably. Import it again."
        )
    return Deformation(matrix, *read_volume(path))
