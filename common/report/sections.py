"""The parts of the page that are made from images and masks."""

from __future__ import annotations

import numpy as np
from scipy.stats import wasserstein_distance

from ..bundles import load_network, read_settings
from ..datalists import Dataset
from ..fidelity import QUARTILES, contrast_of, ks_distances, mask_features, mean_ks, recovered_dice, tissue_sd
from ..grids import grid_affine, read_volume, spacing_of
from ..labels import inject
from ..lesions import lesion_items
from ..prediction import read_image, read_lesion, segment
from . import figures, pictures
from .folder import Section, StudyFolder, Table, lesion_ml

__all__ = ["examples", "fidelity", "intensities", "masks", "segmentation_examples"]

EXAMPLE_QUANTILES = (0.9, 0.7, 0.5, 0.25)  # by lesion volume
CONTRAST_BOUND = 1.0  # standard deviations of the tissue; see docs/decisions.md
RECOVERED_SHARE = 0.8  # of the Dice on real images (DESIGN: faithful)
MOST_CASES = 60  # per set, for what is measured case by case: enough for quartiles, and a report in minutes
PICTURES = 8
BINS = np.linspace(0, 1, 65)


def examples(study: StudyFolder) -> Section:
    """Anatomy, injected lesion and synthetic DWI beside a stroke DWI of the training split with a like lesion."""
    section = Section("examples", "Example cases")
    synthetic, data = study.synthetic, study.data
    drawn = _by_volume(synthetic, "training", EXAMPLE_QUANTILES)
    clinical = {case: lesion_ml(case, data) for case in data.select("training", "stroke", True)}
    if not drawn or not clinical:
        section.missing.append("synthetic and clinical training cases with a lesion")
        return section
    rows = []
    for case, volume in drawn.items():
        # Without replacement while there are enough, so that the column shows different patients.
        match = min(clinical, key=lambda other: abs(np.log(clinical[other] / volume)))
        match_volume = clinical.pop(match) if len(clinical) > 1 else clinical[match]
        anatomy, lesion, image = (read_volume(path)[0] for path in (case.anatomy, case.label, case.image))
        stroke, stroke_lesion = read_volume(match.image)[0], read_volume(match.label)[0]
        z, stroke_z = _slice(lesion), _slice(stroke_lesion)
        rows.append(
            {
                "anatomy": anatomy[:, :, z],
                "label_map": inject(anatomy[:, :, z].astype(np.uint8), lesion[:, :, z]),
                "synthetic": image[:, :, z],
                "lesion": lesion[:, :, z] > 0,
                "stroke": stroke[:, :, stroke_z],
                "stroke_lesion": stroke_lesion[:, :, stroke_z] > 0,
                "title": f"{case.subject}, {volume:.1f} ml",
                "stroke_title": f"{match.subject}, {match_volume:.1f} ml",
            }
        )
        section.numbers[case.subject] = {"lesion_ml": volume, "beside": match.subject, "beside_ml": match_volume}
    study.draw(
        section,
        pictures.example_maps(rows, data.spacing, f"{study.real_word} stroke DWI"),
        "examples",
        "From anatomy to synthetic DWI",
        "One axial slice per case, the one with most lesion; arrows point at the lesion. From left: healthy anatomy of "
        "the donor, the same with the drawn lesion (red) injected, the DWI that the translator makes of it, and a "
        f"{study.real_word} stroke DWI of the clinical training cases whose lesion is about as large (another subject: "
        "no voxel of it was copied). Cases were chosen by lesion volume (90th, 70th, 50th and 25th percentile), not by "
        "looks.",
    )
    return section


def fidelity(study: StudyFolder) -> Section:
    """Lesion contrast and recovered Dice, synthetic against real."""
    section = Section("fidelity", "Synthetic lesions are really there")
    data, synthetic = study.data, study.synthetic
    spread = tissue_sd(data)
    sets = {study.real_word: contrast_of(data, spread), "synthetic": contrast_of(synthetic, spread)}
    panels, colours = [("lesion contrast (SD of the tissue)", sets)], _pair(study)
    if not all(sets.values()):
        section.missing.append("lesion contrast: no case of one set has an anatomy and a lesion")
        return section
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
    return section


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
            "1 means that synthetic lesions are easier to find than real ones.",
        )
    )


