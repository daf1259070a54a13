"""Results on disk, one tidy CSV per run, and the tables made from them alone.

One row per case and evaluated epoch. `epoch` is empty for the selected weights (`model.pt`). Cases without a lesion
(`lesion_ml` 0) have no overlap scores: they never enter a mean of Dice, and count towards specificity only.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import beta

from .metrics import DISTANCES, METRICS

__all__ = [
    "COLUMNS", "SIZE_BINS", "read_results", "write_results", "with_misses",
    "metrics_table", "misses_table", "sizes_table", "negatives_table", "summary",
]  # fmt: skip

COLUMNS = ("run", "arm", "seed", "epoch", "subject", "cohort", "lesion_ml", *METRICS, "diagonal_mm")

SIZE_BINS = {"< 1 ml": (0, 1), "1-5 ml": (1, 5), "5-20 ml": (5, 20), "> 20 ml": (20, np.inf)}

_TEXT = {"run": str, "arm": str, "subject": str, "cohort": str}
_KEY = ["run", "epoch", "subject"]


def write_results(frame: pd.DataFrame, path: str | Path) -> None:
    """Write a tidy CSV under a temporary name first, so that a killed run leaves no half file.

    Raises:
        ValueError: the frame lacks columns or holds a case twice.
    """
    path = Path(path)
    _validate(frame, path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    frame[list(COLUMNS)].to_csv(temporary, index=False)
    temporary.replace(path)


def read_results(paths: str | Path | Iterable[str | Path]) -> pd.DataFrame:
    """Read one or more CSVs as one frame with the columns `COLUMNS`; `epoch` is a nullable integer.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: there is no file, one is not a result, or a case stands in them twice; the message names it.
    """
    paths = [Path(path) for path in ([paths] if isinstance(paths, str | Path) else paths)]
    if not paths:
        raise ValueError("no result files given. Make one with `python -m scripts.evaluate`.")
    frames = [_read(path) for path in paths]
    frame = pd.concat(frames, ignore_index=True)
    _validate(frame, ", ".join(map(str, paths)))
    return frame


def with_misses(frame: pd.DataFrame) -> pd.DataFrame:
    """Add `hd95_with_misses` and the like: the distances, where a missed lesion counts as the volume's diagonal."""
    missed = _missed(frame)
    return frame.assign(
        **{f"{name}_with_misses": frame[name].where(~missed, frame["diagonal_mm"]) for name in DISTANCES}
    )


def metrics_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Mean, SD, median and quartiles over lesion cases, one row per arm and metric.

    The case is the unit: its scores are averaged over the arm's seeds first. Distances stand twice: without misses
    (`n_cases` says over how many cases) and with them as the volume's diagonal (`_with_misses`).
    """
    names = [*METRICS, *(f"{name}_with_misses" for name in DISTANCES)]
    cases = _case_means(with_misses(_lesion_cases(frame)), names)
    scores = cases.melt(["arm"], names, var_name="metric", value_name="score").groupby(["arm", "metric"], sort=False)
    table = scores["score"].agg(
        n_cases="count",
        mean="mean",
        sd="std",
        median="median",
        q25=lambda score: score.quantile(0.25),
        q75=lambda score: score.quantile(0.75),
    )
    return table.reindex(pd.MultiIndex.from_product([frame["arm"].unique(), names], names=["arm", "metric"]))


def misses_table(frame: pd.DataFrame) -> pd.DataFrame:
    """How many lesion cases were missed, one row per arm; `readings` are cases x seeds."""
    lesions = _lesion_cases(frame)
    marked = lesions.assign(missed=_missed(lesions), zero_dice=lesions["dice"] == 0)
    return marked.groupby("arm", sort=False).agg(
        n_seeds=("run", "nunique"),
        n_cases=("subject", "nunique"),
        readings=("subject", "size"),
        empty_predictions=("missed", "sum"),
        zero_dice=("zero_dice", "sum"),
    )


def sizes_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Dice by true lesion volume, one row per arm and bin; the lower edge belongs to a bin."""
    lesions = _lesion_cases(frame)
    lesions = lesions.assign(missed=_missed(lesions).astype(float), zero_dice=(lesions["dice"] == 0).astype(float))
    cases = _case_means(lesions, ["lesion_ml", "dice", "recall", "missed", "zero_dice"])
    edges = [low for low, _ in SIZE_BINS.values()] + [np.inf]
    cases["lesion_size"] = pd.cut(cases["lesion_ml"], edges, right=False, labels=list(SIZE_BINS))
    table = cases.groupby(["arm", "lesion_size"], sort=False, observed=True).agg(
        n_cases=("dice", "size"),
        dice=("dice", "mean"),
        dice_sd=("dice", "std"),
        dice_median=("dice", "median"),
        recall=("recall", "mean"),
        empty_share=("missed", "mean"),
        zero_dice_share=("zero_dice", "mean"),
    )
    every = pd.MultiIndex.from_product([frame["arm"].unique(), list(SIZE_BINS)], names=["arm", "lesion_size"])
    table = table.reindex(every)
    table["n_cases"] = table["n_cases"].fillna(0).astype(int)
    return table


