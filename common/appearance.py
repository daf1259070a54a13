"""What a translator cannot know of a scan: how bright, how noisy, how uneven its lesion is.

Measured on real images, put into synthetic ones. A translator that is trained with an L1 loss draws the mean of all
scans it has seen, slice by slice. A scan's white matter level depends on its brightest 0.5 %, that is on its lesion,
elsewhere in the volume; so the real scan that a synthetic one takes after has a lesion of about the same volume.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .brightness import lesion_strength, match_brightness, white_matter_level
from .datalists import Case, Dataset
from .grids import read_volume
from .labels import LESION, inject
from .lesion_texture import lesion_unevenness, uneven_field, with_uneven_lesion
from .noise import add_missing_noise, noise_level

__all__ = [
    "Appearance",
    "appearances",
    "apply_appearance",
    "choose_appearance",
    "references",
]

NEAREST = 4  # of the references, by lesion volume


class Appearance(NamedTuple):
    """Of one real image in [-1, 1]: standard deviation of its noise, median of its healthy white matter, volume of its
    lesion, unevenness (`common.lesion_texture`) and strength (`common.brightness`) of that; NaN for what it does not
    tell."""

    subject: str
    noise: float
    white_matter: float
    lesion_ml: float
    unevenness: float
    strength: float = float("nan")


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
            lesion_strength(image, label_map, dataset.spacing),
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
        image, entry["noise"] = add_missing_noise(image, label_map, target.noise, rng)
    return image, entry
