"""How the arms do on test sets from elsewhere (paper, Fig. 10)."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from ..datalists import read_dataset
from ..results import read_results
from ..statistics import paired_difference
from .comparison import draw_boxes
from .figures import STYLE, row_labels
from .folder import Section, StudyFolder, Table
from .numbers import paired_rows, spread

__all__ = ["external"]

PERCENT = 100


def external(study: StudyFolder, section: Section) -> None:
    """A box and a table row per arm and external test set; its paired difference on the same cases."""
    names = study.settings.get("external", {})
    if not names:
        section.notes.append("This study names no external test set (`--external`, docs/studies.md).")
        return
    for name in names:
        frame = _results(study, name, section)
        if frame is None:
            continue
        simulated = read_dataset(study.path / "external" / name).simulated
        kind = "simulated" if simulated else "not simulated"
        lesions = frame[frame["lesion_ml"] > 0]
        arms = [arm for arm in study.titles if arm in set(lesions["arm"])]
        section.tables.append(_table(study, name, kind, lesions, arms, section.numbers.setdefault(name, {})))
        study.draw(
            section,
            _boxes(study, lesions, arms),
            f"external_{name}",
            f"{name} ({kind}): Dice of each arm",
            "All lesion cases of a data set that nothing in the study has learned from, each case's seeds averaged. "
            "Boxes as the paper draws them: mean (line), one standard deviation (box), extremes (whiskers).",
            lesions.groupby(["arm", "subject"], sort=False)["dice"].mean().reset_index(),
        )


def _results(study: StudyFolder, name: str, section: Section) -> pd.DataFrame | None:
    files = {
        run: study.path / "results" / "external" / name / f"{run[0]}_seed{run[1]}.csv" for run in study.expected_runs
    }
    section.missing += [
        f"score of {arm}, seed {seed} on {name}" for (arm, seed), file in files.items() if not file.is_file()
    ]
    there = [file for file in files.values() if file.is_file()]
    return read_results(there) if there else None


def _table(study: StudyFolder, name: str, kind: str, lesions: pd.DataFrame, arms: list[str], numbers: dict) -> Table:
    rows = []
    for arm in arms:
        per_case = lesions[lesions["arm"] == arm].groupby("subject")["dice"].mean()
        numbers[arm] = {"dice": float(per_case.mean()), "sd": float(per_case.std()), "n_cases": len(per_case)}
        against, difference = study.against(arm), "–"
        try:
            shared = paired_rows(lesions, arm, against) if against else None
        except ValueError:  # not scored with a common seed yet
            shared = None
        if shared is not None:
            found = paired_difference(shared, arm, against)
            numbers[arm]["difference"] = {key: found[key] for key in ("mean", "low", "high", "n_seeds")}
            mean, low, high = (PERCENT * found[key] for key in ("mean", "low", "high"))
            difference = f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]"
        dice = spread(PERCENT * per_case.mean(), PERCENT * per_case.std())
        rows.append([study.contrasts[arm], str(len(per_case)), dice, difference])
    columns = ["arm", "cases", "Dice (%)", "difference [95 %]"]
    note = f"Exploratory: not the comparison of the study. Compared with {study.titles[study.baseline]}, if no other."
    return Table(f"External test set {name} ({kind})", columns, rows, note)


def _boxes(study: StudyFolder, lesions: pd.DataFrame, arms: list[str]) -> Figure:
    cases = [PERCENT * lesions[lesions["arm"] == arm].groupby("subject")["dice"].mean() for arm in arms]
    with plt.rc_context(STYLE):
        figure, ax = plt.subplots(figsize=(7, 0.5 + 0.5 * len(arms)))
        draw_boxes(ax, cases, [study.colours[arm] for arm in arms])
        ax.set_yticks(range(len(arms)), row_labels([study.titles[arm] for arm in arms]))
        ax.invert_yaxis()
        ax.set(xlabel="Dice (%)", xlim=(-2, 102))
        return figure
