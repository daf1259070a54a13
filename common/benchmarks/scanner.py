"""Segmenting images as scanners write them: what it costs in Dice against registered images, and how long it takes."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
from monai.transforms import Compose, SaveImage

from ..bundles import load_network, train
from ..datalists import Dataset
from ..grids import PAPER_SIZE, read_volume, write_volume
from ..inferer import PrecisionInferer
from ..metrics import case_metrics
from ..networks.unet3d import UNet3D
from ..phantom.cohort import make_phantom
from ..preprocessing.gridding import mask_on_grid
from ..preprocessing.registration import resample
from ..scanner_space import FromScannerd, ToScannerd
from .harness import Table
from .importing import SCANNER_SHAPE, SCANNER_VOXEL, turned

__all__ = ["benchmark"]

SIZE, FINE = (64, 64, 16), (128, 128, 64)
CASES = {"normal": 0, "training": 24, "validation": 4, "test": 16}
TRAINING = {"epochs": 30, "draws_per_epoch": 50, "val_interval": 30, "cache_dir": None, "num_workers": 0}
ANGLES = ((0, 0, 0), (8, 3, -4), (-15, 5, 6))  # degrees about x, y, z
LARGE, LARGE_VOXEL = (256, 256, 32), (0.95, 0.95, 4.8)
AIR = 0.04  # noise in the air around a head, of the brightest voxel: then the brain must be found
MOST_SECONDS = 1.5
ROUNDS = 9


def benchmark(folder: Path) -> list[Table]:
    """Dice in the scanner's space by pose; seconds from a NIfTI file to the mask's, model loaded."""
    return [_dice(folder), _seconds(folder)]


def _dice(folder: Path) -> Table:
    data = make_phantom(folder / "scanner_data", CASES, SIZE, negatives=0.0)
    fine = make_phantom(folder / "scanner_fine", CASES, FINE, negatives=0.0)  # the same subjects, as sharp as a scan
    run = folder / "scanner_run"
    train("stroke_unet", ["demo"], dataset_dir=str(data.folder), output_dir=str(run), **TRAINING)
    network = load_network(run, "stroke_unet")
    rows = []
    for angles in ANGLES:
        scores = [_case(folder, network, data, fine, index, angles) for index in range(CASES["test"])]
        names = ("registered, the way known", "shift", "register")
        row = {name: round(float(np.mean([case[name] for case in scores])), 3) for name in names}
        rows.append({"turned by, degrees": str(angles), **row})
    return Table(f"Mean Dice in the scanner's space, {CASES['test']} cases with a lesion (simulated)", rows)


def _case(folder: Path, network, data: Dataset, fine: Dataset, index: int, angles: tuple) -> dict[str, float]:
    case, sharp = data.select("test")[index], fine.select("test")[index]
    truth, affine = turned(angles), _scanner()
    back = np.linalg.inv(truth)
    signal = (read_volume(sharp.image)[0] + 1) * 500
    image = resample(signal.astype(np.float32), fine.affine, back, SCANNER_SHAPE, affine, order=1)
    lesion = mask_on_grid(read_volume(sharp.label)[0], fine.affine, back, SCANNER_SHAPE, affine)
    path = folder / "scan.nii.gz"
    write_volume(path, image, affine)

    scores = {}
    inferer = PrecisionInferer()
    registered = torch.from_numpy(read_volume(case.image)[0].astype(np.float32))[None]
    ways = {"shift": {}, "register": {"space": "register"}}
    for name in ("registered, the way known", *ways):
        item = FromScannerd("image", SIZE, **ways.get(name, {}))({"image": str(path)})
        if name not in ways:
            item["image"].meta["scanner_matrix"] = truth
            item["image"].set_(registered)
        item["pred"] = inferer(item["image"].as_tensor()[None], network)[0]
        found = ToScannerd("pred")(item)["pred"].numpy()[0]
        scores[name] = case_metrics(found, lesion, SCANNER_VOXEL)["dice"]
    return scores


def _scanner(voxel: tuple[float, float, float] = SCANNER_VOXEL) -> np.ndarray:
    affine = np.diag([-voxel[0], *voxel[1:], 1.0])
    affine[:3, 3] = (132, -158, -47)
    return affine


def _seconds(folder: Path) -> Table:
    """Of the paper's U-Net, untrained, on its grid of 128x128x32."""
    fine = make_phantom(folder / "scanner_fine", CASES, FINE, negatives=0.0)
    signal = (read_volume(fine.select("test")[0].image)[0] + 1) * 500
    image = resample(signal.astype(np.float32), fine.affine, np.eye(4), LARGE, _scanner(LARGE_VOXEL), order=1)
    noise = np.random.default_rng(0).normal(0, AIR * image.max(), (2, *LARGE))
    network = UNet3D(1, 2, 0.0).eval()
    path, rows = folder / "scan.nii.gz", []
    for name, voxels in (("brain extracted", image), ("whole head", np.hypot(image + noise[0], noise[1]))):
        write_volume(path, voxels.astype(np.float32), _scanner(LARGE_VOXEL))
        rows.append({"scan": name, **_parts(folder, network, path)})
    title = f"Seconds from a NIfTI file of {'x'.join(map(str, LARGE))} to its mask; {MOST_SECONDS} at most"
    return Table(title, rows, all(row["together"] <= MOST_SECONDS for row in rows))


def _parts(folder: Path, network: UNet3D, path: Path) -> dict[str, float]:
    prepare, inferer = FromScannerd("image", PAPER_SIZE), PrecisionInferer()
    finish = Compose([ToScannerd("pred"), lambda item: SaveImage(folder / "masks", print_log=False)(item["pred"])])
    parts: dict[str, list[float]] = {"read and prepared": [], "segmented": [], "brought back and written": []}
    for _ in range(ROUNDS):
        start = time.perf_counter()
        item = prepare({"image": str(path)})
        if item["image"].meta["warning"]:
            raise ValueError(item["image"].meta["warning"])  # an empty image would be fast
        prepared = time.perf_counter()
        item["pred"] = inferer(item["image"].as_tensor()[None], network)[0]
        segmented = time.perf_counter()
        finish(item)
        ends = (prepared - start, segmented - prepared, time.perf_counter() - segmented)
        for times, seconds in zip(parts.values(), ends):
            times.append(seconds)
    row = {name: round(float(np.median(times)), 2) for name, times in parts.items()}
    return {**row, "together": round(sum(row.values()), 2)}
