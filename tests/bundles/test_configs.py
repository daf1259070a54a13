"""Static checks of every bundle's configs: they parse, have MONAI's properties, and say what the network does."""

import json
import os
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow
from monai.networks.utils import eval_mode

from common.fidelity import mask_features
from common.grids import grid_affine
from common.mask_drawing import first_attempts

BUNDLES = sorted(path.parent.parent for path in Path("bundles").glob("*/configs/train.json"))
ids = [path.name for path in BUNDLES]

# What a resumed run may differ in: where things are, how long and how often, how fast.
NOT_SETTINGS = {
    "bundle_root", "output_dir", "device", "epochs", "patience", "val_interval", "keep_last", "cache_dir",
    "num_workers", "save_seconds", "imports", "compile",
}  # fmt: skip


def parser_of(bundle, *names):
    parser = ConfigParser()
    parser.read_config([str(bundle / "configs" / f"{name}.json") for name in names])
    return parser


SMALL = {
    "lesion_wgan": {"channels": [4, 4, 4], "val_masks": 8},
    "cyclegan_itm": {"filters": 4},
    "pix2pix_itm": {"filters": 4},
    "spade_itm": {"channels": [4, 4]},
    "stroke_unet": {"channels": [2, 2, 2, 2]},
}


@pytest.mark.parametrize("bundle", BUNDLES, ids=ids)
def test_monai_finds_every_property_of_a_training(bundle, dataset):
    overrides = {"dataset_dir": str(dataset), **SMALL[bundle.name]}
    workflow = ConfigWorkflow(
        str(bundle / "configs/train.json"), logging_file=False, workflow_type="train", **overrides
    )
    workflow.initialize()
    assert workflow.check_properties() == []


@pytest.mark.parametrize("bundle", BUNDLES, ids=ids)
def test_a_bundle_has_every_file_and_no_python(bundle):
    names = ["train", "evaluate", "inference", "metadata", "multi_gpu_train", "demo", "tracking"]
    expected = [*(f"configs/{name}.json" for name in names), "configs/logging.conf", "LICENSE"]
    expected += ["docs/README.md", "docs/data_license.txt"]
    assert [name for name in expected if not (bundle / name).is_file()] == []
    assert list(bundle.rglob("*.py")) == []


@pytest.mark.parametrize("bundle", BUNDLES, ids=ids)
def test_the_metadata_say_what_the_network_takes_and_gives(bundle):
    formats = json.loads((bundle / "configs/metadata.json").read_text())["network_data_format"]
    given, made = formats["inputs"]["image"], formats["outputs"]["pred"]
    network = parser_of(bundle, "inference").get_parsed_content("network_def")
    shape = [int(str(edge).replace("*n", "")) for edge in given["spatial_shape"]]
    with torch.no_grad(), eval_mode(network):
        output = network(torch.rand(1, given["num_channels"], *shape))
    assert output.shape[1] == made["num_channels"]
    if made["spatial_shape"] and isinstance(made["spatial_shape"][0], int):
        assert list(output.shape[2:]) == made["spatial_shape"]


@pytest.mark.parametrize("bundle", BUNDLES, ids=ids)
def test_the_metadata_fit_monais_schema(bundle):
    schema = os.environ.get("META_SCHEMA")
    if not schema:
        pytest.skip("set META_SCHEMA=FILE to MONAI's meta_schema_20240725.json")
    jsonschema.validate(
        json.loads((bundle / "configs/metadata.json").read_text()), json.loads(Path(schema).read_text())
    )


@pytest.mark.parametrize("bundle", BUNDLES, ids=ids)
def test_training_and_inference_build_the_same_network(bundle):
    train, inference = parser_of(bundle, "train"), parser_of(bundle, "inference")
    assert train["network_def"] == inference["network_def"]
    shared = [key for key in inference.get() if key in train and key not in ("imports", "_desc_", "network", "size")]
    knobs = [key for key in shared if not isinstance(train[key], dict) and not str(train[key]).startswith("$")]
    different = {key: (train[key], inference[key]) for key in knobs if train[key] != inference[key]}
    assert {key: value for key, value in different.items() if key not in ("run", "output_dir", "dataset_dir")} == {}


@pytest.mark.parametrize("bundle", BUNDLES, ids=ids)
def test_every_knob_that_changes_a_result_is_a_setting_that_a_resume_checks(bundle):
    train = parser_of(bundle, "train")
    knobs = {
        key
        for key, value in train.get().items()
        if not key.startswith("_") and not (isinstance(value, dict) and key != "size" and "_target_" in value)
    }
    knobs -= {key for key in knobs if isinstance(train[key], dict) and key in ("train", "validate")}
    knobs -= {
        "initialize",
        "run",
        "training",
        "deterministic",
        "network",
        "compiled",
        "reverse",
        "discriminator",
        "critic",
        "history",
    }
    knobs -= {"image_discriminator", "label_discriminator"}
    assert knobs - NOT_SETTINGS - set(train["resume"]["settings"]) == set()


@pytest.mark.parametrize("bundle", BUNDLES, ids=ids)
def test_the_demo_sets_values_of_the_training_only(bundle):
    demo, train = parser_of(bundle, "demo"), parser_of(bundle, "train")
    assert [key for key in demo.get() if not key.startswith("_") and key not in train] == []


def test_the_published_generator_draws_lesions_of_the_size_and_side_of_real_ones(tmp_path):
    """With generous bounds: it is a trained model that is there, not noise."""
    masks = first_attempts("bundles/lesion_wgan/models", seed=5, count=64)
    affine = grid_affine(masks[0].shape)
    found = [mask_features(mask, affine) for mask in masks]

    assert masks[0].shape == (64, 64, 16)
    assert len(masks) > 40
    assert 5 < np.median([mask["volume_ml"] for mask in found]) < 60
    assert np.median([mask["components"] for mask in found]) <= 2
    assert {"left", "right"} < {mask["side"] for mask in found}
