"""Time against the size and number of volumes, and trainings against processes, threads and loader workers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import torch

from ..labels import NUM_LABELS
from ..networks.pix2pix import UNetGenerator
from ..networks.unet3d import UNet3D
from ..phantom.cohort import make_phantom
from ..precision import autocast
from .harness import Table, median_seconds

__all__ = ["benchmark"]

ROOT = Path(__file__).resolve().parents[2]
SIZES = ((64, 64, 16), (128, 128, 32), (192, 192, 48))
BATCHES = (1, 2, 4, 8)
CASES = {"normal": 4, "training": 8, "validation": 2, "test": 2}
STEPS, BATCH = 12, 2
# processes, threads of each, loader workers of each
WAYS = ((1, 1, 0), (1, 2, 0), (1, 2, 1), (1, 1, 1), (1, 2, 2), (2, 1, 0))


def benchmark(folder: Path) -> list[Table]:
    """Curves of the networks, and the U-Net's training in several arrangements at the same global batch."""
    torch.manual_seed(0)
    return [_sizes(), _batches(), _arrangements(folder)]


@torch.inference_mode()
def _sizes() -> Table:
    network = UNet3D(1, 2, dropout=0.0).eval()
    rows = []
    for size in SIZES:
        seconds = _seconds(network, torch.zeros(1, 1, *size))
        megavoxels = size[0] * size[1] * size[2] / 1e6
        rows.append(
            {"volume": "x".join(map(str, size)), "s": round(seconds, 3), "s per Mvoxel": round(seconds / megavoxels, 3)}
        )
    return Table("U-Net, one volume against its size", rows)


@torch.inference_mode()
def _batches() -> Table:
    unet = UNet3D(1, 2, dropout=0.0).eval()
    generator = UNetGenerator(2, NUM_LABELS, 1, (128, 128), dropout=0.0).eval()
    rows = []
    for batch in BATCHES:
        volumes, slices = torch.zeros(batch, 1, 64, 64, 16), torch.zeros(4 * batch, NUM_LABELS, 128, 128)
        rows.append(
            {
                "volumes or 4 slices at a time": batch,
                "U-Net 64x64x16, ms per volume": round(1000 * _seconds(unet, volumes) / batch, 1),
                "Pix2Pix 128x128, ms per slice": round(1000 * _seconds(generator, slices) / (4 * batch), 1),
            }
        )
    return Table("Time per item against how many go at a time", rows)


def _seconds(network: torch.nn.Module, batch: torch.Tensor) -> float:
    def forward() -> None:
        with autocast(batch.device, "auto"):
            network(batch)

    return median_seconds(forward)


def _arrangements(folder: Path) -> Table:
    data = make_phantom(folder / "medium", CASES, (64, 64, 16), negatives=0.0).folder
    rows = []
    for processes, threads, workers in WAYS:
        out = folder / "arrangement"
        shutil.rmtree(out, ignore_errors=True)
        configs = ["train", "demo", *(["multi_gpu_train"] if processes > 1 else [])]
        files = [f"bundles/stroke_unet/configs/{name}.json" for name in configs]
        start = (
            ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"] if processes > 1 else []
        )
        command = [sys.executable, *start, "-m", "monai.bundle", "run", "training", "--config_file", str(files)]
        knobs = {
            "dataset_dir": data, "output_dir": out, "epochs": 3, "val_interval": 3, "num_workers": workers,
            "batch_size": BATCH // processes, "draws_per_epoch": BATCH * STEPS,
        }  # fmt: skip
        command += [word for name, value in knobs.items() for word in (f"--{name}", str(value))]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
        later = pd.read_csv(out / "timing.csv").iloc[1:]
        seconds = later["seconds"].sum() / later["steps"].sum()
        rows.append(
            {
                "processes": processes,
                "threads of each": threads,
                "loader workers of each": workers,
                "ms per step": round(1000 * seconds),
                "waiting for batches": f"{later['waiting'].mean():.1%}",
            }
        )
    best = min(row["ms per step"] for row in rows if row["processes"] == 1)
    for row in rows:
        row["against the fastest single process"] = f"{best / row['ms per step']:.0%}"
    return Table(f"U-Net of demo.json, steps of {BATCH} volumes of 64x64x16", rows)
