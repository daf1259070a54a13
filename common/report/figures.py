"""Drawings of a study's report. Each function takes plain arrays and tables, and returns a matplotlib figure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from textwrap import fill

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

__all__ = [
    "BADGE", "SET_COLOURS", "STYLE", "VARIANT_COLOURS", "YELLOW", "arm_colours", "histograms",
    "loss_curves", "mask_distributions", "row_labels", "save", "spectra",
    "strips",
]  # fmt: skip

BADGE = "Simulated phantom: says nothing about clinical accuracy"

# Okabe and Ito's colours, told apart with any colour vision; the order is the arms' order, baseline first.
BLUE, VERMILLION, GREEN, PURPLE, ORANGE, YELLOW = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#F0E442"
GREY = "#7F7F7F"
# After these, darker and lighter ones: not all pairs of ten can be told apart by hue alone.
ARM_COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, "#56B4E9", "#333333", "#8C564B", "#9A8B00", "#7B61C9")
SET_COLOURS = {"normal": GREY, "stroke": BLUE, "synthetic": VERMILLION}
VARIANT_COLOURS = (PURPLE, GREEN, ORANGE, "#56B4E9", "#333333", "#8C564B", "#9A8B00", "#7B61C9")
WARNING = "#9C2B00"

STYLE = {
    "font.size": 9, "font.family": "DejaVu Sans", "axes.titlesize": 9, "axes.spines.top": False,
    "axes.spines.right": False, "axes.grid": True, "grid.color": "#E4E4E4", "grid.linewidth": 0.6,
    "axes.axisbelow": True, "legend.frameon": False, "legend.fontsize": 8, "figure.constrained_layout.use": True,
}  # fmt: skip


def arm_colours(arms: Sequence[str], baseline: str) -> dict[str, str]:
    """One colour per arm, the same in all figures; the baseline has the first."""
    ordered = [baseline, *(arm for arm in arms if arm != baseline)]
    return dict(zip(ordered, cycle(ARM_COLOURS)))


def row_labels(titles: Sequence[str]) -> list[str]:
    """Titles for the left side of a figure, broken into lines so that they leave room for it."""
    return [fill(title, 36, break_long_words=False) for title in titles]


def save(figure: Figure, path, title: str, simulated: bool) -> None:
    """Write a figure as PNG under its title; simulated data are named in the picture itself, which may travel alone."""
    with plt.rc_context(STYLE):
        figure.suptitle(title, fontsize=10, fontweight="bold")
        if simulated:
            figure.supxlabel(BADGE, fontsize=8, color=WARNING)
        figure.savefig(path, dpi=130, facecolor="white")
    plt.close(figure)


def strips(panels: Sequence[tuple[str, dict[str, Sequence[float]]]], colours: dict[str, str]) -> Figure:
    """Box and points of each set of numbers; a panel is (axis label, {set: numbers})."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, len(panels), figsize=(4.2 * len(panels), 3.2), squeeze=False)
        rng = np.random.default_rng(0)
        for ax, (label, groups) in zip(axes[0], panels):
            for place, (name, values) in enumerate(groups.items()):
                colour = colours.get(name, GREY)
                ax.boxplot(
                    values, positions=[place], widths=0.5, showfliers=False, patch_artist=True,
                    boxprops={"facecolor": (*to_rgb(colour), 0.18), "edgecolor": colour},
                    medianprops={"color": colour, "linewidth": 2}, whiskerprops={"color": colour},
                    capprops={"color": colour}, manage_ticks=False,
                )  # fmt: skip
                ax.scatter(place + rng.uniform(-0.16, 0.16, len(values)), values, s=9, color=colour, alpha=0.55, lw=0)
            _name_groups(ax, [f"{name}\n(n = {len(values)})" for name, values in groups.items()], range(len(groups)))
            ax.set_xlim(-0.6, len(groups) - 0.4)
            ax.set_ylabel(label)
            ax.grid(axis="x", visible=False)
        return figure


def _name_groups(ax: Axes, names: Sequence[str], places: Sequence[float]) -> None:
    """Names below the boxes, upright only while there is room."""
    many = len(names) > 5
    ax.set_xticks(places, names, rotation=90 if many else 0, fontsize=7 if many else None)


def mask_distributions(sets: dict[str, list[dict]], colours: dict[str, str]) -> Figure:
    """Volume, components and side of sets of masks, {name: `mask_features` of each mask}, beside each other.

    Where masks have a "territory" and a "nearest_dice" (`common.mask_comparison`), these have panels as well.
    """
    most = 6
    parts = [*map(str, range(1, most)), f"{most}+"]
    kinds = {"components": parts, "side": ["left", "right", "bilateral"], "territory": ["MCA", "VB", "PCA", "ACA"]}
    first = next(iter(sets.values()))[0]
    kinds = {key: names for key, names in kinds.items() if key in first}
    curves = {"volume_ml": "volume (ml)", "nearest_dice": "Dice with the nearest training mask"}
    curves = {key: label for key, label in curves.items() if key in first}
    with plt.rc_context(STYLE):
        count = len(kinds) + len(curves)
        figure, axes = plt.subplots(1, count, figsize=(10 / 3 * count, 3.1))
        for ax, (key, label) in zip(axes, curves.items()):
            for name, masks in sets.items():
                ordered = np.sort([mask[key] for mask in masks])
                heights = np.arange(1, len(ordered) + 1) / len(ordered)
                ax.step(ordered, heights, where="post", lw=1.8, color=colours[name])
            ax.set(xlabel=label, ylabel="share of masks up to this")
        axes[0].set(xscale="log", title="volume")
        axes[0].xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        for ax, (key, names) in zip(axes[len(curves) :], kinds.items()):
            width = 0.8 / len(sets)
            for place, (name, masks) in enumerate(sets.items()):
                values = [mask[key] for mask in masks]
                values = [parts[min(value, most) - 1] for value in values] if key == "components" else values
                shares = [values.count(kind) / len(values) for kind in names]
                offset = (place - (len(sets) - 1) / 2) * width
                ax.bar(
                    np.arange(len(names)) + offset, shares, width, color=colours[name],
                    label=f"{name} (n = {len(masks)})",
                )  # fmt: skip
            ax.set(ylabel="share of masks", title=key)
            ax.set_xticks(range(len(names)), names)
        axes[-1].legend(loc="upper right")
        axes[-1].set_ylim(0, 1)
        return figure


