"""Affine registration of images to a template, by SimpleITK."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

__all__ = ["dice_overlap", "register_affine", "resample"]


def register_affine(
    fixed: np.ndarray, fixed_affine: np.ndarray, moving: np.ndarray, moving_affine: np.ndarray
) -> np.ndarray:
    """Find the affine map that lays `moving` over `fixed`.

    The start aligns centroids and volumes of the two foregrounds (above 0), so both must show the same part of the
    head. Then rigid with scale, then affine, each from coarse to fine, on the mean squared difference: give images
    with equal contrast.

    Args:
        fixed, moving: images of equal contrast, background 0, any shapes and units.
        fixed_affine, moving_affine: (4, 4) voxel to mm, RAS.

    Returns:
        (4, 4) matrix that takes mm of `fixed` to mm of `moving`.

    Raises:
        ValueError: an image is empty.
    """
    if not (fixed > 0).any() or not (moving > 0).any():
        raise ValueError("Cannot register: one of the images has no voxel above 0.")
    start = _moments(fixed, fixed_affine, moving, moving_affine)
    fixed_image, moving_image = _to_sitk(fixed, fixed_affine), _to_sitk(moving, moving_affine)

    similarity = sitk.Similarity3DTransform()
    similarity.SetCenter(start["fixed_centre"])
    similarity.SetTranslation(start["moving_centre"] - start["fixed_centre"])
    similarity.SetScale(start["scale"])
    _optimise(fixed_image, moving_image, similarity, shrink=[4], learning_rate=1.0)

    affine = sitk.AffineTransform(3)
    affine.SetCenter(start["fixed_centre"])
    affine.SetMatrix(similarity.GetMatrix())
    affine.SetTranslation(similarity.GetTranslation())
    _optimise(fixed_image, moving_image, affine, shrink=[4, 2], learning_rate=0.5)

    matrix = np.eye(4)
    linear, centre = np.reshape(affine.GetMatrix(), (3, 3)), np.array(affine.GetCenter())
    matrix[:3, :3] = linear
    matrix[:3, 3] = np.array(affine.GetTranslation()) + centre - linear @ centre
    return matrix


def resample(
    moving: np.ndarray, moving_affine: np.ndarray, matrix: np.ndarray, shape: tuple, affine: np.ndarray, order: int = 0
) -> np.ndarray:
    """Carry `moving` to a grid.

    Args:
        matrix: (4, 4) from mm of the grid to mm of `moving`, as `register_affine` returns it.
        shape, affine: the grid.
        order: 0 nearest (labels), 1 linear (images).

    Returns:
        Array of `shape` and of the dtype of `moving`; 0 outside its field of view.
    """
    reference = sitk.Image([int(n) for n in shape], sitk.sitkUInt8)
    _set_geometry(reference, affine)
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(np.asarray(matrix)[:3, :3].ravel().tolist())
    transform.SetTranslation(np.asarray(matrix)[:3, 3].tolist())
    how = sitk.sitkNearestNeighbor if order == 0 else sitk.sitkLinear
    result = sitk.Resample(_to_sitk(moving, moving_affine, moving.dtype), reference, transform, how, 0)
    return sitk.GetArrayFromImage(result).transpose(2, 1, 0)


def dice_overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Dice of two masks, 0 to 1 (two empty masks: 1)."""
    total = np.count_nonzero(a) + np.count_nonzero(b)
    return 2 * np.count_nonzero((a > 0) & (b > 0)) / total if total else 1.0


def _optimise(fixed, moving, transform, shrink: list[int], learning_rate: float) -> None:
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMeanSquares()
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(learning_rate, 1e-3, 100, 0.6)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel(shrink)
    method.SetSmoothingSigmasPerLevel([n / 2 for n in shrink])
    method.SetInitialTransform(transform, inPlace=True)
    method.SetNumberOfThreads(1)  # the sum over threads is not the same twice
    method.Execute(fixed, moving)


def _moments(fixed, fixed_affine, moving, moving_affine) -> dict:
    centres, volumes = [], []
    for image, affine in ((fixed, fixed_affine), (moving, moving_affine)):
        voxels = np.argwhere(image > 0)
        centres.append(affine[:3, :3] @ voxels.mean(0) + affine[:3, 3])
        volumes.append(len(voxels) * abs(np.linalg.det(affine[:3, :3])))
    return {
        "fixed_centre": centres[0],
        "moving_centre": centres[1],
        "scale": float((volumes[1] / volumes[0]) ** (1 / 3)),
    }


def _to_sitk(array: np.ndarray, affine: np.ndarray, dtype=np.float32):
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.astype(dtype, copy=False).transpose(2, 1, 0)))
    _set_geometry(image, affine)
    return image


def _set_geometry(image, affine: np.ndarray) -> None:
    """RAS millimetres are used as they are: SimpleITK needs a consistent frame, not LPS."""
    affine = np.asarray(affine, float)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
