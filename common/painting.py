"""Paint a translator's lesion onto the donor's own scan.

What a translator cannot know of a donor (artefacts at the skull base, old lesions, the coil's field, grain, how slices
hang together) is in the donor's scan. So only what the lesion adds is taken from the translator.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from .appearance import Appearance
from .brightness import PERCENTILE, lesion_strength, white_matter_level
from .labels import LESION
from .lesion_texture import uneven_field
from .noise import add_missing_noise

__all__ = ["added_signal", "paint", "paint_on_scan"]

FACTORS = (0.25, 4.0)  # beyond these it is no longer the translator's lesion
RIM = np.ones((3, 3, 1), bool)  # an image's point spread reaches into the neighbouring pixels, not into the next slice


def added_signal(lesioned: np.ndarray, healthy: np.ndarray, label_map: np.ndarray, anatomy: np.ndarray) -> np.ndarray:
    """What a lesion adds to an image, as a multiple of the white matter's signal.

    Args:
        lesioned, healthy: translations of `label_map` and of `anatomy`, in [-1, 1]. Each is divided by its own white
            matter: scaled to its brightest voxels, an image with a large lesion is darker everywhere else.
        label_map, anatomy: with and without the lesion, (H, W, D).

    Returns:
        (H, W, D), 0 beyond the lesion's rim.

    Raises:
        ValueError: no white matter, or none that is brighter than the background.
    """
    levels = _level(lesioned, label_map), _level(healthy, anatomy)
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

    Raises:
        ValueError: as `added_signal`.
    """
    brain = anatomy > 0
    total = scan + 1 + _level(scan, anatomy) * added
    total = 2 * total / np.percentile(total[brain], PERCENTILE)
    return np.where(brain, (total - 1).clip(-1, 1), scan).astype(np.float32)


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

    Raises:
        ValueError: as `added_signal`.
    """
    entry: dict = {"reference": target.subject} if target else {}
    if unevenness:
        field = uneven_field(scan.shape, spacing, target.unevenness, rng)
        added = added * (field / np.median(field[label_map == LESION]))
        entry["unevenness"] = target.unevenness
    if brightness:
        factor = _factor(scan, anatomy, label_map, added, target.strength, spacing)
        added = added * factor
    image = paint(scan, anatomy, added)
    if brightness:
        known = {"target": target.strength, "factor": factor, "reached": lesion_strength(image, label_map, spacing)}
        entry["strength"] = {name: float(value) if np.isfinite(value) else None for name, value in known.items()}
    if noise:
        image, entry["noise"] = add_missing_noise(image, label_map, target.noise, rng)
    return image, entry


def _factor(
    scan: np.ndarray,
    anatomy: np.ndarray,
    label_map: np.ndarray,
    added: np.ndarray,
    target: float,
    spacing: tuple[float, float, float],
) -> float:
    """What to multiply added signal by so that the painted lesion has a strength; 1 where that cannot be told.

    The strength, before clipping, rises linearly with the factor, from what the tissue under the lesion is against the
    tissue around it.
    """
    start, whole = (
        lesion_strength(scan + _level(scan, anatomy) * part, label_map, spacing)
        for part in (np.zeros_like(added), added)
    )
    if not (np.isfinite(target) and whole > start):
        return 1.0
    return float(np.clip((target - start) / (whole - start), *FACTORS))


def _level(image: np.ndarray, label_map: np.ndarray) -> float:
    """Signal of the white matter, in units of the image."""
    level = white_matter_level(image, label_map) + 1
    if not level > 0:
        raise ValueError(
            "no white matter (label ids 1 and 2) brighter than the background, by which a lesion's signal is measured. "
            "Check image and label map, or use `--background translated`."
        )
    return level
