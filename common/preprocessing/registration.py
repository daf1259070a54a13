"""Affine registration of images to a template, by SimpleITK."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

__all__ = [
    "affine_transform", "dice_overlap", "from_sitk", "register_affine", "resample", "similarity_from_points", "to_sitk",
]  # fmt: skip


def similarity_from_points(fixed: np.ndarray, moving: np.ndarray) -> np.ndarray:
    """Rotation, one scale and translation that lay corresponding points over each other, by least squares.

    Args:
        fixed, moving: (N, 3) in mm, N at least 3, not on one line.

    Returns:
        (4, 4) matrix that takes mm of `fixed` to mm of `moving`.

    Source:
        Umeyama 1991, IEEE TPAMI 13:376.
    """
    fixed_centre, moving_centre = fixed.mean(0), moving.mean(0)
    u, singular, vt = np.linalg.svd((moving - moving_centre).T @ (fixed - fixed_centre))
    handedness = np.diag([1, 1, np.sign(np.linalg.det(u @ vt))])
    scale = np.trace(np.diag(singular) @ handedness) / ((fixed - fixed_centre) ** 2).sum()
    matrix = np.eye(4)
    matrix[:3, :3] = scale * u @ handedness @ vt
    matrix[:3, 3] = moving_centre - matrix[:3, :3] @ fixed_centre
    return matrix


def register_affine(
    fixed: np.ndarray,
    fixed_affine: np.ndarray,
    moving: np.ndarray,
    moving_affine: np.ndarray,
    start: np.ndarray,
    shrink: tuple[int, ...] = (4, 2),
) -> np.ndarray:
    """Find the affine map that lays `moving` over `fixed`, from coarse to fine.

    The metric is the mean squared difference: give images of equal contrast.

    Args:
        fixed, moving: images with background 0, any shapes and units.
        fixed_affine, moving_affine: (4, 4) voxel to mm, RAS.
        start: (4, 4) from mm of `fixed` to mm of `moving`, near the solution (within some 5 degrees and 10 mm).
        shrink: of each level, in voxels; smoothed by half of it.

    Returns:
        (4, 4) like `start`; the same for the same input.
    """
    transform = sitk.AffineTransform(3)
    transform.SetCenter((np.argwhere(fixed > 0).mean(0) @ fixed_affine[:3, :3].T + fixed_affine[:3, 3]).tolist())
    centre = np.array(transform.GetCenter())
    transform.SetMatrix(start[:3, :3].ravel().tolist())
    transform.SetTranslation((start[:3, 3] - centre + start[:3, :3] @ centre).tolist())
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMeanSquares()
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-3, 100, 0.6)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel(list(shrink))
    method.SetSmoothingSigmasPerLevel([factor / 2 for factor in shrink])
    method.SetInitialTransform(transform, inPlace=True)
    method.SetNumberOfThreads(1)  # a sum over threads is not the same twice
    method.Execute(to_sitk(fixed, fixed_affine), to_sitk(moving, moving_affine))
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(transform.GetMatrix(), (3, 3))
    matrix[:3, 3] = np.array(transform.GetTranslation()) + centre - matrix[:3, :3] @ centre
    return matrix


def resample(
    moving: np.ndarray,
    moving_affine: np.ndarray,
    matrix: np.ndarray | sitk.Transform,
    shape: tuple,
    affine: np.ndarray,
    order: int = 0,
) -> np.ndarray:
    """Carry `moving` to a grid.

    Args:
        matrix: (4, 4) from mm of the grid to mm of `moving`, as `register_affine` returns it; or any transform.
        shape, affine: the grid.
        order: 0 nearest (labels), 1 linear (images).

    Returns:
        Array of `shape` and of the dtype of `moving`; 0 outside its field of view.
    """
    reference = sitk.Image([int(n) for n in shape], sitk.sitkUInt8)
    _set_geometry(reference, affine)
    transform = matrix if isinstance(matrix, sitk.Transform) else affine_transform(matrix)
    how = sitk.sitkNearestNeighbor if order == 0 else sitk.sitkLinear
    result = sitk.Resample(to_sitk(moving, moving_affine, moving.dtype), reference, transform, how, 0)
    return from_sitk(result)


def affine_transform(matrix: np.ndarray) -> sitk.Transform:
    """A (4, 4) matrix as SimpleITK's transform."""
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(np.asarray(matrix)[:3, :3].ravel().tolist())
    transform.SetTranslation(np.asarray(matrix)[:3, 3].tolist())
    return transform


def dice_overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Dice of two masks, 0 to 1 (two empty masks: 1)."""
    total = np.count_nonzero(a) + np.count_nonzero(b)
    return 2 * np.count_nonzero((a > 0) & (b > 0)) / total if total else 1.0


def to_sitk(array: np.ndarray, affine: np.ndarray, dtype=np.float32) -> sitk.Image:
    """A volume (H, W, D), or vectors (H, W, D, 3), in the same millimetres; see `_set_geometry`."""
    turned = array.astype(dtype, copy=False).transpose(2, 1, 0, *range(3, array.ndim))
    image = sitk.GetImageFromArray(np.ascontiguousarray(turned), isVector=array.ndim > 3)
    _set_geometry(image, affine)
    return image


def from_sitk(image: sitk.Image) -> np.ndarray:
    """The voxels of a volume (H, W, D), or of vectors (H, W, D, 3)."""
    voxels = sitk.GetArrayFromImage(image)
    return voxels.transpose(2, 1, 0, *range(3, voxels.ndim))


def _set_geometry(image, affine: np.ndarray) -> None:
    """RAS millimetres are used as they are: SimpleITK needs a consistent frame, not LPS."""
    affine = np.asarray(affine, float)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
