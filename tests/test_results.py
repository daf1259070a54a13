from __future__ import annotations

import math

import pandas as pd
import pytest

from common.results import (
    COLUMNS,
    metrics_table,
    misses_table,
    negatives_table,
    read_results,
    sizes_table,
    summary,
    with_misses,
    write_results,
)


def row(subject: str, dice: float = 0.5, **values) -> dict:
    scores = dict.fromkeys(COLUMNS, 1.0)
    labels = {"run": "clinical_seed1", "arm": "clinical", "seed": 1, "epoch": None, "subject": subject}
    return scores | labels | {"cohort": "stroke", "dice": dice, "lesion_ml": 3.0, "diagonal_mm": 300.0} | values


def missed(subject: str, **values) -> dict:
    nan = math.nan
    return row(subject, dice=0.0, hd_paper=nan, hd_max=nan, hd95=nan, assd=nan) | values


def negative(subject: str, false_positive_ml: float, **values) -> dict:
    nothing = dict.fromkeys(COLUMNS[7:-2], math.nan)
    return row(subject) | nothing | {"lesion_ml": 0.0, "false_positive_ml": false_positive_ml} | values


def test_what_is_written_is_read_back(tmp_path):
    frame = pd.DataFrame([row("007"), missed("NA"), negative("c", 0.0)])

    write_results(frame, tmp_path / "sub" / "a.csv")
    back = read_results(tmp_path / "sub" / "a.csv")

    assert tuple(back.columns) == COLUMNS
    assert back["subject"].tolist() == ["007", "NA", "c"]
    assert back["epoch"].isna().all()
    assert back["hd95"].isna().tolist() == [False, True, True]
    assert [path.name for path in (tmp_path / "sub").iterdir()] == ["a.csv"]


def test_several_files_become_one_frame(tmp_path):
    for seed in (1, 2):
        frame = pd.DataFrame([row("a", run=f"clinical_seed{seed}", seed=seed, epoch=seed)])
        write_results(frame, tmp_path / f"{seed}.csv")

    frame = read_results([tmp_path / "1.csv", tmp_path / "2.csv"])

    assert frame["seed"].tolist() == frame["epoch"].tolist() == [1, 2]


def test_file_without_a_column_is_refused_by_name(tmp_path):
    pd.DataFrame([row("a")]).drop(columns=["dice", "assd"]).to_csv(tmp_path / "old.csv", index=False)

    with pytest.raises(ValueError, match=r"old.csv: columns \['dice', 'assd'\] are missing"):
        read_results(tmp_path / "old.csv")


@pytest.mark.parametrize("content", ["", '"open quote\n1,2', "\x80binary"])
def test_file_that_is_no_csv_is_refused_by_name(tmp_path, content):
    (tmp_path / "broken.csv").write_bytes(content.encode("latin1"))

    with pytest.raises(ValueError, match=r"broken\.csv"):
        read_results(tmp_path / "broken.csv")


def test_word_among_the_numbers_is_refused(tmp_path):
    pd.DataFrame([row("a", dice="high")]).to_csv(tmp_path / "a.csv", index=False)

    with pytest.raises(ValueError, match="should be a number"):
        read_results(tmp_path / "a.csv")


def test_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.csv"):
        read_results(tmp_path / "none.csv")


def test_one_run_given_twice_is_refused(tmp_path):
    write_results(pd.DataFrame([row("a")]), tmp_path / "a.csv")

    with pytest.raises(ValueError, match="subject a of run clinical_seed1 stands there twice"):
        read_results([tmp_path / "a.csv", tmp_path / "a.csv"])


