"""Test cases that a run may have learned from: of another hospital's set, a challenge's, or a copy of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from .datalists import Case, Dataset, read_dataset
from .leaks import KEYS, LIBRARY, origins_of
from .mask_twins import refuse_twins

__all__ = ["refuse_common_cases", "refuse_seen_cases"]

ORIGINS = ("sha256", *KEYS)


def refuse_seen_cases(settings: dict, dataset: Dataset, cases: Sequence[Case]) -> None:
    """Raise if a run has learned, by whatever way, from a case that it is to be tested on. Says what it cannot check.

    Args:
        settings: of the run.
        dataset: that it is to be tested on.
        cases: of it.

    Raises:
        ValueError: naming the case and what has seen it.
    """
    trained = settings.get("dataset_dir")
    if not trained or not (Path(trained) / "dataset.json").is_file():
        print(f"Trained on {trained}, which is not here: whether these test cases have been seen was not checked.")
        return
    if Path(trained).resolve() == dataset.folder.resolve() and all(case.split == "test" for case in cases):
        return  # its own test split: before a study's training a guard has seen to that
    refuse_common_cases(read_dataset(trained), replace(dataset, cases=tuple(cases)))
    known = {(key, str(case.source[key])): case for case in cases for key in KEYS if case.source.get(key)}
    try:
        for origin in origins_of(settings, "the segmenter"):
            if origin.kind == LIBRARY:
                refuse_twins(origin.name, dataset, cases, origin.path)
            elif case := known.get((origin.kind, origin.name)):
                raise ValueError(
                    f"{dataset.folder / 'dataset.json'}: {origin.path} has seen the {origin.kind} {origin.name}, which "
                    f"is that of {case.subject}. Leave it out of the test set."
                )
    except FileNotFoundError as error:
        print(f"Whether these test cases have been seen was not checked as a whole: {error}")


def refuse_common_cases(study: Dataset, external: Dataset) -> None:
    """Raise if an external test set holds an image, a brain or a mask that a study trains or selects on.

    Args:
        study: the data set that the runs were trained on.
        external: the other one.

    Raises:
        ValueError: naming both cases; or both are the same set.
    """
    if external.folder.resolve() == study.folder.resolve():
        raise ValueError(
            f"{external.folder}: is the data set that was trained on; an external test set is another one."
        )
    known = {
        (key, case.source[key]): case
        for case in study.cases
        if case.split != "test"
        for key in ORIGINS
        if case.source.get(key) is not None
    }
    for case in external.cases:
        for key in ORIGINS:
            if twin := known.get((key, case.source.get(key))):
                raise ValueError(
                    f"{external.folder / 'dataset.json'}: {case.subject} has the {key} {case.source[key]} of "
                    f"{twin.subject}, a {twin.split} case of {study.folder}. Leave it out of the external test set."
                )
