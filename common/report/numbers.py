"""The numbers of a study's report that come from its result files: headline, paired differences, tables per seed."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pandas as pd

from ..results import SIZE_BINS
from ..statistics import holm, paired_difference
from ..study_parts import reference_of

__all__ = [
    "METRIC_TITLES",
    "MetricTitle",
    "differences",
    "forest",
    "headline",
    "headline_arm",
    "number",
    "paired_rows",
    "seeds_table",
    "spread",
]

FEW_CASES = 20
FEW_SEEDS = 5


class MetricTitle(NamedTuple):
    """How a metric is shown: a value of the CSV times `factor` is in `unit`."""

    title: str
    unit: str
    factor: float
    more_is_better: bool


METRIC_TITLES = {
    name: MetricTitle(*row)
    for name, row in {
        "dice": ("Dice", "%", 100, True),
        "precision": ("Precision", "%", 100, True),
        "recall": ("Recall", "%", 100, True),
        "lesion_f1": ("Lesion-wise F1", "%", 100, True),
        "lesion_count_difference": ("Lesion count difference", "", 1, False),
        "relative_volume_difference": ("Relative volume difference", "%", 100, False),
        "volume_difference_ml": ("Volume difference", "ml", 1, False),
        "false_positive_ml": ("False-positive volume", "ml", 1, False),
        "hd_paper": ("Hausdorff (paper, eq. 5)", "mm", 1, False),
        "hd_paper_with_misses": ("… misses as the diagonal", "mm", 1, False),
        "hd_max": ("Hausdorff (maximum)", "mm", 1, False),
        "hd_max_with_misses": ("… misses as the diagonal", "mm", 1, False),
        "hd95": ("Hausdorff, 95th percentile", "mm", 1, False),
        "hd95_with_misses": ("… misses as the diagonal", "mm", 1, False),
        "assd": ("Average surface distance", "mm", 1, False),
        "assd_with_misses": ("… misses as the diagonal", "mm", 1, False),
    }.items()
}


def headline_arm(study: dict) -> str | None:
    """The arm that the headline is about: the first that adds synthetic cases to clinical ones.

    Without such an arm the first that uses synthetic cases, else the first but the baseline.
    """
    others = [arm for arm in study["arms"] if arm != study["baseline"]]
    synthetic = [arm for arm in others if study["arms"][arm].get("synthetic")]
    added = [arm for arm in synthetic if study["arms"][arm].get("clinical_cases") != 0]
    return next(iter(added or synthetic or others), None)


def paired_rows(frame: pd.DataFrame, arm: str, baseline: str) -> pd.DataFrame:
    """Rows of two arms for the seeds and subjects that all their runs share: while a study runs, one arm is ahead.

    Raises:
        ValueError: they share none yet.
    """
    rows = frame[frame["arm"].isin([arm, baseline])]
    seeds = set.intersection(*(set(rows.loc[rows["arm"] == name, "seed"]) for name in (arm, baseline)))
    rows = rows[rows["seed"].isin(seeds)]
    runs = rows.groupby("run")["subject"].agg(set)
    subjects = set.intersection(*runs) if len(runs) else set()
    rows = rows[rows["subject"].isin(subjects)]
    if not (rows["lesion_ml"] > 0).any():
        raise ValueError(f"{arm!r} and {baseline!r} were not scored on the same lesion cases with the same seed yet.")
    return rows


def headline(frame: pd.DataFrame, study: dict) -> dict:
    """Mean Dice of `headline_arm` and its `reference_of`, their paired difference, and what may be said of it.

    Returns:
        `baseline`, `arm`, `baseline_dice`, `arm_dice` and the entries of `paired_difference`, all as fractions of 1;
        `effect`: "better", "worse" or "open", by the interval; `verdict` and `cautions` in words.

    Raises:
        ValueError: there is no second arm, or no shared seed and lesion case yet.
    """
    arm = headline_arm(study)
    if arm is None:
        raise ValueError("the study has one arm only; a difference needs a second one.")
    baseline = reference_of(study, arm)
    rows = paired_rows(frame, arm, baseline)
    numbers = paired_difference(rows, arm, baseline)
    means = rows[rows["lesion_ml"] > 0].groupby("arm")["dice"].mean()
    effect = "better" if numbers["low"] > 0 else "worse" if numbers["high"] < 0 else "open"
    added = _only_adds_cases(study["arms"][arm], study["arms"][baseline])
    verdict = {
        "better": f"The interval lies above 0: here {'the added cases helped' if added else 'this arm scored higher'}.",
        "worse": f"The interval lies below 0: here {'the added cases did harm' if added else 'this arm scored lower'}.",
        "open": "The interval contains 0: these results do not show that "
        + ("the added cases help or harm." if added else "the arms differ."),
    }[effect]
    return {
        "baseline": baseline,
        "arm": arm,
        "baseline_dice": float(means[baseline]),
        "arm_dice": float(means[arm]),
        **numbers,
        "effect": effect,
        "verdict": verdict,
        "cautions": _cautions(numbers["n_cases"], numbers["n_seeds"]),
    }


def _only_adds_cases(arm: dict, reference: dict) -> bool:
    """Whether synthetic cases are all that an arm has more than another."""
    ignored = ("title", "synthetic", "synthetic_share", "protocol", "against", "epochs")
    knobs, others = ({key: value for key, value in entry.items() if key not in ignored} for entry in (arm, reference))
    return bool(arm.get("synthetic")) and not reference.get("synthetic") and knobs == others


def _cautions(n_cases: int, n_seeds: int) -> list[str]:
    cautions = []
    if n_seeds == 1:
        cautions.append(
            "One seed: the interval covers the choice of cases only. Trained again, both arms would move by points."
        )
    elif n_seeds < FEW_SEEDS:
        cautions.append(
            f"{n_seeds} seeds show too little of their own spread: the interval covers the truth less often than 95 % "
            "(87 to 95 %, see common/statistics.py)."
        )
    if n_cases < FEW_CASES:
        cautions.append(f"{n_cases} test cases are too few for a bootstrap interval to be trusted.")
    return cautions


def differences(frame: pd.DataFrame, study: dict) -> list[dict]:
    """Paired difference of every arm to its `reference_of` ("against") in every metric, in the units of the CSV.

    `p_holm`: Dice is the primary metric, its family is all arms. All other comparisons together are the second,
    exploratory family.
    """
    rows = []
    for arm in study["arms"]:
        against = reference_of(study, arm)
        if against is None:
            continue
        try:
            shared = paired_rows(frame, arm, against)
        except ValueError:
            continue
        for metric in METRIC_TITLES:
            try:
                found = paired_difference(shared, arm, against, metric)
                rows.append({"arm": arm, "against": against, "metric": metric, **found})
            except ValueError:  # a distance that is undefined for every case: no comparison
                continue
    for primary in (True, False):
        family = [row for row in rows if (row["metric"] == "dice") == primary]
        for row, p in zip(family, holm([row["p"] for row in family])):
            row["p_holm"] = p
    return rows


def forest(frame: pd.DataFrame, study: dict) -> list[dict]:
    """What the forest plot shows: differences in points (x 100), of all cases, by lesion size, seed, and other scores.

    Each entry: `group`, `label`, `arm`, `against` and those of `paired_difference` (mean, low, high in points).
    """
    entries = []
    for arm in study["arms"]:
        against = reference_of(study, arm)
        if against is None:
            continue
        try:
            rows = paired_rows(frame, arm, against)
        except ValueError:
            continue
        subsets = [("Dice", "Dice, all lesions", "dice", rows)]
        for name, (low, high) in SIZE_BINS.items():
            subsets.append(
                ("Dice by lesion volume", f"Dice, {name}", "dice", rows[rows["lesion_ml"].between(low, high, "left")])
            )
        if rows["seed"].nunique() > 1:
            for seed, part in rows.groupby("seed"):
                subsets.append(("Dice by seed", f"Dice, seed {seed}", "dice", part))
        for metric in ("precision", "recall", "lesion_f1"):
            subsets.append(("Other scores", METRIC_TITLES[metric].title, metric, rows))
        for group, label, metric, part in subsets:
            if part.loc[part["lesion_ml"] > 0, "subject"].nunique() < 2:
                continue  # one case has no interval
            numbers = paired_difference(part, arm, against, metric)
            points = {key: 100 * numbers[key] for key in ("mean", "low", "high")}
            entries.append({"group": group, "label": label, "arm": arm, "against": against, **numbers, **points})
    return entries


def seeds_table(frame: pd.DataFrame, study: dict) -> pd.DataFrame:
    """Mean Dice over lesion cases, one row per seed, one column per arm of the study; NaN where not scored yet."""
    lesions = frame[frame["lesion_ml"] > 0]
    table = lesions.pivot_table("dice", "seed", "arm", aggfunc="mean")
    return table.reindex(
        columns=list(study["arms"]), index=sorted(set(table.index) | set(study["seeds"])), fill_value=np.nan
    )


def number(value: float, sign: str = "") -> str:
    """With one decimal; a dash where there is none (NaN)."""
    return "–" if math.isnan(value) else f"{value:{sign}.1f}"


def spread(mean: float, sd: float) -> str:
    """Mean ± SD; the mean alone where there is no SD."""
    return number(mean) if math.isnan(sd) else f"{number(mean)} ± {number(sd)}"
