"""Bundles released from their runs, and used by somebody who has nothing of this repository."""

from __future__ import annotations

import json
import shutil

import pytest
from bundle_runs import BUNDLES, shell, succeeded

from common.packaging.release import release_bundle
from common.packaging.verify import verify_release

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def dist(bundle_runs, tmp_path_factory):
    """Releases of all bundles."""
    folder = tmp_path_factory.mktemp("dist")
    for bundle in BUNDLES:
        release_bundle(bundle, bundle_runs[bundle], folder)
    return folder


@pytest.mark.parametrize("bundle", BUNDLES)
def test_a_release_does_all_by_itself(dist, bundle_data, bundle):
    found = verify_release(dist / bundle, data=bundle_data)

    assert {check: wrong for check, wrong in found.items() if wrong} == {}
    assert len(found) == 10


def test_two_releases_load_side_by_side_and_a_stranger_can_train_one_on(dist, bundle_data, tmp_path):
    """As MONAI Label does: it forgets the modules of a bundle's scripts before it loads the next bundle."""
    code = """
import sys, torch
from monai.bundle import ConfigParser
networks = []
for bundle in sys.argv[1:3]:
    for name in [name for name in sys.modules if name.split(".")[0] == "scripts"]:
        del sys.modules[name]
    sys.path.insert(0, bundle)
    parser = ConfigParser()
    parser.read_config(bundle + "/configs/inference.json")
    parser.update({"bundle_root": bundle})
    networks.append(parser.get_parsed_content("network"))
    sys.path.remove(bundle)
with torch.no_grad():
    print(networks[0](torch.zeros(1, 1, 32, 32, 16)).shape, networks[1](torch.zeros(1, 29, 32, 32)).shape)
"""
    done = shell("-I", "-c", code, dist / "stroke_unet", dist / "pix2pix_itm", cwd=tmp_path)
    succeeded(done)
    assert "torch.Size([1, 2, 32, 32, 16]) torch.Size([1, 1, 32, 32])" in done.stdout

    knobs = {
        "dataset_dir": bundle_data,
        "output_dir": tmp_path / "tuned",
        "epochs": 1,
        "draws_per_epoch": 4,
        "val_interval": 1,
    }
    flags = [
        word
        for key, value in {**knobs, "pretrained": dist / "stroke_unet/models"}.items()
        for word in (f"--{key}", value)
    ]
    configs = [str(dist / "stroke_unet/configs/train.json")]
    done = shell(
        "-m", "monai.bundle", "run", "training", "--config_file", str(configs), *flags, cwd=dist / "stroke_unet"
    )
    succeeded(done)
    assert (tmp_path / "tuned" / "model.pt").is_file()


def test_what_a_run_was_trained_with_does_not_take_the_place_of_a_config_s_parts(dist):
    """A run's settings hold the hash of its data as "dataset", which in inference.json is the data set itself."""
    for bundle in BUNDLES:
        given = json.loads((dist / bundle / "configs/inference.json").read_text())
        assert isinstance(given["dataset"], dict), bundle


def test_a_release_that_was_tampered_with_is_found_out(dist, tmp_path):
    for number, tampered in enumerate((
        {
            "weights": ("models/model.pt", lambda path: path.write_bytes(path.read_bytes() + b"x")),
            "files": ("docs/data_license.txt", lambda path: path.unlink()),
            "packages_are_named": (
                "scripts/common/labels.py", lambda path: path.write_text("import onnx\n" + path.read_text()),
            ),
        },
        {
            "every_target_is_there": (
                "scripts/common/networks/unet3d.py", lambda path: path.write_text("import common\n"),
            ),
        },
    )):  # fmt: skip
        copy = tmp_path / str(number) / "stroke_unet"
        shutil.copytree(dist / "stroke_unet", copy)
        for file, change in tampered.values():
            change(copy / file)
        found = verify_release(copy)
        assert [check for check in tampered if not found[check]] == []


def test_what_cannot_be_released_is_refused(bundle_runs, dist, tmp_path):
    with pytest.raises(ValueError, match="holds a run of pix2pix_itm, not of stroke_unet"):
        release_bundle("stroke_unet", bundle_runs["pix2pix_itm"], tmp_path)
    with pytest.raises(ValueError, match="is there already"):
        release_bundle("stroke_unet", bundle_runs["stroke_unet"], dist)
    with pytest.raises(ValueError, match="no such bundle"):
        release_bundle("unet", bundle_runs["stroke_unet"], tmp_path)
