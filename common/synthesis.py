"""From trained networks to a synthetic data set: lesion masks, their injection, translation into images.

A run that was stopped goes on when started again. What a case becomes depends on the settings and its number alone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from tqdm import tqdm

from .bundles import load_network, read_settings, sha256
from .datalists import COHORTS, Case, Dataset, read_dataset, refuse_foreign_donors, write_dataset
from .environment import describe_environment
from .grids import grid_affine, minimum_lesion_voxels, read_volume, write_volume
from .labels import LESION
from .noise import add_rician, missing_noise, noise_level, noise_levels
from .placement import MAXIMUM_ATTEMPTS, MaskPool, MaskQueue, Placement, place_lesion, read_pool
from .prediction import PRECISIONS

__all__ = ["choose_donors", "draw_masks", "synthesize_images", "translate_volume"]


THRESHOLD = 0.5
MASK_BATCH = 16
NOISE = ("auto", "none")


def draw_masks(model: str | Path, count: int, seed: int, out: str | Path) -> Path:
    """Draw lesion masks from the GAN into a folder: `mask_00001.nii.gz` ... and `masks.json`.

    A mask comes from the latent of (seed, its number, attempt), the first that gives enough voxels (paper: 20 at
    128x128x32). The sizes of those that did not are logged in `masks.json`.

    Args:
        model: run folder of `lesion_wgan`.
        count: masks; a larger count than before adds to them.
        seed: of the latents.
        out: folder; finished masks in it stay as they are.

    Returns:
        `out`.

    Raises:
        ValueError: `out` holds something else, or 1,000 masks in a row are too small.
    """
    model, out = Path(model), Path(out)
    _refuse_count(count)
    network = load_network(model, "lesion_wgan", _device())
    size = tuple(read_settings(model)["settings"]["size"])
    affine = grid_affine(size)
    minimum = minimum_lesion_voxels(affine)
    header = _begin(
        out / "masks.json",
        {"model_sha256": sha256(model / "model.pt"), "seed": seed, "size": list(size), "threshold": THRESHOLD},
        {"model": str(model), "affine": affine.tolist(), "minimum_voxels": minimum, "count": 0, "rejected": {}},
    )
    header["count"] = max(count, header["count"])
    _write_json(out / "masks.json", header)

    names = {number: f"mask_{number:05d}" for number in range(1, header["count"] + 1)}
    pending = [number for number, name in names.items() if not (out / f"{name}.nii.gz").is_file()]
    rejected: dict[int, list[int]] = {number: [] for number in pending}
    with tqdm(total=len(names), initial=len(names) - len(pending), desc="lesion masks", unit="mask") as bar:
        while pending:
            current = pending[:MASK_BATCH]
            tries = MASK_BATCH // len(current)
            keys = [(seed, number, len(rejected[number]) + k) for number in current for k in range(tries)]
            masks = _generate(network, keys).reshape(len(current), tries, *size)
            accepted = {}
            for number, candidates in zip(current, masks):
                voxels = candidates.sum((1, 2, 3))
                enough = np.flatnonzero(voxels >= minimum)
                first = enough[0] if len(enough) else tries
                rejected[number] += voxels[:first].tolist()
                if len(enough):
                    accepted[number] = candidates[first]
                elif len(rejected[number]) >= MAXIMUM_ATTEMPTS:
                    raise ValueError(
                        f"{model}: {len(rejected[number])} masks in a row have fewer than {minimum} voxels. Look at its "
                        "samples/, and train it longer."
                    )
            # The log comes first, so that no finished mask lacks its entry.
            header["rejected"] |= {names[number]: rejected[number] for number in accepted if rejected[number]}
            header["rejected"] = dict(sorted(header["rejected"].items()))
            _write_json(out / "masks.json", header)
            for number, mask in accepted.items():
                write_volume(out / f"{names[number]}.nii.gz", mask.astype(np.uint8), affine)
            pending = [number for number in pending if number not in accepted]
            bar.update(len(accepted))
    return out


@torch.inference_mode()
def _generate(network: nn.Module, keys: Sequence[tuple[int, int, int]]) -> np.ndarray:
    """Masks (len(keys), H, W, D), bool. The batch always has one size: kernels that round differently for another size
    would make a mask depend on how many are drawn with it."""
    latents = np.zeros((MASK_BATCH, network.latent_size), np.float32)
    for row, key in enumerate(keys):
        latents[row] = np.random.default_rng(key).standard_normal(network.latent_size, np.float32)
    device = next(network.parameters()).device
    return (network(torch.from_numpy(latents).to(device))[: len(keys), 1] > THRESHOLD).cpu().numpy()


@torch.inference_mode()
def translate_volume(
    network: nn.Module, label_map: np.ndarray, num_labels: int, precision: str, batch_size: int | None = None
) -> np.ndarray:
    """Translate a label map, slice by slice, into an image.

    Args:
        network: (B, num_labels, H, W), one-hot -> (B, 1, H, W) in [-1, 1]; in eval mode.
        label_map: (H, W, D), ids below `num_labels`; 0 is background.
        num_labels: channels of the network's input.
        precision: fp32, bf16 or fp16.
        batch_size: axial slices per pass; None: all of them. It changes the time, not the result.

    Returns:
        float32 (H, W, D) in [-1, 1], exactly -1 in the background.
    """
    if label_map.max() >= num_labels:
        raise ValueError(f"the label map holds id {label_map.max()}, but the translator knows 0 to {num_labels - 1}.")
    device, reduced = next(network.parameters()).device, PRECISIONS[precision]
    slices = torch.from_numpy(np.ascontiguousarray(label_map.transpose(2, 0, 1))).to(device).long()  # (D, H, W)
    drawn = []
    for some in slices.split(batch_size or len(slices)):
        one_hot = functional.one_hot(some, num_labels).permute(0, 3, 1, 2).float()  # (B, L, H, W), channels last
        with torch.autocast(device.type, dtype=reduced, enabled=reduced is not None):
            drawn.append(network(one_hot)[:, 0].float())
    image = torch.cat(drawn).permute(1, 2, 0).cpu().numpy().clip(-1, 1)
    return np.where(label_map > 0, image, np.float32(-1))


def choose_donors(dataset: Dataset, donors: str | Sequence[str]) -> list[Case]:
    """Training cases whose anatomy is used: a cohort, "all", or named subjects.

    Raises:
        ValueError: a named subject is unknown, held out or has no anatomy; the cohort has nobody.
    """
    path = dataset.folder / "dataset.json"
    if donors == "all" or donors in COHORTS:
        chosen = [
            case for case in dataset.select("training", None if donors == "all" else donors) if case.anatomy is not None
        ]
        if not chosen:
            raise ValueError(f"{path}: no training case of cohort {donors!r} has an anatomy. Try `--donors all`.")
        return chosen
    subjects = {case.subject: case for case in dataset.cases}
    names = [donors] if isinstance(donors, str) else [str(name) for name in donors]
    for name in names:
        if name not in subjects:
            raise ValueError(f"--donors {name}: expected normal, stroke, all or subjects of {path}.")
        if subjects[name].split != "training":
            raise ValueError(
                f"--donors {name}: is in {subjects[name].split!r} of {path}; a donor must be in 'training'."
            )
        if subjects[name].anatomy is None:
            raise ValueError(f"--donors {name}: has no anatomy in {path}.")
    return [subjects[name] for name in names]


def synthesize_images(
    bundle: str,
    model: str | Path,
    data: str | Path,
    seed: int,
    out: str | Path,
    masks: str | Path | None = None,
    count: int | None = None,
    noise: str = "auto",
    donors: str | Sequence[str] = "normal",
) -> Path:
    """Make a synthetic data set: anatomies of training donors, with lesions, translated into images.

    Args:
        bundle, model: the translator and its run folder.
        data: real data set that gives the donors.
        seed: of the choice of masks and of the noise.
        out: data set to make; finished cases in it stay as they are.
        masks: folder of `draw_masks`, or a mask library; None: lesion-free brains.
        count: cases; default one per donor. More than donors go through them again, with other masks.
        noise: "auto" adds what the translator smoothed away, case by case at the level of a training image that is
            drawn at random; "none" does not.
        donors: see `choose_donors`.

    Returns:
        `out`.

    Raises:
        FileNotFoundError, ValueError: model, data, masks or what is in `out` do not fit; the message says what to do.
    """
    dataset = read_dataset(data)
    if dataset.synthetic:
        raise ValueError(f"{data} is a synthetic set; donors come from the real one.")
    if noise not in NOISE:
        raise ValueError(f"--noise {noise!r} is not known; expected one of {NOISE}.")
    chosen = choose_donors(dataset, donors)
    count = len(chosen) if count is None else count
    _refuse_count(count)
    settings = read_settings(model)["settings"]
    _refuse_other_grid(model, settings["size"], dataset)
    network = load_network(model, bundle, _device())
    pool = read_pool(masks, dataset) if masks else None
    model_hash = sha256(Path(model) / "model.pt")
    origin = {
        "bundle": bundle,
        "model_sha256": model_hash,
        "data_sha256": sha256(dataset.folder / "dataset.json"),
        "masks_sha256": pool.sha256() if pool else None,
        "seed": seed,
        "noise": noise,
        "donors": [case.subject for case in chosen],
    }
    out = Path(out)
    header = _begin(out / "synthesis.json", origin, {"model": str(model), "data": str(data), "masks": str(masks)})
    done = len(list(out.glob("sidecars/synthetic-*.json")))
    if done > count:
        raise ValueError(f"{out} holds {done} cases, --count {count} asks for fewer. Choose another --out.")

    levels = noise_levels(dataset) if noise == "auto" else None
    queue = MaskQueue(len(pool.ids), seed) if pool else None
    cases = []
    for number in tqdm(range(1, count + 1), desc=f"{bundle} cases", unit="case"):
        donor = chosen[(number - 1) % len(chosen)]
        case = _case(out, number, has_lesion=pool is not None)
        cases.append(case)
        anatomy = _read_anatomy(donor, dataset)
        # The queue moves on for finished cases as well, so that the others get the masks that they would have got.
        placement = (
            place_lesion(anatomy, pool, queue, minimum_lesion_voxels(dataset.affine), donor.subject) if pool else None
        )
        if case.sidecar.is_file():
            continue
        label_map = placement.label_map if placement else anatomy
        image = translate_volume(network, label_map, settings["num_labels"], settings.get("precision", "fp32"))
        added = None
        if levels is not None:
            image, added = _add_noise(image, label_map, levels, np.random.default_rng([seed, number]))
        write_volume(case.image, image, dataset.affine)
        write_volume(case.anatomy, anatomy, dataset.affine)
        if placement:
            write_volume(case.label, (label_map == LESION).astype(np.uint8), dataset.affine)
        sidecar = {
            "subject": case.subject,
            "cohort": case.cohort,
            "simulated": dataset.simulated,
            "synthetic": True,
            "donor": donor.subject,
            "source_brain": donor.source.get("source_brain"),
            **_lesion_entry(placement, pool, dataset),
            "bundle": bundle,
            "model_sha256": model_hash,
            "seeds": {"seed": seed, "case": number},
            "noise": added,
            "versions": header["versions"],
        }
        _write_json(case.sidecar, sidecar)  # last: a case with a sidecar is whole
    if not (out / "dataset.json").is_file() or len(read_dataset(out).cases) != count:
        refuse_foreign_donors(dataset, write_dataset(out, _dataset_header(dataset, header), cases))
    return out


def _case(out: Path, number: int, has_lesion: bool) -> Case:
    name = f"synthetic-{number:05d}"
    files = {key: out / folder / f"{name}.nii.gz" for key, folder in (("image", "images"), ("anatomy", "anatomy"))}
    label = out / "lesions" / f"{name}.nii.gz" if has_lesion else None
    cohort = "stroke" if has_lesion else "normal"
    return Case(name, cohort, "training", label=label, sidecar=out / "sidecars" / f"{name}.json", **files)


def _read_anatomy(donor: Case, dataset: Dataset) -> np.ndarray:
    anatomy, affine = read_volume(donor.anatomy)
    if anatomy.shape != dataset.size or not np.allclose(affine, dataset.affine, atol=1e-3):
        raise ValueError(
            f"{donor.anatomy}: anatomy of donor {donor.subject} is not on the grid {dataset.size} of the data set. Find the "
            "strays with `python -m scripts.data check`."
        )
    if anatomy.min() < 0 or anatomy.max() >= LESION:
        raise ValueError(f"{donor.anatomy}: anatomy of donor {donor.subject} holds ids outside 0 to {LESION - 1}.")
    return anatomy.astype(np.uint8)


def _add_noise(
    image: np.ndarray, label_map: np.ndarray, levels: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, dict]:
    """The image with the noise of a real one, and its levels for the sidecar."""
    target, own = float(rng.choice(levels)), noise_level(image, label_map)
    sigma = missing_noise(target, 0.0 if np.isnan(own) else own)
    entry = {"target": target, "own": None if np.isnan(own) else own, "added": sigma}
    return add_rician(image, label_map > 0, sigma, rng), entry


def _lesion_entry(placement: Placement | None, pool: MaskPool | None, dataset: Dataset) -> dict:
    if placement is None:
        return {"source_mask": None, "mask": None}
    return {
        "source_mask": None if pool.generated else placement.mask,
        "mask": placement.mask,
        "lesion_voxels_before": placement.voxels_before,
        "lesion_voxels_after": placement.voxels_after,
        "lesion_ml": placement.voxels_after * dataset.voxel_ml,
        "attempts": len(placement.rejected) + 1,
        "rejected": placement.rejected,
    }


def _dataset_header(dataset: Dataset, synthesis: dict) -> dict:
    return {
        "name": f"{dataset.header['name']}, synthetic ({synthesis['bundle']})",
        "description": f"Synthetic DWI by {synthesis['bundle']} from training donors of {dataset.header['name']}.",
        "licence": dataset.header.get("licence"),
        "simulated": dataset.simulated,
        "synthetic": True,
        "size": dataset.size,
        "affine": dataset.affine,
        "intensity": {"range": [-1, 1]},
        "bundle": synthesis["bundle"],
        "model_sha256": synthesis["model_sha256"],
    }


def _begin(path: Path, settings: dict, more: dict) -> dict:
    """Start a folder with the file that tells its settings, or go on with what that file holds.

    Raises:
        ValueError: the folder was made with other settings, or by something else.
    """
    if not path.is_file():
        if path.parent.is_dir() and any(path.parent.iterdir()):
            raise ValueError(
                f"{path.parent} is not empty and has no {path.name}, so it was made otherwise. Choose another --out."
            )
        _write_json(path, settings | more | {"versions": describe_environment()["packages"]})
    found = json.loads(path.read_text())
    changed = [
        f"{key} {found.get(key)!r} instead of {value!r}" for key, value in settings.items() if found.get(key) != value
    ]
    if changed:
        raise ValueError(
            f"{path.parent} was made with other settings: {'; '.join(changed)}. Restore them to go on, or choose another --out."
        )
    return found


def _write_json(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    temporary.write_text(json.dumps(content, indent=1))
    temporary.replace(path)


def _refuse_count(count: int) -> None:
    if count < 1:
        raise ValueError(f"--count {count}: expected at least 1.")


def _refuse_other_grid(model: str | Path, trained: Sequence[int], dataset: Dataset) -> None:
    if tuple(trained) != dataset.size[: len(trained)]:
        raise ValueError(
            f"{model} was trained on a grid of {tuple(trained)} voxels, {dataset.folder} has {dataset.size}. Use a model "
            "trained on this data's grid."
        )


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"
