"""Who is made: the subjects of a phantom data set, and which brains each split may use."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..datalists import SPLITS
from .anatomy import Brain

__all__ = ["KINDS", "Subject", "plan_subjects", "split_brains"]

SPLIT_SHARES = {"training": 0.5, "validation": 0.2, "test": 0.3}
BRAIN_SHARES = {"training": 8 / 14, "validation": 2 / 14, "test": 4 / 14}
KINDS = ("positive", "negative", "normal")


@dataclass(frozen=True)
class Subject:
    """One line of the plan; `kind` is positive, negative (DWI-negative stroke case) or normal."""

    name: str
    split: str
    kind: str
    index: int
    count: int

    @property
    def cohort(self) -> str:
        return "normal" if self.kind == "normal" else "stroke"


def plan_subjects(subjects: int | dict[str, int], negatives: float | dict[str, int]) -> list[Subject]:
    """Who is made, in file order: per split the lesions, then the DWI-negative cases, then the normal cohort.

    Args:
        subjects: how many in all, or {"normal", "training", "validation", "test"}: the last three with a lesion.
        negatives: DWI-negative stroke cases, as a share of the stroke cases of each split, or how many in which split.
    """
    if isinstance(negatives, dict):
        if not isinstance(subjects, dict) or set(negatives) - set(SPLITS) or min(negatives.values(), default=0) < 0:
            raise ValueError(f"negatives is {negatives}; by split it needs subjects by split, and {', '.join(SPLITS)}.")
    elif not 0 <= negatives < 1:
        raise ValueError(f"negatives is {negatives}; expected a share from 0 up to, but not including, 1.")
    counts: dict[tuple[str, str], int] = {}
    if isinstance(subjects, dict):
        unknown = sorted(set(subjects) - {"normal", *SPLITS})
        if unknown:
            raise ValueError(f"subjects has unknown keys {unknown}; expected normal, {', '.join(SPLITS)}.")
        for split in SPLITS:
            counts[split, "positive"] = int(subjects.get(split, 0))
            counts[split, "negative"] = (
                negatives.get(split, 0) if isinstance(negatives, dict) else round(negatives * counts[split, "positive"])
            )
        counts["training", "normal"] = int(subjects.get("normal", 0))
    else:
        stroke = int(subjects) - int(subjects) // 2
        validation, test = (round(SPLIT_SHARES[split] * stroke) for split in ("validation", "test"))
        for split, total in zip(SPLITS, (stroke - validation - test, validation, test)):
            counts[split, "negative"] = min(round(negatives * total), max(0, total - 1))
            counts[split, "positive"] = total - counts[split, "negative"]
        counts["training", "normal"] = int(subjects) // 2
    if min(counts.values()) < 0 or sum(counts.values()) == 0:
        raise ValueError(f"subjects is {subjects}; expected at least one subject and no negative number.")
    plan, stroke_number = [], 0
    for split in SPLITS:
        for kind in KINDS:
            total = counts.get((split, kind), 0)
            for index in range(total):
                stroke_number += kind != "normal"
                name = f"normal-{index + 1:04d}" if kind == "normal" else f"stroke-{stroke_number:04d}"
                plan.append(Subject(name, split, kind, index, total))
    return plan


def split_brains(brains: list[Brain], seed: int) -> dict[str, list[Brain]]:
    """Brains of each split, about 57 : 14 : 29 %, drawn by the seed; default brains serve all splits.

    Raises:
        ValueError: fewer than three brains.
    """
    if all(brain.source is None for brain in brains):
        return dict.fromkeys(SPLITS, brains)
    if len(brains) < 3:
        raise ValueError(f"{len(brains)} label maps cannot be split by brain; give at least 3 (one for each split).")
    order = np.random.default_rng([seed, 101]).permutation(len(brains))
    validation, test = (max(1, round(BRAIN_SHARES[split] * len(brains))) for split in ("validation", "test"))
    ends = [len(brains) - validation - test, len(brains) - test, len(brains)]
    return {split: [brains[i] for i in order[a:b]] for split, a, b in zip(SPLITS, [0, *ends], ends)}
