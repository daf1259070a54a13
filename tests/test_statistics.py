from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_1samp, wilcoxon

from common.results import COLUMNS
from common.statistics import (
    bootstrap_interval,
    holm,
    minimal_detectable_difference,
    paired_difference,
    paired_scores,
)


def study(clinical: np.ndarray, combined: np.ndarray) -> pd.DataFrame:
    """Results of two arms with the Dice scores (seeds, cases)."""
    return pd.DataFrame(
        [
            dict.fromkeys(COLUMNS, 1.0)
            | {"run": f"{arm}_seed{seed}", "arm": arm, "seed": seed, "epoch": None, "subject": f"s{case:03}"}
            | {"dice": dice, "lesion_ml": 2.0, "diagonal_mm": 300.0}
            for arm, scores in (("clinical", clinical), ("combined", combined))
            for (seed, case), dice in np.ndenumerate(scores)
        ]
    )


def difference_matrix(rng, seeds: int, cases: int, shift: float) -> np.ndarray:
    """Paired differences with a part per seed, a part per case and noise."""
    return shift + (
        rng.normal(0, 0.01, (seeds, 1)) + rng.normal(0, 0.08, (1, cases)) + rng.normal(0, 0.05, (seeds, cases))
    )


def test_known_shift_is_recovered_and_lies_in_the_interval():
    rng = np.random.default_rng(0)
    baseline = rng.uniform(0.2, 0.8, (3, 74))
    frame = study(baseline, baseline + difference_matrix(rng, 3, 74, shift=0.08))

    result = paired_difference(frame, "combined", "clinical")

    assert result["mean"] == pytest.approx(0.08, abs=0.02)
    assert 0 < result["low"] < 0.08 < result["high"]
    assert result["p"] < 0.001
    assert (result["n_seeds"], result["n_cases"]) == (3, 74)


def test_swapped_arms_give_the_opposite():
    rng = np.random.default_rng(1)
    frame = study(*rng.random((2, 2, 30)))

    there, back = (paired_difference(frame, *arms) for arms in (("combined", "clinical"), ("clinical", "combined")))

    assert (there["mean"], there["low"], there["high"]) == pytest.approx((-back["mean"], -back["high"], -back["low"]))


def test_same_seed_gives_the_same_interval_whatever_the_order_of_rows():
    rng = np.random.default_rng(2)
    frame = study(*rng.random((2, 3, 20)))

    shuffled = frame.sample(frac=1, random_state=3)

    assert paired_difference(frame, "combined", "clinical") == paired_difference(shuffled, "combined", "clinical")


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(3)
    covered = []
    for repeat in range(400):
        low, high = bootstrap_interval(difference_matrix(rng, 3, 60, shift=0.05), draws=400, seed=repeat)
        covered.append(low < 0.05 < high)

    assert 0.9 <= np.mean(covered) <= 0.98


def test_case_effects_that_all_seeds_share_do_not_average_out():
    rng = np.random.default_rng(4)
    per_case = rng.normal(0, 0.1, (1, 50))
    one, ten = (
        paired_difference(study(np.zeros((n, 50)), np.tile(per_case, (n, 1))), "combined", "clinical") for n in (1, 10)
    )

    assert ten["high"] - ten["low"] == pytest.approx(one["high"] - one["low"], rel=0.05)


def test_p_value_is_that_of_the_cases_seed_means():
    rng = np.random.default_rng(5)
    a, b = rng.random((2, 3, 25))

    result = paired_difference(study(a, b), "combined", "clinical")

    assert result["p"] == pytest.approx(wilcoxon((b - a).mean(0)).pvalue)


def test_equal_arms_differ_by_nothing():
    scores = np.random.default_rng(6).random((2, 9))

    result = paired_difference(study(scores, scores), "combined", "clinical")

    assert (result["mean"], result["low"], result["high"], result["p"]) == (0, 0, 0, 1)


def test_cases_without_a_lesion_are_left_out():
    frame = study(*np.random.default_rng(8).random((2, 2, 9)))
    frame.loc[frame["subject"] == "s004", ["lesion_ml", "dice"]] = 0.0, np.nan

    assert paired_difference(frame, "combined", "clinical")["n_cases"] == 8


def test_missed_case_is_left_out_of_a_distance_or_counts_as_the_diagonal():
    frame = study(*np.random.default_rng(9).random((2, 2, 9)))
    missed = (frame["subject"] == "s004") & (frame["run"] == "combined_seed1")
    frame.loc[missed, ["hd95", "hd_max"]] = np.nan

    assert paired_difference(frame, "combined", "clinical", "hd95")["n_cases"] == 8
    charged = paired_difference(frame, "combined", "clinical", "hd95_with_misses")
    assert charged["n_cases"] == 9
    assert charged["mean"] == pytest.approx((300 - 1) / 18)


