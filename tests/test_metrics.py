from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from medpy.metric import binary as medpy

from common.metrics import DISTANCES, METRICS, case_metrics, surface_distances

SHAPE, SPACING = (7, 8, 9), (1.4, 1.7, 4.5)


def random_masks(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two overlapping scattered masks, some voxels of them at the border of the volume."""
    rng = np.random.default_rng(seed)
    common = rng.random(SHAPE)
    return tuple(common + 0.6 * rng.random(SHAPE) > threshold for threshold in (1.1, 1.25))


def brute_force_surface(mask: np.ndarray) -> np.ndarray:
    """Positions in mm of lesion voxels with a face that is not shared with another one."""
    padded = np.pad(mask, 1)
    steps = [step for step in product((-1, 0, 1), repeat=3) if sum(map(abs, step)) == 1]
    return np.array(
        [
            np.multiply(voxel, SPACING)
            for voxel in np.argwhere(mask)
            if not all(padded[tuple(voxel + 1 + np.array(step))] for step in steps)
        ]
    )


def brute_force_lesions(mask: np.ndarray) -> list[set]:
    """Sets of voxels joined by a face, an edge or a corner, by flooding."""
    left, lesions = {tuple(voxel) for voxel in np.argwhere(mask)}, []
    while left:
        lesion, front = set(), [left.pop()]
        while front:
            voxel = front.pop()
            lesion.add(voxel)
            near = {tuple(np.add(voxel, step)) for step in product((-1, 0, 1), repeat=3)} & left
            left -= near
            front += near
        lesions.append(lesion)
    return lesions


@pytest.mark.parametrize("seed", range(5))
def test_scores_agree_with_medpy(seed):
    prediction, truth = random_masks(seed)

    scores = case_metrics(prediction, truth, SPACING)

    assert scores["dice"] == pytest.approx(medpy.dc(prediction, truth))
    assert scores["precision"] == pytest.approx(medpy.precision(prediction, truth))
    assert scores["recall"] == pytest.approx(medpy.recall(prediction, truth))
    assert scores["relative_volume_difference"] == pytest.approx(abs(medpy.ravd(prediction, truth)))
    assert scores["hd_max"] == pytest.approx(medpy.hd(prediction, truth, SPACING))
    assert scores["hd95"] == pytest.approx(medpy.hd95(prediction, truth, SPACING))
    assert scores["assd"] == pytest.approx(medpy.assd(prediction, truth, SPACING))


@pytest.mark.parametrize("seed", range(5, 10))
def test_distances_agree_with_brute_force(seed):
    prediction, truth = random_masks(seed)
    a, b = brute_force_surface(prediction), brute_force_surface(truth)
    table = np.linalg.norm(a[:, None] - b[None], axis=-1)
    forth, back = table.min(1), table.min(0)

    scores = case_metrics(prediction, truth, SPACING)

    assert scores["hd_paper"] == pytest.approx((forth.max() + back.max()) / 2)
    assert scores["hd_max"] == pytest.approx(max(forth.max(), back.max()))
    assert scores["assd"] == pytest.approx((forth.sum() + back.sum()) / (len(forth) + len(back)))
    assert scores["hd95"] == pytest.approx(np.percentile([*forth, *back], 95))


@pytest.mark.parametrize("seed", range(5))
def test_lesion_scores_agree_with_flooding(seed):
    rng = np.random.default_rng(seed)
    prediction, truth = rng.random((2, *SHAPE)) > 0.97
    predicted, true = brute_force_lesions(prediction), brute_force_lesions(truth)
    found = sum(any(lesion & other for other in predicted) for lesion in true)
    invented = sum(not any(lesion & other for other in true) for lesion in predicted)

    scores = case_metrics(prediction, truth, SPACING)

    assert scores["lesion_f1"] == pytest.approx(found / (found + (len(true) - found + invented) / 2))
    assert scores["lesion_count_difference"] == abs(len(predicted) - len(true))


def test_paper_hausdorff_is_the_mean_of_the_directed_maxima_and_assd_is_pooled():
    truth, prediction = np.zeros((2, 3, 4, 20), bool)
    truth[1, 1, 2] = True
    prediction[1, 1, [2, 3, 10]] = True  # 0, 1 and 8 voxels from the truth; the truth lies 0 from the prediction

    scores = case_metrics(prediction, truth, (1.0, 1.0, 2.0))

    assert scores["hd_paper"] == (16 + 0) / 2
    assert scores["hd_max"] == 16
    assert scores["assd"] == (0 + 2 + 16 + 0) / 4  # the mean of the directed means would be 3


def test_paper_hausdorff_is_between_half_of_the_usual_one_and_all_of_it():
    for seed in range(5):
        scores = case_metrics(*random_masks(seed), SPACING)
        assert scores["hd_max"] / 2 <= scores["hd_paper"] <= scores["hd_max"]


def test_distances_are_in_mm_along_each_axis():
    for axis in range(3):
        truth, prediction = np.zeros((2, *SHAPE), bool)
        truth[2, 3, 4] = True
        prediction[tuple(np.array([2, 3, 4]) + np.eye(3, dtype=int)[axis])] = True

        assert case_metrics(prediction, truth, SPACING)["assd"] == pytest.approx(SPACING[axis])


def test_voxels_at_the_border_of_the_volume_are_surface():
    whole = np.ones(SHAPE, bool)

    forth, _ = surface_distances(whole, whole, SPACING)

    assert len(forth) == whole.size - 5 * 6 * 7


def test_perfect_prediction():
    truth = random_masks(1)[1]

    scores = case_metrics(truth, truth, SPACING)

    assert [scores[name] for name in ("dice", "precision", "recall", "lesion_f1")] == [1] * 4
    assert not any(scores[name] for name in METRICS if name not in ("dice", "precision", "recall", "lesion_f1"))


def test_signed_volume_difference_follows_from_the_columns():
    prediction, truth = random_masks(2)
    voxel = math.prod(SPACING) / 1000

    scores = case_metrics(prediction, truth, SPACING)

    signed = scores["false_positive_ml"] + (scores["recall"] - 1) * scores["lesion_ml"]
    assert signed == pytest.approx((int(prediction.sum()) - int(truth.sum())) * voxel)
    assert scores["volume_difference_ml"] == pytest.approx(abs(signed))


def test_missed_lesion_scores_zero_and_has_no_distances():
    truth = random_masks(3)[1]

    scores = case_metrics(np.zeros(SHAPE), truth, SPACING)

    assert [scores[name] for name in ("dice", "precision", "recall", "lesion_f1")] == [0] * 4
    assert scores["relative_volume_difference"] == 1
    assert scores["volume_difference_ml"] == pytest.approx(scores["lesion_ml"])
    assert all(math.isnan(scores[name]) for name in DISTANCES)
    assert scores["diagonal_mm"] == pytest.approx(math.hypot(7 * 1.4, 8 * 1.7, 9 * 4.5))


def test_without_a_true_lesion_only_the_false_volume_is_scored():
    prediction = random_masks(4)[0]

    scores = case_metrics(prediction, np.zeros(SHAPE), SPACING)

    assert scores["false_positive_ml"] == pytest.approx(prediction.sum() * math.prod(SPACING) / 1000)
    assert scores["lesion_ml"] == 0
    assert all(math.isnan(scores[name]) for name in METRICS if name != "false_positive_ml")
    assert case_metrics(np.zeros(SHAPE), np.zeros(SHAPE), SPACING)["false_positive_ml"] == 0


def test_masks_on_two_grids_are_refused():
    with pytest.raises(ValueError, match=r"\(7, 8, 9\), the truth \(9, 8, 7\)"):
        case_metrics(np.zeros(SHAPE), np.zeros(SHAPE[::-1]), SPACING)
