"""App folders of MONAI Label: what is copied, and what is refused."""

import json

import pytest

from common.serving.app_folder import make_app
from common.serving.server import server_command


@pytest.fixture
def dist(tmp_path):
    """Two folders with the files by which a release is known; `lesion_wgan` draws from noise."""
    for name, shape in (("stroke_unet", [32, 32, 16]), ("lesion_wgan", [])):
        bundle = tmp_path / "dist" / name
        for folder in ("configs", "models", "scripts/__pycache__"):
            (bundle / folder).mkdir(parents=True)
        inputs = {"image": {"num_channels": 1, "spatial_shape": shape}}
        (bundle / "configs/metadata.json").write_text(json.dumps({"network_data_format": {"inputs": inputs}}))
        (bundle / "configs/provenance.json").write_text("{}")
        (bundle / "models/model.pt").write_bytes(b"weights")
    return tmp_path / "dist"


def test_an_app_holds_copies_of_the_releases(dist, tmp_path):
    app = make_app(["stroke_unet"], dist, tmp_path / "app")

    assert (app / "model/stroke_unet/models/model.pt").read_bytes() == b"weights"
    assert not (app / "model/stroke_unet/scripts/__pycache__").exists()
    assert "MONAILabelApp" in (app / "main.py").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["app", "dist"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["unet"], "unet: is no released bundle.*holds lesion_wgan, stroke_unet.*scripts.package release unet"),
        (["stroke_unet", "lesion_wgan"], "lesion_wgan: draws from noise, but a server is sent an image"),
        (["stroke_unet", "stroke_unet"], "names stroke_unet twice"),
        ([], "--bundles is empty"),
        (["../dist/stroke_unet"], "is no name of a bundle"),
    ],
)
def test_what_cannot_be_served_is_refused_and_nothing_is_left(dist, tmp_path, names, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        make_app(names, dist, tmp_path / "app")
    assert [path.name for path in tmp_path.iterdir()] == ["dist"]


def test_an_app_that_is_there_is_not_overwritten(dist, tmp_path):
    make_app(["stroke_unet"], dist, tmp_path / "app")

    with pytest.raises(ValueError, match="is there already"):
        make_app(["stroke_unet"], dist, tmp_path / "app")


def test_a_server_without_its_folders_is_refused(dist, tmp_path, monkeypatch):
    monkeypatch.setattr("common.serving.server.PYTHON", tmp_path / "python")
    with pytest.raises(FileNotFoundError, match="make .venv-label/installed"):
        server_command(tmp_path, tmp_path, "127.0.0.1", 8000)
    (tmp_path / "python").touch()
    with pytest.raises(FileNotFoundError, match="scripts.label app"):
        server_command(tmp_path, tmp_path, "127.0.0.1", 8000)
    app = make_app(["stroke_unet"], dist, tmp_path / "app")
    with pytest.raises(FileNotFoundError, match="Expected one with NIfTI images"):
        server_command(app, tmp_path / "images", "127.0.0.1", 8000)
