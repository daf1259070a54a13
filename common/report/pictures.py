"""Pictures of a study's report: slices of label maps, images and masks, in radiological orientation."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..figures import outline, show_slice
from .figures import STYLE, YELLOW

__all__ = ["example_maps", "mask_pictures", "segmentations"]


def example_maps(rows: Sequence[dict], spacing: Sequence[float], stroke_title: str) -> Figure:
    """Anatomy, lesion painted in, synthetic DWI, and a stroke DWI to compare with, one line per case.

    Args:
        rows: `anatomy`, `label_map` (H, W) ids; `synthetic` {column: (H, W)}, the same columns in each row, and
            `stroke` (H, W), in [-1, 1]; `lesion`, `stroke_lesion` (H, W) masks, pointed at by an arrow; `title`,
            `stroke_title`.
        spacing: mm of a voxel.
        stroke_title: of the last column.
    """
    columns = ("healthy anatomy", "lesion injected", *rows[0]["synthetic"], stroke_title)
    figure, axes = _grid(len(rows), len(columns), rows[0]["anatomy"].shape, spacing)
    for line, row in zip(axes, rows):
        for ax, picture in zip(line, (row["anatomy"], row["label_map"], *row["synthetic"].values(), row["stroke"])):
            _show(ax, picture, spacing)
        for ax in line[2:-1]:
            _point_at(ax, row["lesion"])
        _point_at(line[-1], row["stroke_lesion"])
        line[0].set_ylabel(row["title"], fontsize=8)
        line[-1].set_xlabel(row["stroke_title"], fontsize=7, labelpad=2)
    for ax, title in zip(axes[0], columns):
        ax.set_title(_wrapped(title, len(columns)), fontsize=9)
    return figure


def segmentations(
    rows: Sequence[dict], arms: dict[str, str], colours: dict[str, str], spacing: Sequence[float]
) -> Figure:
    """Test images alone, then with the true outline (yellow) and each arm's; one line per case.

    Args:
        rows: `image` (H, W) in [-1, 1], `truth` (H, W), `predictions` {arm: (H, W)}, `title`, `scores` {arm: words}.
        arms: titles of the arms that are drawn.
        colours: of the arms.
        spacing: mm of a voxel.
    """
    figure, axes = _grid(len(rows), 1 + len(arms), rows[0]["image"].shape, spacing)
    for line, row in zip(axes, rows):
        for ax in line:
            _show(ax, row["image"], spacing)
        line[0].set_ylabel(row["title"], fontsize=8)
        for ax, arm in zip(line[1:], arms):
            outline(ax, row["truth"], YELLOW, 1.6)
            outline(ax, row["predictions"][arm], colours[arm], 1.6)
            ax.set_xlabel(row["scores"][arm], fontsize=8, labelpad=2)
    axes[0][0].set_title("image", fontsize=9)
    for ax, (arm, title) in zip(axes[0][1:], arms.items()):
        ax.set_title(_wrapped(title, 1 + len(arms)), fontsize=9, color=colours[arm], fontweight="bold")
    return figure


def mask_pictures(sets: dict[str, Sequence[np.ndarray]], colours: dict[str, str], spacing: Sequence[float]) -> Figure:
    """Masks seen from above, a line per set, {name: (H, W) numbers of lesion slices}."""
    across = max(len(row) for row in sets.values())
    shape = next(iter(sets.values()))[0].shape
    figure, axes = _grid(len(sets), across, shape, spacing)
    for line, (name, row) in zip(axes, sets.items()):
        for ax, picture in zip(line, row):
            _show(ax, picture.astype(float), spacing, (0, max(1, picture.max())))
        for ax in line[len(row) :]:
            ax.set_visible(False)
        line[0].set_ylabel(name, fontsize=9, color=colours[name])
    return figure


def _wrapped(title: str, columns: int) -> str:
    """Broken into lines as wide as a picture."""
    return fill(title, max(10, 100 // columns), break_long_words=False)


def _grid(rows: int, columns: int, shape: tuple[int, int], spacing: Sequence[float]) -> tuple[Figure, np.ndarray]:
    width = min(max(10 / columns, 1.3), 2.5)
    height = width * (shape[1] * spacing[1]) / (shape[0] * spacing[0])
    with plt.rc_context(STYLE):
        return plt.subplots(rows, columns, figsize=(width * columns + 0.3, (height + 0.2) * rows + 0.6), squeeze=False)


def _show(ax: Axes, plane: np.ndarray, spacing: Sequence[float], limits: tuple[float, float] = (-1, 1)) -> None:
    show_slice(ax, plane, spacing, limits)
    # Back on for the labels beside the picture, without anything else of an axis.
    ax.set_axis_on()
    ax.set(xticks=[], yticks=[])
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)


def _point_at(ax: Axes, mask: np.ndarray) -> None:
    """Point an arrow at a mask (H, W) from the outer side, so that the lesion itself stays uncovered."""
    if not mask.any():
        return
    places = np.argwhere(np.flip(mask > 0, 0))  # as `show_slice` flips
    outward = 1 if places[:, 0].mean() >= mask.shape[0] / 2 else -1
    edge = places[:, 0].max() if outward > 0 else places[:, 0].min()
    tip = (edge + 1.2 * outward, places[places[:, 0] == edge, 1].mean())
    tail = (np.clip(tip[0] + 0.12 * mask.shape[0] * outward, 0, mask.shape[0] - 1), tip[1])
    arrow = {"arrowstyle": "-|>", "color": YELLOW, "lw": 1.2, "shrinkA": 0, "shrinkB": 0}
    ax.annotate("", tip, tail, arrowprops=arrow, annotation_clip=False)
