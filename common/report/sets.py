"""Sets on the page: how synthetic lesions, masks and intensities are distributed beside those they stand for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.stats import wasserstein_distance

from ..bundles import load_network, read_settings
from ..datalists import Case, Dataset
from ..fidelity import QUARTILES, contrast_of, ks_distances, mask_features, mean_ks, recovered_dice, tissue_sd
from ..grids import grid_affine, read_volume, spacing_of
from ..lesions import lesion_items
from . import figures, pictures
from .folder import Section, StudyFolder, Table

__all__ = ["fidelity", "intensities", "masks"]

CONTRAST_BOUND = 1.0  # standard deviations of the tissue: between the quartiles of real lesions lie several
RECOVERED_SHARE = 0.8  # of the Dice on real images
MOST_CASES = 60  # per set, for what is measured case by case: enough for quartiles, and a report in minutes
PICTURES = 8
BINS = np.linspace(0, 1, 65)


def fidelity(study: StudyFolder, section: Section) -> None:
    """Lesion contrast and recovered Dice, synthetic against real."""
    data, synthetic = study.data, study.synthetic
    spread = tissue_sd(data)
    sets = {study.real_word: contrast_of(_first(data), spread), "synthetic": contrast_of(_first(synthetic), spread)}
    panels, colours = [("lesion contrast (SD of the tissue)", sets)], _pair(study)
    if not all(sets.values()):
        section.missing.append("lesion contrast: no case of one set has an anatomy and a lesion")
        return
    quartiles = {name: np.percentile(values, QUARTILES) for name, values in sets.items()}
    gaps = quartiles["synthetic"] - quartiles[study.real_word]
    section.numbers["contrast"] = {
        **{name: _numbers(values) for name, values in sets.items()},
        "gap": gaps.tolist(),
        "bound": CONTRAST_BOUND,
        "within_bound": bool((abs(gaps) <= CONTRAST_BOUND).all()),
    }
    rows = [[name, str(len(sets[name])), *(f"{q:.2f}" for q in values)] for name, values in quartiles.items()]
    rows.append(["difference", "", *(f"{gap:+.2f}" for gap in gaps)])
    within = "all within" if section.numbers["contrast"]["within_bound"] else "not all within"
    section.tables.append(
        Table(
            "Lesion contrast",
            ["set", "lesions", "p25", "median", "p75"],
            rows,
            "(median of the lesion - median of the same tissue in a 10 mm ring) / SD of that tissue in the "
            f"{study.real_word} training images. Differences are {within} the bound of {CONTRAST_BOUND:g} SD.",
        )
    )
    _recovered(study, section, panels)
    study.draw(
        section,
        figures.strips(panels, colours),
        "fidelity",
        "Contrast of lesions, and what a segmenter finds of them",
        f"Training cases, {study.real_word} and synthetic; boxes are quartiles, points are cases. Recovered Dice: the "
        f"segmenter trained on clinical cases only ({study.titles[study.baseline]}), on images that it was not trained "
        f"on, against the lesions that were painted in (synthetic) or are true ({study.real_word}, validation split).",
    )


def _recovered(study: StudyFolder, section: Section, panels: list) -> None:
    seed = study.settings["seeds"][0]
    try:
        network = load_network(study.run(study.baseline, seed), "stroke_unet")
    except FileNotFoundError:
        section.missing.append(f"recovered Dice: the segmenter {study.baseline}, seed {seed}, is not trained")
        return
    found = {
        study.real_word: recovered_dice(network, study.data, MOST_CASES, "validation"),
        "synthetic": recovered_dice(network, study.synthetic, MOST_CASES),
    }
    if not all(found.values()):
        section.missing.append("recovered Dice: one set has no case with a lesion")
        return
    panels.append(("recovered Dice", found))
    share = float(np.mean(found["synthetic"]) / max(np.mean(found[study.real_word]), 1e-9))
    numbers = {name: {**_numbers(values), "mean": float(np.mean(values))} for name, values in found.items()}
    section.numbers["recovered_dice"] = {**numbers, "share": share, "bound": RECOVERED_SHARE}
    rows = [
        [name, str(len(found[name])), *(f"{row[key]:.2f}" for key in ("mean", "p25", "p50", "p75"))]
        for name, row in numbers.items()
    ]
    reached = "reaches" if share >= RECOVERED_SHARE else "does not reach"
    section.tables.append(
        Table(
            "Recovered Dice",
            ["set", "cases", "mean", "p25", "median", "p75"],
            rows,
            f"Synthetic / {study.real_word} = {share:.2f}, which {reached} the required {RECOVERED_SHARE:g}. Far above "
            f"1 means that synthetic lesions are easier to find than {study.real_word} ones.",
        )
    )


def masks(study: StudyFolder, section: Section) -> None:
    """Masks drawn by the GAN against those it was not trained on."""
    files = sorted((study.path / "masks").glob("mask_*.nii.gz"))
    if not files:
        raise FileNotFoundError("the masks of the lesion GAN (masks/)")
    settings = read_settings(study.path / "runs" / "lesion_wgan")["settings"]
    size, library = tuple(settings["size"]), settings.get("mask_library")
    affine = grid_affine(size)
    volumes = {"GAN": [read_volume(file)[0] > 0 for file in files]}
    for name, split in (("held out", "validation"), ("training", "training")):
        limit = settings.get("clinical_cases") if split == "training" else None
        items = lesion_items(split, size, str(study.path / "data"), library, limit)
        volumes[name] = [item["lesion"][0].numpy() > 0 for item in items]
    sets = {name: [mask_features(mask, affine) for mask in masks] for name, masks in volumes.items()}
    pairs = {"GAN - held out": ("GAN", "held out"), "training - held out": ("training", "held out")}
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
            "Kolmogorov-Smirnov statistic of volume and number of components; total variation of side. The second line "
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
    )
    rng = np.random.default_rng(0)
    shown = {
        name: [volumes[name][k].sum(2) for k in rng.permutation(len(volumes[name]))[:PICTURES]]
        for name in ("GAN", "held out")
    }
    study.draw(
        section,
        pictures.mask_pictures(shown, colours, spacing_of(affine)),
        "mask_pictures",
        "Lesion masks seen from above",
        "Random masks of both sets, summed over the slices (brighter: thicker).",
    )


def intensities(study: StudyFolder, section: Section) -> None:
    """Intensity histograms of the three sets (paper, Fig. 5)."""
    densities = {}
    for name, dataset, cohort in (
        ("normal", "data", "normal"),
        ("stroke", "data", "stroke"),
        ("synthetic",) * 2 + (None,),
    ):
        try:
            cases = getattr(study, dataset).select("training", cohort)[:MOST_CASES]
        except FileNotFoundError as error:
            section.missing.append(str(error))
            continue
        if cases:
            densities[name] = np.stack([_density(case) for case in cases])
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
    titles = {"normal": f"normal, {study.real_word}", "stroke": f"stroke, {study.real_word}", "synthetic": "synthetic"}
    study.draw(
        section,
        figures.histograms(BINS, densities, titles),
        "intensities",
        "Intensities of the normal, stroke and synthetic training cases",
        "Voxels of the brain (paper, Fig. 5). Lines: mean over cases; bands: quartiles over cases. The right panel "
        "shows the same on a logarithmic scale, where lesions are.",
    )


def _first(dataset: Dataset) -> Dataset:
    """A data set of its first training cases with a lesion."""
    return replace(dataset, cases=tuple(dataset.select("training", has_lesion=True)[:MOST_CASES]))


def _density(case: Case) -> np.ndarray:
    """Histogram of the brain's intensities in [0, 1], (bins,)."""
    image = read_volume(case.image)[0]
    brain = read_volume(case.anatomy)[0] > 0 if case.anatomy else image > image.min()
    return np.histogram((image[brain] + 1) / 2, BINS, density=True)[0]


def _pair(study: StudyFolder) -> dict[str, str]:
    return {study.real_word: figures.SET_COLOURS["stroke"], "synthetic": figures.SET_COLOURS["synthetic"]}


def _numbers(values: Sequence[float]) -> dict[str, float]:
    return {"n": len(values), **{f"p{q}": float(np.percentile(values, q)) for q in QUARTILES}}
