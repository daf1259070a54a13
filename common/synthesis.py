"""From anatomies, lesion masks and a translator to a synthetic data set.

A run that was stopped goes on when started again. What a case becomes depends on the settings and its number alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from .appearance import appearances, apply_appearance, choose_appearance, references
from .bundles import load_network, read_settings, sha256
from .datalists import COHORTS, Case, Dataset, read_dataset, refuse_foreign_donors, write_dataset
from .grids import minimum_lesion_voxels, read_volume, write_volume
from .labels import LESION
from .mask_drawing import draw_masks, latent_items
from .painting import added_signal, paint_on_scan
from .placement import MaskPool, MaskQueue, Placement, place_lesion, read_pool
from .prediction import read_image
from .resumable import begin_folder, refuse_count, write_json
from .sampling import derive_seed
from .translation import default_device, translate_volume

__all__ = [
    "case_of", "choose_donors", "draw_masks", "latent_items", "lesion_entry", "place_lesion", "read_anatomy",
    "refuse_unpaintable", "synthesize_images", "translate_volume",
]  # fmt: skip

CHOICES = ("auto", "none")
BACKGROUNDS = ("translated", "scan")
APPEARANCE = 10_000  # keeps its random numbers apart from those of the GAN's latents, (seed, number, attempt)


def choose_donors(dataset: Dataset, donors: str | Sequence[str]) -> list[Case]:
    """Training cases whose anatomy is used: a cohort, "stroke_negative" (of the stroke cohort those without a lesion),
    "all", or named subjects ("A,B" or a list).

    Raises:
        ValueError: a named subject is unknown, held out or has no anatomy; the cohort has nobody.
    """
    path = dataset.folder / "dataset.json"
    groups = {cohort: (cohort, None) for cohort in COHORTS}
    groups |= {"all": (None, None), "stroke_negative": ("stroke", False)}
    if isinstance(donors, str) and donors in groups:
        chosen = [case for case in dataset.select("training", *groups[donors]) if case.anatomy is not None]
        if not chosen:
            raise ValueError(f"{path}: no training case of cohort {donors!r} has an anatomy. Try `--donors all`.")
        return chosen
    subjects = {case.subject: case for case in dataset.cases}
    names = donors.split(",") if isinstance(donors, str) else list(donors)
    for name in names:
        if name not in subjects:
            raise ValueError(f"--donors {name}: expected normal, stroke, stroke_negative, all or subjects of {path}.")
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
    brightness: str = "auto",
    unevenness: str = "auto",
    background: str = "translated",
    donors: str | Sequence[str] = "normal",
    per_donor: int = 1,
    minimum_voxels: int | None = None,
    clinical_cases: int | None = None,
) -> Path:
    """Make a synthetic data set: anatomies of training donors, with lesions, translated into images.

    Args:
        bundle, model: the translator and its run folder.
        data: real data set that gives the donors.
        seed: of the choice of masks and of all noise, the translator's included.
        out: data set to make; finished cases in it stay as they are.
        masks: folder of `draw_masks`, a mask library, or "clinical", the lesions of the training cases; None:
            lesion-free brains.
        count: cases; default `per_donor` for each donor. More than donors go through them again, with other masks.
        noise, brightness, unevenness: "auto" gives each case the noise, the white matter level and the unevenness
            inside the lesion of a training image that the translator saw, drawn among those with lesions of about its
            volume (`common.appearance`); "none" leaves what the translator made.
        background: "translated", the whole image is the translator's, as in the paper; or "scan", the donor's own scan,
            onto which what the lesion adds to the translation is painted (`common.painting`). Then `brightness` is the
            lesion's; without masks the scans stay as they are, examples of no lesion.
        donors: see `choose_donors`.
        per_donor: cases for each donor, where no count is given.
        minimum_voxels: lesions smaller than that in the parenchyma are drawn anew; default the paper's 20 (the same
            volume on other grids).
        clinical_cases: of "clinical" masks, those of the first so many cases.

    Returns:
        `out`.

    Raises:
        FileNotFoundError, ValueError: model, data, masks or what is in `out` do not fit; the message says what to do.
    """
    dataset = read_dataset(data)
    if dataset.synthetic:
        raise ValueError(f"{data} is a synthetic set; donors come from the real one.")
    for flag, value in (("noise", noise), ("brightness", brightness), ("unevenness", unevenness)):
        if value not in CHOICES:
            raise ValueError(f"--{flag} {value!r} is not known; expected one of {CHOICES}.")
    if background not in BACKGROUNDS:
        raise ValueError(f"--background {background!r} is not known; expected one of {BACKGROUNDS}.")
    chosen = choose_donors(dataset, donors)
    if background == "scan":
        refuse_unpaintable(chosen)
    count = per_donor * len(chosen) if count is None else count
    refuse_count(count)
    settings = read_settings(model)["settings"]
    _refuse_other_grid(model, settings["size"], dataset)
    network = load_network(model, bundle, default_device())
    pool = read_pool(masks, dataset, clinical_cases) if masks else None
    minimum = minimum_lesion_voxels(dataset.affine) if minimum_voxels is None else minimum_voxels
    model_hash = sha256(Path(model) / "model.pt")
    origin = {
        "bundle": bundle,
        "model_sha256": model_hash,
        "data_sha256": sha256(dataset.folder / "dataset.json"),
        "masks_sha256": pool.sha256() if pool else None,
        "seed": seed,
        "noise": noise,
        "brightness": brightness,
        "unevenness": unevenness,
        "background": background,
        "donors": donors if isinstance(donors, str) else list(donors),
    }
    if minimum_voxels is not None:
        origin["minimum_voxels"] = minimum
    out = Path(out)
    header = begin_folder(out / "synthesis.json", origin, {"model": str(model), "data": str(data), "masks": str(masks)})
    done = len(list(out.glob("sidecars/synthetic-*.json")))
    if done > count:
        raise ValueError(f"{out} holds {done} cases, --count {count} asks for fewer. Choose another --out.")

    wanted = {"noise": noise == "auto", "brightness": brightness == "auto"}
    seen = references(dataset, pool is not None, settings.get("clinical_cases"))
    uneven = unevenness == "auto" and pool is not None
    targets = appearances(seen, dataset) if uneven or any(wanted.values()) else None
    translate = partial(
        translate_volume,
        network,
        num_labels=settings["num_labels"],
        precision=settings.get("precision", "fp32"),
        context=settings.get("context", 0),
        spatial_dims=settings.get("spatial_dims", 2),
    )
    queue = MaskQueue(len(pool.ids), seed) if pool else None
    cases = []
    for number in tqdm(range(1, count + 1), desc=f"{bundle} cases", unit="case"):
        donor = chosen[(number - 1) % len(chosen)]
        case = case_of(out, number, has_lesion=pool is not None)
        cases.append(case)
        anatomy = read_anatomy(donor, dataset)
        # The queue moves on for finished cases as well, so that the others get the masks that they would have got.
        placement = place_lesion(anatomy, pool, queue, minimum, donor.subject) if pool else None
        if case.sidecar.is_file():
            continue
        label_map = placement.label_map if placement else anatomy
        noise_seed = derive_seed(seed, number)
        scan = read_image(donor, (dataset.size, dataset.affine)) if background == "scan" else None
        image = translate(label_map, seed=noise_seed) if placement or scan is None else scan
        healthy = translate(anatomy, seed=noise_seed) if placement and (uneven or scan is not None) else None
        rng = np.random.default_rng([seed, number, APPEARANCE])
        lesion_ml = placement.voxels_after * dataset.voxel_ml if placement else 0.0
        target = choose_appearance(targets, lesion_ml, rng) if targets else None
        given = None
        if scan is not None and placement:
            try:
                added = added_signal(image, healthy, label_map, anatomy)
                image, given = paint_on_scan(
                    scan, anatomy, label_map, added, target,
                    unevenness=uneven, rng=rng, spacing=dataset.spacing, **wanted,
                )  # fmt: skip
            except ValueError as error:
                raise ValueError(f"donor {donor.subject}, case {number}: {error}") from error
        elif scan is None and target:
            image, given = apply_appearance(
                image, label_map, target, rng=rng, healthy=healthy, spacing=dataset.spacing, **wanted
            )
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
            **lesion_entry(placement, pool, dataset),
            "bundle": bundle,
            "model_sha256": model_hash,
            "background": background,
            "seeds": {"seed": seed, "case": number, "translator_noise": noise_seed},
            "appearance": given,
            "versions": header["versions"],
        }
        write_json(case.sidecar, sidecar)  # last: a case with a sidecar is whole
    if not (out / "dataset.json").is_file() or len(read_dataset(out).cases) != count:
        refuse_foreign_donors(dataset, write_dataset(out, _dataset_header(dataset, header), cases))
    return out


def case_of(out: Path, number: int, has_lesion: bool) -> Case:
    name = f"synthetic-{number:05d}"
    files = {key: out / folder / f"{name}.nii.gz" for key, folder in (("image", "images"), ("anatomy", "anatomy"))}
    label = out / "lesions" / f"{name}.nii.gz" if has_lesion else None
    cohort = "stroke" if has_lesion else "normal"
    return Case(name, cohort, "training", label=label, sidecar=out / "sidecars" / f"{name}.json", **files)


def read_anatomy(donor: Case, dataset: Dataset) -> np.ndarray:
    anatomy, affine = read_volume(donor.anatomy)
    if anatomy.shape != dataset.size or not np.allclose(affine, dataset.affine, atol=1e-3):
        raise ValueError(
            f"{donor.anatomy}: anatomy of donor {donor.subject} is not on the grid {dataset.size} of the data. Find "
            "the strays with `python -m scripts.data check`."
        )
    if anatomy.min() < 0 or anatomy.max() >= LESION:
        raise ValueError(f"{donor.anatomy}: anatomy of donor {donor.subject} holds ids outside 0 to {LESION - 1}.")
    return anatomy.astype(np.uint8)


def refuse_unpaintable(donors: list[Case]) -> None:
    for donor in donors:
        if donor.label is not None:
            raise ValueError(
                f"--background scan: the scan of donor {donor.subject} shows a lesion of its own, which the new mask "
                "would not hold. Use `--donors normal`, or name donors without a lesion."
            )


def lesion_entry(placement: Placement | None, pool: MaskPool | None, dataset: Dataset) -> dict:
    if placement is None:
        return {"source_mask": None, "mask": None}
    return {
        "source_mask": pool.sources[placement.mask],
        "mask": placement.mask,
        **({"mask_subject": placement.mask} if pool.clinical else {}),
        "lesion_voxels_before": placement.voxels_before,
        "lesion_voxels_after": placement.voxels_after,
        "lesion_ml": placement.voxels_after * dataset.voxel_ml,
        "attempts": len(placement.rejected) + 1,
        "rejected": placement.rejected,
    }


def _dataset_header(dataset: Dataset, synthesis: dict) -> dict:
    origin = dataset.header["name"]
    description = f"Synthetic DWI by {synthesis['bundle']} from training donors of {origin}."
    if synthesis["background"] == "scan":
        description = (
            f"Lesions by {synthesis['bundle']}, painted onto the own scans of training donors of {origin}: as personal "
            "as those scans, for privacy and licence."
        )
    return {
        "name": f"{origin}, synthetic ({synthesis['bundle']})",
        "description": description,
        "licence": dataset.header.get("licence"),
        "simulated": dataset.simulated,
        "synthetic": True,
        "size": dataset.size,
        "affine": dataset.affine,
        "intensity": {"range": [-1, 1]},
        **{
            key: synthesis[key] for key in ("bundle", "model_sha256", "background", "noise", "brightness", "unevenness")
        },
    }


def _refuse_other_grid(model: str | Path, trained: Sequence[int], dataset: Dataset) -> None:
    if tuple(trained) != dataset.size[: len(trained)]:
        raise ValueError(
            f"{model} was trained on a grid of {tuple(trained)} voxels, {dataset.folder} has {dataset.size}. Use a "
            "model trained on this data's grid."
        )
