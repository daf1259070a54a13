from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba

from common.report.figures import BADGE, arm_colours, loss_curves, mask_distributions, save
from common.report.forests import forest_panels
from common.report.pictures import example_maps, segmentations

SIZE, SPACING = (7, 9), (3.0, 2.0, 5.0)
BLACK = np.full(SIZE, -1.0)


@pytest.fixture(autouse=True)
def _closed_figures():
    yield
    plt.close("all")


def spot(x: int, y: int) -> np.ndarray:
    mask = np.zeros(SIZE, np.uint8)
    mask[x, y] = 1
    return mask


def maps(lesion: np.ndarray, stroke_lesion: np.ndarray):
    labels = np.ones(SIZE, np.uint8)
    row = {
        "anatomy": labels,
        "label_map": labels,
        "synthetic": {"synthetic DWI": BLACK},
        "stroke": BLACK,
        "title": "",
        "stroke_title": "",
    }
    return example_maps([{**row, "lesion": lesion, "stroke_lesion": stroke_lesion}], SPACING, "simulated stroke DWI")


def test_arm_keeps_its_colour_when_others_come_or_the_order_changes():
    colours = arm_colours(["a", "b", "c"], "b")

    assert colours["b"] == arm_colours(["b"], "b")["b"] == arm_colours(["x", "b"], "b")["b"]
    assert len(set(colours.values())) == 3


def test_voxels_are_drawn_as_long_as_they_are():
    for ax in maps(spot(1, 2), spot(1, 2)).axes:
        assert ax.get_aspect() == pytest.approx(2 / 3)


def test_arrow_points_at_the_lesion_from_outside_and_stays_in_the_picture():
    _, _, synthetic, stroke = maps(spot(1, 2), spot(6, 4)).axes

    for ax, (x, y) in ((synthetic, (1, 2)), (stroke, (6, 4))):
        shown = SIZE[0] - 1 - x  # radiological orientation
        (tip_x, tip_y), (tail_x, _) = ax.texts[0].xy, ax.texts[0].get_position()
        assert tip_y == y
        assert abs(tip_x - shown) > 0.5
        assert 0 <= tail_x <= SIZE[0] - 1


def test_prediction_is_outlined_in_its_arms_colour():
    row = {"image": BLACK, "truth": spot(1, 2), "title": "", "scores": {"a": ""}, "predictions": {"a": spot(3, 3)}}

    image, arm = segmentations([row], {"a": "A"}, {"a": "#0072B2"}, SPACING).axes

    assert not image.collections
    np.testing.assert_allclose(arm.collections[-1].get_color()[0], to_rgba("#0072B2"))


def test_losses_over_decades_are_drawn_on_a_logarithmic_scale():
    epochs = np.arange(1, 6)
    table = pd.DataFrame({"epoch": epochs, "loss": 10.0**-epochs, "val_dice": epochs / 6, "val_loss": 10.0**-epochs})

    figure = loss_curves({"a": table}, {"a": "black"}, {"a": "A"})

    scales = {ax.get_title(): ax.get_yscale() for ax in figure.axes}
    assert scales == {"training losses": "log", "val_dice": "linear"}


def test_runs_of_one_arm_share_a_line_of_the_legend():
    table = pd.DataFrame({"epoch": [1, 2], "loss": [2.0, 1.0]})
    runs = {"a_seed1": table, "a_seed2": table, "b_seed1": table}

    figure = loss_curves(runs, dict.fromkeys(runs, "black"), {"a_seed1": "A", "a_seed2": "A", "b_seed1": "B"})

    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["A", "B"]


def test_shares_of_masks_add_up_to_one():
    masks = [{"volume_ml": 2.0, "components": n, "side": side} for n, side in ((1, "left"), (9, "right"), (2, "left"))]

    _, components, side = mask_distributions({"GAN": masks}, {"GAN": "black"}).axes

    assert sum(bar.get_height() for bar in components.patches) == pytest.approx(1)
    assert [bar.get_height() for bar in side.patches] == pytest.approx([2 / 3, 1 / 3, 0])


@pytest.mark.parametrize("simulated", [True, False])
def test_picture_itself_tells_whether_its_data_are_simulated(tmp_path, simulated):
    figure = plt.figure()

    save(figure, tmp_path / "figure.png", "Title", simulated)

    assert (figure.get_supxlabel() == BADGE) is simulated
    assert (tmp_path / "figure.png").is_file()


def test_many_arms_stand_below_each_other_with_a_panel_for_each_size():
    entries = [
        {"group": group, "label": label, "arm": arm, "mean": mean, "low": mean - 1, "high": mean + 1, "n_cases": 9}
        for group, label in (("Dice", "all"), ("Dice by lesion volume", "< 1 ml"), ("Dice by seed", "seed 1"))
        for arm, mean in (("a", 2.0), ("b", -3.0))
        if (label, arm) != ("< 1 ml", "b")
    ]

    figure = forest_panels(entries, {"base": "Base", "a": "A", "b": "B"}, {"a": "red", "b": "blue"})

    whole, small = figure.axes
    assert whole.get_title() == "all\nn = 9"
    assert [text.get_text() for text in whole.get_yticklabels()] == ["A", "B"]
    places = {
        line.get_color(): (line.get_xdata()[0], line.get_ydata()[0])
        for line in whole.lines
        if len(line.get_xdata()) == 1
    }
    assert places == {"red": (2, 0), "blue": (-3, 1)}
    assert whole.yaxis_inverted()  # the first arm on top
    assert {line.get_color() for line in small.lines} == {"red", "#333333"}


def test_long_titles_leave_room_for_the_panels(recwarn):
    long = "a quarter + Pix2Pix lesions on scans, made with that quarter (against a quarter of the clinical cases)"
    entry = {"group": "Dice", "label": "all", "mean": 2.0, "low": 1.0, "high": 3.0, "n_cases": 9}
    entries = [entry | {"arm": arm} for arm in "abcde"]

    figure = forest_panels(entries, dict.fromkeys("abcde", long), dict.fromkeys("abcde", "red"))
    figure.draw_without_rendering()

    assert not [str(warning.message) for warning in recwarn if "collapsed" in str(warning.message)]
    assert figure.axes[0].get_position().width > 0.3
