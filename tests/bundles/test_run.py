"""Every bundle as users run it: trained, stopped, resumed, evaluated, used for inference, on two processes."""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from monai.bundle import ConfigWorkflow
from real_components import lack

from common.datalists import read_dataset
from common.packaging.release import release_bundle
from common.packaging.verify import verify_release

pytestmark = pytest.mark.slow

OVERRIDES = {
    "lesion_wgan": {
        "channels": [8, 8, 4],
        "critic_filters": 2,
        "val_masks": 16,
        "val_interval": 1,
        "draws_per_epoch": 48,
    },
    "stroke_unet": {"channels": [4, 4, 8, 8, 8], "val_interval": 1, "draws_per_epoch": 10, "lr_decay_power": 0.0},
    "pix2pix_itm": {"filters": 8, "val_interval": 1, "draws_per_epoch": 16},
    "spade_itm": {"channels": [8, 8, 4], "val_interval": 1, "draws_per_epoch": 16},
    "cyclegan_itm": {"filters": 8, "val_interval": 1, "draws_per_epoch": 16, "pool_size": 4},
}
BUNDLES = list(OVERRIDES)


def shell(*words, **kwargs):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *map(str, words)], capture_output=True, text=True, env=environment, timeout=300, **kwargs
    )


def training(bundle, data, run, epochs, *overlays, **extra):
    files = [f"bundles/{bundle}/configs/{name}.json" for name in ("train", "demo", *overlays)]
    knobs = {**OVERRIDES[bundle], "dataset_dir": data, "output_dir": run, "epochs": epochs, **extra}
    flags = [word for key, value in knobs.items() for word in (f"--{key}", value)]
    return ["-m", "monai.bundle", "run", "training", "--config_file", str(files), *flags]


def workflow(bundle, names, kind, **overrides):
    files = [f"bundles/{bundle}/configs/{name}.json" for name in names]
    flow = ConfigWorkflow(files, logging_file=False, workflow_type=kind, **overrides)
    flow.initialize()
    return flow


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study") / "data"
    subjects = "{normal:3,training:4,validation:2,test:2}"
    made = shell(
        *("-m", "scripts.data", "phantom", "--out", folder, "--subjects", subjects, "--size", "32,32,16", "--seed", 1)
    )
    assert made.returncode == 0, made.stderr
    return folder


@pytest.fixture(scope="module")
def runs(data):
    """One epoch of each bundle by its command."""
    folders = {}
    for bundle in BUNDLES:
        folders[bundle] = data.parent / "runs" / bundle
        extra = {"segmenter": folders["stroke_unet"]} if bundle.endswith("_itm") else {}
        done = shell(*training(bundle, data, folders[bundle], 1, **extra))
        assert done.returncode == 0, done.stderr
    return folders


@pytest.mark.parametrize("bundle", BUNDLES)
def test_a_training_leaves_a_run_folder_with_everything(runs, bundle):
    expected = ["model.pt", "last.pt", "settings.json", "environment.json", "losses.csv"]
    assert [name for name in expected if not (runs[bundle] / name).is_file()] == []
    assert list((runs[bundle] / "samples").glob("*.png"))
    assert list(runs[bundle].glob("events.out.tfevents.*"))
    weights = torch.load(runs[bundle] / "model.pt", weights_only=True)
    assert list(weights) == ["model"]
    losses = pd.read_csv(runs[bundle] / "losses.csv")
    assert {"epoch", "loss"} < set(losses.columns)
    assert any(name.startswith("val_") for name in losses.columns)
    assert np.isfinite(losses["loss"]).all()


