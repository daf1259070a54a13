"""Both settings of spade_itm: they train, go on where they stopped, and serve the stages after them."""

import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow

from common.bundles import load_network, read_settings, train
from common.datalists import read_dataset
from common.grids import read_volume
from common.synthesis import synthesize_images

SMALL = {
    "channels": [6, 4], "discriminator_filters": [2, 3, 4], "batch_size": 2, "draws_per_epoch": 4, "val_interval": 1,
    "precision": "fp32",
}  # fmt: skip
SIZE = (32, 40, 8)  # wide enough for a discriminator at half the size


@pytest.fixture(scope="module")
def data(tmp_path_factory, make_dataset):
    counts = {"normal": 2, "training": 2, "validation": 1, "test": 1}
    return make_dataset(tmp_path_factory.mktemp("spade") / "data", SIZE, counts).folder


def trained(run, data, overlays, epochs=1, **knobs):
    train("spade_itm", overlays, dataset_dir=str(data), output_dir=str(run), epochs=epochs, **{**SMALL, **knobs})
    return run


@pytest.mark.parametrize("overlays", [(), ("modern",)], ids=["paper", "modern"])
def test_two_epochs_in_one_go_equal_one_and_one(data, tmp_path, overlays):
    whole = trained(tmp_path / "whole", data, overlays, 2)
    trained(tmp_path / "parts", data, overlays, 1)
    parts = trained(tmp_path / "parts", data, overlays, 2)

    whole, parts = (torch.load(run / "last.pt", weights_only=True) for run in (whole, parts))
    assert whole["history"] == parts["history"]
    for name in ("generator", "average", "discriminator"):
        state = whole["state"][name]
        assert all(torch.equal(state[key], parts["state"][name][key]) for key in state)


def test_the_modern_setting_is_what_its_name_says(data, tmp_path):
    run = trained(tmp_path / "run", data, ("modern",))

    settings = read_settings(run)["settings"]
    assert (settings["adversarial_loss"], settings["feature_weight"]) == ("hinge", 10)
    last = torch.load(run / "last.pt", weights_only=True)
    assert {"g_features", "g_adversarial", "g_l1"} < set(last["history"][0])
    assert any("parametrizations" in key for key in last["state"]["discriminator"])
    assert {key.split(".")[1] for key in last["state"]["discriminator"]} == {"0", "1"}
    average = {key.removeprefix("module."): value for key, value in last["state"]["average"].items()}
    published = torch.load(run / "model.pt", weights_only=True)["model"]
    assert all(torch.equal(published[key], average[key]) for key in published)
    assert not all(torch.equal(published[key], last["state"]["generator"][key]) for key in published)


def test_a_run_of_one_setting_is_not_gone_on_with_in_the_other(data, tmp_path):
    run = trained(tmp_path / "run", data, ())

    with pytest.raises(ValueError, match="adversarial_loss: 'least_squares' -> 'hinge'"):
        trained(run, data, ("modern",), 2)


@pytest.mark.parametrize("knobs", [{}, {"context": 1}], ids=["slice", "context"])
def test_a_run_serves_inference_and_synthesis(data, tmp_path, knobs):
    run = trained(tmp_path / "run", data, ("modern",), **knobs)

    made = synthesize_images(
        "spade_itm", run, data, seed=1, out=tmp_path / "synthetic", noise="none", brightness="none"
    )
    case = read_dataset(made).cases[0]
    assert read_volume(case.image)[0].shape == SIZE
    flow = ConfigWorkflow(
        "bundles/spade_itm/configs/inference.json", logging_file=False, workflow_type="infer",
        run_dir=str(run), dataset_dir=str(data), output_dir=str(tmp_path / "out"),
    )  # fmt: skip
    flow.initialize()
    assert flow.check_properties() == []
    flow.run()
    predicted = [read_volume(path)[0] for path in sorted((tmp_path / "out").glob("*.nii.gz"))]
    assert predicted
    assert all(np.abs(volume).max() <= 1 and volume.std() > 0 for volume in predicted)
    assert load_network(run).latent_size == 128
