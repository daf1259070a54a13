"""Refuse a study that cannot be run, or whose arms contradict themselves, before hours are spent on it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from .datalists import read_dataset
from .external import refuse_common_cases
from .honest_arms import PROTOCOLS
from .stage_state import finished_stages
from .study import ARM_WORDS, stages
from .study_cases import Cases, cases_of
from .study_needs import BUNDLES, knobs, needs_of, room_of
from .study_parts import externals, gans, mask_sets, synthetic_sets, translators

__all__ = ["refuse_impossible"]

METHODS = ("translator", "fusion", "randomised")
SET_WORDS = {
    "method", "translator", "count", "per_donor", "seed", "masks", "noise", "brightness", "unevenness", "background",
    "donors", "minimum_voxels", "clinical_cases",
}  # fmt: skip


def refuse_impossible(study: dict, folder: str | Path, room: bool = True) -> None:
    """Raise if some stage is bound to fail, naming everything that is wrong.

    Args:
        study: of `load_study`.
        folder: that it will be run in.
        room: whether there must be room for it on the folder's disk.

    Raises:
        ValueError: unknown bundles, overlays or knobs; arms that contradict themselves; cohorts or cases that the data
            set lacks; too little room.
    """
    todo = stages(study, folder)
    cases = cases_of(study["data"])
    problems = [*_names(study), *_contradictions(study), *_data(study, cases), *_externals(study, cases)]
    if not problems and room:
        done = finished_stages(folder)
        left = [needs_of(study, stage, cases, None) for stage in todo if stage.name not in done]
        problems += _room(room_of(left), Path(folder))
    if problems:
        raise ValueError(f"study {study['name']!r} cannot be run:\n" + "\n".join(f"  {line}" for line in problems))


def _names(study: dict) -> Iterator[str]:
    """Bundles, overlays and knobs that do not exist."""
    parts = {f"translator {name!r}": part for name, part in translators(study).items()}
    for name, part in gans(study).items():
        parts[f"lesion GAN {name!r}"] = {"bundle": "lesion_wgan", **part}
    parts["the segmenter"] = {"bundle": "stroke_unet", **study["segmenter"]}
    for name, arm in study["arms"].items():
        settings = {key: value for key, value in arm.items() if key not in ARM_WORDS}
        parts[f"arm {name!r}"] = {"bundle": "stroke_unet", "overlays": [], "settings": settings}
    for who, part in parts.items():
        configs = BUNDLES / part["bundle"] / "configs"
        if not (configs / "train.json").is_file():
            yield f"{who}: there is no bundle {part['bundle']!r}."
            continue
        if missing := [name for name in part["overlays"] if not (configs / f"{name}.json").is_file()]:
            yield f"{who}: {part['bundle']} has no overlay {', '.join(missing)} (bundles/{part['bundle']}/configs)."
        known = knobs(part["bundle"])
        if unknown := sorted(set(part["settings"]) - set(known)):
            yield f"{who}: {', '.join(unknown)} is no knob of {part['bundle']} (its train.json lists them)."
    for name, choice in synthetic_sets(study).items():
        if unknown := sorted(set(choice) - SET_WORDS):
            yield f"set {name!r}: {', '.join(unknown)} is not known; expected {', '.join(sorted(SET_WORDS))}."
        if choice.get("method", "translator") not in METHODS:
            yield f"set {name!r}: method {choice['method']!r} is not known; expected one of {', '.join(METHODS)}."
        masks = choice.get("masks", "masks")
        if masks not in (None, "clinical", *mask_sets(study)) and not Path(masks).exists():
            yield (
                f"set {name!r}: masks {masks!r} is neither a mask set of the study ({', '.join(mask_sets(study))}), "
                "nor clinical, library, or a file or folder that is there."
            )


def _contradictions(study: dict) -> Iterator[str]:
    seeds = study["seeds"]
    if not seeds or len(set(seeds)) < len(seeds):
        yield f"seeds are {seeds}: expected at least one, each once."
    settings = study["segmenter"]["settings"]
    for name, arm in study["arms"].items():
        choice = settings | arm
        if arm.get("protocol", "as_paper") not in PROTOCOLS:
            yield f"arm {name!r}: protocol {arm['protocol']!r} is not known; expected one of {', '.join(PROTOCOLS)}."
        if arm.get("synthetic_share") is not None and not arm.get("synthetic"):
            yield f"arm {name!r} has a synthetic_share, but no synthetic set."
        share = choice.get("synthetic_share")
        if share is not None and not 0 < share <= 1:
            yield f"arm {name!r}: synthetic_share is {share}; expected a number above 0 and up to 1."
        if choice.get("clinical_cases") == 0 and not arm.get("synthetic"):
            yield f"arm {name!r} has no clinical cases and no synthetic set: there is nothing to train on."
        if share == 1 and choice.get("clinical_cases") != 0:
            yield f'arm {name!r} draws synthetic cases only (share 1): say "clinical_cases": 0.'
    same: dict[str, str] = {}
    for name, arm in study["arms"].items():
        key = repr(sorted((k, v) for k, v in arm.items() if k != "title" and v is not None))
        if (other := same.setdefault(key, name)) != name:
            yield f"arms {other!r} and {name!r} are the same."


def _data(study: dict, cases: Cases) -> Iterator[str]:
    """Cases and cohorts that are asked for and not there."""
    training = cases.positive["training"]
    for split in ("training", "validation", "test"):
        if not cases.positive[split]:
            yield f"the data set has no {split} case with a lesion. `python -m scripts.data split` assigns some."
    asked = {f"arm {name!r}": arm.get("clinical_cases") for name, arm in study["arms"].items()}
    for name, part in translators(study).items():
        asked[f"translator {name!r}"] = part["settings"].get("clinical_cases")
        if not cases.anatomies:
            yield f"translator {name!r} needs label maps, but some training cases have no anatomy."
    for who, wanted in asked.items():
        if wanted is not None and wanted > training:
            yield f"{who} asks for {wanted} clinical cases, but training has {training} with a lesion."
        if wanted is not None and wanted < 0:
            yield f"{who} asks for {wanted} clinical cases."
    have = {"normal": cases.normal, "stroke": training + cases.negative["training"]}
    have |= {"stroke_negative": cases.negative["training"], "all": sum(have.values())}
    for name, choice in synthetic_sets(study).items():
        donors = choice.get("donors", "normal")
        if have.get(donors, 1) == 0:
            yield f"set {name!r} takes the anatomy of {donors!r}, but training has no such case."
    for name, part in translators(study).items():
        if part["settings"].get("stroke_share") not in (None, 1, 1.0) and not cases.normal:
            yield f"translator {name!r} draws normal cases as well (stroke_share), but there is no normal cohort."


def _externals(study: dict, cases: Cases) -> Iterator[str]:
    """Test sets from elsewhere that runs of this study cannot be scored on, or not fairly."""
    for name, choice in externals(study).items():
        if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
            yield f"external test set {name!r}: expected letters, digits, _ and - in its name."
        try:
            found = cases_of(choice)
            if found.size != cases.size:
                yield f"external test set {name!r} lies on a grid of {found.size}, the study's data on {cases.size}."
            if not sum(found.positive.values()):
                yield f"external test set {name!r} has no case with a lesion."
            if "folder" in choice and "folder" in study["data"]:
                refuse_common_cases(read_dataset(study["data"]["folder"]), read_dataset(choice["folder"]))
        except (ValueError, FileNotFoundError) as error:
            yield f"external test set {name!r}: {error}"


def _room(gb: float, folder: Path) -> list[str]:
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free / 1e9
    if gb <= free:
        return []
    return [
        f"what is left to do needs about {gb:.0f} GB in {folder}, and {free:.0f} GB are free. Give another --out, "
        "fewer seeds or arms, or a smaller keep_last."
    ]
