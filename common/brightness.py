"""How bright tissue and lesion are in an image in [-1, 1], whose signal is (x + 1) / 2."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from .labels import LESION, PARENCHYMA, TISSUE_OF, TISSUES
from .lesion_texture import RING_MM

__all__ = ["PERCENTILE", "lesion_strength", "match_brightness", "white_matter_level"]

WHITE_MATTER = TISSUES.index("white matter")
GAMMA_RANGE = (0.3, 4.0)
PERCENTILE = 99.5  # of the brain; it becomes 1


def white_matter_level(image: np.ndarray, label_map: np.ndarray) -> float:
    """Median of an image (H, W, D) in its white matter outside the lesion; NaN without any."""
    white = (TISSUE_OF[label_map] == WHITE_MATTER) & (label_map != LESION)
    return float(np.median(image[white])) if white.any() else float("nan")


def match_brightness(image: np.ndarray, label_map: np.ndarray, white_matter: float) -> np.ndarray:
    """Scale an image as real ones are, its 99.5th percentile in the brain at 1, and bend it to a white matter level.

    The signal (x + 1) / 2 becomes (signal / p99.5) ** gamma, monotone, with gamma between 0.3 and 4.

    Args:
        image: (H, W, D) in [-1, 1]; -1 in the background stays.
        label_map: (H, W, D), ids 0 to 28.
        white_matter: level to reach, in (-1, 1).
    """
    brain = label_map > 0
    signal = (image + 1) / 2
    signal = np.clip(signal / max(np.percentile(signal[brain], PERCENTILE), 1e-3), 0, 1)
    own, target = (white_matter_level(signal, label_map), (white_matter + 1) / 2)
    if not (0 < own < 1 and 0 < target < 1):
        return image
    gamma = np.clip(np.log(target) / np.log(own), *GAMMA_RANGE)
    return np.where(brain, 2 * signal**gamma - 1, image).astype(np.float32)


def lesion_strength(image: np.ndarray, label_map: np.ndarray, spacing: tuple[float, float, float]) -> float:
    """How much signal a lesion adds: its median less that of the parenchyma within 10 mm, over the white matter's.

    Args:
        image: (H, W, D) in [-1, 1].
        label_map: (H, W, D), ids 0 to 28.
        spacing: voxel edge lengths in mm.

    Returns:
        NaN without a lesion, or without parenchyma around it or white matter.
    """
    lesion = label_map == LESION
    if not lesion.any():
        return float("nan")
    ring = (ndimage.distance_transform_edt(~lesion, sampling=spacing) <= RING_MM) & PARENCHYMA[label_map] & ~lesion
    if not ring.any():
        return float("nan")
    added = float(np.median(image[lesion]) - np.median(image[ring]))
    return added / (white_matter_level(image, label_map) + 1)
