import json

import pytest
import torch

from common.bundles import Preflight, load_network, read_settings, refuse_unknown_flags, train
from common.handlers.resume import save_weights
from common.networks.unet3d import UNet3D

MONAI = "/site-packages/monai/bundle/__main__.py"
CONFIG = "bundles/stroke_unet/configs/train.json"


@pytest.mark.parametrize("flag", ["--dataset_dirr", "--epoch", "--train#stepp"])
def test_a_mistyped_override_is_refused(flag):
    with pytest.raises(ValueError, match=f"{flag} is not an id of the config"):
        refuse_unknown_flags([MONAI, "run", "training", "--config_file", CONFIG, flag, "1"])


def test_a_mistyped_override_is_answered_with_the_nearest_knob():
    with pytest.raises(ValueError, match="Did you mean --dataset_dir"):
        refuse_unknown_flags([MONAI, "run", f"--config_file={CONFIG}", "--dataset_dirr=x"])


def test_knobs_nested_ids_and_overlays_are_accepted():
    files = f"['{CONFIG}','bundles/stroke_unet/configs/multi_gpu_train.json']"
    arguments = ["run", "training", "--config_file", files, "--epochs", "1", "--train#trainer#max_epochs", "2"]
    refuse_unknown_flags([MONAI, *arguments, "--finalize", "[]"])


def test_other_programs_command_lines_are_not_judged():
    refuse_unknown_flags(["/usr/bin/pytest", "--config_file", CONFIG, "--nonsense"])


def test_training_in_this_process_refuses_unknown_overrides_before_anything_runs(tmp_path):
    with pytest.raises(ValueError, match="Did you mean --epochs"):
        train("stroke_unet", epoch=1, output_dir=str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_preflight_names_a_missing_path(dataset, tmp_path):
    check = Preflight(str(dataset), str(tmp_path / "run"), ["image"], paths={"pretrained": str(tmp_path / "no")})
    with pytest.raises(FileNotFoundError, match="--pretrained .*no: no such file"):
        check()
    assert not (tmp_path / "run").exists()


def test_preflight_refuses_a_folder_that_is_not_a_data_set(tmp_path):
    with pytest.raises(FileNotFoundError, match="is not a data set: it has no dataset.json"):
        Preflight(str(tmp_path), str(tmp_path / "run"), ["image"])()


def test_preflight_records_the_environment(dataset, tmp_path):
    Preflight(str(dataset), str(tmp_path / "run"), ["image"])()
    assert json.loads((tmp_path / "run/environment.json").read_text())["packages"]["monai"] == "1.6.1"


@pytest.fixture
def run(tmp_path):
    network = UNet3D(1, 2, 0.0, (2, 3, 4, 5))
    save_weights(network, tmp_path / "model.pt")
    settings = {"size": [16, 24, 8], "channels": [2, 3, 4, 5], "dropout": 0.0, "learning_rate": 1.0}
    (tmp_path / "settings.json").write_text(json.dumps({"bundle": "stroke_unet", "settings": settings}))
    return tmp_path, network


def test_a_network_is_rebuilt_from_the_settings_of_its_run(run):
    folder, network = run
    loaded = load_network(folder, "stroke_unet")
    image = torch.rand(1, 1, 16, 24, 8)
    assert not loaded.training
    assert torch.equal(loaded(image), network.eval()(image))


def test_a_run_of_another_bundle_is_refused(run):
    with pytest.raises(ValueError, match="a run of stroke_unet, but pix2pix_itm is needed"):
        load_network(run[0], "pix2pix_itm")


def test_a_folder_without_settings_is_not_a_run(tmp_path):
    with pytest.raises(FileNotFoundError, match="is not a run folder"):
        read_settings(tmp_path)
