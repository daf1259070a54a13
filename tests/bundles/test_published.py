"""What a release says of its quality was measured with its own weights."""

import json
import shutil

import pandas as pd
import pytest
import torch

from common.evaluation import evaluate
from common.packaging.release import release_bundle

pytestmark = pytest.mark.slow


def test_a_release_states_the_measures_of_its_own_weights_only(bundle_runs, bundle_data, tmp_path):
    results = tmp_path / "test.csv"
    evaluate(str(bundle_runs["stroke_unet"]), str(bundle_data), str(results))
    scores = pd.read_csv(results)

    made = release_bundle("stroke_unet", bundle_runs["stroke_unet"], tmp_path / "dist", results)

    stated = json.loads((made / "configs" / "metadata.json").read_text())["performance"]
    lesions = scores[scores["lesion_ml"] > 0]
    assert stated["dice"] == pytest.approx(lesions["dice"].mean(), abs=1e-4)
    assert stated["data"] == f"{len(scores)} simulated test cases"

    other = tmp_path / "other"
    shutil.copytree(bundle_runs["stroke_unet"], other)
    weights = torch.load(other / "model.pt", weights_only=True)
    next(iter(weights["model"].values())).add_(1)
    torch.save(weights, other / "model.pt")
    with pytest.raises(ValueError, match="measured with other weights"):
        release_bundle("stroke_unet", other, tmp_path / "elsewhere", results)
    assert not (tmp_path / "elsewhere").exists()
