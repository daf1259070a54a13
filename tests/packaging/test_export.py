"""Exported networks answer as the original, for any batch size; otherwise nothing is written."""

import json

import onnxruntime
import pytest
import torch
from monai.bundle import ConfigParser

from common.bundles import configs_of, load_network
from common.packaging import export
from common.packaging.export import EXPORTABLE, example_input, export_run

pytestmark = pytest.mark.slow

SETTINGS = {
    "stroke_unet": {"size": [32, 48, 16], "channels": [4, 4, 8, 8, 8]},
    "pix2pix_itm": {"size": [32, 64, 8], "filters": 4, "context": 1, "num_labels": 29},
    "spade_itm": {"size": [32, 64, 8], "channels": [8, 8, 4], "num_labels": 29},
    "cyclegan_itm": {"size": [32, 64, 8], "filters": 4, "num_labels": 29},
}


@pytest.fixture
def make_run(tmp_path):
    """`make_run(bundle)`: a run folder whose network was not trained."""

    def make(bundle):
        parser = ConfigParser()
        parser.read_config(str(configs_of(bundle) / "inference.json"))
        parser.update(SETTINGS.get(bundle, {}))
        torch.manual_seed(0)
        network = parser.get_parsed_content("network_def")
        folder = tmp_path / "run"
        folder.mkdir()
        (folder / "settings.json").write_text(json.dumps({"bundle": bundle, "settings": SETTINGS.get(bundle, {})}))
        torch.save({"model": network.state_dict()}, folder / "model.pt")
        return folder

    return make


@pytest.mark.parametrize("bundle", EXPORTABLE)
def test_exports_answer_as_the_original_whatever_the_batch(make_run, bundle, tmp_path):
    run, out = make_run(bundle), tmp_path / "export"

    found = export_run(run, out)

    assert {path.name for path in out.iterdir()} == {"model.ts", "model.onnx", "parity.json"}
    assert json.loads((out / "parity.json").read_text()) == found
    given = example_input({"bundle": bundle, "settings": SETTINGS[bundle]}, 5)  # a batch that no export has seen
    with torch.no_grad():
        expected = load_network(run)(given)
        scripted = torch.jit.load(out / "model.ts")(given)
    session = onnxruntime.InferenceSession(out / "model.onnx", providers=["CPUExecutionProvider"])
    answer = torch.from_numpy(session.run(["pred"], {"image": given.numpy()})[0])
    assert expected.std() > 1e-3  # a constant would agree with anything
    torch.testing.assert_close(scripted, expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(answer, expected, atol=1e-3, rtol=0)
    if bundle == "stroke_unet":
        assert found["onnx"]["dice_difference"] < 0.01


def test_an_export_that_answers_otherwise_is_not_left_behind(make_run, tmp_path, monkeypatch):
    run, out = make_run("stroke_unet"), tmp_path / "export"
    write = export._torchscript

    def wrong(*arguments):
        network = write(*arguments)
        return lambda given: network(given) + 0.01

    monkeypatch.setattr(export, "_torchscript", wrong)

    with pytest.raises(ValueError, match="torchscript differs by 0.01 > 0.001"):
        export_run(run, out)
    assert list(out.iterdir()) == []


def test_what_is_not_exported_or_there_already_is_refused(make_run, tmp_path):
    (tmp_path / "model.onnx").touch()
    run = make_run("stroke_unet")
    with pytest.raises(ValueError, match="model.onnx: there already"):
        export_run(run, tmp_path)
    (run / "settings.json").write_text(json.dumps({"bundle": "lesion_wgan", "settings": {}}))
    with pytest.raises(ValueError, match="holds a run of lesion_wgan; exported are stroke_unet"):
        export_run(run, tmp_path / "other")
