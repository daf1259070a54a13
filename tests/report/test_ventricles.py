from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from study_fixture import SIZE, start_study

from common.grids import read_volume, write_volume
from common.labels import LABELS
from common.report.folder import Section, StudyFolder
from common.report.ventricles import ventricles

COUNTS = {"normal": 2, "training": 3, "validation": 1, "test": 1}
LEFT, RIGHT, THIRD = (
    next(label.id for label in LABELS if label.name == name)
    for name in ("left lateral ventricle", "right lateral ventricle", "third and fourth ventricle")
)


def test_volume_is_that_of_both_lateral_ventricles_and_no_other(tmp_path, make_dataset):
    folder = start_study(tmp_path / "study")
    data = make_dataset(folder / "data", SIZE, COUNTS)
    for case, voxels in zip(data.select("training", "normal"), (10, 30)):
        anatomy = np.ones(SIZE, np.uint8)
        anatomy.flat[:voxels] = LEFT
        anatomy.flat[voxels : 2 * voxels] = RIGHT
        anatomy.flat[2 * voxels : 5 * voxels] = THIRD
        write_volume(case.anatomy, anatomy, read_volume(case.anatomy)[1])
    study, section = StudyFolder(folder, tmp_path / "report"), Section("ventricles", "")

    ventricles(study, section)

    found = section.numbers["normal"]
    assert (found["n"], found["mean"]) == (2, pytest.approx(40 * data.voxel_ml))
    assert found["sd"] == pytest.approx(np.std([20, 60], ddof=1) * data.voxel_ml)
    behind = pd.read_csv(section.figures[0]["path"].with_suffix(".csv"))
    assert sorted(behind[behind["set"] == "normal"]["ml"]) == pytest.approx([20 * data.voxel_ml, 60 * data.voxel_ml])
    assert section.missing == ["the synthetic set (synthetic/dataset.json)"]
    assert "9.1 ± 6.6 ml" in section.tables[0].note
