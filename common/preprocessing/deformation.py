"""Deformable registration of a DWI to MNI152, after the affine one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from .registration import affine_transform, from_sitk, resample, to_sitk

__all__ = ["Deformation", "Space", "deform", "forward", "invert", "linear_part"]

LEVELS_MM = (8.0, 4.0)  # voxels, from coarse to fine; the last are those of the stored field
STEPS = 40  # of each level
STIFFNESS = 2.0  # standard deviation, in voxels, of the Gaussian that smooths the field after each step


@dataclass(frozen=True)
class Deformation:
    """A map from mm of MNI to mm of a source: a displacement in MNI space, then the affine map.

    Attributes:
        matrix: (4, 4), the affine map.
        field: float32 (X, Y, Z, 3), mm of displacement, RAS.
        affine: (4, 4) voxel to mm, RAS, of the field.
    """

    matrix: np.ndarray
    field: np.ndarray
    affine: np.ndarray

    def transform(self) -> sitk.Transform:
        """For `resample` of volumes of the source onto a grid in MNI space."""
        both = sitk.CompositeTransform(affine_transform(self.matrix))
        both.AddTransform(_displacement(self._image()))  # what is added last is applied first
        return both

    def inverse(self) -> sitk.Transform:
        """For `resample` of volumes in MNI space onto the source's voxels."""
        how = sitk.InvertDisplacementFieldImageFilter()
        how.SetMaximumNumberOfIterations(50)
        how.SetEnforceBoundaryCondition(False)
        both = sitk.CompositeTransform(_displacement(how.Execute(self._image())))
        both.AddTransform(affine_transform(np.linalg.inv(self.matrix)))
        return both

    def smallest_jacobian(self) -> float:
        """Least local change of volume by the displacement: 1 is none, 0 or less a fold."""
        gradients = [np.gradient(self.field[..., i], *np.diag(self.affine)[:3]) for i in range(3)]
        jacobian = np.moveaxis(np.array(gradients), (0, 1), (-2, -1)) + np.eye(3)
        return float(np.linalg.det(jacobian).min())

    def _image(self) -> sitk.Image:
        return to_sitk(self.field, self.affine)


Space = np.ndarray | Deformation
"""Where a source lies: (4, 4) from mm of MNI to mm of the source, or a deformation."""


def linear_part(space: Space) -> np.ndarray:
    """(4, 4) from mm of MNI to mm of the source."""
    return space.matrix if isinstance(space, Deformation) else np.asarray(space)


def forward(space: Space) -> np.ndarray | sitk.Transform:
    """From mm of MNI to mm of the source, for `resample`."""
    return space.transform() if isinstance(space, Deformation) else space


def invert(space: Space) -> np.ndarray | sitk.Transform:
    """From mm of the source to mm of MNI, for `resample`."""
    return space.inverse() if isinstance(space, Deformation) else np.linalg.inv(space)


def deform(
    template: np.ndarray, template_affine: np.ndarray, picture: np.ndarray, affine: np.ndarray, matrix: np.ndarray
) -> Deformation:
    """Refine an affine registration by diffeomorphic demons.

    Slices that were not scanned pull nothing.

    Args:
        template, picture: images of equal contrast, background 0, any shapes.
        template_affine, affine: theirs, voxel to mm, RAS.
        matrix: (4, 4) from mm of the template to mm of the picture, the affine solution.

    Raises:
        ValueError: the solution folds space.

    Source:
        Vercauteren et al. 2009, NeuroImage 45:S61; SimpleITK's implementation.
    """
    moving = resample(picture, affine, matrix, template.shape, template_affine, order=1)
    scanned = resample(np.ones(picture.shape, np.uint8), affine, matrix, template.shape, template_affine)
    moving = np.where(scanned > 0, moving, template)  # where both are alike, there is no force
    field = None
    for voxel_mm in LEVELS_MM:
        grid = _grid(template.shape, template_affine, voxel_mm)
        fixed, there = (_coarse(volume, template_affine, grid, voxel_mm) for volume in (template, moving))
        demons = sitk.DiffeomorphicDemonsRegistrationFilter()
        demons.SetNumberOfIterations(STEPS)
        demons.SetStandardDeviations(STIFFNESS)
        demons.SetNumberOfThreads(1)
        start = [] if field is None else [sitk.Resample(field, fixed, sitk.Transform(), sitk.sitkLinear, 0.0)]
        field = demons.Execute(fixed, there, *start)
    found = Deformation(np.asarray(matrix, float), from_sitk(field).astype(np.float32), grid[1])
    if found.smallest_jacobian() <= 0:
        raise ValueError(
            "the deformable registration folds space. Import this case with --space register, which is affine"
        )
    return found


def _grid(shape: tuple, affine: np.ndarray, voxel_mm: float) -> tuple[tuple, np.ndarray]:
    """Shape and affine of a grid over a volume with a margin of two voxels."""
    low, high = affine[:3, 3], affine[:3, 3] + np.diag(affine)[:3] * (np.array(shape) - 1)
    grid = np.diag([voxel_mm] * 3 + [1.0])
    grid[:3, 3] = low - 2 * voxel_mm
    return tuple(np.ceil((high - low) / voxel_mm).astype(int) + 5), grid


def _coarse(volume: np.ndarray, affine: np.ndarray, grid: tuple[tuple, np.ndarray], voxel_mm: float) -> sitk.Image:
    sigma = voxel_mm / 2 / np.diag(affine)[:3]
    smooth = ndimage.gaussian_filter(volume.astype(np.float32), sigma)
    return to_sitk(resample(smooth, affine, np.eye(4), *grid, order=1), grid[1])


def _displacement(field: sitk.Image) -> sitk.Transform:
    return sitk.DisplacementFieldTransform(sitk.Cast(field, sitk.sitkVectorFloat64))