@pytest.mark.parametrize(
    ("drop", "message"),
    [
        (("run", "combined_seed1"), r"not paired: 1 seeds stand in one of them only \(1\)"),
        (("subject", "s002"), r"not paired: 1 cases stand in one of them only \(s002\)"),
    ],
)
def test_unpaired_sets_are_refused(drop, message):
    frame = study(*np.random.default_rng(10).random((2, 2, 5)))
    column, value = drop
    frame = frame[~((frame["arm"] == "combined") & (frame[column] == value))]

    with pytest.raises(ValueError, match=message):
        paired_difference(frame, "combined", "clinical")


def test_seeds_scored_on_different_cases_are_refused():
    frame = study(*np.random.default_rng(11).random((2, 2, 5)))
    frame = frame[~((frame["run"] == "combined_seed1") & (frame["subject"] == "s002"))]

    with pytest.raises(ValueError, match="seeds of arm 'combined' were scored on different cases"):
        paired_difference(frame, "combined", "clinical")


def test_several_epochs_of_a_run_are_refused():
    frame = study(*np.random.default_rng(12).random((2, 2, 5)))

    with pytest.raises(ValueError, match="choose one epoch per run"):
        paired_difference(pd.concat([frame, frame.assign(epoch=7)]), "combined", "clinical")


@pytest.mark.parametrize(("arm", "metric", "named"), [("combind", "dice", "combind"), ("combined", "dicee", "dicee")])
def test_unknown_arm_or_metric_is_refused_by_name(arm, metric, named):
    frame = study(*np.random.default_rng(13).random((2, 2, 5)))

    with pytest.raises(ValueError, match=named):
        paired_difference(frame, arm, "clinical", metric)


def test_paired_scores_are_seeds_by_cases():
    a, b = np.random.default_rng(14).random((2, 3, 7))

    assert paired_scores(study(a, b), "combined", "clinical", "dice") == pytest.approx(b - a)


def test_holm_of_a_worked_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_never_exceeds_one_and_leaves_a_single_test_alone():
    assert holm([0.7, 0.9]) == [1, 1]
    assert holm([0.02]) == [0.02]


def with_spread(n: int, sd: float) -> np.ndarray:
    values = np.random.default_rng(1).normal(size=n)
    return (sd * (values - values.mean()) / values.std(ddof=1))[None]


def test_detectable_difference_is_that_of_the_published_tables():
    # Half an SD of the differences needs 34 pairs (80 % power, 5 %, two-sided), 33 do not suffice; 44 for 90 %.
    assert minimal_detectable_difference(with_spread(34, 1)) < 0.5 < minimal_detectable_difference(with_spread(33, 1))
    at_90 = [minimal_detectable_difference(with_spread(n, 1), power=0.9) for n in (44, 43)]
    assert at_90[0] < 0.5 < at_90[1]


def test_detectable_difference_is_found_as_often_as_it_says():
    n_cases, sd, rounds = 12, 0.2, 4000
    shift = minimal_detectable_difference(with_spread(n_cases, sd))

    found = ttest_1samp(np.random.default_rng(2).normal(shift, sd, (rounds, n_cases)), 0, axis=1).pvalue < 0.05

    assert found.mean() == pytest.approx(0.8, abs=0.02)


def test_detectable_difference_of_two_cases_is_large_and_no_error():
    assert minimal_detectable_difference(with_spread(2, 1), power=0.99) > 20


def test_correlated_arms_tell_smaller_differences_apart():
    rng = np.random.default_rng(3)
    case, noise = rng.normal(0, 0.24, 74), rng.normal(0, 0.05, (2, 74))

    paired = minimal_detectable_difference((noise[0] - noise[1])[None])
    unpaired = minimal_detectable_difference((case + noise[0] - rng.permutation(case) - noise[1])[None])

    assert paired < 0.03 < 0.08 < unpaired


def test_seeds_are_no_further_cases():
    difference = np.random.default_rng(4).normal(0, 0.2, (1, 30))

    once, thrice = (minimal_detectable_difference(np.repeat(difference, n, axis=0)) for n in (1, 3))

    assert once == pytest.approx(thrice)
    assert np.isnan(minimal_detectable_difference(np.ones((3, 1))))
