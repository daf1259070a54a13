"""Both protocols side by side, and this study's rows beneath the paper's."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from study_fixture import COUNTS, SIZE, add_epochs, add_scores, start_study

from common.report.folder import Section, StudyFolder
from common.report.protocol import protocol
from common.report.published import published


@pytest.fixture
def folder(tmp_path, make_dataset):
    """Two arms, called as the paper's are, scored by epoch with two seeds."""
    path = start_study(tmp_path / "study", seeds=(1, 2))
    study = json.loads((path / "study.json").read_text())
    study["arms"] = {"clinical": {"title": "c"}, "clinical_pix2pix10": {"title": "p", "synthetic": "synthetic"}}
    (path / "study.json").write_text(json.dumps(study | {"published": True}))
    dataset = make_dataset(path / "data", SIZE, COUNTS)
    for arm in study["arms"]:
        for seed in (1, 2):
            add_scores(path, arm, seed, dataset, 0.1 if "pix2pix" in arm else 0.0)
            add_epochs(path, arm, seed)
    return path


def filled(part, folder) -> tuple[StudyFolder, Section]:
    study, section = StudyFolder(folder, folder / "report"), Section("part", "Part")
    part(study, section)
    return study, section


def test_mean_and_maximum_over_epochs_stand_beside_the_chosen_epoch(folder):
    study, section = filled(protocol, folder)

    lesions = study.results[study.results["lesion_ml"] > 0]
    for row in section.numbers["arms"]:
        chosen = 100 * lesions[lesions["arm"] == row["arm"]]["dice"].mean()
        assert row["selected"] == pytest.approx(chosen)
        assert row["mean"] == pytest.approx(chosen, abs=0.3)  # Dice 0 cannot become less
        assert row["max"] == pytest.approx(chosen + 2, abs=0.3)
    assert {row["best"] for row in section.numbers["runs"]} == {30}
    baseline, other = section.tables[0].rows
    assert baseline[:3] == ["c", "2", "28 to 30"]
    means = [float(row[3].split(" ±")[0]) for row in (baseline, other)]
    assert float(other[6]) == pytest.approx(means[1] - means[0], abs=0.11)
    curves = pd.read_csv(section.figures[0]["path"].with_suffix(".csv"))
    assert len(curves) == 2 * 2 * 3
    assert section.missing == []


def test_run_that_is_not_scored_by_epoch_is_named(folder):
    (folder / "results" / "epochs" / "clinical_seed2.csv").unlink()

    _, section = filled(protocol, folder)

    assert section.missing == ["clinical, seed 2, by epoch"]
    assert section.tables[0].rows[0][1] == "1"


def test_differences_are_over_seeds_that_both_arms_have(folder):
    """An easy second seed that the baseline lacks must not make the other arm better."""
    for arm in ("clinical", "clinical_pix2pix10"):
        for place in ("results", "results/epochs"):
            path = folder / place / f"{arm}_seed2.csv"
            frame = pd.read_csv(path, dtype={"epoch": "Int64"})
            frame["dice"] = frame["dice"].clip(upper=0.6) + 0.3
            frame.to_csv(path, index=False)
    (folder / "results" / "epochs" / "clinical_seed2.csv").unlink()

    _, section = filled(protocol, folder)

    other = section.numbers["arms"][1]
    first = {entry["arm"]: entry for entry in section.numbers["runs"] if entry["seed"] == 1}
    assert other["mean"] > 100 * first["clinical_pix2pix10"]["mean"] + 5  # the easy seed is in the arm's own mean
    gain = 100 * (first["clinical_pix2pix10"]["mean"] - first["clinical"]["mean"])
    assert float(section.tables[0].rows[1][6]) == pytest.approx(gain, abs=0.06)


def test_epochs_that_are_scored_before_the_selected_weights_are_shown(folder):
    for file in (folder / "results").glob("*.csv"):
        file.unlink()

    _, section = filled(protocol, folder)

    assert [row[5] for row in section.tables[0].rows] == ["–", "–"]
    assert "nan" not in str(section.tables[0].rows)


def test_study_that_keeps_no_epochs_says_so(folder):
    path = folder / "study.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"segmenter": {"overlays": [], "settings": {}}}))

    _, section = filled(protocol, folder)

    assert "keeps no epochs" in section.notes[0]
    assert not section.tables


def test_rows_of_this_study_stand_beneath_those_of_the_paper(folder):
    study, section = filled(published, folder)
    _, protocols = filled(protocol, folder)

    table_1, few, table_2 = section.tables
    scores = [row[3] for row in protocols.tables[0].rows]
    ours = "  this study (simulated)"
    assert table_1.rows[:4] == [
        ["clinical", "63.2 ± 1.9", "–", "–", "–"],
        [ours, scores[0], "–", "–", "–"],
        ["clinical + all synthetic", "–", "70.8 ± 1.0", "70.3 ± 1.1", "62.9 ± 1.2"],
        [ours, "–", scores[1], "–", "–"],
    ]
    assert [row[0] for row in few.rows] == ["10 clinical alone", "50 clinical alone"]
    mean = study.results.query("arm == 'clinical' and lesion_ml > 0").groupby("subject")["dice"].mean().mean()
    below = table_2.rows[[row[0] for row in table_2.rows].index("100 % clinical") + 1]
    assert below[0] == ours
    assert below[1].startswith(f"{100 * mean:.1f} ±")


def test_arms_of_other_studies_are_not_taken_for_the_papers(folder):
    path = folder / "study.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"published": False}))

    _, section = filled(published, folder)

    assert not any("this study" in row[0] for table in section.tables for row in table.rows)
