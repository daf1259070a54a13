"""Runs of all bundles that several test files look at, trained once."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

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


def succeeded(done):
    """Fail if a command did, with the exception that began it in the first line, which pytest's summary shows."""
    if done.returncode:
        causes = re.findall(r"^[\w.]+(?:Error|Exception|Interrupt)\b.*", done.stderr, re.MULTILINE)
        command = " ".join(map(str, done.args[1:]))
        raise AssertionError(f"{(causes or ['no exception'])[0]}\n{command}\n{done.stderr}")


def training(bundle, data, run, epochs, *overlays, **extra):
    files = [f"bundles/{bundle}/configs/{name}.json" for name in ("train", "demo", *overlays)]
    knobs = {**OVERRIDES[bundle], "dataset_dir": data, "output_dir": run, "epochs": epochs, **extra}
    flags = [word for key, value in knobs.items() for word in (f"--{key}", value)]
    return ["-m", "monai.bundle", "run", "training", "--config_file", str(files), *flags]


@pytest.fixture(scope="session")
def bundle_data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study") / "data"
    subjects = "{normal:3,training:4,validation:2,test:2}"
    made = shell(
        *("-m", "scripts.data", "phantom", "--out", folder, "--subjects", subjects, "--size", "32,32,16", "--seed", 1)
    )
    succeeded(made)
    return folder


@pytest.fixture(scope="session")
def bundle_runs(bundle_data):
    """One epoch of each bundle by its command."""
    folders = {}
    for bundle in BUNDLES:
        folders[bundle] = bundle_data.parent / "runs" / bundle
        extra = {"segmenter": folders["stroke_unet"]} if bundle.endswith("_itm") else {}
        done = shell(*training(bundle, bundle_data, folders[bundle], 1, **extra))
        succeeded(done)
    return folders
