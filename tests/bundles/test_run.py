"""Every bundle as users run it: trained, stopped, resumed, evaluated, used for inference, on two processes."""

import importlib.util
import os
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
from bundle_runs import BUNDLES, OVERRIDES, shell, succeeded, training
from monai.bundle import ConfigWorkflow
from real_components import lack

from common.datalists import read_dataset

pytestmark = pytest.mark.slow


def workflow(bundle, names, kind, **overrides):
    files = [f"bundles/{bundle}/configs/{name}.json" for name in names]
    flow = ConfigWorkflow(files, logging_file=False, workflow_type=kind, **overrides)
    flow.initialize()
    return flow


@pytest.fixture(scope="module")
def data(bundle_data):
    return bundle_data


@pytest.fixture(scope="module")
def runs(bundle_runs):
    return bundle_runs


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
    succeeded(done)
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
    succeeded(done)

    client = MlflowClient(f"sqlite:///{tmp_path / 'tracked' / 'mlruns.db'}")
    experiment = client.get_experiment_by_name("stroke_unet")
    (run,) = client.search_runs([experiment.experiment_id])
    table = pd.read_csv(tmp_path / "tracked" / "losses.csv").set_index("epoch")
    assert run.info.run_name == "tracked"
    assert run.data.params["clinical_cases"] == "None"
    for name in ("loss", "val_dice"):
        tracked = {entry.step: entry.value for entry in client.get_metric_history(run.info.run_id, name)}
        assert tracked == pytest.approx(table[name].to_dict())