@pytest.mark.parametrize("bundle", BUNDLES)
def test_two_epochs_in_one_go_equal_one_and_one(runs, data, bundle, tmp_path):
    extra = {"segmenter": str(runs["stroke_unet"])} if bundle.endswith("_itm") else {}
    knobs = {**OVERRIDES[bundle], "dataset_dir": str(data), **extra}
    for folder, epochs in (("parts", 1), ("parts", 2), ("whole", 2)):
        workflow(
            bundle,
            ("train", "demo"),
            "train",
            output_dir=str(tmp_path / folder),
            epochs=epochs,
            precision="fp32",
            **knobs,
        ).run()
    parts, whole = (torch.load(tmp_path / name / "last.pt", weights_only=True) for name in ("parts", "whole"))
    assert parts["history"] == whole["history"]
    # A scheduler also holds the number of epochs that it was begun with.
    states = [
        {name: state for name, state in run["state"].items() if "scheduler" not in name} for run in (parts, whole)
    ]
    torch.testing.assert_close(*states, rtol=0, atol=0)


@pytest.mark.parametrize("bundle", BUNDLES)
def test_a_changed_setting_is_refused_when_going_on(runs, data, bundle):
    extra = {"segmenter": str(runs["stroke_unet"])} if bundle.endswith("_itm") else {}
    flow = workflow(
        bundle, ("train", "demo"), "train", epochs=2, seed=7,
        **{**OVERRIDES[bundle], "dataset_dir": str(data), "output_dir": str(runs[bundle]), **extra},
    )  # fmt: skip
    with pytest.raises(RuntimeError, match="attach") as caught:  # MONAI wraps what an expression raises
        flow.run()
    assert "holds a run with other settings (seed: 1 -> 7)" in str(caught.value.__cause__)


@pytest.mark.parametrize("bundle", BUNDLES)
def test_inference_works_from_the_run_and_has_every_property(runs, data, bundle, tmp_path):
    where = {} if bundle == "lesion_wgan" else {"dataset_dir": str(data)}
    flow = workflow(bundle, ("inference",), "infer", run_dir=str(runs[bundle]), output_dir=str(tmp_path), **where)
    assert flow.check_properties() == []
    flow.run()
    made = sorted(tmp_path.glob("*.nii.gz"))
    assert made
    volume = nib.load(made[0])
    assert volume.shape[:3] == (32, 32, 16)
    assert np.allclose(volume.affine, read_dataset(data).affine, atol=1e-4)
    if bundle == "stroke_unet":
        assert set(np.unique(volume.dataobj)) <= {0, 1}
        assert len(made) == len(read_dataset(data).select("test"))


@pytest.mark.parametrize("bundle", BUNDLES)
def test_evaluation_repeats_the_validation_of_the_best_epoch(runs, data, bundle):
    extra = {"segmenter": str(runs["stroke_unet"])} if bundle.endswith("_itm") else {}
    flow = workflow(
        bundle, ("train", "demo", "evaluate"), "train",
        **{**OVERRIDES[bundle], "dataset_dir": str(data), "output_dir": str(runs[bundle]), **extra},
    )  # fmt: skip
    flow.run()
    metrics = flow.parser.get_parsed_content("validate#evaluator").state.metrics
    recorded = pd.read_csv(runs[bundle] / "losses.csv").iloc[0]
    repeated = [name for name in recorded.index if name.startswith("val_")]
    assert repeated
    assert all(abs(metrics[name] - recorded[name]) < 1e-6 for name in repeated)
    if bundle.endswith("_itm"):
        assert all(name in metrics for name in ("val_noise", "val_coarse", "val_fine", "val_steps"))


def test_a_killed_training_goes_on_to_the_same_result(data, tmp_path):
    command = training("stroke_unet", data, tmp_path / "killed", 8, save_seconds=0, precision="fp32")
    process = subprocess.Popen([sys.executable, *map(str, command)], env={**os.environ, "OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 120
    while not (tmp_path / "killed/last.pt").is_file() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert shell(*command).returncode == 0
    whole = training("stroke_unet", data, tmp_path / "whole", 8, precision="fp32")
    assert shell(*whole).returncode == 0
    assert (tmp_path / "killed/losses.csv").read_text() == (tmp_path / "whole/losses.csv").read_text()


@pytest.mark.parametrize("bundle", ["stroke_unet", "lesion_wgan"])
def test_torchrun_trains_on_two_processes(data, bundle, tmp_path):
    command = training(bundle, data, tmp_path, 1, "multi_gpu_train")
    done = shell("-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=29611", *command)
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(pd.read_csv(tmp_path / "losses.csv")) == 1
    assert (tmp_path / "model.pt").is_file()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--dataset_dirr", "x"], "Did you mean --dataset_dir"),
        (["--dataset_dir", "nowhere"], "nowhere is not a data set"),
        (["--pretrained", "nowhere"], "--pretrained nowhere: no such file"),
    ],
)
def test_a_wrong_command_ends_with_one_clear_line(data, flags, message, tmp_path):
    config = "bundles/stroke_unet/configs/train.json"
    where = [] if "--dataset_dir" in flags else ["--dataset_dir", data]
    done = shell(
        *(
            "-m",
            "monai.bundle",
            "run",
            "training",
            "--config_file",
            config,
            "--output_dir",
            tmp_path / "run",
            *where,
            *flags,
        )
    )
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not Path(tmp_path / "run").exists()


