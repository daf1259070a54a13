"""Test sets from elsewhere: another hospital's or a challenge's, which nothing in a study has learned from."""

from __future__ import annotations

from .datalists import Dataset

__all__ = ["refuse_common_cases"]

ORIGINS = ("sha256", "source_brain", "source_mask")


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
