"""Noise of real images, measured, and put back into synthetic ones.

A translator that is trained with an L1 loss draws the mean over all noise that it has seen, so its tissue is smoother
than any scanner's. All levels are standard deviations in the image's units, [-1, 1].
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from .labels import LESION, PARENCHYMA, TISSUE_OF, TISSUES

__all__ = ["add_missing_noise", "add_rician", "missing_noise", "noise_level"]

# In plane only, for slices are thick. Blind to constants, slopes and straight edges along an axis; white noise keeps
# its standard deviation (J. Immerkaer, Fast noise variance estimation, CVIU 1996).
HIGH_PASS = np.outer([1, -2, 1], [1, -2, 1])[:, :, None] / 6
SQUARE = np.ones((3, 3, 1), bool)
MAD_TO_SD = 1.4826
ENOUGH_VOXELS = 30


def noise_level(image: np.ndarray, label_map: np.ndarray) -> float:
    """Noise of one image, from white matter away from its borders.

    Args:
        image: (H, W, D) in [-1, 1].
        label_map: (H, W, D), ids 0 to 28; lesions do not count.

    Returns:
        standard deviation of white noise with the image's spread (median absolute deviation) after `HIGH_PASS`, in
        voxels whose neighbours in the slice are all white matter. On coarse grids with fewer than 30 of those, voxels
        inside any one tissue count, or else all inside the brain; NaN if even these are fewer.
    """
    tissue = TISSUE_OF[label_map]
    uniform = ndimage.minimum_filter(tissue, footprint=SQUARE) == ndimage.maximum_filter(tissue, footprint=SQUARE)
    healthy = PARENCHYMA[label_map] & (label_map != LESION)
    inside = ndimage.binary_erosion((label_map > 0) & (image > -1), SQUARE)
    regions = (uniform & (tissue == TISSUES.index("white matter")), uniform & healthy, inside & healthy)
    region = next((region for region in regions if region.sum() >= ENOUGH_VOXELS), None)
    if region is None:
        return float("nan")
    residual = ndimage.convolve(np.asarray(image, float), HIGH_PASS, mode="nearest")[region]
    return float(MAD_TO_SD * np.median(np.abs(residual - np.median(residual))))


def missing_noise(target: float, own: float) -> float:
    """Level to add to an image that has `own` already, to make it `target`: variances add up; 0 if it has enough."""
    return float(np.sqrt(max(target**2 - own**2, 0.0)))


def add_rician(image: np.ndarray, brain: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Add the noise of a magnitude image inside the brain.

    Args:
        image: in [-1, 1]; image + 1 is taken as the magnitude.
        brain: bool, of the same shape; voxels outside stay as they are.
        sigma: of the real and the imaginary part.
        rng: source of the noise.

    Returns:
        float32 image in [-1, 1].
    """
    real, imaginary = rng.normal(0, sigma, (2, *image.shape))
    noisy = np.hypot(image + 1 + real, imaginary) - 1
    return np.where(brain, noisy.clip(-1, 1), image).astype(np.float32)


def add_missing_noise(
    image: np.ndarray, label_map: np.ndarray, target: float, rng: np.random.Generator
) -> tuple[np.ndarray, dict[str, float]]:
    """An image with noise added inside the brain until it has the level `target`, and the levels, for its sidecar."""
    own = np.nan_to_num(noise_level(image, label_map))
    added = missing_noise(target, own)
    return add_rician(image, label_map > 0, added, rng), {"target": target, "own": float(own), "added": added}
