"""The paper's intensity scaling: clip at a high percentile and at a floor, then to [-1, 1]."""

from __future__ import annotations

import numpy as np

__all__ = ["scale_intensity", "restore_intensity"]


def scale_intensity(
    image: np.ndarray,
    brain: np.ndarray | None = None,
    floor: float = 35.0,
    relative: bool = False,
    percentile: float = 99.5,
) -> tuple[np.ndarray, dict]:
    """Clip to [floor, percentile] and map to [-1, 1].

    The paper clips the background at an absolute intensity of 35. That number belongs to one scanner's units: data
    that were rescaled, or whose brain lies near 100, need a relative floor.

    Args:
        image: magnitude image, any shape, arbitrary units.
        brain: bool mask of the same shape; voxels outside become exactly -1 and do not count for the percentile.
            Without it, the brain is where the image exceeds 0.
        floor: intensity that becomes -1, with everything below it.
        relative: `floor` is a fraction of the percentile (0 to 1), not an intensity.
        percentile: intensity percentile of the brain that becomes 1, with everything above it.

    Returns:
        float32 image in [-1, 1], and the parameters that `restore_intensity` needs.

    Raises:
        ValueError: NaN or infinity in the image, an empty brain, or a floor at or above the percentile.

    Source:
        Paper, section II.A.
    """
    image = np.asarray(image, np.float32)
    if not np.isfinite(image).all():
        raise ValueError("The image holds NaN or infinite voxels; set them to 0 before scaling.")
    brain = image > 0 if brain is None else np.asarray(brain, bool)
    if not brain.any():
        raise ValueError("The brain is empty: no voxel above 0. Is the image blank, or the mask of another subject?")
    p995 = float(np.percentile(image[brain], percentile))
    lowest = float(floor * p995 if relative else floor)
    if lowest >= p995:
        raise ValueError(
            f"The background floor {lowest:g} is not below the {percentile}th percentile of the brain, {p995:g}. "
            "Give a lower floor, or a relative one such as 0.1."
        )
    scaled = 2 * (image.clip(lowest, p995) - lowest) / (p995 - lowest) - 1
    scaled = np.where(brain, scaled, -1).clip(-1, 1).astype(np.float32)
    return scaled, {"p995": p995, "floor": lowest, "percentile": percentile, "range": [-1, 1]}


def restore_intensity(scaled: np.ndarray, parameters: dict) -> np.ndarray:
    """Intensities in the units of the source; what was clipped comes back as the clipping value."""
    floor, p995 = parameters["floor"], parameters["p995"]
    return ((np.asarray(scaled, np.float32) + 1) / 2 * (p995 - floor) + floor).astype(np.float32)
