"""Releases as a pull request wants them, and in a stand-in of Hugging Face."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import sys

import pytest
from hub_server import hub_server
from real_components import lack

from common.packaging import publish, release
from common.packaging.publish import publish_folder, upload
from common.packaging.release import release_bundle

VERSION = "0.3.0"


@pytest.fixture
def dist(tmp_path):
    """A folder with what `publish_folder` reads of a release."""
    bundle = tmp_path / "dist" / "unet"
    for folder in ("configs", "models", "scripts/__pycache__"):
        (bundle / folder).mkdir(parents=True)
    metadata = {"name": "U-Net", "version": VERSION, "description": "A segmenter.", "performance": {"dice": 0.5}}
    (bundle / "configs/metadata.json").write_text(json.dumps(metadata))
    (bundle / "configs/provenance.json").write_text(json.dumps({"release": {"commit": "abc"}}))
    (bundle / "models/model.pt").write_bytes(b"weights")
    (bundle / "large_files.yml").write_text('large_files:\n  - path: "models/model.pt"\n    url: ""\n')
    return tmp_path / "dist"


@pytest.fixture
def checks(monkeypatch):
    """What the checks of a release find, without running them."""
    found = {"weights": "", "network_in_and_out": ""}
    monkeypatch.setattr(publish, "verify_release", lambda bundle, schema: found)
    return found


def test_small_weights_stay_in_the_pull_request(dist, checks, tmp_path):
    out = publish_folder("unet", dist, tmp_path / "out")

    assert (out / "models/unet/models/model.pt").read_bytes() == b"weights"
    assert not list(out.rglob("__pycache__"))
    assert 'NAME = "unet"' in (out / "ci/unit_tests/test_unet.py").read_text()
    text = (out / "PULL_REQUEST.md").read_text()
    assert "U-Net, version 0.3.0" in text
    assert '{"dice": 0.5}' in text
    assert "* [x] network in and out" in text


def test_large_weights_are_named_with_their_address_and_left_out(dist, checks, tmp_path, monkeypatch):
    monkeypatch.setattr(publish, "LARGEST_IN_GIT", 3)
    with pytest.raises(ValueError, match="over 25 MB. Give --hub OWNER/NAME"):
        publish_folder("unet", dist, tmp_path / "out")

    out = publish_folder("unet", dist, tmp_path / "out", hub="group/unet")

    assert not (out / "models/unet/models/model.pt").exists()
    url = "https://huggingface.co/group/unet/resolve/0.3.0/models/model.pt"
    assert f'url: "{url}"' in (out / "models/unet/large_files.yml").read_text()
    assert (dist / "unet/models/model.pt").exists()


def test_what_should_not_be_published_is_refused_and_nothing_is_left(dist, checks, tmp_path):
    with pytest.raises(ValueError, match="--hub unet: expected a repository as OWNER/NAME"):
        publish_folder("unet", dist, tmp_path / "out", hub="unet")
    checks["weights"] = "model.pt holds optimizer"
    with pytest.raises(ValueError, match="not fit to be published:\n  weights: model.pt holds optimizer"):
        publish_folder("unet", dist, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["dist"]
    checks["weights"] = ""
    publish_folder("unet", dist, tmp_path / "out")
    with pytest.raises(ValueError, match="is there already"):
        publish_folder("unet", dist, tmp_path / "out")


def test_a_dry_run_lists_what_would_be_sent(dist):
    *files, last = upload("unet", dist, "group/unet")

    assert [line.split("bytes  ")[1] for line in files] == [
        "configs/metadata.json", "configs/provenance.json", "large_files.yml", "models/model.pt",
    ]  # fmt: skip
    assert "Nothing was sent" in last


def test_a_release_tells_no_path_of_a_machine():
    settings = {"dataset_dir": "/data/group/isles", "epochs": 3, "files": ["runs/gan", "/archive/me/runs/gan/"]}
    command = "train --config_file ['bundles/unet/configs/train.json'] --output_dir /users/me/runs/unet --rate 1e-4"

    assert release._without_paths({"settings": settings, "command": command}) == {
        "settings": {"dataset_dir": "isles", "epochs": 3, "files": ["runs/gan", "gan"]},
        "command": "train --config_file ['bundles/unet/configs/train.json'] --output_dir unet --rate 1e-4",
    }


@pytest.mark.slow
@pytest.mark.parametrize("bundle", ["stroke_unet", "lesion_wgan", "spade_itm"])
def test_the_unit_test_of_a_pull_request_trains_and_infers_where_there_is_nothing_else(
    bundle_runs, checks, tmp_path, bundle
):
    release_bundle(bundle, bundle_runs[bundle], tmp_path / "dist")
    zoo = publish_folder(bundle, tmp_path / "dist", tmp_path / "zoo")

    command = [sys.executable, "-P", f"ci/unit_tests/test_{bundle}.py"]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=zoo, timeout=300)

    assert done.returncode == 0, done.stderr
    assert "Ran 1 test" in done.stderr


@pytest.mark.slow
@pytest.mark.real
def test_a_published_bundle_can_be_downloaded_from_the_hub_by_monai(bundle_runs, tmp_path):
    if importlib.util.find_spec("huggingface_hub") is None:
        lack("there is no huggingface_hub: pip install -r requirements-huggingface.txt")
    release_bundle("stroke_unet", bundle_runs["stroke_unet"], tmp_path / "dist")
    with hub_server() as hub:
        # Without XET the client uploads by git's large file storage, which the stand-in speaks.
        environment = {
            **os.environ, "HF_ENDPOINT": hub.url, "HF_TOKEN": "none", "HF_HUB_DISABLE_XET": "1",
            "HF_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1",
        }  # fmt: skip

        def run(*words):
            command = [sys.executable, *map(str, words)]
            return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)

        flags = ("--dist", tmp_path / "dist", "--hub", "group/unet", "--dry_run", "False")
        first = run("-m", "scripts.package", "publish", "stroke_unet", "--out", tmp_path / "out", *flags)
        assert first.returncode == 0, first.stderr
        code = "import sys; from common.packaging.publish import upload; upload(*sys.argv[1:], dry_run=False)"
        again = run("-c", code, "stroke_unet", tmp_path / "dist", "group/unet")
        source = ("--source", "huggingface_hub", "--repo", "group/unet", "--bundle_dir", tmp_path / "down")
        got = run("-m", "monai.bundle", "download", "stroke_unet", *source)
        assert got.returncode == 0, got.stderr

    assert again.returncode == 1
    assert "group/unet: has version 0.1.0 already" in again.stderr
    assert set(hub.repos["group/unet"]["tags"]) == {"0.1.0", "latest_version"}
    assert hub.repos["group/unet"]["made"]["visibility"] == "private"
    sent = {path.relative_to(tmp_path / "dist/stroke_unet") for path in files_below(tmp_path / "dist/stroke_unet")}
    assert {str(path) for path in sent} | {"README.md"} == set(hub.repos["group/unet"]["files"])
    for path in sent:
        down = tmp_path / "down/stroke_unet" / path
        assert hashlib.sha256(down.read_bytes()).digest() == digest(tmp_path / "dist/stroke_unet" / path), path


def files_below(folder):
    return [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]


def digest(path):
    return hashlib.sha256(path.read_bytes()).digest()
