from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from common.datalists import read_dataset
from common.describe import BINS, describe_dataset, measure_cases, summarize
from common.grids import read_volume


@pytest.fixture(scope="module")
def measured(dataset):
    return measure_cases(read_dataset(dataset))


def test_volumes_agree_with_the_sidecars(dataset, measured):
    frame = measured[0].set_index("subject")

    for case in read_dataset(dataset).cases:
        for column in ("lesion_ml", "lateral_ventricle_ml"):
            assert frame.loc[case.subject, column] == pytest.approx(case.source[column])


def test_structures_fill_the_brain(dataset, measured):
    data = read_dataset(dataset)
    structures = measured[0].iloc[0].drop(["subject", "cohort", "split", "lesion_ml", "lateral_ventricle_ml"])

    brain = np.count_nonzero(read_volume(data.cases[0].anatomy)[0]) * data.voxel_ml
    assert structures.sum() == pytest.approx(brain)


def test_intensity_histograms_are_densities_of_the_brain_alone(measured):
    for density in measured[1].values():
        assert density.sum() * (BINS[1] - BINS[0]) == pytest.approx(1)
        assert density[0] < 0.1  # nearly all voxels of a volume are background: -1, which would be 0 here


def test_cases_without_anatomy_have_no_structures(dataset_copy):
    path = dataset_copy / "dataset.json"
    path.write_text(path.read_text().replace('"anatomy": "anatomy/case-01.nii.gz"', '"anatomy": null'))

    data = read_dataset(dataset_copy)
    frame, _ = measure_cases(data)

    assert frame.set_index("subject").loc["case-01"].isna().sum() == 28
    assert frame["lateral_ventricle_ml"].isna().sum() == 1
    assert "nan" not in summarize(data, frame)


def test_summary_counts_cohorts_and_splits_and_says_simulated(dataset, measured):
    text = summarize(read_dataset(dataset), measured[0])

    assert text.startswith("fabricated: 15 cases, simulated; grid 16 x 24 x 8")
    rows = {
        tuple(line.split()[:2]): line.split()[2:4]
        for line in text.splitlines()
        if line.startswith(("normal", "stroke"))
    }
    assert rows["normal", "training"] == ["3", "0"]
    assert rows["stroke", "training"] == ["5", "4"]
    assert rows["stroke", "validation"] == ["3", "2"]
    assert rows["stroke", "all"] == ["12", "9"]
    ventricles = measured[0].query("cohort == 'normal'")["lateral_ventricle_ml"]
    assert f"{ventricles.mean():.1f} +- {ventricles.std():.1f}" in text


def test_pictures_and_table_are_written(dataset, tmp_path):
    text = describe_dataset(dataset, tmp_path / "out")

    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {
        "contact_sheet.png", "intensities.png", "lesion_places.png", "lesion_volumes.png", "lesions.csv",
        "structures.csv",
    }  # fmt: skip
    assert all(name in text for name in names)
    assert len(pd.read_csv(tmp_path / "out" / "structures.csv")) == 15
    assert not (dataset / "describe").exists()
