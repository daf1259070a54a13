"""Voxel grids over the MNI152 box that all data sets share, and NIfTI files on them."""

from __future__ import annotations

import math
import os
from pathlib import Path

import nibabel as nib
import numpy as np

__all__ = [
    "axes_of",
    "PAPER_SIZE", "grid_affine", "spacing_of", "voxel_ml", "minimum_lesion_voxels", "read_volume", "write_volume",
]  # fmt: skip

PAPER_SIZE = (128, 128, 32)
PAPER_MINIMUM_VOXELS = 20

# The paper's 128x128x40 grid over the MNI152 box, less the four slices that it crops at the top and the bottom (mm).
BOX_START = np.array([-90.0, -126.0, -53.9])
BOX_LENGTH = np.array([181.0, 217.0, 144.8])


def grid_affine(size: tuple[int, int, int]) -> np.ndarray:
    """Affine (4, 4), RAS, in mm, of the grid that covers the MNI box with `size` voxels."""
    spacing = BOX_LENGTH / np.asarray(size)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = BOX_START + spacing / 2
    return affine


def axes_of(affine: np.ndarray, size: tuple[int, int, int]) -> list[np.ndarray]:
    """Coordinates of the voxels' centres along x, y and z, in mm, of a grid that is neither turned nor sheared."""
    return [affine[axis, 3] + affine[axis, axis] * np.arange(n) for axis, n in enumerate(size)]


def spacing_of(affine: np.ndarray) -> tuple[float, float, float]:
    """Voxel edge lengths in mm."""
    return tuple(float(x) for x in nib.affines.voxel_sizes(np.asarray(affine, dtype=float)))


def voxel_ml(affine: np.ndarray) -> float:
    """Volume of one voxel in ml."""
    return float(np.prod(spacing_of(affine)) / 1000)


def minimum_lesion_voxels(affine: np.ndarray) -> int:
    """The paper's 20 voxels of 128x128x32, as the same volume (0.217 ml) on another grid; at least 1."""
    exact = PAPER_MINIMUM_VOXELS * voxel_ml(grid_affine(PAPER_SIZE)) / voxel_ml(affine)
    return max(1, math.ceil(exact - 1e-6))


def read_volume(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Voxels and affine of a NIfTI file.

    Raises:
        FileNotFoundError, ValueError: the file is missing or unreadable; the message names it.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file.")
    try:
        image = nib.load(path)
        return np.asanyarray(image.dataobj), image.affine
    except Exception as error:
        raise ValueError(f"{path}: cannot be read as NIfTI ({error}). Is the copy complete?") from error


def write_volume(path: str | Path, voxels: np.ndarray, affine: np.ndarray) -> None:
    """Write `.nii.gz` under a temporary name first, so that a killed run leaves no half file."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(voxels, affine)
    image.header.set_xyzt_units("mm")
    image.header.set_slope_inter(1, 0)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    nib.save(image, temporary)
    temporary.replace(path)
