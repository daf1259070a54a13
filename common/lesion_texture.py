"""Unevenness inside lesions, measured on real images and given to synthetic ones.

A translator that is trained with an L1 loss paints every lesion with its mean brightness. A real infarct has bright and
dark parts, so that a segmenter that has met only even ones finds half of it.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from .labels import LESION, PARENCHYMA
from .noise import noise_level

__all__ = ["RING_MM", "lesion_unevenness", "uneven_field", "with_uneven_lesion"]

RING_MM = 10.0
ENOUGH_VOXELS = 25
SCALE_MM = 10.0  # correlation length of the parts
LARGEST = 0.8
SQUARE = np.ones((3, 3, 1), bool)


def lesion_unevenness(image: np.ndarray, label_map: np.ndarray, spacing: tuple[float, float, float]) -> float:
    """How unevenly a lesion stands out of its surroundings, as a coefficient of variation; noise is taken off.

    The excess of a voxel is its signal (x + 1) / 2 less the median of the parenchyma within 10 mm. Of voxels inside the
    lesion, away from its rim, the half below the median tells the spread, for the brightest are clipped.

    Args:
        image: (H, W, D) in [-1, 1].
        label_map: (H, W, D), ids 0 to 28.
        spacing: voxel edge lengths in mm.

    Returns:
        standard deviation of the excess / its median; NaN where fewer than 25 voxels tell, or none stands out.
    """
    lesion = label_map == LESION
    inside = ndimage.binary_erosion(lesion, SQUARE)
    if inside.sum() < ENOUGH_VOXELS:
        return float("nan")
    ring = (ndimage.distance_transform_edt(~lesion, sampling=spacing) <= RING_MM) & PARENCHYMA[label_map] & ~lesion
    if not ring.any():
        return float("nan")
    signal = (image + 1) / 2
    excess = signal[inside] - np.median(signal[ring])
    middle = np.median(excess)
    if middle <= 0:
        return float("nan")
    spread = (middle - np.percentile(excess, 15.9)) / middle
    noise = noise_level(image, label_map) / 2 / middle
    return float(np.sqrt(max(spread**2 - np.nan_to_num(noise) ** 2, 0.0)))


def uneven_field(
    shape: tuple[int, int, int], spacing: tuple[float, float, float], variation: float, rng: np.random.Generator
) -> np.ndarray:
    """Smooth positive field (H, W, D) with median 1 and about that coefficient of variation (at most 0.8)."""
    sigma = [SCALE_MM / 2 / edge for edge in spacing]
    field = ndimage.gaussian_filter(rng.standard_normal(shape), sigma)
    log_sd = np.sqrt(np.log1p(min(variation, LARGEST) ** 2))
    return np.exp(log_sd * field / field.std()).astype(np.float32)


def with_uneven_lesion(image: np.ndarray, healthy: np.ndarray, field: np.ndarray) -> np.ndarray:
    """Multiply what a lesion adds to an image by a field.

    Args:
        image, healthy: translations with and without the lesion, (H, W, D) in [-1, 1].
        field: factor of each voxel.

    Returns:
        image of the same shape; it may leave [-1, 1], for the caller to scale or clip as scans are at p99.5.
    """
    return healthy + (image - healthy) * field
