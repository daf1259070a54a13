"""Pictures of a study's report: slices of label maps, images and masks. The patient's right is on the left."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from ..labels import LABELS, LESION
from .figures import STYLE, YELLOW

__all__ = ["example_maps", "mask_pictures", "segmentations"]

TISSUE_COLOURS = {
    "background": "#000000", "white matter": "#E8E4DA", "cortex": "#9DA3AD", "csf": "#2F4B7C",
    "cerebellum": "#C9B79C", "deep grey matter": "#7FA88B", "brainstem": "#B08BB0", "lesion": "#E8432E",
}  # fmt: skip


def example_maps(rows: Sequence[dict], spacing: Sequence[float], stroke_title: str) -> Figure:
    """Anatomy, lesion painted in, synthetic DWI, and a stroke DWI to compare with, one line per case.

    Args:
        rows: `anatomy`, `label_map` (H, W) ids; `synthetic`, `stroke` (H, W) in [-1, 1]; `lesion`, `stroke_lesion`
            (H, W) masks, pointed at by an arrow; `title`, `stroke_title`.
        spacing: mm of a voxel.
        stroke_title: of the last column.
    """
    columns = ("healthy anatomy", "lesion injected", "synthetic DWI", stroke_title)
    figure, axes = _grid(len(rows), len(columns), rows[0]["anatomy"].shape, spacing)
    for line, row in zip(axes, rows):
        for ax, key in zip(line, ("anatomy", "label_map")):
            _show(ax, row[key], spacing, cmap=_label_colours(), vmin=0, vmax=LESION, interpolation="nearest")
        for ax, key, mask in ((line[2], "synthetic", "lesion"), (line[3], "stroke", "stroke_lesion")):
            _show(ax, row[key], spacing, cmap="gray", vmin=-1, vmax=1)
            _point_at(ax, row[mask])
        line[0].set_ylabel(row["title"], fontsize=8)
        line[3].set_xlabel(row["stroke_title"], fontsize=7, color="#555555")
    for ax, title in zip(axes[0], columns):
        ax.set_title(title)
    return figure


def segmentations(
    rows: Sequence[dict], arms: dict[str, str], colours: dict[str, str], spacing: Sequence[float]
) -> Figure:
    """Test images with the true outline (yellow) and each arm's, one line per case, one column per arm.

    Args:
        rows: `image` (H, W) in [-1, 1], `truth` (H, W), `predictions` {arm: (H, W)}, `title`, `scores` {arm: title}.
        arms: titles of the arms that are drawn.
    """
    figure, axes = _grid(len(rows), 1 + len(arms), rows[0]["image"].shape, spacing)
    for line, row in zip(axes, rows):
        for ax in line:
            _show(ax, row["image"], spacing, cmap="gray", vmin=-1, vmax=1)
        line[0].set_ylabel(row["title"], fontsize=8)
        for ax, arm in zip(line[1:], arms):
            _outline(ax, row["truth"], YELLOW)
            _outline(ax, row["predictions"][arm], colours[arm])
            ax.set_xlabel(row["scores"][arm], fontsize=8)
    axes[0][0].set_title("image")
    for ax, (arm, title) in zip(axes[0][1:], arms.items()):
        ax.set_title(title, color=colours[arm], fontweight="bold")
    return figure


def mask_pictures(sets: dict[str, Sequence[np.ndarray]], colours: dict[str, str], spacing: Sequence[float]) -> Figure:
    """Masks seen from above, a line per set, {name: (H, W) numbers of lesion slices}."""
    across = max(len(row) for row in sets.values())
    shape = next(iter(sets.values()))[0].shape
    figure, axes = _grid(len(sets), across, shape, spacing)
    for line, (name, row) in zip(axes, sets.items()):
        for ax, picture in zip(line, row):
            _show(ax, picture, spacing, cmap="magma", vmin=0, vmax=max(1, picture.max()))
        for ax in line[len(row) :]:
            ax.set_visible(False)
        line[0].set_ylabel(name, color=colours[name])
    return figure


def _grid(rows: int, columns: int, shape: tuple[int, int], spacing: Sequence[float]) -> tuple[Figure, np.ndarray]:
    width = min(10 / columns, 2.7)
    height = width * (shape[1] * spacing[1]) / (shape[0] * spacing[0])
    with plt.rc_context(STYLE):
        return plt.subplots(rows, columns, figsize=(width * columns + 0.3, (height + 0.2) * rows + 0.6), squeeze=False)


def _show(ax: Axes, pixels: np.ndarray, spacing: Sequence[float], **options) -> None:
    """Draw (H, W) voxels, H left to right of the patient and W back to front, as radiologists look at them."""
    ax.imshow(pixels.T, origin="lower", aspect=spacing[1] / spacing[0], **options)
    ax.invert_xaxis()
    ax.set(xticks=[], yticks=[])
    ax.grid(visible=False)
    for spine in ax.spines.values():
        spine.set_visible(False)


def _outline(ax: Axes, mask: np.ndarray, colour: str) -> None:
    """Draw the border of a mask (H, W) along the edges of its voxels."""
    if not mask.any():
        return
    fine = np.kron(mask.T, np.ones((8, 8)))
    extent = (-0.5, mask.shape[0] - 0.5, -0.5, mask.shape[1] - 0.5)
    ax.contour(fine, [0.5], colors=[colour], linewidths=1.3, extent=extent, origin="lower")


def _point_at(ax: Axes, mask: np.ndarray) -> None:
    """Point an arrow at a mask (H, W) from the outer side, so that the lesion itself stays uncovered."""
    if not mask.any():
        return
    places = np.argwhere(mask)
    centre = places.mean(0)
    outward = 1 if centre[0] >= mask.shape[0] / 2 else -1
    edge = places[:, 0].max() if outward > 0 else places[:, 0].min()
    tip = (edge + 1.5 * outward, places[places[:, 0] == edge, 1].mean())
    tail = (tip[0] + 0.12 * mask.shape[0] * outward, tip[1])
    ax.annotate("", tip, tail, arrowprops={"arrowstyle": "-|>", "color": YELLOW, "lw": 1.2})


def _label_colours() -> ListedColormap:
    return ListedColormap([TISSUE_COLOURS[label.tissue] for label in LABELS])
