"""Test sets from elsewhere on the page, also while they are being scored."""

from __future__ import annotations

import json
import shutil

import pytest
from study_fixture import COUNTS, SIZE, add_scores, start_study

from common.report.external import external
from common.report.folder import Section, StudyFolder
from common.results import read_results
from common.statistics import paired_difference


@pytest.fixture
def folder(tmp_path, make_dataset):
    """Two arms with two seeds on one external set."""
    path = start_study(tmp_path / "study", seeds=(1, 2))
    study = json.loads((path / "study.json").read_text())
    (path / "study.json").write_text(json.dumps(study | {"external": {"isles": {"folder": "there"}}}))
    dataset = make_dataset(path / "external" / "isles", SIZE, COUNTS)
    for arm, gain in (("clinical", 0.0), ("clinical_synthetic", 0.1)):
        for seed in (1, 2):
            add_scores(path, arm, seed, dataset, gain)
    shutil.move(path / "results", path / "scored")
    (path / "results" / "external").mkdir(parents=True)
    shutil.move(path / "scored", path / "results" / "external" / "isles")
    return path


def filled(folder) -> Section:
    section = Section("external", "External")
    external(StudyFolder(folder, folder / "report"), section)
    return section


def test_difference_is_the_paired_one_on_the_same_cases(folder):
    section = filled(folder)

    frame = read_results(sorted((folder / "results" / "external" / "isles").glob("*.csv")))
    expected = paired_difference(frame, "clinical_synthetic", "clinical")
    assert section.numbers["isles"]["clinical_synthetic"]["difference"]["mean"] == pytest.approx(expected["mean"])
    assert section.tables[0].rows[1][3].startswith(f"{100 * expected['mean']:+.1f} [")
    assert section.missing == []


def test_arms_without_a_common_seed_are_shown_without_a_difference(folder):
    for name in ("clinical_seed2", "clinical_synthetic_seed1"):
        (folder / "results" / "external" / "isles" / f"{name}.csv").unlink()

    section = filled(folder)

    assert [row[3] for row in section.tables[0].rows] == ["–", "–"]
    assert section.missing == ["score of clinical, seed 2 on isles", "score of clinical_synthetic, seed 1 on isles"]
    assert len(section.figures) == 1
