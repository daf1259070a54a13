"""What the side-by-side sections say is what the results hold."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from study_fixture import COUNTS, SIZE, add_scores, make_study, start_study

from common.report.comparison import _kind, comparison, low_data, mean_boxes
from common.report.folder import Section, StudyFolder
from common.report.published import PUBLISHED, published
from common.statistics import holm, paired_difference


@pytest.fixture
def folder(tmp_path, make_dataset):
    """Scores of seven arms, without anything that made them."""
    path = start_study(tmp_path / "study", seeds=(1, 2))
    study = json.loads((path / "study.json").read_text())
    study["arms"] = {
        "clinical": {"title": "2", "clinical_cases": 2},
        "all": {"title": "all"},
        "alone": {"title": "synthetic", "clinical_cases": 0, "synthetic": "synthetic"},
        "both": {"title": "2 + synthetic", "clinical_cases": 2, "synthetic": "synthetic"},
        "tuned": {"title": "tuned", "clinical_cases": 2, "pretrained": "alone"},
        "honest": {"title": "h", "clinical_cases": 2, "synthetic": "synthetic_of_2", "protocol": "honest"},
        "noisy": {"title": "noise", "noise_augmentation": 0.2},
    }
    (path / "study.json").write_text(json.dumps(study))
    dataset = make_dataset(path / "data", SIZE, COUNTS)
    for arm in study["arms"]:
        for seed in (1, 2):
            add_scores(path, arm, seed, dataset, 0.1 if arm == "both" else 0.0)
    return path


@pytest.fixture
def study(folder, tmp_path):
    return StudyFolder(folder, tmp_path / "report")


def filled(part, study) -> Section:
    section = Section("part", "Part")
    part(study, section)
    return section


def test_every_arm_is_compared_as_one_family(study):
    rows = filled(comparison, study).numbers["differences"]

    assert [row["arm"] for row in rows] == ["all", "alone", "both", "tuned", "honest", "noisy"]
    assert [row["p_holm"] for row in rows] == holm([row["p"] for row in rows])
    both = rows[2]
    assert both["low"] < 10 < both["high"]
    assert both["p_holm"] < 0.05
    assert 0 < both["detectable"] < both["mean"]


def test_numbers_behind_a_figure_lie_beside_it(study):
    comparison(study, section := Section("comparison", ""))
    low_data(study, section)

    for figure in section.figures:
        assert figure["path"].is_file()
        assert len(pd.read_csv(figure["path"].with_suffix(".csv")))


def test_boxes_are_mean_sd_and_extremes():
    dice = [0.1, 0.5, 0.5, 0.9]
    cases = pd.DataFrame({"arm": "a", "dice": dice, "precision": dice, "recall": dice, "hd_paper": np.nan,
                          "assd": np.nan, "relative_volume_difference": 1.0})  # fmt: skip

    ax = mean_boxes(cases, {"a": "A"}, {"a": "#0072B2"}).axes[0]

    x = ax.patches[0].get_path().vertices[:, 0]
    sd = np.std(dice, ddof=1)
    assert (x.min(), x.max()) == pytest.approx((50 - 100 * sd, 50 + 100 * sd))
    lines = np.concatenate([line.get_xdata() for line in ax.lines])
    assert (lines.min(), lines.max()) == pytest.approx((10, 90))
    assert any(np.allclose(line.get_xdata(), 50) for line in ax.lines)


def test_low_data_curve_places_each_arm_by_its_clinical_cases(study):
    section = filled(low_data, study)

    rows = {row["arm"]: (row["kind"], row["clinical_cases"]) for row in section.numbers["arms"]}
    assert rows == {
        "clinical": ("clinical alone", 2),
        "all": ("clinical alone", 6),
        "alone": ("+ synthetic", 0),
        "both": ("+ synthetic", 2),
        "tuned": ("fine-tuned from alone", 2),
        "honest": ("+ synthetic, honest", 2),
    }
    results = study.results
    mean = results[(results["arm"] == "both") & (results["lesion_ml"] > 0)].groupby("seed")["dice"].mean().mean()
    assert next(row["dice"] for row in section.numbers["arms"] if row["arm"] == "both") == pytest.approx(100 * mean)
    assert any("does not show what a group with only so few cases gains" in note for note in section.notes)
    assert any(note.startswith("“Honest” arms") for note in section.notes)


def test_shares_of_the_draws_are_no_points_of_one_curve(folder, study):
    arms = study.settings["arms"]
    kinds = {name: _kind(arms["both"] | {"synthetic_share": share}) for name, share in (("a", 0.25), ("b", 0.5))}
    assert kinds == {"a": "+ synthetic, 25% of the draws", "b": "+ synthetic, 50% of the draws"}


def test_each_arm_is_compared_with_as_many_clinical_cases_alone(folder, tmp_path):
    """`both` has synthetic cases and all clinical ones here: it must not be measured against two clinical cases."""
    path = folder / "study.json"
    content = json.loads(path.read_text())
    content["arms"]["both"] = {"title": "all + synthetic", "synthetic": "synthetic"}
    path.write_text(json.dumps(content))
    study = StudyFolder(folder, tmp_path / "again")

    row = next(row for row in filled(comparison, study).numbers["differences"] if row["arm"] == "both")

    expected = paired_difference(study.results, "both", "all")
    assert row["against"] == "all"
    assert row["mean"] == pytest.approx(100 * expected["mean"])
    assert study.contrasts["both"] == "all + synthetic (against all)"


def test_study_of_one_number_of_cases_has_no_curve(tmp_path, make_dataset):
    study = StudyFolder(make_study(tmp_path / "study", make_dataset, seeds=(1,)), tmp_path / "report")

    section = filled(low_data, study)

    assert not section.figures
    assert "no arms with different numbers" in section.notes[0]


def test_published_values_are_marked_as_another_data_set(study):
    section = filled(published, study)

    assert all("another data set" in table.title for table in section.tables)
    assert "74 test cases" in section.notes[0]
    table_1, _, table_2 = section.tables
    assert table_1.rows[1] == ["clinical + all synthetic", "–", "70.8 ± 1.0", "70.3 ± 1.1", "62.9 ± 1.2"]
    assert len(table_2.rows) == 18
    content = json.loads(PUBLISHED.read_text())
    assert all(len(row) == 7 for row in content["table_2"]["rows"])
