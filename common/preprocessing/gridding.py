"""Volumes from one grid to another, averaged over what a voxel covers, and back."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from ..grids import spacing_of
from .deformation import Space, forward, invert, linear_part
from .registration import resample

__all__ = ["image_back", "image_on_grid", "mask_back", "mask_on_grid"]

MOST_PARTS = 6


def image_on_grid(image: np.ndarray, affine: np.ndarray, space: Space, size: tuple, grid: np.ndarray) -> np.ndarray:
    """An image carried to a grid; a voxel is the mean over its extent, so that thick slices do not skip thin ones.

    Args:
        image: (H, W, D).
        affine: its voxel to mm.
        space: from mm of the grid to mm of the image.
        size, grid: voxels and affine of the grid.

    Returns:
        float32 of shape `size`; 0 outside the image's field of view.
    """
    return _averaged(image.astype(np.float32), affine, *_there(space), size, grid, order=1)


def mask_on_grid(mask: np.ndarray, affine: np.ndarray, space: Space, size: tuple, grid: np.ndarray) -> np.ndarray:
    """A mask carried to a grid, uint8: voxels more than half covered.

    Where that loses more than half of a lesion's volume (one thinner than the voxels), the best covered voxels are
    taken instead, as many as its volume asks for, at least one.
    """
    covered = _averaged((mask > 0).astype(np.float32), affine, *_there(space), size, grid, order=0)
    result = covered > 0.5
    wanted = covered.sum()
    if wanted > 1e-6 and result.sum() < 0.5 * wanted:
        best = np.argsort(covered, axis=None, kind="stable")[::-1][: max(1, round(float(wanted)))]
        result.flat[best] = covered.flat[best] > 0
    return result.astype(np.uint8)


def image_back(image: np.ndarray, grid: np.ndarray, space: Space, shape: tuple, affine: np.ndarray) -> np.ndarray:
    """An image on the grid carried back to the source's voxels; the least value of the image outside the grid."""
    lowest = float(image.min())
    return resample(image.astype(np.float32) - lowest, grid, invert(space), shape, affine, order=1) + lowest


def mask_back(mask: np.ndarray, grid: np.ndarray, space: Space, shape: tuple, affine: np.ndarray) -> np.ndarray:
    """A mask on the grid carried back to the source's voxels, uint8: where the interpolated mask is above a half."""
    back = invert(space), np.linalg.inv(linear_part(space))
    return (_averaged((mask > 0).astype(np.float32), grid, *back, shape, affine, order=1) > 0.5).astype(np.uint8)


def _there(space: Space) -> tuple[np.ndarray | sitk.Transform, np.ndarray]:
    """From the grid to the source, exactly and in its linear part."""
    return forward(space), linear_part(space)


def _averaged(
    volume: np.ndarray,
    affine: np.ndarray,
    transform: np.ndarray | sitk.Transform,
    linear: np.ndarray,
    size: tuple,
    grid: np.ndarray,
    order: int,
) -> np.ndarray:
    """Mean over the sampled parts of each voxel, float32; parts are not larger than the source's voxels."""
    source = np.array(spacing_of(np.linalg.inv(linear) @ affine))  # of the source's voxels, in mm of the grid
    parts = np.clip(np.ceil(np.array(spacing_of(grid)) / source - 1e-3), 1, MOST_PARTS).astype(int)
    fine = np.asarray(grid, float) @ np.diag([*(1 / parts), 1.0])
    fine[:3, 3] += np.asarray(grid, float)[:3, :3] @ ((1 / parts - 1) / 2)
    sampled = resample(volume, affine, transform, tuple(np.array(size) * parts), fine, order)
    blocks = [n for edge, part in zip(size, parts) for n in (edge, part)]
    return sampled.reshape(blocks).mean((1, 3, 5), dtype=np.float32)
