"""All arms side by side: boxes as the paper draws them, differences and what they can show, the low-data curve."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..statistics import holm, minimal_detectable_difference, paired_difference, paired_scores
from .figures import STYLE, row_labels
from .folder import Section, StudyFolder, Table
from .forests import differences_plot
from .numbers import METRIC_TITLES, paired_rows

__all__ = ["clinical_count", "comparison", "draw_boxes", "low_data", "mean_boxes"]

PERCENT = 100
MOST_KINDS = 8
BOXED = ("dice", "precision", "recall", "hd_paper", "assd", "relative_volume_difference")
BOXES = "Boxes as the paper draws them: mean (line), one standard deviation (box), extremes (whiskers)."


def comparison(study: StudyFolder, section: Section) -> None:
    """Boxes of every arm (paper, Figs. 6, 7, 9), and the paired difference of every arm in Dice."""
    lesions = study.results[study.results["lesion_ml"] > 0]
    section.missing += [f"score of {run}" for run in study.open_scores()]
    arms = [arm for arm in study.titles if arm in set(lesions["arm"])]
    cases = lesions.groupby(["arm", "subject"], sort=False)[list(BOXED)].mean().reset_index()
    names = {arm: study.titles[arm] for arm in arms}
    study.draw(section, mean_boxes(cases, names, study.colours), "boxes", "Test scores of all arms",
          f"Lesion cases, each case's seeds averaged; distances without missed lesions. {BOXES}", cases)  # fmt: skip
    rows = _differences(study, arms)
    section.numbers["differences"] = rows
    if rows:
        study.draw(
            section, differences_plot(rows, study.contrasts, study.colours), "differences",
            f"Dice of every arm minus {study.titles[study.baseline]}, unless another arm is named",
            "An arm with synthetic cases is compared with that of as many clinical cases alone. Mean over cases of the "
            "paired difference (seeds averaged per case) and its 95 % interval, bootstrap over seeds x cases. Filled: "
            "Holm's p over all arms shown is below 0.05.", pd.DataFrame(rows),
        )  # fmt: skip
        section.tables.append(
            Table(
                "Differences in Dice, all arms as one family",
                ["arm", "compared with", "cases", "seeds", "difference (points) [95 %]", "p", "p (Holm)",
                 "detectable (points)"],
                [
                    [study.titles[row["arm"]], study.titles[row["against"]], str(row["n_cases"]), str(row["n_seeds"]),
                     f"{row['mean']:+.1f} [{row['low']:+.1f}, {row['high']:+.1f}]",
                     *(f"{row[key]:.3f}" if row[key] >= 0.001 else "< 0.001" for key in ("p", "p_holm")),
                     f"{row['detectable']:.1f}"]
                    for row in rows
                ],
                "p: Wilcoxon signed-rank over cases. Detectable: the smallest true difference that a paired t test on "
                "these cases finds with 80 % power, from the measured spread of the differences; about smaller ones an "
                "open result says nothing. It covers the choice of cases; the spread of trainings comes on top.",
                words=2,
            )
        )  # fmt: skip


def low_data(study: StudyFolder, section: Section) -> None:
    """Dice against the number of clinical cases: alone, with synthetic ones, fine-tuned; as the paper or honest."""
    lesions = study.results[study.results["lesion_ml"] > 0]
    rows = []
    for arm, entry in study.settings["arms"].items():
        if arm not in set(lesions["arm"]) or any(knob.endswith("augmentation") for knob in entry):
            continue
        per_seed = PERCENT * lesions[lesions["arm"] == arm].groupby("seed")["dice"].mean()
        numbers = {"dice": per_seed.mean(), "low": per_seed.min(), "high": per_seed.max(), "n_seeds": len(per_seed)}
        rows.append({"arm": arm, "kind": _kind(entry), "clinical_cases": clinical_count(study, arm)} | numbers)
    section.numbers["arms"] = rows
    if len({row["clinical_cases"] for row in rows if row["clinical_cases"]}) < 2:
        section.notes.append("This study has no arms with different numbers of clinical cases.")
        return
    study.draw(
        section, _curve(rows), "low_data", "Dice against the number of clinical cases",
        "Points: mean over seeds; bars: lowest and highest seed. Dashed: no clinical case at all.", pd.DataFrame(rows),
    )  # fmt: skip
    protocols = {entry.get("protocol", "as_paper") for entry in study.settings["arms"].values() if _uses(entry)}
    if "as_paper" in protocols:
        section.notes.append(
            "Synthetic cases “as the paper”: translator and lesion GAN may have seen more clinical cases than the "
            "arm's own. Such an arm shows what synthetic cases add for a group that has those cases but labels few of "
            "them for segmentation; it does not show what a group with only so few cases gains, unless the study's "
            "translators were restricted to them (their “clinical_cases” in study.json)."
        )
    if protocols - {"as_paper"}:
        more = len(study.data.select("validation", has_lesion=True))
        section.notes.append(
            "“Honest” arms: translator and lesion GAN saw this arm's clinical cases only, besides the normal cohort. "
            f"They show what a group with so few cases, and {more} more "
            "that are labelled to choose epochs by (validation, the same in all arms), can expect."
        )


def clinical_count(study: StudyFolder, arm: str) -> int:
    """How many clinical cases with a lesion an arm trains on: all, where the study does not limit them."""
    count = study.settings["arms"][arm].get("clinical_cases")
    return len(study.data.select("training", has_lesion=True)) if count is None else int(count)


def mean_boxes(cases: pd.DataFrame, arms: dict[str, str], colours: dict[str, str]) -> Figure:
    """A panel per metric of `BOXED`, a box per arm: mean, SD and extremes over the cases (rows `arm`, metrics)."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(2, 3, figsize=(10, 1.6 + 0.56 * len(arms)), sharey=True)
        for ax, metric in zip(axes.ravel(), BOXED):
            title = METRIC_TITLES[metric]
            draw_boxes(ax, [title.factor * cases.loc[cases["arm"] == arm, metric].dropna() for arm in arms],
                        [colours[arm] for arm in arms])  # fmt: skip
            ax.set_xlabel(f"{title.title} ({title.unit})")
            ax.set_yticks(range(len(arms)), row_labels(list(arms.values())))
            ax.grid(axis="y", visible=False)
        axes[0, 0].invert_yaxis()
        if cases["relative_volume_difference"].max() > 5:  # a few false positives on a tiny lesion hide all others
            axes[1, 2].set_xscale("symlog", linthresh=PERCENT)
        return figure


