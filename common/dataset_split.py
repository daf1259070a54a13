"""Assign the cases of a data set to training, validation and test anew."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from .datalists import Case, Dataset, read_dataset, write_dataset
from .grids import read_volume

__all__ = ["assign_splits", "split_dataset"]

FIFTHS = 5
# How much more the numbers of positive, DWI-negative and normal cases count than the mix of lesion volumes. With 1,
# small strata round to nothing, and 12 cases with a lesion leave none for validation.
KIND_WEIGHT = 8
SHARED = ("source_brain", "source_mask", "donor")


def split_dataset(
    folder: str | Path, seed: int, validation: float = 0.15, test: float = 0.2, move_normal: bool = False
) -> Dataset:
    """Draw new splits and rewrite dataset.json; the old one stays as dataset.json.before-split-N.

    Cases that share a source brain, a source mask or a donor stay together. The stroke cohort is stratified by lesion
    volume (DWI-negative cases are a stratum of their own), and by centre where sidecars tell it. Inside a split, cases
    with a lesion come first, then DWI-negative ones, then the normal cohort, each in an order drawn from `seed`.

    Args:
        folder: of the data set.
        seed: of the draw.
        validation: share of the stroke cohort.
        test: share of the stroke cohort.
        move_normal: let the normal cohort follow its group into validation and test. It stays in training otherwise,
            and so does every stroke case that shares a brain or a mask with it.

    Raises:
        ValueError: impossible shares, a synthetic data set, or too few groups for the shares; nothing is written then.
    """
    dataset = read_dataset(folder)
    path = dataset.folder / "dataset.json"
    if dataset.synthetic:
        raise ValueError(
            f"{path}: synthetic cases are for training only. Split the data set that they were drawn from."
        )
    moved = assign_splits(path, dataset.cases, seed, validation, test, move_normal)
    _keep(path)
    return write_dataset(dataset.folder, dataset.header, moved)


def assign_splits(
    path: Path, cases: Sequence[Case], seed: int, validation: float, test: float, move_normal: bool = False
) -> list[Case]:
    """The same cases with their split drawn anew, as `split_dataset` does; `path` names them in errors."""
    if min(validation, test) < 0 or validation + test >= 1:
        raise ValueError(f"shares are validation {validation}, test {test}: each at least 0, and together less than 1.")
    rng = np.random.default_rng(seed)
    drawn = [cases[i] for i in rng.permutation(len(cases))]
    shares = {"training": 1 - validation - test, "validation": validation, "test": test}
    split_of = _assign(_groups(drawn), _fifths(drawn), shares, move_normal)
    moved = sorted((replace(case, split=split_of[case.subject]) for case in drawn), key=_kind)
    _refuse_starved(path, moved, shares)
    return moved


def _kind(case: Case) -> int:
    """0 with a lesion, 1 DWI-negative, 2 normal."""
    return 2 if case.cohort == "normal" else int(case.label is None)


def _groups(cases: list[Case]) -> list[list[Case]]:
    """Cases that may not be parted, found by joining all that share an origin; largest groups first."""
    origins = {case.subject: _origins(case) for case in cases}
    parent = {origin: origin for found in origins.values() for origin in found}

    def root(origin):
        while parent[origin] != origin:
            origin = parent[origin]
        return origin

    for found in origins.values():
        for origin in found[1:]:
            parent[root(origin)] = root(found[0])
    groups = defaultdict(list)
    for case in cases:
        groups[root(origins[case.subject][0])].append(case)
    return sorted(groups.values(), key=len, reverse=True)


def _origins(case: Case) -> list[tuple[str, str]]:
    """Where a case comes from. A donor is a subject, so both share a name."""
    found = [("subject", case.subject)]
    for key in SHARED:
        if case.source.get(key) is not None:
            found.append(("subject" if key == "donor" else key, str(case.source[key])))
    return found


def _fifths(cases: list[Case]) -> dict[str, int]:
    """0 to 4 for each case with a lesion, by its rank in volume."""
    voxels = {case.subject: int((read_volume(case.label)[0] > 0).sum()) for case in cases if case.label is not None}
    return {subject: FIFTHS * rank // len(voxels) for rank, subject in enumerate(sorted(voxels, key=voxels.get))}


def _assign(
    groups: list[list[Case]], fifths: dict[str, int], shares: dict[str, float], move_normal: bool
) -> dict[str, str]:
    """Give each group to the split that then lacks most of what the group consists of, relative to its share."""

    centres = sorted({str(case.source.get("centre")) for group in groups for case in group})

    def tally(cases: list[Case]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Cases by kind, by fifth and by centre; the normal cohort counts only if it may move."""
        counted = [case for case in cases if move_normal or case.cohort == "stroke"]
        kinds = np.bincount([_kind(case) for case in counted], minlength=3)
        volumes = np.bincount([fifths[case.subject] for case in counted if case.label], minlength=FIFTHS)
        places = [centres.index(str(case.source.get("centre"))) for case in counted]
        return kinds, volumes, np.bincount(places, minlength=len(centres)) * (len(centres) > 1)

    everything = tally([case for group in groups for case in group])
    given = {split: (np.zeros(3), np.zeros(FIFTHS), np.zeros(len(centres))) for split in shares if shares[split] > 0}
    split_of = {}
    for group in sorted(groups, key=lambda group: not _stays(group, move_normal)):
        ours = tally(group)

        def wanted(split: str, ours: tuple = ours) -> float:
            full = shares[split] * sum(everything[0])
            score = 1 - sum(given[split][0] + ours[0]) / full
            for weight, all_of, theirs, mine in zip((KIND_WEIGHT, 1, 1), everything, given[split], ours):
                if mine.any():
                    lacking = 1 - (theirs + mine) / np.maximum(shares[split] * all_of, 1e-9)
                    score += weight * np.average(lacking, weights=mine)
            return score

        chosen = "training" if _stays(group, move_normal) else max(given, key=wanted)
        given[chosen] = tuple(before + more for before, more in zip(given[chosen], ours))
        split_of |= dict.fromkeys((case.subject for case in group), chosen)
    return split_of


def _stays(group: list[Case], move_normal: bool) -> bool:
    return not move_normal and any(case.cohort == "normal" for case in group)


def _refuse_starved(path: Path, cases: list[Case], shares: dict[str, float]) -> None:
    for split, share in shares.items():
        wanted = share * sum(case.label is not None for case in cases)
        found = sum(case.label is not None for case in cases if case.split == split)
        if wanted and (found == 0 or found < wanted / 2 - 1):
            raise ValueError(
                f"{path}: {split} would get {found} cases with a lesion instead of {wanted:.1f}, as the others share "
                "brains or masks with cases elsewhere. Add cases, change the shares, or let normal cases move "
                "(--move_normal)."
            )


def _keep(path: Path) -> None:
    number = 1
    while (kept := path.with_name(f"{path.name}.before-split-{number}")).exists():
        number += 1
    shutil.copy2(path, kept)
