"""A study on disk, fabricated in seconds: what each stage would have left behind, with random numbers in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from monai.bundle import ConfigParser

from common.datalists import Dataset, read_dataset, write_dataset
from common.grids import minimum_lesion_voxels, read_volume, write_volume
from common.results import COLUMNS, read_results, write_results

SIZE = (16, 32, 8)
COUNTS = {"normal": 4, "training": 6, "validation": 4, "test": 24}
ARMS = {
    "clinical": {"title": "6 clinical", "clinical_cases": 6},
    "clinical_synthetic": {"title": "6 clinical + 8 synthetic", "clinical_cases": 6, "synthetic": True},
}
EPOCHS = 3  # kept
CHANNELS = [4, 4, 8, 8]
BUNDLES = Path(__file__).resolve().parents[1] / "bundles"


def make_study(
    folder: Path, make_dataset: Callable[..., Dataset], seeds=(1, 2, 3), gain: float = 0.1, data: Path | None = None
) -> Path:
    """Every stage of a finished study. `gain`: what the synthetic arm adds to Dice. `data`: a set to take instead."""
    start_study(folder, seeds)
    if data is None:
        dataset = make_dataset(folder / "data", SIZE, COUNTS)
    else:
        (folder / "data").symlink_to(data)
        dataset = read_dataset(folder / "data")
    add_synthetic(folder, make_dataset, dataset)
    add_masks(folder, dataset)
    add_run(folder, "lesion_wgan", "lesion_wgan", dataset, {"c_loss": -1, "g_loss": 1, "val_ks": 0.4})
    add_translator(folder, "pix2pix_itm", dataset, {"d_loss": 0.4, "g_l1": 0.2, "val_recovered_dice": 0.5})
    for seed in seeds:
        for arm in ARMS:
            add_segmenter(folder, arm, seed, dataset)
            add_scores(folder, arm, seed, dataset, gain if ARMS[arm].get("synthetic") else 0)
            add_epochs(folder, arm, seed)
    lines = [{"stage": name, "seconds": 12.3 * k, "peak_gb": 1.5} for k, name in enumerate(("data", "draw masks"), 1)]
    (folder / "stages.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def start_study(folder: Path, seeds=(1, 2, 3)) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    study = {"name": "fabricated", "title": "A study of numbers <made up>", "arms": ARMS, "baseline": "clinical"}
    study |= {"lesion_wgan": {"overlays": [], "settings": {}}, "masks": {"count": 12, "seed": 1}}
    study["segmenter"] = {"overlays": [], "settings": {"epochs": 30, "keep_last": EPOCHS}}
    study["translators"] = {"pix2pix_itm": {"bundle": "pix2pix_itm", "overlays": ["demo"], "settings": {}}}
    (folder / "study.json").write_text(json.dumps({**study, "seeds": list(seeds)}))
    return folder


def add_synthetic(folder: Path, make_dataset: Callable[..., Dataset], dataset: Dataset, count: int = 8) -> None:
    counts = {"normal": 1, "training": count, "validation": 0, "test": 0}
    made = make_dataset(folder / "synthetic", dataset.size, counts, seed=7)
    cases = made.select("training", has_lesion=True)
    write_dataset(folder / "synthetic", {**made.header, "synthetic": True}, cases)


def add_masks(folder: Path, dataset: Dataset, count: int = 12) -> None:
    rng = np.random.default_rng(3)
    lesions = [read_volume(case.label)[0] for case in dataset.select(has_lesion=True)]
    (folder / "masks").mkdir()
    (folder / "masks" / "masks.json").write_text(
        json.dumps({"seed": 1, "minimum_voxels": minimum_lesion_voxels(dataset.affine)})
    )
    for number in range(1, count + 1):
        mask = np.roll(lesions[rng.integers(len(lesions))], rng.integers(-1, 2), axis=1)
        write_volume(folder / "masks" / f"mask_{number:05d}.nii.gz", mask.astype(np.uint8), dataset.affine)


def add_run(folder: Path, run: str, bundle: str, dataset: Dataset, losses: dict[str, float], settings=None) -> Path:
    rng = np.random.default_rng(len(run))
    path = folder / "runs" / run
    path.mkdir(parents=True)
    epochs = np.arange(1, 31)
    table = pd.DataFrame({"epoch": epochs})
    for name, level in losses.items():
        table[name] = level * (1 + 4 * np.exp(-epochs / 6) + rng.normal(0, 0.05, len(epochs)))
        if name.startswith("val_"):
            table.loc[table["epoch"] % 3 != 0, name] = np.nan
    table.to_csv(path / "losses.csv", index=False)
    content = {"seed": 1, "size": list(dataset.size), "dataset_dir": str(folder / "data"), **(settings or {})}
    (path / "settings.json").write_text(json.dumps({"bundle": bundle, "settings": content}))
    environment = {"python": "3.11.2", "packages": {"torch": "2.13.0", "monai": "1.6.1"}, "commit": "0123456789abcdef"}
    (path / "environment.json").write_text(json.dumps({**environment, "command": "python -m scripts.study run"}))
    return path


def add_segmenter(folder: Path, arm: str, seed: int, dataset: Dataset) -> None:
    """A U-Net whose last layer was set so that bright voxels are mostly lesion: it finds something."""
    settings = {"channels": CHANNELS, "dropout": 0.0, "seed": seed}
    path = add_run(
        folder, f"{arm}_seed{seed}", "stroke_unet", dataset, {"loss": 0.6, "val_loss": 0.7, "val_dice": 0.1}, settings
    )
    torch.manual_seed(seed)
    add_weights(path, "stroke_unet", {"channels": CHANNELS, "dropout": 0.0})


def add_translator(folder: Path, name: str, dataset: Dataset, losses: dict[str, float]) -> Path:
    settings = {"num_labels": 29, "filters": 4}
    path = add_run(folder, name, "pix2pix_itm", dataset, losses, settings)
    add_weights(path, "pix2pix_itm", settings | {"size": list(dataset.size)})
    return path


def add_weights(run: Path, bundle: str, settings: dict) -> None:
    """Random ones, of the network that the bundle's inference.json describes with these settings."""
    parser = ConfigParser()
    parser.read_config(str(BUNDLES / bundle / "configs" / "inference.json"))
    parser.update(settings)
    torch.save({"model": parser.get_parsed_content("network_def").state_dict()}, run / "model.pt")