def masks(study: StudyFolder) -> Section:
    """Masks drawn by the GAN against those it was not trained on."""
    section = Section("masks", "Masks of the lesion GAN against held-out masks")
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
        "Held-out masks are those of the validation split: the GAN was not trained on them, but its weights were chosen "
        "by these distances. No mask of the test split is used here.",
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
    return section


def intensities(study: StudyFolder) -> Section:
    """Intensity histograms of the three sets (paper, Fig. 5)."""
    section = Section("intensities", "Intensity histograms")
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
        return section
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
        "Voxels of the brain (paper, Fig. 5). Lines: mean over cases; bands: quartiles over cases. The right panel shows "
        "the same on a logarithmic scale, where lesions are.",
    )
    return section


def segmentation_examples(study: StudyFolder) -> Section:
    """A large, a medium and a small lesion of the test split, with what each arm makes of them."""
    section = Section("segmentations", "Segmentation examples")
    seed, scored = study.settings["seeds"][0], study.results
    arms = {}
    for arm, title in study.titles.items():
        # Test images are only opened for runs whose reading of the test split is logged.
        if study.result_file(arm, seed).is_file() and (study.run(arm, seed) / "model.pt").is_file():
            arms[arm] = title
        else:
            section.missing.append(f"{arm}, seed {seed}")
    if not arms:
        return section
    data = study.data
    grid = data.size, data.affine
    networks = {arm: load_network(study.run(arm, seed), "stroke_unet") for arm in arms}
    dice = scored[scored["seed"] == seed].set_index(["arm", "subject"])["dice"]
    rows = []
    for size, (case, volume) in zip(("large", "medium", "small"), _by_volume(data, "test", (0.9, 0.5, 0.15)).items()):
        image, truth = read_image(case, grid), read_lesion(case, grid)
        z = _slice(truth)
        scores = {arm: float(dice.get((arm, case.subject), np.nan)) for arm in arms}
        rows.append(
            {
                "image": image[:, :, z],
                "truth": truth[:, :, z],
                "predictions": {arm: segment(networks[arm], image)[:, :, z] for arm in arms},
                "title": f"{size}, {volume:.1f} ml\n{case.subject}",
                "scores": {arm: f"Dice {100 * score:.1f} %" for arm, score in scores.items()},
            }
        )
        section.numbers[case.subject] = {"size": size, "lesion_ml": volume, "dice": scores}
    if not rows:
        section.missing.append("test cases with a lesion")
        return section
    each = "; ".join(
        f"{entry['size']} ({entry['lesion_ml']:.1f} ml): "
        + ", ".join(f"{arms[arm]} {100 * score:.1f} %" for arm, score in entry["dice"].items())
        for entry in section.numbers.values()
    )
    study.draw(
        section,
        pictures.segmentations(rows, arms, study.colours, data.spacing),
        "segmentations",
        "Test cases: truth (yellow) and what each arm finds",
        f"Slice with most lesion; seed {seed}. Cases were chosen by lesion volume (90th, 50th and 15th percentile of the "
        f"test split), not by score. Dice is that of the whole volume. {each}.",
    )
    return section


def _by_volume(dataset: Dataset, split: str, quantiles) -> dict:
    """{case: ml} of the cases at these quantiles of lesion volume, each once."""
    volumes = {case: lesion_ml(case, dataset) for case in dataset.select(split, has_lesion=True)}
    ordered = sorted((case for case in volumes if volumes[case] > 0), key=volumes.get)
    return {case: volumes[case] for q in quantiles for case in ordered[round(q * (len(ordered) - 1)) :][:1]}


def _slice(lesion: np.ndarray) -> int:
    return int((lesion > 0).sum((0, 1)).argmax())


def _density(case) -> np.ndarray:
    """Histogram of the brain's intensities in [0, 1], (bins,)."""
    image = read_volume(case.image)[0]
    brain = read_volume(case.anatomy)[0] > 0 if case.anatomy else image > image.min()
    return np.histogram((image[brain] + 1) / 2, BINS, density=True)[0]


def _pair(study: StudyFolder) -> dict[str, str]:
    return {study.real_word: figures.SET_COLOURS["stroke"], "synthetic": figures.SET_COLOURS["synthetic"]}


def _numbers(values) -> dict[str, float]:
    return {"n": len(values), **{f"p{q}": float(np.percentile(values, q)) for q in QUARTILES}}