def test_mlflow_tracks_what_losses_csv_holds(data, tmp_path):
    if importlib.util.find_spec("mlflow") is None:
        lack("no MLflow: pip install -r requirements-mlflow.txt")
    from mlflow import MlflowClient

    tracking = ("--tracking", "bundles/stroke_unet/configs/tracking.json")
    done = shell(*training("stroke_unet", data, tmp_path / "tracked", 2), *tracking)
    assert done.returncode == 0, done.stderr

    client = MlflowClient(f"sqlite:///{tmp_path / 'tracked' / 'mlruns.db'}")
    experiment = client.get_experiment_by_name("stroke_unet")
    (run,) = client.search_runs([experiment.experiment_id])
    table = pd.read_csv(tmp_path / "tracked" / "losses.csv").set_index("epoch")
    assert run.info.run_name == "tracked"
    assert run.data.params["clinical_cases"] == "None"
    for name in ("loss", "val_dice"):
        tracked = {entry.step: entry.value for entry in client.get_metric_history(run.info.run_id, name)}
        assert tracked == pytest.approx(table[name].to_dict())


@pytest.fixture(scope="module")
def dist(runs, tmp_path_factory):
    """Releases of all bundles."""
    folder = tmp_path_factory.mktemp("dist")
    for bundle in BUNDLES:
        release_bundle(bundle, runs[bundle], folder)
    return folder


@pytest.mark.parametrize("bundle", BUNDLES)
def test_a_release_does_all_by_itself(dist, data, bundle):
    found = verify_release(dist / bundle, data=data)

    assert {check: wrong for check, wrong in found.items() if wrong} == {}
    assert len(found) == 9


def test_two_releases_load_side_by_side_and_a_stranger_can_train_one_on(dist, data, tmp_path):
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
    assert done.returncode == 0, done.stderr
    assert "torch.Size([1, 2, 32, 32, 16]) torch.Size([1, 1, 32, 32])" in done.stdout

    knobs = {
        "dataset_dir": data,
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
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "tuned" / "model.pt").is_file()


def test_a_release_that_was_tampered_with_is_found_out(dist, tmp_path):
    for file, change, check in (
        ("models/model.pt", lambda path: path.write_bytes(path.read_bytes() + b"x"), "weights"),
        ("docs/data_license.txt", lambda path: path.unlink(), "files"),
        (
            "scripts/common/networks/unet3d.py",
            lambda path: path.write_text("import common\\n"),
            "every_target_is_there",
        ),
    ):
        copy = tmp_path / check / "stroke_unet"
        shutil.copytree(dist / "stroke_unet", copy)
        change(copy / file)
        assert verify_release(copy)[check]


def test_what_cannot_be_released_is_refused(runs, dist, tmp_path):
    with pytest.raises(ValueError, match="holds a run of pix2pix_itm, not of stroke_unet"):
        release_bundle("stroke_unet", runs["pix2pix_itm"], tmp_path)
    with pytest.raises(ValueError, match="is there already"):
        release_bundle("stroke_unet", runs["stroke_unet"], dist)
    with pytest.raises(ValueError, match="no such bundle"):
        release_bundle("unet", runs["stroke_unet"], tmp_path)
