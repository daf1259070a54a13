"""From a challenge's folder to a trained segmenter."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from bundle_runs import succeeded
from scans import isles22_a

from common.bundles import train
from common.datalists import read_dataset
from common.grids import read_volume
from common.phantom.cohort import make_phantom

pytestmark = pytest.mark.slow


class AsScan:
    def __init__(self, case):
        image, self.affine = read_volume(case.image)
        self.image = (image + 1) * 400
        self.mask = read_volume(case.label)[0] if case.label else np.zeros(image.shape, np.uint8)


def test_the_phantom_written_as_isles22_goes_through_to_a_trained_unet(tmp_path):
    made = make_phantom(tmp_path / "phantom", {"normal": 0, "training": 6, "validation": 2, "test": 2}, (32, 32, 16))
    for number, case in enumerate(made.cases, 1):
        isles22_a(tmp_path / "ISLES-2022", number, AsScan(case), mask=case.label is not None)
    command = [sys.executable, "-m", "scripts.data", "isles22", "--source", tmp_path / "ISLES-2022"]
    command += [
        "--out",
        tmp_path / "data",
        "--size",
        "32,32,16",
        "--validation",
        "0.25",
        "--test",
        "0.25",
        "--workers",
        "2",
    ]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    succeeded(done)

    dataset = read_dataset(tmp_path / "data")
    assert len(dataset.cases) == len(made.cases)
    assert sum(case.label is not None for case in dataset.cases) == 10
    knobs = {"epochs": 2, "draws_per_epoch": 6, "val_interval": 1, "channels": [4, 4, 8, 8, 8]}
    train("stroke_unet", ["demo"], dataset_dir=str(tmp_path / "data"), output_dir=str(tmp_path / "run"), **knobs)

    losses = pd.read_csv(tmp_path / "run" / "losses.csv")
    assert np.isfinite(losses["loss"]).all()
    assert (tmp_path / "run" / "model.pt").is_file()
