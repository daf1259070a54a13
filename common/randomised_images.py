"""Images drawn from label maps with random contrast, without any real image: domain randomisation.

After Billot et al., SynthSeg (Medical Image Analysis 2023), with one thing that is no accident of a scanner kept: an
acute lesion is brighter than the tissue around it.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from .brightness import PERCENTILE
from .grids import axes_of
from .labels import LESION, PARENCHYMA, TISSUE_OF, TISSUES
from .noise import add_rician
from .phantom.fields import smooth_field

__all__ = ["randomised_image"]

LEVELS = (0.15, 0.8)  # mean signal of a tissue, of 1
SPREAD = 0.08  # largest standard deviation of signal inside a tissue
LESION_RATIO = (1.15, 2.5)  # of the lesion to the parenchyma it lies in, drawn log-uniformly
BLUR_MM = (0.0, 2.5)  # standard deviation of the point spread, in plane
BIAS, BIAS_MM = 0.3, 60.0  # largest standard deviation of the logarithm of the coil's field, its correlation length
NOISE = 0.08  # largest sigma, in units of the image


def randomised_image(
    label_map: np.ndarray, affine: np.ndarray, spacing: tuple[float, float, float], rng: np.random.Generator
) -> tuple[np.ndarray, dict]:
    """An image of a label map, and what was drawn for it.

    Args:
        label_map: (H, W, D), ids 0 to 28.
        affine, spacing: of its grid, in mm.
        rng: source of everything random.

    Returns:
        float32 (H, W, D) in [-1, 1], -1 outside the brain, 1 at the 99.5th percentile of the brain; {"levels": mean
        signal by tissue, "lesion_ratio", "blur_mm", "bias", "noise"}.
    """
    brain = label_map > 0
    levels = rng.uniform(*LEVELS, len(TISSUES))
    spreads = rng.uniform(0, SPREAD, len(TISSUES))
    tissue = TISSUE_OF[np.where(label_map == LESION, 0, label_map)]
    signal = levels[tissue] + spreads[tissue] * rng.normal(size=label_map.shape)
    ratio = float(np.exp(rng.uniform(*np.log(LESION_RATIO))))
    lesion, healthy = label_map == LESION, PARENCHYMA[label_map] & (label_map != LESION)
    if lesion.any():
        signal[lesion] = ratio * _around(levels[tissue], lesion, healthy) + SPREAD / 2 * rng.normal(size=lesion.sum())
    blur = float(rng.uniform(*BLUR_MM))
    signal = ndimage.gaussian_filter(np.where(brain, signal, 0), (blur / spacing[0], blur / spacing[1], 0))
    bias = float(rng.uniform(0, BIAS))
    signal *= np.exp(bias * smooth_field(rng, axes_of(affine, label_map.shape), BIAS_MM))
    top = np.percentile(signal[brain], PERCENTILE)
    image = np.where(brain, (2 * signal / top - 1).clip(-1, 1), -1).astype(np.float32)
    noise = float(rng.uniform(0, NOISE))
    drawn = {
        "levels": {name: float(level) for name, level in zip(TISSUES, levels)},
        "lesion_ratio": ratio, "blur_mm": blur, "bias": bias, "noise": noise,
    }  # fmt: skip
    return add_rician(image, brain, noise, rng), drawn


def _around(levels: np.ndarray, lesion: np.ndarray, healthy: np.ndarray) -> float:
    """Mean level of the healthy parenchyma within two voxels of the lesion; of all of it if none is near."""
    ring = ndimage.binary_dilation(lesion, iterations=2) & healthy
    return float(levels[ring if ring.any() else healthy].mean()) if healthy.any() else float(np.mean(LEVELS))