def histograms(
    edges: np.ndarray, sets: dict[str, np.ndarray], titles: dict[str, str], colours: dict[str, str]
) -> Figure:
    """Mean density of brain intensities in [0, 1] of each set, with the quartiles of its cases as a band.

    Args:
        edges: (bins + 1,).
        sets: {set: densities (cases, bins)}.
        titles, colours: of each set.
    """
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.2))
        centres = (edges[:-1] + edges[1:]) / 2
        for ax, scale in zip(axes, ("linear", "log")):
            for name, densities in sets.items():
                low, high = np.percentile(densities, [25, 75], axis=0)
                ax.fill_between(centres, low, high, color=colours[name], alpha=0.15, lw=0)
                label = f"{titles[name]} (n = {len(densities)})"
                ax.plot(centres, densities.mean(0), color=colours[name], lw=1.8, label=label)
            ax.set(xlabel="intensity, rescaled to [0, 1]", ylabel="density", xlim=(0, 1), yscale=scale)
        axes[0].legend()
        return figure


def spectra(
    frequencies: np.ndarray, power: dict[str, np.ndarray], steps: dict[str, Sequence[float]], colours: dict[str, str]
) -> Figure:
    """Power spectra (cases, bands) of each set, their quartiles as a band, beside the steps between its slices."""
    with plt.rc_context(STYLE):
        figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.2), width_ratios=(2, 1))
        for name, rows in power.items():
            low, high = np.percentile(rows, [25, 75], axis=0)
            left.fill_between(frequencies, low, high, color=colours[name], alpha=0.15, lw=0)
            left.plot(frequencies, rows.mean(0), "-o", ms=3, color=colours[name], label=f"{name} (n = {len(rows)})")
        left.set(xlabel="spatial frequency in cycles per pixel", ylabel="power (variance)", yscale="log", xlim=(0, 0.5))
        below = {"ncols": 3, "loc": "upper center", "bbox_to_anchor": (0.5, -0.18)} if len(power) > 5 else {}
        left.legend(**below)
        for place, (name, values) in enumerate(steps.items()):
            right.boxplot(values, positions=[place], widths=0.5, showfliers=False, manage_ticks=False,
                          boxprops={"color": colours[name]}, medianprops={"color": colours[name]})  # fmt: skip
        _name_groups(right, list(steps), range(len(steps)))
        right.set(ylabel="step between slices", xlim=(-0.6, len(steps) - 0.4), ylim=(0, None))
        return figure


def loss_curves(runs: dict[str, pd.DataFrame], colours: dict[str, str], titles: dict[str, str]) -> Figure:
    """The columns of the losses.csv of one or several runs of a bundle against the epoch.

    One run: its training losses share a panel. Several: a panel per column, a line per run in its colour, runs of one
    title once in the legend. `val_loss` is dashed beside `loss`, every other `val_` column has a panel of its own.
    """
    columns = list(dict.fromkeys(name for table in runs.values() for name in table.columns if name != "epoch"))
    training = [name for name in columns if not name.startswith("val_")]
    panels = [[name] for name in training] if len(runs) > 1 else [training]
    for name in columns:
        if name == "val_loss" and "loss" in training:
            next(panel for panel in panels if "loss" in panel).append(name)
        elif name.startswith("val_"):
            panels.append([name])
    across = min(len(panels), 3)
    down = -(-len(panels) // across)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(down, across, figsize=(10, 2.6 * down), squeeze=False)
        for ax in axes.ravel()[len(panels) :]:
            ax.set_axis_off()
        for ax, panel in zip(axes.ravel(), panels):
            shown, named = [], set()
            for (run, table), name in ((item, name) for name in panel for item in runs.items()):
                if name not in table or not table[name].notna().any():
                    continue
                rows = table.dropna(subset=name)
                colour = colours[run] if len(runs) > 1 else None
                label = name if len(runs) == 1 else titles[run]
                label = None if label in named else label
                named.add(label)
                dashed = "--" if name == "val_loss" and len(panel) > 1 else "-"
                marker = "." if name.startswith("val_") and len(rows) < 40 else None
                ax.plot(rows["epoch"], rows[name], dashed, color=colour, label=label, lw=1.2, marker=marker)
                shown.append(rows[name].to_numpy())
            if _wants_log_scale(shown):
                ax.set_yscale("log")
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
            ax.set(xlabel="epoch", title="training losses" if len(panel) > 1 and len(runs) == 1 else ", ".join(panel))
            if panel is panels[0] or (len(runs) == 1 and len(panel) > 1):
                ax.legend(fontsize=7)
        return figure


def _wants_log_scale(series: Sequence[np.ndarray]) -> bool:
    values = np.concatenate(series) if series else np.zeros(1)
    return bool((values > 0).all() and values.max() > 20 * values.min())
