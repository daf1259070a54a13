"""Refuse to train a segmenter where something that it learns from has seen a held-out subject.

Followed from the segmenter to its synthetic set, to that set's donors and masks, to the translator and the lesion GAN
that made it, and to whatever they went on from or were chosen by. What has been on the way is read from the run folders
and the sidecars, not from what a study says it wanted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .datalists import Case, Dataset, fingerprint, read_dataset
from .mask_twins import refuse_twins

__all__ = ["KEYS", "LIBRARY", "Origin", "origins_of", "refuse_leaks"]

KEYS = ("source_brain", "source_mask")
LIBRARY = "library"


@dataclass(frozen=True)
class Origin:
    """One thing that was learned from (`kind`: subject, source_brain, source_mask, or a mask library), and by what."""

    kind: str
    name: str
    path: str


def refuse_leaks(settings: dict, honest: bool = False) -> None:
    """Raise if a segmenter with these settings would, by any way, learn from a validation or test case.

    Args:
        settings: of a `stroke_unet` training: dataset_dir, and synthetic_dir, pretrained, clinical_cases if any.
        honest: also raise if by any way a stroke case was seen that is not one of its own clinical cases.

    Raises:
        ValueError: naming the subject and the way that it took.
    """
    dataset = read_dataset(settings["dataset_dir"])
    path = dataset.folder / "dataset.json"
    held_out, strangers = {}, {}
    own = {case.subject for case in _clinical(dataset, settings.get("clinical_cases"))}
    for case in dataset.cases:
        for kind, name in _names(case):
            if case.split != "training":
                held_out[kind, name] = case
            elif case.cohort == "stroke" and case.subject not in own:
                strangers[kind, name] = case
    kept_apart, searched = [case for case in dataset.cases if case.split != "training"], set()
    for origin in origins_of(settings, "the segmenter"):
        if origin.kind == LIBRARY:
            if origin.name not in searched:
                refuse_twins(origin.name, dataset, kept_apart, origin.path)
            searched.add(origin.name)
            continue
        if case := held_out.get((origin.kind, origin.name)):
            raise ValueError(
                f"{path}: {origin.path} has seen the {origin.kind} {origin.name}, which is that of {case.subject} in "
                f"{case.split!r}: test results would be too good. Make what has seen it again, from training cases."
            )
        if honest and (case := strangers.get((origin.kind, origin.name))):
            raise ValueError(
                f"{path}: an honest arm of {len(own)} clinical cases may learn from these and the normal cohort only, "
                f"but {origin.path} has seen the {origin.kind} {origin.name} of {case.subject}, which is none of them."
            )


def origins_of(settings: dict, path: str) -> Iterator[Origin]:
    """Everything that a training with these settings learns from, by whatever way.

    Args:
        settings: of any bundle's training.
        path: words for what is trained.

    Raises:
        FileNotFoundError: something on the way is not there, so that nobody can tell.
        ValueError: a data set on the way has changed since.
    """
    if library := settings.get("mask_library"):
        yield from _of_library(library, settings["size"], path)
    elif folder := settings.get("dataset_dir"):
        if settings.get("dataset") not in (None, fingerprint(folder)):
            raise ValueError(
                f"{folder}/dataset.json has changed since {path} was trained on it, so that its training cases may be "
                "held out now. Restore the file, or train again in another folder."
            )
        for case in _trained_on(read_dataset(folder), settings):
            yield from (Origin(kind, name, path) for kind, name in _names(case))
    if folder := settings.get("synthetic_dir"):
        yield from _of_set(Path(folder), f"{path} <- {Path(folder).name}")
    for key in ("pretrained", "segmenter"):
        if run := settings.get(key):
            yield from _of_run(Path(run), f"{path} <- {Path(run).name}")


def _of_run(run: Path, path: str) -> Iterator[Origin]:
    file = run / "settings.json"
    if not file.is_file():
        raise FileNotFoundError(f"{file}: not there, so that nobody can tell what {path} has seen. Train it again.")
    yield from origins_of(json.loads(file.read_text())["settings"], path)


def _of_set(folder: Path, path: str) -> Iterator[Origin]:
    made = json.loads((folder / "synthesis.json").read_text()) if (folder / "synthesis.json").is_file() else {}
    for case in read_dataset(folder).cases:
        for key in ("donor", "mask_subject"):
            if name := case.source.get(key):
                yield Origin("subject", str(name), f"{path}, {key} of {case.subject}")
        for key in ("appearance", "drawn"):  # noise, brightness or a lesion's strength are those of a real case
            if name := (case.source.get(key) or {}).get("reference"):
                yield Origin("subject", str(name), f"{path}, {key} of {case.subject}")
        for key in KEYS:
            if name := case.source.get(key):
                yield Origin(key, str(name), f"{path}, {case.subject}")
    if model := made.get("model"):
        yield from _of_run(Path(model), f"{path} <- {Path(model).name}")
    masks = Path(made.get("masks") or "")
    if (masks / "masks.json").is_file():
        drawn = json.loads((masks / "masks.json").read_text())
        model = Path(drawn["model"])
        yield from _of_run(model, f"{path} <- {masks.name} <- {model.name}")
        if drawn.get("select", "none") not in ("none", "training"):
            yield from _of_library(drawn["select"], drawn["size"], f"{path} <- {masks.name}, selected")
    elif made.get("masks") not in (None, "None", "clinical"):  # "None": a lesion-free set
        yield from _of_library(made["masks"], read_dataset(folder).size, f"{path} <- {masks.name}")


def _of_library(library: str, size: Sequence[int], path: str) -> Iterator[Origin]:
    """Masks of a library that were learned from. That of a published lesion GAN need not be on this machine."""
    from .mask_library import read_masks

    if not Path(library).exists():
        print(f"{path} learned from {library}, which is not here: whose masks they are was not checked.")
        return
    yield Origin(LIBRARY, str(library), path)
    for name in read_masks(library, tuple(size), "training").ids:
        yield Origin("source_mask", str(name), path)


def _trained_on(dataset: Dataset, settings: dict) -> list[Case]:
    limit = settings.get("clinical_cases")
    stroke = dataset.select("training", "stroke") if limit is None else _clinical(dataset, limit)
    return [*stroke, *dataset.select("training", "normal")]


def _clinical(dataset: Dataset, limit: int | None) -> list[Case]:
    return dataset.select("training", "stroke", has_lesion=True)[:limit]


def _names(case: Case) -> Iterator[tuple[str, str]]:
    yield "subject", case.subject
    for key in KEYS:
        if name := case.source.get(key):
            yield key, str(name)