def negatives_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Cases without a lesion, one row per arm: specificity with its 95 % Clopper-Pearson interval, and false volume.

    A case is a true negative where nothing at all was predicted. With several seeds specificity is their mean, and the
    interval that of the number of cases, not of readings: seeds are no further patients. Empty without such cases.
    """
    negatives = frame[frame["lesion_ml"] == 0]
    negatives = negatives.assign(correct=(negatives["false_positive_ml"] == 0).astype(float))
    cases = _case_means(negatives, ["correct", "false_positive_ml"])
    table = cases.groupby("arm", sort=False).agg(
        n_cases=("correct", "size"),
        specificity=("correct", "mean"),
        false_positive_ml=("false_positive_ml", "mean"),
        false_positive_ml_median=("false_positive_ml", "median"),
        false_positive_ml_max=("false_positive_ml", "max"),
    )
    count, correct = table["n_cases"], table["n_cases"] * table["specificity"]
    # Exact at the ends, where beta.ppf is undefined (no or only correct cases).
    table.insert(2, "low", np.where(correct > 0, beta.ppf(0.025, correct, count - correct + 1), 0.0))
    table.insert(3, "high", np.where(correct < count, beta.ppf(0.975, correct + 1, count - correct), 1.0))
    return table


def summary(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """All tables of a study: `metrics`, `misses`, `sizes`, `negatives`.

    Raises:
        ValueError: a run holds several epochs; averaging them would be another statistic.
    """
    epochs = frame.assign(epoch=frame["epoch"].fillna(-1)).groupby("run")["epoch"].nunique()
    if (epochs > 1).any():
        raise ValueError(
            f"runs {list(epochs.index[epochs > 1])} hold more than one evaluated epoch. Pass the rows of one of them, "
            "for example frame[frame['epoch'].isna()] for the selected weights."
        )
    return {
        "metrics": metrics_table(frame),
        "misses": misses_table(frame),
        "sizes": sizes_table(frame),
        "negatives": negatives_table(frame),
    }


def _lesion_cases(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame["lesion_ml"] > 0]


def _missed(frame: pd.DataFrame) -> pd.Series:
    return (frame["lesion_ml"] > 0) & frame["hd_max"].isna()


def _case_means(frame: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    return frame.groupby(["arm", "subject"], sort=False)[names].mean().reset_index()


def _read(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such results. Make them with `python -m scripts.evaluate --out {path}`.")
    try:
        frame = pd.read_csv(path, dtype=_TEXT, na_values=[""], keep_default_na=False)
    except ValueError as error:
        raise ValueError(f"{path}: not a result CSV ({error}). Delete it and evaluate again.") from error
    _validate(frame, path)
    numbers = [name for name in COLUMNS if name not in _TEXT]
    try:
        frame[numbers] = frame[numbers].apply(pd.to_numeric)
        return frame[list(COLUMNS)].astype({"seed": int, "epoch": "Int64"})
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: holds a cell that should be a number ({error}). Evaluate again.") from error


def _validate(frame: pd.DataFrame, source: object) -> None:
    missing = [name for name in COLUMNS if name not in frame]
    if missing:
        raise ValueError(f"{source}: columns {missing} are missing. Delete it and evaluate again.")
    empty = [name for name in (*_TEXT, "seed", "lesion_ml", "false_positive_ml") if frame[name].isna().any()]
    if empty:
        raise ValueError(f"{source}: columns {empty} have empty cells. Delete it and evaluate again.")
    twice = frame[frame.duplicated(_KEY)]
    if len(twice):
        run, subject = twice.iloc[0][["run", "subject"]]
        raise ValueError(
            f"{source}: subject {subject} of run {run} stands there twice for one epoch. Give each run's file once."
        )
