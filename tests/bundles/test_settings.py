"""The named settings of pix2pix_itm and its knobs: each trains, and its run folder serves the stages after it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow

from common.bundles import load_network, read_settings, train
from common.datalists import read_dataset
from common.grids import read_volume
from common.synthesis import synthesize_images

CONFIGS = Path("bundles/pix2pix_itm/configs")
OVERLAYS = ["lambda100", "l1_only", "resnet"]
SMALL = {"filters": 4, "batch_size": 2, "draws_per_epoch": 2, "epochs": 1, "val_interval": 1, "depth": 3}
SIZE = (16, 24, 16)  # thick enough for a discriminator of volumes


@pytest.fixture(scope="module")
def data(tmp_path_factory, make_dataset):
    counts = {"normal": 2, "training": 2, "validation": 1, "test": 1}
    return make_dataset(tmp_path_factory.mktemp("settings") / "data", SIZE, counts).folder


@pytest.fixture
def trained(data, tmp_path):
    """`trained(*overlays, **knobs)` gives the run folder of one iteration."""

    def trained(*overlays, **knobs):
        run = tmp_path / "run"
        train("pix2pix_itm", overlays, dataset_dir=str(data), output_dir=str(run), **{**SMALL, **knobs})
        return run

    return trained


def infer(run, data, out):
    flow = ConfigWorkflow(
        str(CONFIGS / "inference.json"), logging_file=False, workflow_type="infer", dataset_dir=str(data),
        run_dir=str(run), output_dir=str(out),
    )  # fmt: skip
    flow.initialize()
    assert flow.check_properties() == []
    flow.run()
    return {path.name: read_volume(path)[0] for path in sorted(out.glob("*.nii.gz"))}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_swaps_values_of_the_training_and_keeps_its_properties(overlay, data):
    files = [str(CONFIGS / f"{name}.json") for name in ("train", overlay)]
    parser = ConfigParser()
    parser.read_config(files[:1])
    changes = json.loads(Path(files[1]).read_text())
    assert changes.pop("_desc_")
    assert [key for key in changes if parser[key] == changes[key]] == []
    assert [key for key in changes if key not in parser["resume"]["settings"]] == []

    flow = ConfigWorkflow(files, logging_file=False, workflow_type="train", dataset_dir=str(data), filters=4)
    flow.initialize()

    assert flow.check_properties() == []


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_trains_and_its_run_remembers_it(overlay, trained):
    run = trained(overlay)

    changes = json.loads((CONFIGS / f"{overlay}.json").read_text())
    settings = read_settings(run)["settings"]
    assert {key: settings[key] for key in changes if key not in ("_desc_", "depth")}.items() <= changes.items()
    assert type(load_network(run)).__name__ == changes.get("generator", "pix2pix.UNetGenerator").split(".")[1]


def test_l1_alone_leaves_the_discriminator_as_it_was_built(trained):
    run = trained("l1_only", epochs=2, draws_per_epoch=4, save_seconds=0)

    state = torch.load(run / "last.pt", weights_only=True)["state"]

    assert state["d_optimizer"]["state"] == {}
    biases = [value for name, value in state["discriminator"].items() if name.endswith("bias")]
    assert all(torch.equal(bias, torch.zeros_like(bias)) for bias in biases)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overlays", "knobs"),
    [
        (["resnet"], {"depth": 2}),
        ([], {"context": 2}),
        ([], {"noise_channels": 2}),
        (["resnet"], {"context": 1, "noise_channels": 1, "depth": 1}),
        ([], {"spatial_dims": 3, "batch_size": 1}),
    ],
    ids=lambda value: str(value),
)
def test_a_run_serves_synthesis_and_inference(overlays, knobs, trained, data, tmp_path):
    run = trained(*overlays, **knobs)

    synthesize_images("pix2pix_itm", run, data, seed=1, out=tmp_path / "synthetic", noise="none", brightness="none")

    for case in read_dataset(tmp_path / "synthetic").cases:
        image, anatomy = read_volume(case.image)[0], read_volume(case.anatomy)[0]
        assert image[anatomy > 0].std() > 0
    inferred = infer(run, data, tmp_path / "inferred")
    assert inferred.keys() == infer(run, data, tmp_path / "again").keys() != set()
    for name, volume in inferred.items():
        assert volume.shape == SIZE
        np.testing.assert_array_equal(volume, read_volume(tmp_path / "again" / name)[0])


def test_volumes_have_no_context(trained):
    with pytest.raises(ValueError, match="0 for whole volumes"):
        trained(spatial_dims=3, context=1)
