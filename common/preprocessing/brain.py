"""Where the brain is in a DWI."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

__all__ = ["brain_of", "is_stripped"]

STRIPPED_SHARE = 0.25  # of the voxels are exactly 0 after a brain extraction; noise in air hardly ever is
OPENING_MM, CLOSING_MM = 4.0, 10.0
SMALLEST_ML, LARGEST_ML = 500.0, 2600.0


def is_stripped(image: np.ndarray) -> bool:
    """Whether a brain extraction has set what is outside to 0."""
    return float((image <= 0).mean()) > STRIPPED_SHARE


def brain_of(image: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """The brain of a DWI, bool of the image's shape.

    Where the background is 0 already, that decides. Otherwise scalp and air are dark in a DWI: Otsu's threshold, the
    largest part after an opening that cuts off eyes and neck, closed and filled, so that ventricles stay inside. A
    dedicated tool (HD-BET, SynthStrip) does better on heads with much signal outside the brain; give its masks or
    stripped images then.

    Args:
        image: magnitudes (H, W, D), at least 0.
        affine: (4, 4) voxel to mm.

    Raises:
        ValueError: what is found has not the size of a brain.
    """
    spacing = np.linalg.norm(np.asarray(affine, float)[:3, :3], axis=0)
    if is_stripped(image):
        brain = ndimage.binary_fill_holes(_largest(image > 0))
    else:
        threshold = sitk.OtsuThresholdImageFilter()
        threshold.SetInsideValue(0)
        threshold.SetOutsideValue(1)
        bright = sitk.GetArrayFromImage(threshold.Execute(sitk.GetImageFromArray(image.astype(np.float32)))) > 0
        core = _eroded(bright, spacing, OPENING_MM)
        core = _largest(core) if core.any() else _largest(bright)
        brain = _dilated(core, spacing, OPENING_MM) & bright
        brain = ndimage.binary_fill_holes(_closed(brain, spacing, CLOSING_MM))
    millilitres = float(brain.sum() * np.prod(spacing) / 1000)
    if not SMALLEST_ML <= millilitres <= LARGEST_ML:
        raise ValueError(
            f"what looks like the brain has {millilitres:.0f} ml; expected {SMALLEST_ML:.0f} to {LARGEST_ML:.0f}. Is "
            "it a DWI of a whole head with the right voxel size? Otherwise give a brain mask"
        )
    return brain


def _largest(mask: np.ndarray) -> np.ndarray:
    parts, count = ndimage.label(mask)
    if count < 2:
        return mask
    return parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))


def _eroded(mask: np.ndarray, spacing: np.ndarray, mm: float) -> np.ndarray:
    return ndimage.distance_transform_edt(np.pad(mask, 1), sampling=spacing)[1:-1, 1:-1, 1:-1] > mm


def _dilated(mask: np.ndarray, spacing: np.ndarray, mm: float) -> np.ndarray:
    return ndimage.distance_transform_edt(~mask, sampling=spacing) <= mm


def _closed(mask: np.ndarray, spacing: np.ndarray, mm: float) -> np.ndarray:
    """Gaps up to twice `mm` wide filled, also those at the border of the volume."""
    width = [int(np.ceil(mm / step)) + 1 for step in spacing]
    padded = np.pad(mask, [(w, w) for w in width])
    grown = _dilated(padded, spacing, mm)
    closed = ndimage.distance_transform_edt(grown, sampling=spacing) > mm
    return mask | closed[tuple(slice(w, -w) for w in width)]
