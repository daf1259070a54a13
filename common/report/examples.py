"""Cases on the page: what synthesis makes, and what the segmenters make of test cases."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..bundles import load_network
from ..datalists import Case, Dataset
from ..grids import read_volume
from ..labels import inject
from ..prediction import read_image, read_lesion, segment
from . import pictures
from .folder import Section, StudyFolder, lesion_ml

__all__ = ["examples", "segmentation_examples"]

EXAMPLE_QUANTILES = (0.9, 0.7, 0.5, 0.25)  # by lesion volume
SEGMENTATION_QUANTILES = {"large": 0.9, "medium": 0.5, "small": 0.15}


def examples(study: StudyFolder, section: Section) -> None:
    """Anatomy, injected lesion and synthetic DWI beside a stroke DWI of the training split with a like lesion."""
    synthetic, data = study.synthetic, study.data
    drawn = _by_volume(synthetic, "training", EXAMPLE_QUANTILES)
    clinical = {case: lesion_ml(case, data) for case in data.select("training", "stroke", True)}
    if not drawn or not clinical:
        section.missing.append("synthetic and clinical training cases with a lesion")
        return
    twins = {case: _twins(study, case) for case in drawn}
    shared = set.intersection(*(set(found) for found in twins.values()))
    rows = []
    for case, volume in drawn.items():
        # Without replacement while there are enough, so that the column shows different patients.
        match = min(clinical, key=lambda other: abs(np.log(clinical[other] / volume)))
        match_volume = clinical.pop(match) if len(clinical) > 1 else clinical[match]
        anatomy, lesion, image = (read_volume(path)[0] for path in (case.anatomy, case.label, case.image))
        stroke, stroke_lesion = read_volume(match.image)[0], read_volume(match.label)[0]
        z, stroke_z = _slice(lesion), _slice(stroke_lesion)
        others = {name: read_volume(twin.image)[0] for name, twin in twins[case].items() if name in shared}
        images = {_main_title(study): image, **others}
        rows.append(
            {
                "anatomy": anatomy[:, :, z],
                "label_map": inject(anatomy[:, :, z].astype(np.uint8), lesion[:, :, z]),
                "synthetic": {title: volume[:, :, z] for title, volume in images.items()},
                "lesion": lesion[:, :, z] > 0,
                "stroke": stroke[:, :, stroke_z],
                "stroke_lesion": stroke_lesion[:, :, stroke_z] > 0,
                "title": f"{case.subject}\n{volume:.1f} ml",
                "stroke_title": f"{match.subject}\n{match_volume:.1f} ml",
            }
        )
        section.numbers[case.subject] = {
            "lesion_ml": volume,
            "slice": z,
            "beside": match.subject,
            "beside_ml": match_volume,
            "beside_slice": stroke_z,
        }
    study.draw(
        section,
        pictures.example_maps(rows, data.spacing, f"{study.real_word} stroke DWI"),
        "examples",
        "From anatomy to synthetic DWI",
        "One axial slice per case, the one with most lesion; the patient's right is on the left. Arrows point at the "
        "lesion. From left: healthy anatomy of the donor, the same with the drawn lesion (red) injected, the DWI made "
        f"of it, {_background(study)}, and the {study.real_word} DWI of the clinical training case whose lesion is "
        "closest in volume. Cases were chosen by lesion volume (90th, 70th, 50th and 25th percentile), not by looks.",
        _table(section),
    )


def _twins(study: StudyFolder, case: Case) -> dict[str, Case]:
    """{name: case} of the same lesion in the same donor in other synthetic sets."""
    origin = [case.source.get(key) for key in ("donor", "mask")]
    if None in origin:
        return {}
    found = {}
    for name, dataset in study.synthetic_sets.items():
        twin = next((other for other in dataset.cases if other.subject == case.subject), None)
        if name != "synthetic" and twin and [twin.source.get(key) for key in ("donor", "mask")] == origin:
            found[name] = twin
    return found


def _main_title(study: StudyFolder) -> str:
    """Of the main set's images: with several translators, which of them it is."""
    names = list(study.settings.get("translators", {}))
    if len(names) < 2:
        return "synthetic DWI"
    return f"synthetic DWI, {study.settings['images'].get('translator', names[0])}"


def _background(study: StudyFolder) -> str:
    scan = study.settings.get("images", {}).get("background") == "scan"
    return "its lesion painted onto the donor's own scan" if scan else "all of it by the translator"


def segmentation_examples(study: StudyFolder, section: Section) -> None:
    """A large, a medium and a small lesion of the test split, with what each arm makes of them."""
    seed, scored = study.settings["seeds"][0], study.results
    arms = {}
    for arm, title in study.titles.items():
        # Test images are only opened for runs whose reading of the test split is logged.
        if study.result_file(arm, seed).is_file() and (study.run(arm, seed) / "model.pt").is_file():
            arms[arm] = title
        else:
            section.missing.append(f"{arm}, seed {seed}")
    if not arms:
        return
    data = study.data
    grid = data.size, data.affine
    networks = {arm: load_network(study.run(arm, seed), "stroke_unet") for arm in arms}
    dice = scored[scored["seed"] == seed].set_index(["arm", "subject"])["dice"]
    rows = []
    chosen = _by_volume(data, "test", list(SEGMENTATION_QUANTILES.values()))
    for size, (case, volume) in zip(SEGMENTATION_QUANTILES, chosen.items()):
        image, truth = read_image(case, grid), read_lesion(case, grid)
        z = _slice(truth)
        scores = {arm: float(dice.get((arm, case.subject), np.nan)) for arm in arms}
        rows.append(
            {
                "image": image[:, :, z],
                "truth": truth[:, :, z],
                "predictions": {arm: segment(networks[arm], image)[:, :, z] for arm in arms},
                "title": f"{size}, {volume:.1f} ml\n{case.subject}",
                "scores": {arm: f"Dice {100 * score:.1f} %" for arm, score in scores.items()},
            }
        )
        section.numbers[case.subject] = {"size": size, "lesion_ml": volume, "slice": z, "dice": scores}
    if not rows:
        section.missing.append("test cases with a lesion")
        return
    each = "; ".join(
        f"{entry['size']} ({entry['lesion_ml']:.1f} ml): "
        + ", ".join(f"{arms[arm]} {100 * score:.1f} %" for arm, score in entry["dice"].items())
        for entry in section.numbers.values()
    )
    study.draw(
        section,
        pictures.segmentations(rows, arms, study.colours, data.spacing),
        "segmentations",
        "Test cases: truth (yellow) and what each arm finds",
        f"Slice with most lesion, the patient's right is on the left; seed {seed}. Cases were chosen by lesion "
        "volume (90th, 50th and 15th percentile of the test split), not by score. Dice is that of the "
        f"whole volume. {each}.",
        _table(section),
    )


def _table(section: Section) -> pd.DataFrame:
    """What is shown: a row per case."""
    return pd.json_normalize([{"subject": subject, **entry} for subject, entry in section.numbers.items()])


def _by_volume(dataset: Dataset, split: str, quantiles: Sequence[float]) -> dict[Case, float]:
    """{case: ml} of the cases at these quantiles of lesion volume, each once."""
    volumes = {case: lesion_ml(case, dataset) for case in dataset.select(split, has_lesion=True)}
    ordered = sorted((case for case in volumes if volumes[case] > 0), key=volumes.get)
    return {case: volumes[case] for q in quantiles for case in ordered[round(q * (len(ordered) - 1)) :][:1]}


def _slice(lesion: np.ndarray) -> int:
    return int((lesion > 0).sum((0, 1)).argmax())
