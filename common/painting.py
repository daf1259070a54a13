"""Paint a translator's lesion onto the donor's own scan.

What a translator cannot know of a donor (artefacts at the skull base, old lesions, the coil's field, grain, how slices
hang together) is in the donor's scan. So only what the lesion adds is taken from the translator.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from .appearance import Appearance
from .brightness import PERCENTILE, white_matter_level
from .labels import LESION
from .lesion_texture import uneven_field
from .noise import add_missing_noise

__all__ = ["added_signal", "paint", "paint_on_scan"]

RIM = np.ones((3, 3, 1), bool)  # an image's point spread reaches into the neighbouring pixels, not into the next slice


def added_signal(lesioned: np.ndarray, healthy: np.ndarray, label_map: np.ndarray, anatomy: np.ndarray) -> np.ndarray:
    """What a lesion adds to an image, as a multiple of the white matter's signal.

    Args:
        lesioned, healthy: translations of `label_map` and of `anatomy`, in [-1, 1]. Each is divided by its own white
            matter: scaled to its brightest voxels, an image with a large lesion is darker everywhere else.
        label_map, anatomy: with and without the lesion, (H, W, D).

    Returns:
        (H, W, D), 0 beyond the lesion's rim.
    """
    levels = white_matter_level(lesioned, label_map) + 1, white_matter_level(healthy, anatomy) + 1
    added = (lesioned + 1) / levels[0] - (healthy + 1) / levels[1]
    return np.where(ndimage.binary_dilation(label_map == LESION, RIM), added, 0.0)


def paint(scan: np.ndarray, anatomy: np.ndarray, added: np.ndarray) -> np.ndarray:
    """Add signal to a healthy scan, and scale the sum as scans are scaled.

    Args:
        scan: (H, W, D) in [-1, 1].
        anatomy: its label map, 0 outside the brain.
        added: see `added_signal`.

    Returns:
        float32 (H, W, D): -1 at the scan's own floor, 1 at the 99.5th percentile of the brain and above.
    """
    brain = anatomy > 0
    signal = (scan + 1 + (white_matter_level(scan, anatomy) + 1) * added) / 2
    signal = signal / np.percentile(signal[brain], PERCENTILE)
    return np.where(brain, (2 * signal - 1).clip(-1, 1), scan).astype(np.float32)


def paint_on_scan(
    scan: np.ndarray,
    anatomy: np.ndarray,
    label_map: np.ndarray,
    added: np.ndarray,
    target: Appearance | None,
    noise: bool,
    brightness: bool,
    unevenness: bool,
    rng: np.random.Generator,
    spacing: tuple[float, float, float],
) -> tuple[np.ndarray, dict]:
    """The donor's scan with a lesion, and what was done, for the sidecar.

    Args:
        scan, anatomy: of the donor; `label_map`: its anatomy with the lesion.
        added: see `added_signal`.
        target: a real case; `noise` brings the image to its noise if it has less, `brightness` the lesion to its
            strength, `unevenness` to its unevenness.
        spacing: voxel edge lengths in mm.
    """
    entry: dict = {"reference": target.subject} if target else {}
    if brightness:
        own = float(np.median(added[label_map == LESION]))
        if own > 0 and target.strength > 0:
            added = added * (target.strength / own)
        entry["strength"] = {"target": target.strength, "own": own}
    if unevenness:
        added = added * uneven_field(scan.shape, spacing, target.unevenness, rng)
        entry["unevenness"] = target.unevenness
    image = paint(scan, anatomy, added)
    if noise:
        image, entry["noise"] = add_missing_noise(image, label_map, target.noise, rng)
    return image, entry
