"""The paper's Tables I and II; beneath their rows those of this study, where it is the paper's."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from ..epoch_scores import epochs_table
from ..results import metrics_table
from .folder import Section, StudyFolder, Table
from .numbers import METRIC_TITLES, spread

__all__ = ["PAPER_METRICS", "PUBLISHED", "paper_row", "published"]

PUBLISHED = Path(__file__).with_name("published.json")
PAPER_METRICS = ("dice", "relative_volume_difference", "hd_paper", "assd", "precision", "recall")  # of Table II
OURS = "  this study"


def published(study: StudyFolder, section: Section) -> None:
    """The paper's Tables I and II, to read beside ours.

    A study with `"published": true` calls its arms as `published.json` does; their rows stand beneath the paper's.
    """
    content = json.loads(PUBLISHED.read_text())
    ours = "simulated images" if study.simulated else "another data set"
    section.notes.append(
        f"Published by {content['source']}. Measured on another data set ({content['data']}); this study's scores come "
        f"from {ours}, so that levels must not be compared, only whether differences point the same way."
    )
    with_ours = bool(study.settings.get("published"))
    if with_ours:
        section.notes.append(
            "This study's rows: mean ± SD over the kept epochs in Table I and for few cases, seeds averaged; in Table "
            "II mean ± SD over the test cases, of the epoch that was chosen on validation cases."
        )
    over_epochs, over_cases = (_over_epochs(study), _over_cases(study)) if with_ours else ({}, {})
    for key, title in (
        ("table_1", "Paper, Table I"),
        ("few_cases", "Paper, few cases"),
        ("table_2", "Paper, Table II"),
    ):
        part = content[key]
        rows = []
        for row, arms in zip(part["rows"], part["arms"]):
            rows.append([cell or "–" for cell in row])
            mine = over_cases.get(arms) if isinstance(arms, str) else _cells(arms, over_epochs)
            if mine:
                rows.append([OURS + (" (simulated)" if study.simulated else ""), *mine])
        section.tables.append(Table(f"{title}: {part['metric']} (another data set)", part["columns"], rows))


def paper_row(table: pd.DataFrame, arm: str) -> list[str]:
    """An arm's row of Table II from `metrics_table`: mean ± SD over the test cases of each of `PAPER_METRICS`."""
    cells = []
    for metric in PAPER_METRICS:
        row, factor = table.loc[arm, metric], METRIC_TITLES[metric].factor
        cells.append(spread(factor * row["mean"], factor * row["sd"]))
    return cells


def _over_epochs(study: StudyFolder) -> dict[str, str]:
    try:
        table = epochs_table(study.epochs)
    except FileNotFoundError:
        return {}
    means = 100 * table.groupby("arm", sort=False)[["mean", "sd"]].mean()
    return {arm: spread(row["mean"], row["sd"]) for arm, row in means.iterrows()}


def _over_cases(study: StudyFolder) -> dict[str, list[str]]:
    try:
        frame = study.results
    except FileNotFoundError:
        return {}
    table = metrics_table(frame)
    return {arm: paper_row(table, arm) for arm in frame["arm"].unique()}


def _cells(arms: list[str | None], scores: dict[str, str]) -> list[str] | None:
    cells = [scores.get(arm, "–") if arm else "–" for arm in arms]
    return cells if set(cells) != {"–"} else None