def draw_boxes(ax: Axes, values: Sequence[pd.Series], colours: Sequence[str]) -> None:
    """A box for each set of scores, from top to bottom: mean, SD and extremes, as the paper draws them."""
    for place, (scores, colour) in enumerate(zip(values, colours)):
        if not len(scores):
            continue
        mean, sd = scores.mean(), scores.std() if len(scores) > 1 else 0.0
        box = {"med": mean, "q1": mean - sd, "q3": mean + sd, "whislo": scores.min(), "whishi": scores.max()}
        drawn = ax.bxp([box], positions=[place], widths=0.55, orientation="horizontal", showfliers=False,
                       patch_artist=True, medianprops={"color": "black"}, manage_ticks=False)  # fmt: skip
        drawn["boxes"][0].set(facecolor=colour, alpha=0.75)


def _differences(study: StudyFolder, arms: Sequence[str]) -> list[dict]:
    rows = []
    for arm in arms:
        against = study.against(arm)
        if against is None:
            continue
        try:
            shared = paired_rows(study.results, arm, against)
        except ValueError:
            continue  # not scored with a common seed yet: `scores` says so
        found = paired_difference(shared, arm, against)
        points = {key: PERCENT * found[key] for key in ("mean", "low", "high")}
        detectable = PERCENT * minimal_detectable_difference(paired_scores(shared, arm, against, "dice"))
        rows.append({"arm": arm, "against": against, **found, **points, "detectable": detectable})
    for row, p in zip(rows, holm([row["p"] for row in rows])):
        row["p_holm"] = p
    return rows


def _curve(rows: Sequence[dict]) -> Figure:
    with plt.rc_context(STYLE):
        figure, ax = plt.subplots(figsize=(7.5, 3.8))
        kinds = list(dict.fromkeys(row["kind"] for row in rows))
        if len(kinds) > MOST_KINDS:  # arms at one number of cases have no curve
            kinds = [kind for kind in kinds if len({row["clinical_cases"] for row in rows if row["kind"] == kind}) > 1]
        for number, (kind, marker) in enumerate(zip(kinds, cycle("osD^vP*X"))):
            points = sorted((row for row in rows if row["kind"] == kind), key=lambda row: row["clinical_cases"])
            some = [row for row in points if row["clinical_cases"]]
            colour = ax._get_lines.get_next_color()
            for row in points:
                if not row["clinical_cases"]:
                    ax.axhline(row["dice"], color=colour, ls="--", lw=1.2, label=f"{kind}, no clinical case")
            apart = 1 + 0.025 * (number - (len(kinds) - 1) / 2)  # arms with as many cases side by side
            x, y = [apart * row["clinical_cases"] for row in some], [row["dice"] for row in some]
            if some:
                spread = [[row["dice"] - row["low"] for row in some], [row["high"] - row["dice"] for row in some]]
                line = "-" if len(set(x)) == len(x) else ""
                ax.errorbar(x, y, spread, fmt=f"{line}{marker}", color=colour, capsize=3, label=kind)
        counts = sorted({row["clinical_cases"] for row in rows if row["clinical_cases"]})
        ax.set(xscale="log", xlabel="clinical cases with a lesion", ylabel="Dice (%)", ylim=(0, None))
        ax.set_xticks(counts, list(map(str, counts)), minor=False)
        ax.minorticks_off()
        ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
        return figure


def _uses(entry: dict) -> bool:
    return bool(entry.get("synthetic") or entry.get("pretrained"))


def _kind(entry: dict) -> str:
    """The curve that an arm belongs to."""
    if entry.get("protocol", "as_paper") != "as_paper":
        return f"+ synthetic, {entry['protocol'].replace('_', ', ')}"
    if entry.get("pretrained"):
        return f"fine-tuned from {entry['pretrained']}"
    if share := entry.get("synthetic_share"):
        return f"+ {entry['synthetic']}, {share:.0%} of the draws"
    if not entry.get("synthetic"):
        return "clinical alone"
    return f"+ {entry['synthetic']}" if isinstance(entry["synthetic"], str) else "+ synthetic"
