"""Forest plots of paired differences: a few arms in all their detail, or many by lesion size."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .figures import STYLE, row_labels

__all__ = ["differences_plot", "forest_panels", "forest_plot"]


def forest_plot(entries: Sequence[dict], arms: dict[str, str], colours: dict[str, str]) -> Figure:
    """Paired differences in points with their intervals, grouped as `numbers.forest` gives them."""
    lines = list(dict.fromkeys((entry["group"], entry["label"]) for entry in entries))
    groups = list(dict.fromkeys(group for group, _ in lines))
    height = {line: -position - 0.6 * groups.index(line[0]) for position, line in enumerate(lines)}
    shown = [arm for arm in arms if any(entry["arm"] == arm for entry in entries)]
    with plt.rc_context(STYLE):
        figure, ax = plt.subplots(
            figsize=(8.6, 1.2 + 0.34 * (len(lines) + 0.6 * len(groups)) * max(1, len(shown) * 0.7))
        )
        for entry in entries:
            y = height[entry["group"], entry["label"]] + 0.22 * ((len(shown) - 1) / 2 - shown.index(entry["arm"]))
            colour = colours[entry["arm"]]
            ax.plot([entry["low"], entry["high"]], [y, y], color=colour, lw=1.8, solid_capstyle="butt")
            ax.plot(entry["mean"], y, "s", color=colour, ms=6 if entry["group"] == "Dice" else 4.5)
            numbers = f"{entry['mean']:+.1f} [{entry['low']:+.1f}, {entry['high']:+.1f}]  n = {entry['n_cases']}"
            ax.annotate(
                numbers, (1.01, y), xycoords=("axes fraction", "data"), va="center", fontsize=7, color=colour,
                annotation_clip=False,
            )  # fmt: skip
        ax.axvline(0, color="#333333", lw=1)
        ax.set_yticks(list(height.values()), [label for _, label in lines])
        for group in groups[1:]:
            top = max(y for line, y in height.items() if line[0] == group)
            ax.axhline(top + 0.8, color="#BBBBBB", lw=0.6)
        ax.set_ylim(min(height.values()) - 0.6, 0.6)
        ax.grid(axis="y", visible=False)
        ax.spines["left"].set_visible(False)
        ax.tick_params(axis="y", length=0)
        ax.set_xlabel("difference in points (right: better)")
        handles = [Line2D([], [], color=colours[arm], marker="s", ms=4.5, label=arms[arm]) for arm in shown]
        ax.legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
        return figure


def forest_panels(entries: Sequence[dict], arms: dict[str, str], colours: dict[str, str]) -> Figure:
    """The same for many arms: a line per arm, a panel for all lesions and for each size of them."""
    groups = ("Dice", "Dice by lesion volume")
    panels = list(dict.fromkeys(entry["label"] for entry in entries if entry["group"] in groups))
    shown = [arm for arm in arms if any(entry["arm"] == arm for entry in entries)]
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            1, len(panels), figsize=(3 + 2.1 * len(panels), 1.3 + 0.36 * len(shown)), sharey=True, squeeze=False
        )
        for ax, panel in zip(axes[0], panels):
            rows = {entry["arm"]: entry for entry in entries if entry["label"] == panel}
            for place, arm in enumerate(shown):
                if arm in rows:
                    ax.plot([rows[arm]["low"], rows[arm]["high"]], [place, place], color=colours[arm], lw=1.8)
                    ax.plot(rows[arm]["mean"], place, "s", ms=5, color=colours[arm])
            ax.axvline(0, color="#333333", lw=1)
            ax.set_title(f"{panel}\nn = {max(row['n_cases'] for row in rows.values())}")
            ax.set_xlabel("points")
            ax.grid(axis="y", visible=False)
        axes[0, 0].set_yticks(range(len(shown)), row_labels([arms[arm] for arm in shown]))
        axes[0, 0].set_ylim(len(shown) - 0.5, -0.5)
        return figure


def differences_plot(rows: Sequence[dict], arms: dict[str, str], colours: dict[str, str]) -> Figure:
    """Difference in points of each row's `arm` with its interval; filled where `p_holm` is below 0.05."""
    with plt.rc_context(STYLE):
        figure, ax = plt.subplots(figsize=(8.6, 1.3 + 0.38 * len(rows)))
        for place, row in enumerate(rows):
            colour = colours[row["arm"]]
            ax.plot([row["low"], row["high"]], [place, place], color=colour, lw=1.8)
            ax.plot(row["mean"], place, "s", ms=6, color=colour, mfc=colour if row["p_holm"] < 0.05 else "white")
        ax.axvline(0, color="#333333", lw=1)
        ax.set_yticks(range(len(rows)), row_labels([arms[row["arm"]] for row in rows]))
        ax.set_ylim(len(rows) - 0.5, -0.5)
        ax.grid(axis="y", visible=False)
        ax.set_xlabel("difference in Dice, points (right: better)")
        return figure
