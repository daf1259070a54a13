"""What a translator cannot know: how bright and how noisy a scan is. Measured on real images, put into synthetic ones.

A translator that is trained with an L1 loss draws the mean of all scans it has seen, slice by slice. A scan's white
matter level depends on its brightest 0.5 %, that is on its lesion, elsewhere in the volume.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .datalists import Case, Dataset
from .grids import read_volume
from .labels import LESION, TISSUE_OF, TISSUES, inject
from .noise import add_rician, missing_noise, noise_level

__all__ = ["Appearance", "appearances", "apply_appearance", "match_brightness", "references", "white_matter_level"]

WHITE_MATTER = TISSUES.index("white matter")
GAMMA_RANGE = (0.3, 4.0)


class Appearance(NamedTuple):
    """Of one real image in [-1, 1]: standard deviation of its noise, median of its healthy white matter."""

    subject: str
    noise: float
    white_matter: float


def references(dataset: Dataset, lesion: bool, clinical_cases: int | None) -> list[Case]:
    """Training cases whose appearance synthetic ones may take, which are none that the translator has not seen.

    Args:
        dataset: real.
        lesion: for synthetic cases with a lesion: stroke cases with one (if there are any); otherwise all others.
        clinical_cases: the translator's setting: of the stroke cases with a lesion, the first so many.
    """
    positive = dataset.select("training", "stroke", has_lesion=True)[:clinical_cases]
    others = [
        case
        for case in dataset.select("training", has_lesion=False)
        if clinical_cases is None or case.cohort == "normal"
    ]
    chosen = positive if lesion else others
    return [case for case in chosen or positive or others if case.anatomy is not None]


def appearances(cases: Sequence[Case], folder: Path) -> list[Appearance]:
    """Appearance of each case, in order; images too small to tell are left out.

    Raises:
        ValueError: no image tells.
    """
    found = []
    for case in cases:
        label_map = read_volume(case.anatomy)[0].astype(np.uint8)
        if case.label is not None:
            label_map = inject(label_map, read_volume(case.label)[0])
        image = read_volume(case.image)[0]
        measured = Appearance(case.subject, noise_level(image, label_map), white_matter_level(image, label_map))
        if np.isfinite(measured[1:]).all():
            found.append(measured)
    if not found:
        raise ValueError(
            f"{folder / 'dataset.json'}: no training case has an anatomy with enough brain to measure noise and "
            "brightness. Use `--noise none --brightness none`."
        )
    return found


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
    signal = np.clip(signal / max(np.percentile(signal[brain], 99.5), 1e-3), 0, 1)
    own, target = (white_matter_level(signal, label_map), (white_matter + 1) / 2)
    if not (0 < own < 1 and 0 < target < 1):
        return image
    gamma = np.clip(np.log(target) / np.log(own), *GAMMA_RANGE)
    return np.where(brain, 2 * signal**gamma - 1, image).astype(np.float32)


def apply_appearance(
    image: np.ndarray,
    label_map: np.ndarray,
    target: Appearance,
    noise: bool,
    brightness: bool,
    rng: np.random.Generator,
) -> tuple[np.ndarray, dict]:
    """An image with the appearance of a real one, and what was done, for the sidecar."""
    entry: dict = {"reference": target.subject}
    if brightness:
        image = match_brightness(image, label_map, target.white_matter)
        entry["white_matter"] = target.white_matter
    if noise:
        own = noise_level(image, label_map)
        own = own if np.isfinite(own) else 0.0
        entry["noise"] = {"target": target.noise, "own": own, "added": missing_noise(target.noise, own)}
        image = add_rician(image, label_map > 0, entry["noise"]["added"], rng)
    return image, entry
