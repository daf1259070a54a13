"""The labels of the MNI brain on a grid: anatomy for those who have no other."""

from __future__ import annotations

import numpy as np

from ..grids import grid_affine
from ..phantom.mni import MNI_AFFINE, SULCAL_THRESHOLDS, default_labels
from .registration import resample

__all__ = ["atlas_labels"]


def atlas_labels(size: tuple[int, int, int]) -> np.ndarray:
    """Label map, uint8 0 to 27, on the grid of `size` over the MNI box."""
    return resample(default_labels(SULCAL_THRESHOLDS[1]), MNI_AFFINE, np.eye(4), size, grid_affine(size))
