"""Assign the cases of a data set to training, validation and test anew."""

from __future__ import annotations

import shutil
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np

from .datalists import Case, Dataset, read_dataset, write_dataset
from .grids import read_volume

__all__ = ["split_dataset"]

FIFTHS = 5
SHARED = ("source_brain", "source_mask", "donor")


def split_dataset(
    folder: str | Path, seed: int, validation: float = 0.15, test: float = 0.2, move_normal: bool = False
) -> Dataset:
    """Draw new splits and rewrite dataset.json; the old one stays as dataset.json.before-split-N.

    Cases that share a source brain, a source mask or a donor stay together. The stroke cohort is stratified by lesion
    volume (DWI-negative cases are a stratum of their own). Inside a split, cases with a lesion come first, then
    DWI-negative ones, then the normal cohort, each in an order drawn from `seed`.

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
    if min(validation, test) < 0 or validation + test >= 1:
        raise ValueError(f"shares are validation {validation}, test {test}: each at least 0, and together less than 1.")
    dataset = read_dataset(folder)
    path = dataset.folder / "dataset.json"
    if dataset.synthetic:
        raise ValueError(
            f"{path}: synthetic cases are for training only. Split the data set that they were drawn from."
        )
    rng = np.random.default_rng(seed)
    cases = [dataset.cases[i] for i in rng.permutation(len(dataset.cases))]
    shares = {"training": 1 - validation - test, "validation": validation, "test": test}
    split_of = _assign(_groups(cases), _strata(cases), shares, move_normal)
    moved = sorted((replace(case, split=split_of[case.subject]) for case in cases), key=_kind)
    _refuse_starved(path, moved, shares)
    _keep(path)
    return write_dataset(dataset.folder, dataset.header, moved)


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


def _strata(cases: list[Case]) -> dict[str, int]:
    """Stratum of each case: 0 to 4 by fifths of the lesion volume, 5 DWI-negative, 6 normal."""
    voxels = {case.subject: int((read_volume(case.label)[0] > 0).sum()) for case in cases if case.label is not None}
    ranked = sorted(voxels, key=voxels.get)
    strata = {case.subject: FIFTHS + (case.cohort == "normal") for case in cases if case.label is None}
    return strata | {subject: FIFTHS * rank // len(ranked) for rank, subject in enumerate(ranked)}


def _assign(
    groups: list[list[Case]], strata: dict[str, int], shares: dict[str, float], move_normal: bool
) -> dict[str, str]:
    """Give each group to the split that then lacks most, in all and in the group's strata, relative to its share."""

    def tally(cases: list[Case]) -> np.ndarray:
        """Cases per stratum, then in all; the normal cohort counts only if it may move."""
        counts = np.bincount([strata[c.subject] for c in cases if move_normal or c.cohort == "stroke"], minlength=7)
        return np.append(counts, counts.sum())

    everything = tally([case for group in groups for case in group])
    lacking = {split: share * everything for split, share in shares.items() if share > 0}
    split_of = {}
    for group in sorted(groups, key=lambda group: not _stays(group, move_normal)):
        ours = tally(group)

        def wanted(split: str, ours: np.ndarray = ours) -> float:
            relative = (lacking[split] - ours) / np.maximum(shares[split] * everything, 1e-9)
            return float(relative[-1] + np.average(relative[:-1], weights=ours[:-1]))

        chosen = "training" if _stays(group, move_normal) else max(lacking, key=wanted)
        lacking[chosen] = lacking[chosen] - ours
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
