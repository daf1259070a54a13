"""Lesion masks drawn by the trained GAN."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy import ndimage
from torch import nn
from tqdm import tqdm

from .bundles import load_network, read_settings, sha256
from .datalists import fingerprint
from .fidelity import mask_features
from .grids import grid_affine, minimum_lesion_voxels, spacing_of, write_volume
from .lesions import lesion_items
from .placement import MAXIMUM_ATTEMPTS
from .resumable import begin_folder, refuse_count, write_json
from .translation import default_device

__all__ = ["draw_masks", "first_attempts", "latent", "latent_items"]

THRESHOLD = 0.5
BATCH_SIZE = 16
BLOCK = 16  # masks that share their candidates, 16 for each
NEAR_MM = 10.0
TARGET = 10_000  # keeps its random numbers apart from those of the latents

Key = tuple[int, int, int]
"""Seed, number and attempt: what a latent is drawn from."""


class WantedMasks(NamedTuple):
    """Of masks to take after: log volume and log number of parts (N, 2), and where another may lie."""

    shapes: np.ndarray
    region: np.ndarray


def latent(seed: int, number: int, attempt: int, length: int) -> np.ndarray:
    """The noise of one attempt at one mask, standard normal, float32 (length,)."""
    return np.random.default_rng([seed, number, attempt]).standard_normal(length, np.float32)


def latent_items(seed: int, count: int, latent_size: int) -> list[dict]:
    """First attempts at masks 1 to `count`, as {"image": latent} items for the inference of lesion_wgan."""
    return [{"image": latent(seed, number, 0, latent_size)} for number in range(1, count + 1)]


def first_attempts(model: str | Path, seed: int, count: int) -> list[np.ndarray]:
    """First attempts at masks 1 to `count` that are large enough, bool (H, W, D): what the GAN draws, unselected."""
    network = load_network(model, "lesion_wgan", default_device())
    masks = _generate(network, [(seed, number, 0) for number in range(1, count + 1)])
    smallest = minimum_lesion_voxels(grid_affine(masks.shape[1:]))
    return [mask for mask in masks if mask.sum() >= smallest]


def draw_masks(
    model: str | Path,
    count: int,
    seed: int,
    out: str | Path,
    select: str = "none",
    minimum_voxels: int | None = None,
) -> Path:
    """Draw lesion masks from the GAN into a folder: `mask_00001.nii.gz` ... and `masks.json`.

    A mask comes from the latent of (seed, its number, attempt), the first that gives enough voxels (paper: 20 at
    128x128x32); with `select`, from that of any number and attempt of its block. masks.json logs the latent of each
    mask ("latents") and what was rejected: the sizes of those too small before it, or, of the 256 candidates of its
    block, how many were too small, how many lay elsewhere and how many nobody took.

    Args:
        model: run folder of `lesion_wgan`.
        count: masks; a larger count than before adds to them.
        seed: of the latents.
        out: folder; finished masks in it stay as they are.
        select: "none" takes what comes, as the paper. "training" draws 256 candidates for every 16 masks and gives each
            the one that is nearest in volume and number of parts to a random mask that the GAN was trained on, of those
            that lie where such masks do (most of their voxels within 10 mm of one). A GAN that was trained briefly
            draws too many large lesions in one piece, and specks in the corners of the grid. The path of a mask library
            (an NPZ file or a folder of masks in MNI space): the same by its training split, for a GAN whose training
            masks are not at hand, or for other lesions than it was trained on.
        minimum_voxels: smaller masks are drawn anew; default the paper's 20 (the same volume on other grids).

    Returns:
        `out`.

    Raises:
        ValueError: `out` holds something else, the GAN draws masks that are too small, and next to no others, or the
            data set that it was trained on has changed since.
    """
    model, out = Path(model), Path(out)
    refuse_count(count)
    if select not in ("none", "training") and not Path(select).exists():
        raise ValueError(f"--select {select!r}: expected none, training, or a mask library (an NPZ file or a folder).")
    network = load_network(model, "lesion_wgan", default_device())
    settings = read_settings(model)["settings"]
    wished = settings if select == "training" else {"size": settings["size"], "mask_library": select}
    size = tuple(settings["size"])
    affine = grid_affine(size)
    minimum = minimum_lesion_voxels(affine) if minimum_voxels is None else minimum_voxels
    if minimum < 1:
        raise ValueError(f"--minimum_voxels {minimum}: expected at least 1; an empty mask is no lesion.")
    header = begin_folder(
        out / "masks.json",
        {
            "model_sha256": sha256(model / "model.pt"),
            "seed": seed,
            "size": list(size),
            "threshold": THRESHOLD,
            "select": select,
            "selected_by": None if select == "none" else _fingerprint(wished),
            "minimum_voxels": minimum,
        },
        {
            "model": str(model),
            "affine": affine.tolist(),
            "count": 0,
            "rejected": {},
            "latents": {},
        },
    )
    header["count"] = max(count, header["count"])
    write_json(out / "masks.json", header)

    names = {number: f"mask_{number:05d}" for number in range(1, header["count"] + 1)}
    pending = [number for number, name in names.items() if not (out / f"{name}.nii.gz").is_file()]
    wanted = _wanted_masks(wished) if select != "none" and pending else None
    rejected: dict[int, list[int]] = {number: [] for number in pending}
    with tqdm(total=len(names), initial=len(names) - len(pending), desc="lesion masks", unit="mask") as bar:
        while pending:
            if wanted is None:
                accepted = _first_large_enough(network, seed, pending, rejected, minimum, model)
                log = {names[number]: rejected[number] for number in accepted if rejected[number]}
            else:
                accepted, counts = _most_alike(network, seed, pending, wanted, minimum, model)
                log = {names[number]: counts for number in accepted}
            # The log comes first, so that no finished mask lacks its entry.
            latents = {names[number]: key for number, (key, _) in accepted.items()}
            for entry, new in (("rejected", log), ("latents", latents)):
                header[entry] = dict(sorted((header[entry] | new).items()))
            write_json(out / "masks.json", header)
            for number, (_, mask) in accepted.items():
                write_volume(out / f"{names[number]}.nii.gz", mask.astype(np.uint8), affine)
            pending = [number for number in pending if number not in accepted]
            bar.update(len(accepted))
    return out


def _first_large_enough(
    network: nn.Module, seed: int, pending: list[int], rejected: dict[int, list[int]], minimum: int, model: Path
) -> dict[int, tuple[Key, np.ndarray]]:
    """Next attempts at some of the pending masks; those that are large enough. Logs the others in `rejected`."""
    current = pending[:BATCH_SIZE]
    tries = BATCH_SIZE // len(current)
    keys = [(seed, number, len(rejected[number]) + k) for number in current for k in range(tries)]
    masks = _generate(network, keys)
    accepted = {}
    for number, candidates in zip(current, masks.reshape(len(current), tries, *masks.shape[1:])):
        voxels, attempt = candidates.sum((1, 2, 3)), len(rejected[number])
        enough = np.flatnonzero(voxels >= minimum)
        first = enough[0] if len(enough) else tries
        rejected[number] += voxels[:first].tolist()
        if len(enough):
            accepted[number] = (seed, number, attempt + int(first)), candidates[first]
        elif len(rejected[number]) >= MAXIMUM_ATTEMPTS:
            raise ValueError(
                f"{model}: {len(rejected[number])} masks in a row have fewer than {minimum} voxels. Look at its "
                "samples/, and train it longer."
            )
    return accepted


def _most_alike(
    network: nn.Module, seed: int, pending: list[int], wanted: WantedMasks, minimum: int, model: Path
) -> tuple[dict[int, tuple[Key, np.ndarray]], dict[str, int]]:
    """The pending masks of one block, and how many candidates were left.

    Each takes, in the order of their numbers, what is nearest and still there.
    """
    first = (pending[0] - 1) // BLOCK * BLOCK + 1
    numbers = range(first, first + BLOCK)
    keys = [(seed, number, attempt) for number in numbers for attempt in range(BLOCK)]
    candidates = _generate(network, keys)
    voxels = candidates.sum((1, 2, 3))
    inside = candidates[:, wanted.region].sum(1)
    free = np.flatnonzero((voxels >= minimum) & (2 * inside >= voxels)).tolist()
    if len(free) < BLOCK:
        raise ValueError(
            f"{model}: of {len(candidates)} masks, {len(free)} have {minimum} voxels or more and lie where those it "
            f"learned from do; {BLOCK} are needed. Look at its samples/, and train it longer."
        )
    shapes = dict(zip(free, _shapes(candidates[free])))
    accepted = {}
    for number in numbers:
        target = np.random.default_rng([seed, number, TARGET]).choice(wanted.shapes)
        chosen = min(free, key=lambda index: np.abs(shapes[index] - target).sum())
        free.remove(chosen)
        accepted[number] = keys[chosen], candidates[chosen]
    counts = {
        "too small": int((voxels < minimum).sum()),
        "elsewhere": int(((voxels >= minimum) & (2 * inside < voxels)).sum()),
        "not taken": len(free),
    }
    return {number: found for number, found in accepted.items() if number in pending}, counts


@torch.inference_mode()
def _generate(network: nn.Module, keys: Sequence[Key]) -> np.ndarray:
    """Masks (len(keys), H, W, D), bool. The batch always has one size: kernels that round differently for another size
    would make a mask depend on how many are drawn with it."""
    device = next(network.parameters()).device
    masks = []
    for start in range(0, len(keys), BATCH_SIZE):
        some = keys[start : start + BATCH_SIZE]
        latents = np.zeros((BATCH_SIZE, network.latent_size), np.float32)
        for row, key in enumerate(some):
            latents[row] = latent(*key, network.latent_size)
        masks.append((network(torch.from_numpy(latents).to(device))[: len(some), 1] > THRESHOLD).cpu().numpy())
    return np.concatenate(masks)


def _fingerprint(settings: dict) -> str:
    """What tells masks to take after: a hash of the library's file, or of the data set and its splits.

    A folder of masks is told by its name. A data set must be what it was.
    """
    if library := settings.get("mask_library"):
        return sha256(Path(library)) if Path(library).is_file() else str(library)
    found = fingerprint(settings["dataset_dir"])
    if found != settings["dataset"]:
        raise ValueError(
            f"{settings['dataset_dir']}: its cases or splits are not those that the GAN was trained on, so that masks "
            "like its training masks could be like held-out ones. Restore the data set, or train the GAN again."
        )
    return found


def _wanted_masks(settings: dict) -> WantedMasks:
    """Of the training split that `settings`, as a GAN's run has them, name."""
    names = ("size", "dataset_dir", "mask_library", "clinical_cases")
    items = lesion_items("training", **{name: settings.get(name) for name in names})
    masks = np.stack([np.asarray(item["lesion"])[0] > 0 for item in items])
    lesions = masks.any(0)
    if settings.get("flip"):
        lesions |= lesions[::-1]
    spacing = spacing_of(grid_affine(tuple(settings["size"])))
    return WantedMasks(_shapes(masks), ndimage.distance_transform_edt(~lesions, sampling=spacing) <= NEAR_MM)


def _shapes(masks: np.ndarray) -> np.ndarray:
    """Log of volume in voxels and of number of parts, (N, 2), of masks (N, H, W, D) with at least one voxel each."""
    found = [mask_features(mask, np.eye(4)) for mask in masks]
    return np.log([(1000 * features["volume_ml"], features["components"]) for features in found])
