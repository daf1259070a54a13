"""The paper's own protocol beside ours: every kept epoch of a run on the test cases, their mean and their maximum."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..epoch_scores import epochs_table
from ..study import keeps_epochs
from .figures import STYLE
from .folder import Section, StudyFolder, Table
from .numbers import number, spread

__all__ = ["protocol"]

PERCENT = 100


def protocol(study: StudyFolder, section: Section) -> None:
    """Dice of each arm by both protocols, its difference to the baseline by both, and the epochs as curves."""
    wanted = [run for run in study.expected_runs if keeps_epochs(study.settings, run[0])]
    if not wanted:
        section.notes.append("This study keeps no epochs (`keep_last`), which the paper's protocol needs.")
        return
    section.missing += [
        f"{arm}, seed {seed}, by epoch" for arm, seed in wanted if not study.epochs_file(arm, seed).is_file()
    ]
    frame = study.epochs
    table = epochs_table(frame)
    lesions = frame[frame["lesion_ml"] > 0]
    both = table.join(_selected(study)).reset_index()
    means = both.groupby("arm", sort=False)[["mean", "sd", "max", "selected"]].mean() * PERCENT
    section.numbers = {"runs": both.to_dict("records"), "arms": means.reset_index().to_dict("records")}
    rows = []
    for arm, row in means.iterrows():
        runs = both[both["arm"] == arm]
        less = [number(gain, "+") for gain in _gains(both, arm, study.against(arm))]
        rows.append(
            [study.contrasts[arm], str(len(runs)), f"{runs['first'].min()} to {runs['last'].max()}",
             spread(row["mean"], row["sd"]), number(row["max"]), number(row["selected"]), *less]
        )  # fmt: skip
    section.tables.append(
        Table(
            "Dice (%) by the paper's protocol and by ours",
            ["arm", "seeds", "epochs", "mean ± SD over epochs", "best epoch", "chosen on validation",
             "difference: mean", "best", "chosen"],
            rows,
            "The first two scores are the paper's: mean and maximum, over the last epochs, of the test cases' mean "
            "Dice. The maximum is chosen by the test cases themselves, and therefore too high. The third is ours, and "
            "what every other section of this page is about: one epoch, chosen on validation cases. Means over seeds; "
            "the SD is that over epochs of one training, not an uncertainty. Differences are over the seeds that both "
            f"arms have, to {study.titles[study.baseline]} unless another arm is named.",
        )
    )  # fmt: skip
    curves = (PERCENT * lesions.groupby(["arm", "seed", "epoch"], sort=False)["dice"].mean()).reset_index()
    study.draw(
        section, _curves(curves, study), "epochs", "Dice on the test cases at every kept epoch",
        "Thin: one training; thick: mean over seeds. Every point is a reading of the test split: choose nothing by it.",
        curves,
    )  # fmt: skip


def _selected(study: StudyFolder) -> pd.Series:
    """Dice of the selected weights, mean over lesion cases, by (arm, seed)."""
    try:
        lesions = study.results[study.results["lesion_ml"] > 0]
    except FileNotFoundError:  # an epoch may be scored before the selected weights are
        lesions = study.epochs[:0]
    return lesions.groupby(["arm", "seed"])["dice"].mean().rename("selected")


def _gains(both: pd.DataFrame, arm: str, against: str | None) -> list[float]:
    """Points that an arm has more than another over the seeds of both: by mean, maximum and the selected weights."""
    scores = both.set_index(["arm", "seed"])[["mean", "max", "selected"]]
    if against not in scores.index.unique("arm"):
        return [float("nan")] * 3
    return list(PERCENT * (scores.loc[arm] - scores.loc[against]).mean())


def _curves(curves: pd.DataFrame, study: StudyFolder) -> Figure:
    with plt.rc_context(STYLE):
        figure, ax = plt.subplots(figsize=(8.6, 3.6))
        for arm in dict.fromkeys(curves["arm"]):
            rows, colour = curves[curves["arm"] == arm], study.colours[arm]
            for _, run in rows.groupby("seed"):
                ax.plot(run["epoch"], run["dice"], color=colour, lw=0.6, alpha=0.5)
            mean = rows.groupby("epoch")["dice"].mean()
            ax.plot(mean.index, mean, ".-", color=colour, lw=1.8, label=study.titles[arm])
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set(xlabel="epoch", ylabel="Dice (%)")
        ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
        return figure