def add_scores(folder: Path, arm: str, seed: int, dataset: Dataset, gain: float) -> None:
    rows = []
    for number, case in enumerate(dataset.select("test")):
        rng = np.random.default_rng([5, number])  # a case's difficulty is the same in all runs
        volume = float((read_volume(case.label)[0] > 0).sum() * dataset.voxel_ml) if case.label else 0.0
        level = rng.uniform(0.2, 0.8) + gain + np.random.default_rng([seed, len(arm), number]).normal(0, 0.05)
        row = dict.fromkeys(COLUMNS, np.nan) | {
            "run": f"{arm}_seed{seed}", "arm": arm, "seed": seed, "subject": case.subject, "cohort": case.cohort,
            "lesion_ml": volume, "diagonal_mm": 300.0, "false_positive_ml": 0.0 if number % 3 else rng.uniform(0, 2),
        }  # fmt: skip
        if volume:
            dice = 0.0 if number == 2 and not gain else float(np.clip(level, 0.01, 0.99))
            scores = {"dice": dice, "precision": min(1, dice + 0.1), "recall": dice, "lesion_f1": dice}
            scores |= {"relative_volume_difference": 1 - dice, "volume_difference_ml": 3 * (1 - dice)}
            row |= scores | {"lesion_count_difference": float(rng.integers(0, 3))}
            if dice:
                row |= {"hd_paper": 20 - 9 * dice, "hd_max": 25 - 9 * dice, "hd95": 12 - 9 * dice, "assd": 5 - 4 * dice}
        rows.append(row)
    file = folder / "results" / f"{arm}_seed{seed}.csv"
    write_results(pd.DataFrame(rows), file)
    file.with_suffix(".json").write_text(json.dumps({"simulated": dataset.simulated}))
    line = {
        "time": "2026-01-01T00:00:00+00:00",
        "model": f"runs/{arm}_seed{seed}",
        "model_sha256": "ab" * 32,
        "limit": None,
    }
    with open(folder / "results" / "test_readings.jsonl", "a") as log:
        log.write(json.dumps(line) + "\n")


def add_epochs(folder: Path, arm: str, seed: int) -> None:
    """Kept epochs 28 to 30, of which 29 scores as the selected weights do, its neighbours two points less and more."""
    frame = read_results(folder / "results" / f"{arm}_seed{seed}.csv")
    rows = [frame.assign(epoch=29 + k, dice=(frame["dice"] + 0.02 * k).clip(0, 1)) for k in (-1, 0, 1)]
    write_results(pd.concat(rows), folder / "results" / "epochs" / f"{arm}_seed{seed}.csv")
