"""Pictures of volumes: slices in radiological orientation with true proportions, lesion outlines, contact sheets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from .grids import spacing_of
from .labels import LABELS, TISSUE_OF, TISSUES

__all__ = [
    "ORIENTATION",
    "LESION_RED",
    "LABEL_COLORS",
    "Row",
    "show_slice",
    "outline",
    "slices_across",
    "contact_sheet",
]

ORIENTATION = "radiological: the patient's left is on the right, anterior is up"
LESION_RED = "#ff3b30"
TILE_INCHES = 1.15

TISSUE_COLORS = {
    "background": "#000000",
    "white matter": "#e8e4d8",
    "cortex": "#b5838d",
    "csf": "#1f4e79",
    "deep grey matter": "#e9a23b",
    "cerebellum": "#6a994e",
    "brainstem": "#a3b18a",
    "lesion": LESION_RED,
}


def _label_colors() -> np.ndarray:
    """RGB in [0, 1], (29, 3): the tissue's colour; brighter for a right side, and by a step for each structure."""
    rgb = np.array([[int(TISSUE_COLORS[t][i : i + 2], 16) for i in (1, 3, 5)] for t in TISSUES]) / 255
    colors = rgb[TISSUE_OF]
    for label in LABELS[1:-1]:
        same_tissue = [other.id for other in LABELS if other.tissue == label.tissue and other.id <= other.mirror]
        structure = same_tissue.index(min(label.id, label.mirror))
        shade = 1 - 0.35 * structure / max(1, len(same_tissue) - 1)
        shade *= 1 if label.mirror >= label.id else 0.88
        colors[label.id] = colors[label.id] * shade
    return colors


LABEL_COLORS = _label_colors()
"""LABEL_COLORS[label_map] is an RGB picture. Tissue gives the hue, structure and side the shade; the lesion is red."""


@dataclass(frozen=True)
class Row:
    """One row of a contact sheet.

    Args:
        caption: written beside the row.
        volume: image in [-1, 1] (float) or label map (integer), (H, W, D), RAS.
        lesion: mask to outline, of the same shape; None for none.
    """

    caption: str
    volume: np.ndarray
    lesion: np.ndarray | None = None


def show_slice(ax: Axes, plane: np.ndarray, spacing: Sequence[float], limits: tuple[float, float] = (-1, 1)) -> None:
    """Show an axial slice in radiological orientation, its voxels as long and wide as they are.

    Args:
        ax: where.
        plane: (H, W) of an RAS volume: image (float) or label map (integer, shown in LABEL_COLORS).
        spacing: voxel size in mm; the first two numbers are used.
        limits: intensities shown black and white.
    """
    picture = np.flip(plane, 0).swapaxes(0, 1)
    if np.issubdtype(plane.dtype, np.floating):
        colors = {"cmap": "gray", "vmin": limits[0], "vmax": limits[1]}
    else:
        picture, colors = LABEL_COLORS[picture], {}
    ax.imshow(picture, origin="lower", aspect=spacing[1] / spacing[0], interpolation="nearest", **colors)
    ax.set_axis_off()


def outline(ax: Axes, mask: np.ndarray, color: str = LESION_RED, width: float = 0.9) -> None:
    """Draw the border of a mask (H, W) along its voxels' edges, on a slice shown by `show_slice`."""
    inside = np.pad(np.flip(mask > 0, 0), 1)
    columns, rows = np.nonzero(inside[1:, :] != inside[:-1, :])
    upright = [((x - 0.5, y - 1.5), (x - 0.5, y - 0.5)) for x, y in zip(columns, rows)]
    columns, rows = np.nonzero(inside[:, 1:] != inside[:, :-1])
    level = [((x - 1.5, y - 0.5), (x - 0.5, y - 0.5)) for x, y in zip(columns, rows)]
    ax.add_collection(LineCollection(upright + level, colors=color, linewidths=width, capstyle="round"))


def slices_across(volume: np.ndarray, count: int, lesion: np.ndarray | None = None) -> list[int]:
    """Indices of `count` axial slices spread over the brain; the nearest makes way for the lesion's largest slice.

    The brain is what differs from the volume's lowest value.
    """
    depths = np.flatnonzero((volume > volume.min()).any((0, 1)))
    if len(depths) == 0:
        depths = np.arange(volume.shape[2])
    margin = (depths[-1] - depths[0]) * 0.08
    chosen = np.linspace(depths[0] + margin, depths[-1] - margin, count).round().astype(int)
    if lesion is not None and lesion.any():
        largest = int(lesion.sum((0, 1)).argmax())
        chosen[np.abs(chosen - largest).argmin()] = largest
    return [int(k) for k in chosen]


def contact_sheet(
    rows: Sequence[Row],
    path: str | Path,
    affine: np.ndarray,
    title: str,
    slices: int | Sequence[int] = 8,
    limits: tuple[float, float] = (-1, 1),
) -> Path:
    """Write a PNG with one row of axial slices per volume, inferior to superior, lesions outlined in red.

    Args:
        rows: what to show, all on one grid.
        path: of the PNG.
        affine: of the grid; gives proportions and the heights (mm) in the corners.
        title: above the sheet; say here whether the data are simulated.
        slices: how many, or which (the same in all rows).
        limits: intensities shown black and white.

    Raises:
        ValueError: no rows.
    """
    if not rows:
        raise ValueError(f"{path}: nothing to show.")
    spacing = spacing_of(affine)
    columns = slices if isinstance(slices, int) else len(slices)
    height, width = rows[0].volume.shape[:2]
    tile_height = TILE_INCHES * (width * spacing[1]) / (height * spacing[0])
    caption_inches, head_inches = 1.55, 0.55
    inches = (caption_inches + columns * TILE_INCHES, head_inches + len(rows) * tile_height)
    figure = Figure(figsize=inches, facecolor="black")
    for row_number, row in enumerate(rows):
        chosen = slices_across(row.volume, slices, row.lesion) if isinstance(slices, int) else slices
        bottom = (len(rows) - 1 - row_number) * tile_height / inches[1]
        middle = bottom + tile_height / inches[1] / 2
        figure.text(0.08 / inches[0], middle, row.caption, color="white", fontsize=7.5, va="center", linespacing=1.4)
        for column, k in enumerate(chosen):
            left = (caption_inches + column * TILE_INCHES) / inches[0]
            ax = figure.add_axes((left, bottom, TILE_INCHES / inches[0], tile_height / inches[1]))
            show_slice(ax, row.volume[:, :, k], spacing, limits)
            if row.lesion is not None:
                outline(ax, row.lesion[:, :, k])
            z = affine[2, 2] * k + affine[2, 3]
            ax.text(0.03, 0.02, f"{z:+.0f}", color="#9a9a9a", fontsize=5.5, transform=ax.transAxes)
            if column == 0:
                ax.text(0.03, 0.93, "R", color="#9a9a9a", fontsize=6.5, transform=ax.transAxes)
            if column == columns - 1:
                ax.text(0.91, 0.93, "L", color="#9a9a9a", fontsize=6.5, transform=ax.transAxes)
    figure.text(0.08 / inches[0], 1 - 0.2 / inches[1], title, color="white", fontsize=10, weight="bold", va="center")
    note = f"{ORIENTATION}; numbers: height in mm"
    figure.text(0.08 / inches[0], 1 - 0.42 / inches[1], note, color="#b0b0b0", fontsize=7, va="center")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    return path