def test_case_counts_once_however_many_seeds_scored_it():
    scores = {1: (0.2, 0.6), 2: (0.4, 0.8)}
    frame = pd.DataFrame(
        [row(s, dice, run=f"r{seed}", seed=seed) for seed, pair in scores.items() for s, dice in zip("ab", pair)]
    )

    dice = metrics_table(frame).loc[("clinical", "dice")]

    assert dice["n_cases"] == 2
    assert dice["mean"] == pytest.approx(0.5)
    assert dice["sd"] == pytest.approx(pd.Series([0.3, 0.7]).std())
    assert (dice["q25"], dice["q75"]) == pytest.approx((0.4, 0.6))


def test_distances_stand_without_misses_and_with_the_diagonal():
    frame = pd.DataFrame([row("a", hd95=10.0), row("b", hd95=20.0), missed("c"), negative("d", 1.0)])

    table = metrics_table(frame).loc["clinical"]

    assert table.loc["hd95", ["n_cases", "mean"]].tolist() == [2, 15]
    assert table.loc["hd95_with_misses", ["n_cases", "mean"]].tolist() == [3, 110]
    assert with_misses(frame)["hd95_with_misses"].isna().tolist() == [False, False, False, True]


def test_negatives_never_enter_the_dice_table():
    positives = pd.DataFrame([row("a", 0.4), row("b", 0.8)])
    both = pd.DataFrame([row("a", 0.4), row("b", 0.8), negative("c", 9.0), negative("d", 0.0)])

    pd.testing.assert_frame_equal(metrics_table(positives), metrics_table(both))
    pd.testing.assert_frame_equal(sizes_table(positives), sizes_table(both))


def test_misses_and_zero_dice_are_counted_apart():
    frame = pd.DataFrame([row("a"), row("b", dice=0.0), missed("c"), negative("d", 0.0)])

    counts = misses_table(frame).loc["clinical"]

    assert counts.to_dict() == {"n_seeds": 1, "n_cases": 3, "readings": 3, "empty_predictions": 1, "zero_dice": 2}


def test_lower_edge_belongs_to_a_size_bin_and_empty_bins_are_shown():
    volumes = {"a": 0.9, "b": 1.0, "c": 4.9, "d": 20.0, "e": 200.0}
    table = sizes_table(pd.DataFrame([row(s, lesion_ml=volume) for s, volume in volumes.items()]))

    assert table.loc["clinical"]["n_cases"].to_dict() == {"< 1 ml": 1, "1-5 ml": 2, "5-20 ml": 0, "> 20 ml": 2}


def test_specificity_has_the_clopper_pearson_interval():
    frame = pd.DataFrame([negative(str(i), 0.0 if i < 8 else 0.5) for i in range(10)])

    table = negatives_table(frame).loc["clinical"]

    assert table["specificity"] == 0.8
    assert (table["low"], table["high"]) == pytest.approx((0.4439, 0.9748), abs=1e-4)  # published for 8 of 10
    assert table["false_positive_ml"] == pytest.approx(0.1)


def test_interval_of_a_perfect_specificity_ends_at_one():
    table = negatives_table(pd.DataFrame([negative(str(i), 0.0) for i in range(10)])).loc["clinical"]

    assert table["low"] == pytest.approx(0.025 ** (1 / 10))
    assert table["high"] == 1


def test_more_seeds_do_not_narrow_the_interval_of_specificity():
    rows = [negative(str(i), float(i < 2), run=f"r{seed}", seed=seed) for seed in (1, 2, 3) for i in range(10)]
    once = negatives_table(pd.DataFrame(rows[:10]))

    pd.testing.assert_frame_equal(negatives_table(pd.DataFrame(rows)), once)


def test_epochs_are_not_averaged_silently():
    frame = pd.DataFrame([row("a", epoch=1), row("a", epoch=2)])

    with pytest.raises(ValueError, match=r"clinical_seed1.*more than one evaluated epoch"):
        summary(frame)


def test_summary_of_positives_or_negatives_alone():
    for only in ([row("a")], [negative("b", 0.0)]):
        tables = summary(pd.DataFrame(only))
        assert len(tables["negatives"]) + len(tables["misses"]) == 1
