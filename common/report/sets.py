"""Sets on the page: how synthetic lesions, masks and intensities are distributed beside those they stand for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import wasserstein_distance

from ..bundles import load_network, read_settings
from ..datalists import Case, Dataset
from ..fidelity import QUARTILES, contrast_of, ks_distances, mask_features, mean_ks, recovered_dice, tissue_sd
from ..grids import grid_affine, read_volume, spacing_of
from ..lesions import lesion_items
from ..mask_drawing import first_attempts
from ..study_parts import gan_of, mask_sets
from . import figures, pictures
from .folder import Section, StudyFolder, Table

__all__ = ["fidelity", "intensities", "masks"]

CONTRAST_BOUND = 1.0  # standard deviations of the tissue: between the quartiles of real lesions lie several
RECOVERED_SHARE = 0.8  # of the Dice on real images
MOST_CASES = 60  # per set, for what is measured case by case: enough for quartiles, and a report in minutes
PICTURES = 8
BINS = np.linspace(0, 1, 65)


def fidelity(study: StudyFolder, section: Section) -> None:
    """Lesion contrast and recovered Dice, of each synthetic set against the real images."""
    spread, real = tissue_sd(study.data), study.real_word
    sets = {real: study.data, **study.synthetic_sets}
    sets = _filled({name: contrast_of(_first(dataset), spread) for name, dataset in sets.items()}, "contrast", section)
    panels = [("lesion contrast (SD of the tissue)", sets)]
    if real not in sets or len(sets) < 2:
        return
    quartiles = {name: np.percentile(values, QUARTILES) for name, values in sets.items()}
    gaps = {name: values - quartiles[real] for name, values in quartiles.items() if name != real}
    within = {name: bool((abs(gap) <= CONTRAST_BOUND).all()) for name, gap in gaps.items()}
    section.numbers["contrast"] = {
        **{name: _numbers(values) for name, values in sets.items()},
        "gap": {name: gap.tolist() for name, gap in gaps.items()},
        "bound": CONTRAST_BOUND,
        "within_bound": within,
    }
    rows = [[name, str(len(sets[name])), *(f"{q:.2f}" for q in values)] for name, values in quartiles.items()]
    rows += [[f"{name} - {real}", "", *(f"{value:+.2f}" for value in gap)] for name, gap in gaps.items()]
    words = [f"{'all' if kept else 'not all'} of {name}" for name, kept in within.items()]
    section.tables.append(
        Table(
            "Lesion contrast",
            ["set", "lesions", "p25", "median", "p75"],
            rows,
            f"(median of the lesion - median of the same tissue in a 10 mm ring) / SD of that tissue in the {real} "
            f"training images. Within the bound of {CONTRAST_BOUND:g} SD: {', '.join(words)}.",
        )
    )
    _recovered(study, section, panels)
    study.draw(
        section,
        figures.strips(panels, study.set_colours),
        "fidelity",
        "Contrast of lesions, and what a segmenter finds of them",
        f"Training cases, {study.real_word} and synthetic; boxes are quartiles, points are cases. Recovered Dice: the "
        f"segmenter trained on clinical cases only ({study.titles[study.baseline]}), on images that it was not trained "
        f"on, against the lesions that were painted in (synthetic) or are true ({study.real_word}, validation split).",
        pd.DataFrame(
            [(what, name, value) for what, found in panels for name, values in found.items() for value in values],
            columns=["measure", "set", "value"],
        ),
    )


def _recovered(study: StudyFolder, section: Section, panels: list) -> None:
    seed = study.settings["seeds"][0]
    try:
        network = load_network(study.run(study.baseline, seed), "stroke_unet")
    except FileNotFoundError:
        section.missing.append(f"recovered Dice: the segmenter {study.baseline}, seed {seed}, is not trained")
        return
    found = {study.real_word: recovered_dice(network, study.data, MOST_CASES, "validation")}
    for name, dataset in study.synthetic_sets.items():
        found[name] = recovered_dice(network, dataset, MOST_CASES)
    found = _filled(found, "recovered Dice", section)
    if study.real_word not in found or len(found) < 2:
        return
    panels.append(("recovered Dice", found))
    numbers = {name: {**_numbers(values), "mean": float(np.mean(values))} for name, values in found.items()}
    mean = max(numbers[study.real_word]["mean"], 1e-9)
    shares = {name: row["mean"] / mean for name, row in numbers.items() if name != study.real_word}
    section.numbers["recovered_dice"] = {**numbers, "share": shares, "bound": RECOVERED_SHARE}
    rows = [
        [name, str(len(found[name])), *(f"{row[key]:.2f}" for key in ("mean", "p25", "p50", "p75"))]
        for name, row in numbers.items()
    ]
    section.tables.append(
        Table(
            "Recovered Dice",
            ["set", "cases", "mean", "p25", "median", "p75"],
            rows,
            f"Mean as a share of the {study.real_word} one: "
            + ", ".join(f"{name} {share:.2f}" for name, share in shares.items())
            + f"; {RECOVERED_SHARE:g} is required. Far above 1 means that synthetic lesions are easier to find than "
            f"{study.real_word} ones.",
        )
    )


def masks(study: StudyFolder, section: Section) -> None:
    """Masks drawn by the GAN against those it was not trained on."""
    drawn = mask_sets(study.settings)
    if "masks" not in drawn:
        section.notes.append("This study draws no masks: its lesions come from a library or from its clinical cases.")
        return
    files = sorted((study.path / "masks").glob("mask_*.nii.gz"))
    if not files:
        raise FileNotFoundError("the masks of the lesion GAN (masks/)")
    log = json.loads((study.path / "masks" / "masks.json").read_text())
    gan = Path(drawn["masks"].get("model") or study.path / "runs" / gan_of(drawn["masks"]))
    settings = read_settings(gan)["settings"]
    size, library = tuple(settings["size"]), settings.get("mask_library")
    if library and not Path(library).exists():  # a published model's: compared with the masks of this data set instead
        library = None
    affine = grid_affine(size)
    volumes = {"GAN": [read_volume(file)[0] > 0 for file in files]}
    if log.get("select", "none") != "none":
        volumes["GAN, unselected"] = first_attempts(gan, log["seed"], len(files))
        section.notes.append(
            "These masks were chosen among the GAN's by what the first two columns measure (--select). The "
            "GAN's own distributions are those of the unselected masks: the first attempts at the same numbers."
        )
    for name, split in (("held out", "validation"), ("training", "training")):
        limit = settings.get("clinical_cases") if split == "training" else None
        items = lesion_items(split, size, str(study.path / "data"), library, limit)
        volumes[name] = [item["lesion"][0].numpy() > 0 for item in items]
    sets = {name: [mask_features(mask, affine) for mask in masks] for name, masks in volumes.items()}
    pairs = {f"{name} - held out": (name, "held out") for name in sets if name != "held out"}
    distances = {
        name: {**ks_distances(sets[a], sets[b]), "mean": mean_ks(sets[a], sets[b])} for name, (a, b) in pairs.items()
    }
    section.numbers = {
        "distances": distances,
        **{name: _numbers([mask["volume_ml"] for mask in features]) for name, features in sets.items()},
    }
    keys = ("volume", "components", "side", "mean")
    section.tables = [
        Table(
            "Distance of distributions (0 alike, 1 apart)",
            ["masks", *keys],
            [[name, *(f"{row[key]:.3f}" for key in keys)] for name, row in distances.items()],
            "Kolmogorov-Smirnov statistic of volume and number of components; total variation of side. The last line "
            "is what two samples of true masks of these numbers differ by: less cannot be asked of the GAN.",
        ),
        Table(
            "Volume in ml",
            ["masks", "n", "p25", "median", "p75"],
            [[name, str(row["n"]), *(f"{row[key]:.1f}" for key in ("p25", "p50", "p75"))]
             for name, row in section.numbers.items() if name != "distances"],
        ),
    ]  # fmt: skip
    colours = {
        "GAN": figures.SET_COLOURS["synthetic"],
        "GAN, unselected": "#E8B48C",
        "held out": figures.SET_COLOURS["stroke"],
        "training": "#7F7F7F",
    }
    study.draw(
        section,
        figures.mask_distributions(sets, colours),
        "mask_distributions",
        "Lesion masks: drawn by the GAN, held out, and used for training",
        "Held-out masks are those of the validation split: the GAN was not trained on them, but its weights were "
        "chosen by these distances. No mask of the test split is used here.",
        pd.DataFrame([{"set": name, **mask} for name, features in sets.items() for mask in features]),
    )
    rng = np.random.default_rng(0)
    numbers = {name: rng.permutation(len(volumes[name]))[:PICTURES] for name in ("GAN", "held out")}
    shown = {name: [volumes[name][k].sum(2) for k in chosen] for name, chosen in numbers.items()}
    study.draw(
        section,
        pictures.mask_pictures(shown, colours, spacing_of(affine)),
        "mask_pictures",
        "Lesion masks seen from above",
        "Random masks of both sets, summed over the slices (brighter: thicker).",
        pd.DataFrame([{"set": name, **sets[name][k]} for name, chosen in numbers.items() for k in chosen]),
    )


def intensities(study: StudyFolder, section: Section) -> None:
    """Intensity histograms of the three sets (paper, Fig. 5)."""
    densities = {}
    wanted = {"normal": ("data", "normal"), "stroke": ("data", "stroke"), "synthetic": ("synthetic", None)}
    for name, (dataset, cohort) in wanted.items():
        try:
            cases = getattr(study, dataset).select("training", cohort)[:MOST_CASES]
        except FileNotFoundError as error:
            section.missing.append(str(error))
            continue
        if cases:
            densities[name] = np.stack([_density(case) for case in cases])
    if "synthetic" in densities:
        for name, dataset in study.synthetic_sets.items():
            densities[name] = np.stack([_density(case) for case in dataset.select("training")[:MOST_CASES]])
    if not densities:
        return
    widths = np.diff(BINS)
    centres = BINS[:-1] + widths / 2
    means = {name: rows.mean(0) for name, rows in densities.items()}
    rows = []
    for name, density in means.items():
        cumulated = np.cumsum(density * widths)
        numbers = {
            "cases": len(densities[name]),
            "mean": float((centres * density * widths).sum()),
            **{f"p{q}": float(np.interp(q / 100, cumulated, BINS[1:])) for q in (5, 50, 95)},
        }
        if "stroke" in means:
            numbers["distance_to_stroke"] = float(wasserstein_distance(centres, centres, density, means["stroke"]))
        section.numbers[name] = numbers
        cells = [f"{value:.3f}" for key, value in numbers.items() if key != "cases"]
        rows.append([name, str(numbers["cases"]), *cells])
    columns = ["set", "cases", "mean", "p5", "median", "p95"]
    section.tables.append(
        Table(
            "Intensities in the brain, rescaled to [0, 1]",
            [*columns, "distance to stroke"] if "stroke" in means else columns,
            rows,
            "Distance: earth mover's distance between the mean histograms, in units of intensity.",
        )
    )
    titles = {name: f"{name}, {study.real_word}" if name in ("normal", "stroke") else name for name in densities}
    study.draw(
        section,
        figures.histograms(BINS, densities, titles, study.set_colours),
        "intensities",
        "Intensities of the normal, stroke and synthetic training cases",
        "Voxels of the brain (paper, Fig. 5). Lines: mean over cases; bands: quartiles over cases. The right panel "
        "shows the same on a logarithmic scale, where lesions are.",
        pd.DataFrame({"intensity": centres, **means}),
    )


def _filled(sets: dict[str, Sequence], what: str, section: Section) -> dict[str, Sequence]:
    """Sets with something to measure; the others are named on the page."""
    section.missing += [f"{what} of {name}: no case with an anatomy and a lesion" for name, v in sets.items() if not v]
    return {name: values for name, values in sets.items() if values}


def _first(dataset: Dataset) -> Dataset:
    """A data set of its first training cases with a lesion."""
    return replace(dataset, cases=tuple(dataset.select("training", has_lesion=True)[:MOST_CASES]))


def _density(case: Case) -> np.ndarray:
    """Histogram of the brain's intensities in [0, 1], (bins,)."""
    image = read_volume(case.image)[0]
    brain = read_volume(case.anatomy)[0] > 0 if case.anatomy else image > image.min()
    return np.histogram((image[brain] + 1) / 2, BINS, density=True)[0]


def _numbers(values: Sequence[float]) -> dict[str, float]:
    return {"n": len(values), **{f"p{q}": float(np.percentile(values, q)) for q in QUARTILES}}
