"""Drawn lesion masks beside real ones that no GAN was trained on: how large, how many parts, where, and how new."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from scipy import sparse, stats

from .fidelity import ks_distances, mask_features
from .grids import grid_affine, minimum_lesion_voxels, read_volume, spacing_of
from .mask_library import read_masks
from .phantom.lesions import TERRITORIES
from .report import figures, pictures
from .territories import main_territory, territory_of_voxels

__all__ = ["compare_masks", "nearest_dice"]

PICTURES = 8
COLOURS = {
    "drawn": figures.SET_COLOURS["synthetic"],
    "held out": figures.SET_COLOURS["stroke"],
    "training": figures.SET_COLOURS["normal"],
}


def compare_masks(masks: str | Path, library: str | Path, out: str | Path) -> Path:
    """Compare drawn masks with a library's: distributions, and how near each comes to a training mask.

    Args:
        masks: folder of NIfTI masks in MNI space, as `draw_masks` leaves it.
        library: mask library whose training split the GAN saw. Its validation and test splits are held out; of these,
            the validation split has chosen the GAN's weights.
        out: folder for comparison.json and two pictures.

    Returns:
        comparison.json: per set `n`, `volume_ml` quartiles, shares of sides, territories and numbers of parts,
        `nearest_dice` quartiles (Dice with the nearest training mask, for a training mask with the nearest other); and
        `distances` to the held-out set (`ks_distances`, `territory` by total variation, `nearest_dice` by
        Kolmogorov-Smirnov) of the drawn and of the training masks. The latter are what two samples of true masks of
        these numbers differ by.

    Raises:
        FileNotFoundError, ValueError: no masks, or no library.
    """
    files = sorted(Path(masks).glob("*.nii*"))
    if not files:
        raise FileNotFoundError(f"{masks}: no NIfTI masks there. Draw some: `python -m scripts.synthesize masks`.")
    volumes = {"drawn": np.stack([read_volume(file)[0] > 0 for file in files])}
    size = volumes["drawn"].shape[1:]
    affine = grid_affine(size)
    smallest = minimum_lesion_voxels(affine)
    real = {split: read_masks(library, size, split).masks for split in ("validation", "test", "training")}
    volumes["held out"] = np.concatenate([real["validation"], real["test"]]) > 0
    volumes["training"] = real["training"] > 0
    volumes = {name: stack[stack.sum((1, 2, 3)) >= smallest] for name, stack in volumes.items()}  # as the GAN sees them

    territories = territory_of_voxels(size)
    sets = {name: [_features(mask, affine, territories) for mask in stack] for name, stack in volumes.items()}
    nearest = {name: nearest_dice(stack, volumes["training"], name == "training") for name, stack in volumes.items()}
    for name, features in sets.items():
        for mask, dice in zip(features, nearest[name]):
            mask["nearest_dice"] = float(dice)
    content = {name: _summary(features) for name, features in sets.items()}
    content["distances"] = {name: _distances(sets[name], sets["held out"]) for name in ("drawn", "training")}

    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    title = "Lesion masks: drawn, held out, and used for training"
    figures.save(figures.mask_distributions(sets, COLOURS), out / "distributions.png", title, simulated=False)
    rng = np.random.default_rng(0)
    shown = {name: [m.sum(2) for m in rng.permutation(volumes[name])[:PICTURES]] for name in ("drawn", "held out")}
    drawing = pictures.mask_pictures(shown, COLOURS, spacing_of(affine))
    figures.save(drawing, out / "pictures.png", "Random masks from above", simulated=False)
    path = out / "comparison.json"
    path.write_text(json.dumps(content, indent=1))
    return path


def nearest_dice(masks: np.ndarray, others: np.ndarray, same: bool = False) -> np.ndarray:
    """Dice of each mask with the one of `others` that it overlaps best.

    Args:
        masks, others: bool (N, H, W, D), (M, H, W, D).
        same: both are the same set; then a mask is not compared with itself.

    Returns:
        (N,) in [0, 1].
    """
    a, b = (sparse.csr_matrix(stack.reshape(len(stack), -1), dtype=np.float32) for stack in (masks, others))
    overlap = (a @ b.T).toarray()
    dice = 2 * overlap / np.maximum(a.sum(1) + b.sum(1).T, 1)
    if same:
        np.fill_diagonal(dice, 0)
    return np.asarray(dice).max(1)


def _features(mask: np.ndarray, affine: np.ndarray, territories: np.ndarray) -> dict:
    return {**mask_features(mask, affine), "territory": main_territory(mask, territories)}


def _summary(features: list[dict]) -> dict:
    def shares(key: str) -> dict[str, float]:
        values = [str(min(mask[key], 6) if key == "components" else mask[key]) for mask in features]
        return {value: values.count(value) / len(values) for value in sorted(set(values))}

    quartiles = {
        key: np.percentile([mask[key] for mask in features], (25, 50, 75)).tolist()
        for key in ("volume_ml", "nearest_dice")
    }
    return {"n": len(features), **quartiles, **{key: shares(key) for key in ("components", "side", "territory")}}


def _distances(a: list[dict], b: list[dict]) -> dict[str, float]:
    shares = [
        {name: np.mean([mask["territory"] == name for mask in masks]) for name in TERRITORIES} for masks in (a, b)
    ]
    nearest = [[mask["nearest_dice"] for mask in masks] for masks in (a, b)]
    return {
        **ks_distances(a, b),
        "territory": float(sum(abs(shares[0][name] - shares[1][name]) for name in TERRITORIES) / 2),
        "nearest_dice": float(stats.ks_2samp(*nearest).statistic),
    }
