"""Memory against the number of subjects."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path

import numpy as np

from ..datalists import Dataset, write_dataset
from ..mask_drawing import draw_masks
from ..phantom.cohort import make_phantom
from .harness import Table

__all__ = ["benchmark"]

ROOT = Path(__file__).resolve().parents[2]
SIZE = (64, 64, 16)
CASES = {"normal": 12, "training": 12, "validation": 3, "test": 2}
SUBJECTS = (50, 200, 800)
BOUND = 10.0  # MB per 100 subjects
PEAK = "from common.environment import peak_memory_gb; print(1000 * peak_memory_gb())"
TRAINING = """
from common.bundles import train
train({bundle!r}, ['demo'], dataset_dir={data!r}, output_dir={out!r}, **{knobs})
"""
SYNTHESIS = """
from common.synthesis import synthesize_images
synthesize_images('pix2pix_itm', {run!r}, {data!r}, 1, {out!r}, {masks!r}, {count})
"""
KNOBS = {
    "stroke_unet": {"channels": [2, 2, 2, 2], "draws_per_epoch": None},
    "pix2pix_itm": {"filters": 8, "draws_per_epoch": None},
    "lesion_wgan": {"val_masks": 16, "draws_per_epoch": None},
}


def benchmark(folder: Path) -> list[Table]:
    """Peak memory of trainings that draw every subject once, and of a synthesis of as many cases."""
    made = make_phantom(folder / "few", CASES, SIZE, negatives=0.0)
    masks = draw_masks(ROOT / "bundles" / "lesion_wgan" / "models", 32, 1, folder / "masks")
    rows = []
    for count in SUBJECTS:
        place = folder / f"subjects{count}"
        shutil.rmtree(place, ignore_errors=True)
        data = str(enlarged(made, place / "data", count).folder)
        row: dict = {"subjects": count}
        for bundle, knobs in KNOBS.items():
            out = str(place / bundle)
            knobs = {"epochs": 1, **knobs}
            row[f"{bundle}, MB"] = _peak_mb(TRAINING.format(bundle=bundle, data=data, out=out, knobs=knobs))
        run, out = str(place / "pix2pix_itm"), str(place / "synthetic")
        row["synthesis, MB"] = _peak_mb(SYNTHESIS.format(run=run, data=data, out=out, masks=str(masks), count=count))
        rows.append(row)
        shutil.rmtree(place)
    counts, names = [row["subjects"] for row in rows], list(rows[0])[1:]
    slopes = {name: 100 * np.polyfit(counts, [row[name] for row in rows], 1)[0] for name in names}
    rows.append({"subjects": "per 100", **{name: round(float(slope), 1) for name, slope in slopes.items()}})
    return [Table(f"Peak memory; {BOUND:.0f} MB per 100 subjects at most", rows, bool(max(slopes.values()) < BOUND))]


def enlarged(dataset: Dataset, folder: Path, count: int) -> Dataset:
    """A data set whose training cases are repeated under new names until there are `count`; files are links."""
    training = islice(cycle(dataset.select("training")), count)
    cases = []
    for number, case in enumerate([*training, *dataset.select("validation"), *dataset.select("test")]):
        files = {key: getattr(case, key) for key in ("image", "label", "anatomy")}
        links = {key: folder / key / f"{number:04d}.nii.gz" if path else None for key, path in files.items()}
        for key, path in links.items():
            if path:
                path.parent.mkdir(parents=True, exist_ok=True)
                os.link(files[key], path)
        cases.append(replace(case, subject=f"case-{number:04d}", sidecar=None, **links))
    return write_dataset(folder, dataset.header, cases)


def _peak_mb(code: str) -> float:
    done = subprocess.run([sys.executable, "-c", code + PEAK], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{code}\nended with {done.returncode}:\n{done.stderr[-2000:]}")
    return round(float(done.stdout.split()[-1]), 1)
