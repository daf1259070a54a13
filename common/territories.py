"""Where lesions lie: arterial territories, by the template brain."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from .grids import axes_of, grid_affine
from .phantom.lesions import TERRITORIES, territory_map
from .phantom.mni import MNI_AFFINE, default_labels

__all__ = ["main_territory", "territory_of_voxels"]

SULCAL_THRESHOLD = 0.5  # of the template's CSF: all of its parenchyma counts


def territory_of_voxels(size: tuple[int, int, int]) -> np.ndarray:
    """Arterial territory of each voxel of a grid over the MNI box, by the template brain, in a rough division.

    Returns:
        uint8 of shape `size`: 0 none, else 1 + index in `phantom.lesions.TERRITORIES`.
    """
    axes = axes_of(grid_affine(size), size)
    labels = default_labels(SULCAL_THRESHOLD)
    # Voxels beside the brain belong to what is nearest: masks of other brains reach over the template's edge.
    index = ndimage.distance_transform_edt(labels == 0, return_distances=False, return_indices=True)
    labels = labels[tuple(index)]
    places = [np.rint(axis - start).astype(int).clip(0, n - 1)
              for axis, start, n in zip(axes, MNI_AFFINE[:3, 3], labels.shape)]  # fmt: skip
    return territory_map(labels[np.ix_(*places)], axes)


def main_territory(mask: np.ndarray, territories: np.ndarray) -> str:
    """The territory that holds most of a mask (H, W, D), by `territory_of_voxels`; "none" if none holds any of it."""
    counts = np.bincount(territories[np.asarray(mask) > 0], minlength=len(TERRITORIES) + 1)[1:]
    return list(TERRITORIES)[int(counts.argmax())] if counts.any() else "none"
