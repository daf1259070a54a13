"""Whether a U-Net trained in bf16 learns what one trained in fp32 learns."""

from __future__ import annotations

import shutil
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import numpy as np
import pandas as pd
from matplotlib import pyplot as plt

from ..bundles import train
from ..phantom.cohort import make_phantom
from .harness import Table

__all__ = ["benchmark"]

FIGURE = Path(__file__).resolve().parents[2] / "docs" / "figures" / "performance" / "precision.png"
CASES = {"normal": 0, "training": 12, "validation": 12, "test": 2}
SEEDS = (1, 2, 3)
KNOBS = {"epochs": 20, "draws_per_epoch": 40, "val_interval": 2}


def benchmark(folder: Path) -> list[Table]:
    """Validation curves of both precisions, three seeds each, on simulated cases of 64x64x16."""
    data = make_phantom(folder / "curves", CASES, (64, 64, 16), negatives=0.0).folder
    curves = {}
    for precision in ("fp32", "bf16"):
        for seed in SEEDS:
            out = folder / "curves_runs" / f"{precision}_{seed}"
            shutil.rmtree(out, ignore_errors=True)
            knobs = {**KNOBS, "seed": seed, "precision": precision}
            train("stroke_unet", ["demo"], dataset_dir=str(data), output_dir=str(out), **knobs)
            curves[precision, seed] = pd.read_csv(out / "losses.csv").dropna(subset="val_dice")
    _draw(curves)
    last = {key: curve["val_dice"].tail(3).mean() for key, curve in curves.items()}
    rows = [
        {"precision": precision, **{f"seed {seed}": round(last[precision, seed], 3) for seed in SEEDS}}
        for precision in ("fp32", "bf16")
    ]
    means = {p: np.mean([last[p, seed] for seed in SEEDS]) for p in ("fp32", "bf16")}
    spread = max(np.std([last[p, seed] for seed in SEEDS], ddof=1) for p in ("fp32", "bf16"))
    for row in rows:
        row["mean"] = round(float(means[row["precision"]]), 3)
    noise = 2 * spread * np.sqrt(2 / len(SEEDS))
    title = f"Validation Dice, mean of the last three readings; seeds alone move the difference of means by {noise:.3f}"
    return [Table(title, rows, bool(abs(means["bf16"] - means["fp32"]) <= noise))]


def _draw(curves: dict) -> None:
    figure, axes = plt.subplots(figsize=(6, 3.5))
    for (precision, seed), curve in curves.items():
        label = precision if seed == SEEDS[0] else None
        axes.plot(curve["epoch"], curve["val_dice"], color={"fp32": "C0", "bf16": "C1"}[precision], label=label)
    axes.set_xlabel("epoch of 40 steps")
    axes.set_ylabel("validation Dice (simulated)")
    axes.legend()
    figure.tight_layout()
    FIGURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(FIGURE, dpi=130)
    plt.close(figure)
