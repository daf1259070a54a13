from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from common.report.numbers import differences, forest, headline, headline_arm, paired_rows, seeds_table
from common.results import COLUMNS

STUDY = {"arms": {"a": {}, "b": {"synthetic": True}, "c": {}}, "baseline": "a", "seeds": [1, 2]}


def scores(arm: str, seed: int, dice: list[float], volumes: list[float] | None = None) -> pd.DataFrame:
    volumes = volumes or [0.5 + 7 * k for k in range(len(dice))]
    rows = [
        dict.fromkeys(COLUMNS, np.nan)
        | {"run": f"{arm}_seed{seed}", "arm": arm, "seed": seed, "subject": f"s{k}", "cohort": "stroke"}
        | {"lesion_ml": volume, "dice": value, "precision": value, "recall": value, "lesion_f1": value}
        | {"false_positive_ml": 1.0, "lesion_count_difference": 1.0, "diagonal_mm": 300.0}
        | {"relative_volume_difference": 1 - value, "volume_difference_ml": 1 - value}
        for k, (value, volume) in enumerate(zip(dice, volumes))
    ]
    return pd.DataFrame(rows)


def two_arms(gains: list[float]) -> pd.DataFrame:
    base = np.linspace(0.3, 0.6, len(gains))
    return pd.concat([scores("a", 1, base.tolist()), scores("b", 1, (base + gains).tolist())])


@pytest.mark.parametrize(
    ("gains", "effect", "words"),
    [
        ([0.1, 0.12, 0.08, 0.11, 0.09], "better", "lies above 0"),
        ([-0.1, -0.12, -0.08, -0.11, -0.09], "worse", "lies below 0"),
        ([0.3, -0.2, 0.1, -0.25, 0.1], "open", "contains 0"),
        ([0.0, 0.0, 0.0, 0.0, 0.0], "open", "contains 0"),
    ],
)
def test_verdict_follows_the_interval(gains, effect, words):
    result = headline(two_arms(gains), STUDY)

    assert result["effect"] == effect
    assert words in result["verdict"]
    assert result["arm_dice"] - result["baseline_dice"] == pytest.approx(result["mean"])


def test_one_seed_and_few_cases_are_cautioned_about():
    cautions = " ".join(headline(two_arms([0.1, 0.2, 0.1]), STUDY)["cautions"])

    assert "One seed" in cautions
    assert "3 test cases are too few" in cautions


def test_headline_is_about_the_arm_with_synthetic_cases():
    alone = {"clinical_cases": 0, "synthetic": "synthetic"}
    arms = {"a": {}, "alone": alone, "both": {"clinical_cases": 6, "synthetic": "synthetic"}}
    assert headline_arm({"arms": arms, "baseline": "a"}) == "both"
    assert headline_arm({"arms": {"a": {}, "alone": alone}, "baseline": "a"}) == "alone"
    assert headline_arm({"arms": {"a": {}, "c": {}, "b": {"synthetic": True}}, "baseline": "a"}) == "b"
    assert headline_arm({"arms": {"a": {}, "c": {}}, "baseline": "a"}) == "c"
    assert headline_arm({"arms": {"a": {}}, "baseline": "a"}) is None


def test_arm_that_is_ahead_waits_for_the_other():
    frame = pd.concat([scores("a", 1, [0.5, 0.5]), scores("a", 2, [0.9, 0.9]), scores("b", 1, [0.6, 0.6, 0.1])])

    rows = paired_rows(frame, "b", "a")

    assert set(rows["seed"]) == {1}
    assert set(rows["subject"]) == {"s0", "s1"}
    assert headline(frame, STUDY)["mean"] == pytest.approx(0.1)


def test_arms_without_a_shared_seed_have_no_difference_yet():
    frame = pd.concat([scores("a", 1, [0.5, 0.5]), scores("b", 2, [0.6, 0.6])])

    with pytest.raises(ValueError, match="were not scored on the same lesion cases"):
        headline(frame, STUDY)
    assert differences(frame, STUDY) == []
    assert forest(frame, STUDY) == []


def test_dice_is_corrected_for_the_arms_alone_and_the_rest_for_all_the_rest():
    gains = [0.1, 0.12, 0.08, 0.11, 0.09, 0.1]
    rows = differences(two_arms(gains), STUDY)

    dice = [row for row in rows if row["metric"] == "dice"]
    others = [row for row in rows if row["metric"] != "dice"]

    assert dice[0]["p_holm"] == dice[0]["p"]
    assert min(row["p_holm"] for row in others) == pytest.approx(min(row["p"] for row in others) * len(others))


def test_forest_is_in_points_and_leaves_out_what_one_case_cannot_show():
    frame = two_arms([0.1, 0.1, 0.1])  # 0.5, 7.5 and 14.5 ml: one case below 1 ml, two between 5 and 20

    entries = {entry["label"]: entry for entry in forest(frame, STUDY)}

    assert entries["Dice, all lesions"]["mean"] == pytest.approx(10)
    assert entries["Dice, 5-20 ml"]["n_cases"] == 2
    assert "Dice, < 1 ml" not in entries
    assert not any("seed" in label for label in entries)


def test_seeds_and_arms_that_are_not_scored_stand_empty():
    table = seeds_table(scores("a", 1, [0.4, 0.6]), STUDY)

    assert list(table.columns) == ["a", "b", "c"]
    assert table.loc[1, "a"] == pytest.approx(0.5)
    assert table.isna().sum().sum() == 5
