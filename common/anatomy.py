"""Label the anatomy of a data set's images with a trained network, and tell how well that goes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from .bundles import load_network, read_settings, sha256
from .datalists import Case, Dataset, read_dataset, write_dataset
from .grids import read_volume, write_volume
from .labels import LABELS, LESION, fitted
from .metrics import structure_dice
from .prediction import read_image, segment_anatomy
from .preprocessing.atlas import atlas_labels
from .resumable import write_json

__all__ = ["describe_scores", "label_anatomies", "score_anatomies"]


def label_anatomies(data: str, run: str) -> int:
    """Give every case without an anatomy one, and tell so in its sidecar. Cases that have one keep it.

    Args:
        data: real data set on the grid that the network was trained on.
        run: run folder of stroke_unet, trained with the overlay anatomy.

    Returns:
        How many cases were labelled.

    Raises:
        FileNotFoundError, ValueError: run or data are not what they should be.
    """
    dataset, network, precision = _ready(data, run)
    origin = {"run": str(Path(run).resolve()), "sha256": sha256(Path(run) / "model.pt")}
    grid = dataset.size, dataset.affine
    labelled = {}
    for case in tqdm([case for case in dataset.cases if case.anatomy is None], desc="anatomy", unit="case"):
        path = dataset.folder / "anatomy" / f"{case.subject}.nii.gz"
        made = path.is_file() and case.source.get("anatomy_by") == origin  # by a call that was stopped before the end
        if not made:
            write_volume(path, segment_anatomy(network, read_image(case, grid), precision), dataset.affine)
        sidecar = case.sidecar or dataset.folder / "sidecars" / f"{case.subject}.json"
        write_json(sidecar, {**case.source, "subject": case.subject, "anatomy_by": origin})
        labelled[case.subject] = replace(case, anatomy=path, sidecar=sidecar)
    if labelled:
        write_dataset(dataset.folder, dataset.header, [labelled.get(case.subject, case) for case in dataset.cases])
    return len(labelled)


def score_anatomies(data: str, run: str) -> pd.DataFrame:
    """Dice of each structure on the test cases that have an anatomy of another origin; into RUN/anatomy_dice.csv.

    Test cases only, of any data set: whether others were trained on cannot be told once a folder was labelled or moved.

    Returns:
        columns subject, structure, dice (NaN: the brain lacks the structure), atlas (the Dice of the MNI brain's own
        labels, which need no network), ml of the true structure.
    """
    dataset, network, precision = _ready(data, run)
    rows, atlas = [], atlas_labels(dataset.size)
    cases = [case for case in dataset.select("test") if _has_reference(case)]
    for case in tqdm(cases, desc="compare", unit="case"):
        truth = read_volume(case.anatomy)[0]
        image = read_image(case, (dataset.size, dataset.affine))
        found = structure_dice(segment_anatomy(network, image, precision), truth)
        copied = structure_dice(fitted(atlas, image > -1), truth)
        volumes = np.bincount(truth.astype(int).ravel(), minlength=LESION) * dataset.voxel_ml
        for label, *scores in zip(LABELS[1:LESION], found, copied):
            names = dict(zip(("dice", "atlas"), scores))
            rows.append({"subject": case.subject, "structure": label.name, **names, "ml": volumes[label.id]})
    frame = pd.DataFrame(rows, columns=["subject", "structure", "dice", "atlas", "ml"])
    if rows:
        frame.round(4).to_csv(Path(run) / "anatomy_dice.csv", index=False)
    return frame


def describe_scores(frame: pd.DataFrame) -> str:
    """Dice of each structure as text, both sides together: mean, standard deviation, worst, and its volume."""
    if frame.empty:
        return "No test case has an anatomy of another origin; nothing to compare."
    frame = frame.assign(structure=frame["structure"].str.removeprefix("left ").str.removeprefix("right "))
    table = frame.groupby("structure", sort=False).agg(
        dice=("dice", "mean"),
        sd=("dice", "std"),
        worst=("dice", "min"),
        atlas=("atlas", "mean"),
        ml=("ml", "mean"),
    )
    means = f"mean of the structures {table['dice'].mean():.3f}, of the MNI brain's labels {table['atlas'].mean():.3f}"
    shown = table.to_string(float_format=lambda value: f"{value:.3f}")
    return f"Dice with the reference on {frame['subject'].nunique()} cases: {means}\n{shown}"


def _has_reference(case: Case) -> bool:
    return case.anatomy is not None and "anatomy_by" not in case.source


def _ready(data: str, run: str) -> tuple[Dataset, object, str]:
    dataset = read_dataset(data)
    network, settings = load_network(run, "stroke_unet"), read_settings(run)["settings"]
    if settings.get("target") != "anatomy":
        raise ValueError(f"{run} finds lesions. Train stroke_unet with the overlay anatomy (docs/importing.md).")
    if tuple(settings["size"]) != dataset.size:
        raise ValueError(
            f"{run} was trained on a {tuple(settings['size'])} grid, {dataset.folder} lies on {dataset.size}. Import "
            f"or make the data with `--size {','.join(map(str, settings['size']))}`."
        )
    return dataset, network, settings["precision"]
