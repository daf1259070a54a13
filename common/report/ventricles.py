"""Lateral ventricle volumes of the cohorts (paper, section IV): they tell its age, and that of what is made from it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..datalists import Case
from ..grids import read_volume
from ..labels import LABELS
from . import figures
from .folder import Section, StudyFolder, Table

__all__ = ["ventricles"]

MOST_CASES = 200  # per set: reading maps takes the time
LATERAL = [label.id for label in LABELS if "lateral ventricle" in label.name]
PAPER = "the paper's cohorts, other people: normal 9.1 ± 6.6 ml, stroke 20 ± 12 ml"


def ventricles(study: StudyFolder, section: Section) -> None:
    """Volume of both lateral ventricles in the label maps of the normal, stroke and synthetic training cases."""
    sets = {cohort: study.data.select("training", cohort) for cohort in ("normal", "stroke")}
    try:
        sets |= {name: dataset.select("training") for name, dataset in study.synthetic_sets.items()}
    except FileNotFoundError as error:
        section.missing.append(str(error))
    volumes = {}
    for name, cases in sets.items():
        with_map = [case for case in cases if case.anatomy][:MOST_CASES]
        if with_map:
            volumes[name] = [_volume_ml(case, study.data.voxel_ml) for case in with_map]
        else:
            section.missing.append(f"ventricles of {name}: no training case with a label map")
    if not volumes:
        return
    rows = []
    for name, values in volumes.items():
        mean, sd = float(np.mean(values)), float(np.std(values, ddof=len(values) > 1))
        section.numbers[name] = {"n": len(values), "mean": mean, "sd": sd}
        rows.append([name, str(len(values)), f"{mean:.1f} ± {sd:.1f}", f"{np.median(values):.1f}"])
    section.tables.append(
        Table(
            "Lateral ventricles, both sides, in ml", ["set", "cases", "mean ± SD", "median"], rows,
            f"From the label maps of training cases, at most {MOST_CASES} of a set. For comparison, {PAPER}.",
        )
    )  # fmt: skip
    table = pd.DataFrame([(name, value) for name, values in volumes.items() for value in values], columns=["set", "ml"])
    study.draw(
        section,
        figures.strips([("lateral ventricles (ml)", volumes)], study.set_colours),
        "ventricles",
        "Volume of the lateral ventricles",
        "Boxes are quartiles, points are cases. A synthetic set has the ventricles of its donors.",
        table,
    )


def _volume_ml(case: Case, voxel_ml: float) -> float:
    return float(np.isin(read_volume(case.anatomy)[0], LATERAL).sum() * voxel_ml)
