import os
from pathlib import Path

import numpy as np
import pytest

from common.phantom.anatomy import Brain, default_brains
from common.phantom.cohort import make_phantom


@pytest.fixture(scope="session")
def brain() -> Brain:
    return default_brains()[1]


@pytest.fixture
def real_data() -> Path:
    folder = os.environ.get("REAL_DATA")
    if not folder:
        pytest.skip("set REAL_DATA to a folder with anatomies/ and soop_lesion_masks.npz")
    return Path(folder)


@pytest.fixture(scope="session")
def phantom(tmp_path_factory):
    """A small data set: 3 normal, 4 training, 1 validation and 2 test lesions, and DWI-negative cases on top."""
    subjects = {"normal": 3, "training": 4, "validation": 1, "test": 2}
    return make_phantom(tmp_path_factory.mktemp("phantom") / "data", subjects, (40, 36, 12), seed=3)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
