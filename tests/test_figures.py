from __future__ import annotations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.image import imread

from common.figures import LABEL_COLORS, ORIENTATION, Row, contact_sheet, outline, show_slice, slices_across
from common.grids import grid_affine
from common.labels import LABELS, LESION

SHAPE = (7, 8, 9)


@pytest.fixture
def ax():
    return Figure(figsize=(4, 4)).add_axes((0, 0, 1, 1))


def pixels(ax) -> np.ndarray:
    """RGB (rows from the top, columns) of what an axes shows."""
    canvas = FigureCanvasAgg(ax.figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def test_left_of_the_patient_is_on_the_right_and_anterior_up(ax):
    plane = np.full((6, 8), -1.0)
    plane[0, -1] = 1  # RAS: left, anterior

    show_slice(ax, plane, (1, 1, 1))

    rows, columns = np.nonzero(pixels(ax)[..., 0] > 200)
    assert columns.mean() > 200
    assert rows.mean() < 200
    assert "left is on the right" in ORIENTATION


def test_voxels_keep_their_proportions(ax):
    show_slice(ax, np.ones((10, 10)), (2.0, 3.0, 9.0))

    ax.apply_aspect()
    box = ax.get_window_extent()
    assert box.height / box.width == pytest.approx(3 / 2, rel=0.01)


def test_outline_runs_along_the_edges_of_the_voxels(ax):
    mask = np.zeros((5, 6))
    mask[1:3, 2] = 1

    outline(ax, mask)

    (lines,) = [child for child in ax.get_children() if isinstance(child, LineCollection)]
    segments = np.array(lines.get_segments())
    assert len(segments) == 6  # two voxels side by side have six outer edges
    assert (segments[..., 0].min(), segments[..., 0].max()) == (1.5, 3.5)  # x = 1, 2 of 5, mirrored
    assert (segments[..., 1].min(), segments[..., 1].max()) == (1.5, 2.5)


def test_outline_of_an_empty_mask_draws_nothing(ax):
    outline(ax, np.zeros((5, 6)))

    assert all(len(c.get_segments()) == 0 for c in ax.get_children() if isinstance(c, LineCollection))


def test_every_label_has_its_own_colour_and_the_lesion_stands_out():
    assert len(np.unique(LABEL_COLORS.round(4), axis=0)) == len(LABELS)
    assert LABEL_COLORS.min() >= 0
    assert LABEL_COLORS.max() <= 1
    others = np.delete(LABEL_COLORS, LESION, axis=0)
    assert np.linalg.norm(others - LABEL_COLORS[LESION], axis=1).min() > 0.3


def test_slices_go_up_through_the_brain_and_visit_the_largest_lesion_slice():
    volume = np.full(SHAPE, -1.0)
    volume[2:5, 2:5, 1:8] = 0
    lesion = np.zeros(SHAPE)
    lesion[3, 3, 5:7] = 1
    lesion[4, 3, 6] = 1

    chosen = slices_across(volume, 3, lesion)

    assert chosen == sorted(chosen)
    assert 6 in chosen
    assert set(chosen) <= set(range(1, 8))
    assert len(slices_across(np.zeros(SHAPE), 3)) == 3


def test_contact_sheet_shows_images_label_maps_and_lesions(tmp_path, rng):
    affine = grid_affine(SHAPE)
    lesion = np.zeros(SHAPE, np.uint8)
    lesion[3:5, 3:5, 4] = 1
    rows = [
        Row("image\nwith a lesion", rng.uniform(-1, 1, SHAPE), lesion),
        Row("label map", rng.integers(0, 28, SHAPE).astype(np.uint8)),
    ]

    path = contact_sheet(rows, tmp_path / "new" / "sheet.png", affine, "two rows: simulated", slices=4)

    picture = imread(path)
    assert picture.shape[0] > 2 * 150
    saturation = picture[..., :3].max(-1) - picture[..., :3].min(-1)
    image_row, label_row = np.array_split(saturation[90:], 2)
    assert label_row.mean() > 2 * image_row.mean()
    assert (saturation > 0.7).any()


def test_given_slices_are_the_ones_shown(tmp_path):
    volume = np.full(SHAPE, -1.0)
    volume[..., 2] = 1
    sheets = [
        imread(contact_sheet([Row("", volume)], tmp_path / f"{k}.png", grid_affine(SHAPE), "", slices=[k]))
        for k in (2, 3)
    ]

    assert sheets[0][..., :3].mean() > sheets[1][..., :3].mean() + 0.2


def test_sheet_of_nothing_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"sheet.png: nothing to show"):
        contact_sheet([], tmp_path / "sheet.png", grid_affine(SHAPE), "")
