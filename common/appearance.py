"""What a translator cannot know of a scan: how bright, how noisy, how uneven its lesion is.

Measured on real images, put into synthetic ones. A translator that is trained with an L1 loss draws the mean of all
scans it has seen, slice by slice. A scan's white matter level depends on its brightest 0.5 %, that is on its lesion,
elsewhere in the volume; so the real scan that a synthetic one takes after has a lesion of about the same volume.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .datalists import Case, Dataset
from .grids import read_volume
from .labels import LESION, TISSUE_OF, TISSUES, inject
from .lesion_texture import lesion_unevenness, uneven_field, with_uneven_lesion
from .noise import add_rician, missing_noise, noise_level

__all__ = [
    "Appearance",
    "appearances",
    "apply_appearance",
    "choose_appearance",
    "match_brightness",
    "references",
    "white_matter_level",
]

WHITE_MATTER = TISSUES.index("white matter")
GAMMA_RANGE = (0.3, 4.0)
NEAREST = 4  # of the references, by lesion volume


class Appearance(NamedTuple):
    """Of one real image in [-1, 1]: standard deviation of its noise, median of its healthy white matter, volume of its
    lesion, unevenness of that (`common.lesion_texture`)."""

    subject: str
    noise: float
    white_matter: float
    lesion_ml: float
    unevenness: float


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


def appearances(cases: Sequence[Case], dataset: Dataset) -> list[Appearance]:
    """Appearance of each case, in order; images too small to tell are left out.

    Most lesions are too small to tell how uneven they are: they get the mean of the others, 0 if there are none.

    Raises:
        ValueError: no image tells.
    """
    found = []
    for case in cases:
        label_map = read_volume(case.anatomy)[0].astype(np.uint8)
        if case.label is not None:
            label_map = inject(label_map, read_volume(case.label)[0])
        image = read_volume(case.image)[0]
        measured = Appearance(
            case.subject,
            noise_level(image, label_map),
            white_matter_level(image, label_map),
            float((label_map == LESION).sum() * dataset.voxel_ml),
            lesion_unevenness(image, label_map, dataset.spacing),
        )
        if np.isfinite([measured.noise, measured.white_matter]).all():
            found.append(measured)
    if not found:
        raise ValueError(
            f"{dataset.folder / 'dataset.json'}: no training case has an anatomy with enough brain to measure noise "
            "and brightness. Use `--noise none --brightness none --unevenness none`."
        )
    known = [one.unevenness for one in found if np.isfinite(one.unevenness)]
    usual = float(np.mean(known)) if known else 0.0
    return [one if np.isfinite(one.unevenness) else one._replace(unevenness=usual) for one in found]


def choose_appearance(targets: Sequence[Appearance], lesion_ml: float, rng: np.random.Generator) -> Appearance:
    """One of the four references whose lesions are nearest in volume (in logarithm; no lesion is nearest to none)."""
    distance = [abs(np.log((target.lesion_ml + 0.01) / (lesion_ml + 0.01))) for target in targets]
    nearest = np.argsort(distance, kind="stable")[:NEAREST]
    return targets[int(rng.choice(nearest))]


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
    spacing: tuple[float, float, float],
    healthy: np.ndarray | None = None,
) -> tuple[np.ndarray, dict]:
    """An image with the appearance of a real one, and what was done, for the sidecar.

    With `healthy`, the translation of the same anatomy without the lesion, the lesion becomes uneven as well, in parts
    of some millimetres; `spacing` gives the voxels' edges in mm.
    """
    entry: dict = {"reference": target.subject}
    if healthy is not None:
        image = with_uneven_lesion(image, healthy, uneven_field(image.shape, spacing, target.unevenness, rng))
        entry["unevenness"] = target.unevenness
    if brightness:
        image = match_brightness(image, label_map, target.white_matter)
        entry["white_matter"] = target.white_matter
    image = image.clip(-1, 1)
    if noise:
        own = noise_level(image, label_map)
        own = own if np.isfinite(own) else 0.0
        entry["noise"] = {"target": target.noise, "own": own, "added": missing_noise(target.noise, own)}
        image = add_rician(image, label_map > 0, entry["noise"]["added"], rng)
    return image, entry
