"""Numbers and pictures of a data set: what is in it, cohort by cohort and split by split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from tqdm import tqdm

from .datalists import COHORTS, SPLITS, Case, Dataset, read_dataset
from .fidelity import mask_features
from .figures import LESION_RED, Row, contact_sheet
from .grids import read_volume
from .labels import LABELS, LESION
from .territories import main_territory, territory_of_voxels

__all__ = ["describe_dataset", "measure_cases", "measure_lesions", "summarize"]

LATERAL_VENTRICLES = (5, 6)
COLORS = {"normal": "#2a6f97", "stroke": "#c1121f"}
BINS = np.linspace(0, 1, 101)
ROWS_PER_KIND = 6
PLACES = ("side", "territory", "components")


def describe_dataset(folder: str | Path, out: str | Path | None = None) -> str:
    """Measure a data set; write its pictures and tables.

    Args:
        folder: of the data set.
        out: gets contact_sheet.png, intensities.png (paper, Fig. 5), structures.csv, and of the lesions lesions.csv,
            lesion_volumes.png and lesion_places.png; None is `folder`/describe.

    Returns:
        The text that tells counts and volumes.
    """
    dataset = read_dataset(folder)
    out = Path(out) if out else dataset.folder / "describe"
    out.mkdir(parents=True, exist_ok=True)
    frame, histograms = measure_cases(dataset)
    frame.round(3).to_csv(out / "structures.csv", index=False)
    kind = _kind(dataset)
    _draw_intensities(histograms, out / "intensities.png", f"{dataset.header['name']} ({kind})")
    lesions = measure_lesions(dataset)
    if len(lesions):
        lesions.round(3).to_csv(out / "lesions.csv", index=False)
        _draw_volumes(frame, out / "lesion_volumes.png", f"{dataset.header['name']} ({kind})")
        _draw_places(lesions, out / "lesion_places.png", f"{dataset.header['name']} ({kind})")
    rows = [_row(dataset, case, frame) for case in _examples(dataset)]
    contact_sheet(rows, out / "contact_sheet.png", dataset.affine, f"{dataset.header['name']}: {kind} DWI")
    files = ", ".join(sorted(path.name for path in out.iterdir()))
    return f"{summarize(dataset, frame)}\n{_shares(lesions)}\n{out}/: {files}"


def measure_cases(dataset: Dataset) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """One row per case: subject, cohort, split, lesion_ml, lateral_ventricle_ml and ml of each structure (NaN without
    anatomy); and per cohort the histogram of intensities in the brain, rescaled to [0, 1], as density over BINS."""
    rows, histograms = [], {}
    for case in tqdm(dataset.cases, desc="describe", unit="case"):
        image = read_volume(case.image)[0]
        counts = np.histogram((image[image > -1] + 1) / 2, BINS)[0]
        histograms[case.cohort] = histograms.get(case.cohort, 0) + counts
        voxels = np.count_nonzero(read_volume(case.label)[0]) if case.label else 0
        row = {"subject": case.subject, "cohort": case.cohort, "split": case.split}
        row["lesion_ml"] = voxels * dataset.voxel_ml
        structures = np.full(LESION, np.nan)
        if case.anatomy:
            anatomy = read_volume(case.anatomy)[0].astype(np.uint8)
            structures = np.bincount(anatomy.ravel(), minlength=LESION)[:LESION] * dataset.voxel_ml
        row["lateral_ventricle_ml"] = structures[list(LATERAL_VENTRICLES)].sum()
        rows.append(row | {label.name: structures[label.id] for label in LABELS[1:LESION]})
    densities = {cohort: counts / max(1, counts.sum()) / (BINS[1] - BINS[0]) for cohort, counts in histograms.items()}
    return pd.DataFrame(rows), densities


def measure_lesions(dataset: Dataset) -> pd.DataFrame:
    """One row per lesion case: subject, split, volume_ml, components, side and territory."""
    cases, rows = dataset.select(has_lesion=True), []
    territories = territory_of_voxels(dataset.size) if cases else None
    for case in cases:
        mask = read_volume(case.label)[0] > 0
        place = {"territory": main_territory(mask, territories)}
        rows.append({"subject": case.subject, "split": case.split, **mask_features(mask, dataset.affine), **place})
    return pd.DataFrame(rows)


def _shares(lesions: pd.DataFrame) -> str:
    """Sides, territories and numbers of parts as one line each."""
    lines = []
    for column in PLACES if len(lesions) else ():
        shares = lesions[column].astype(str).value_counts(normalize=True).head(6)
        lines.append(f"{column:12s}" + ", ".join(f"{name} {share:.0%}" for name, share in shares.items()))
    return "\n".join(["", "lesions", *(f"  {line}" for line in lines), ""]) if lines else ""


def summarize(dataset: Dataset, frame: pd.DataFrame) -> str:
    """Counts, lesion volumes and ventricle volumes per cohort and split, as text."""
    spacing = " x ".join(f"{mm:.2f}" for mm in dataset.spacing)
    size = " x ".join(map(str, dataset.size))
    lines = [f"{dataset.header['name']}: {len(frame)} cases, {_kind(dataset)}; grid {size} of {spacing} mm", ""]
    lines.append(
        f"{'cohort':8s}{'split':12s}{'cases':>6s}{'lesion':>8s}  {'lesion ml, median [IQR]':28s}lateral ventricles ml"
    )
    for cohort in COHORTS:
        for split in (*SPLITS, "all"):
            part = frame[(frame["cohort"] == cohort) & ((frame["split"] == split) | (split == "all"))]
            if part.empty:
                continue
            lesions = part.loc[part["lesion_ml"] > 0, "lesion_ml"]
            low, median, high = lesions.quantile([0.25, 0.5, 0.75]) if len(lesions) else (0, 0, 0)
            volumes = f"{median:.1f} [{low:.1f}, {high:.1f}]" if len(lesions) else "-"
            line = f"{cohort:8s}{split:12s}{len(part):6d}{len(lesions):8d}  {volumes:28s}"
            lines.append(line + _mean_and_sd(part["lateral_ventricle_ml"]))
    if frame["left cerebral white matter"].notna().any():
        lines += ["", "structures, ml (both sides, mean +- SD over all cases with anatomy)"]
        lines += _structure_lines(frame)
    return "\n".join(lines)


def _structure_lines(frame: pd.DataFrame) -> list[str]:
    lines = []
    for label in LABELS[1:LESION]:
        if label.mirror < label.id:
            continue
        volume = frame[label.name] + (frame[LABELS[label.mirror].name] if label.mirror != label.id else 0)
        if volume.max() > 0:
            lines.append(f"  {label.name.removeprefix('left '):28s}{_mean_and_sd(volume)}")
    return lines


def _mean_and_sd(values: pd.Series) -> str:
    values = values.dropna()
    if values.empty:
        return "-"
    return f"{values.mean():.1f} +- {values.std():.1f}" if len(values) > 1 else f"{values.mean():.1f}"


def _kind(dataset: Dataset) -> str:
    words = [word for word, holds in (("simulated", dataset.simulated), ("synthetic", dataset.synthetic)) if holds]
    return " and ".join(words) or "real"


def _examples(dataset: Dataset) -> list[Case]:
    """Cases with a lesion over the whole range of the list, DWI-negative ones and normal ones."""
    examples = []
    for cohort, has_lesion in (("stroke", True), ("stroke", False), ("normal", True), ("normal", False)):
        cases = dataset.select(cohort=cohort, has_lesion=has_lesion)
        wanted = ROWS_PER_KIND if has_lesion else ROWS_PER_KIND // 2
        examples += [cases[i] for i in np.unique(np.linspace(0, len(cases) - 1, wanted).round().astype(int)) if cases]
    return examples


def _row(dataset: Dataset, case: Case, frame: pd.DataFrame) -> Row:
    measured = frame.set_index("subject").loc[case.subject]
    lesion = read_volume(case.label)[0] if case.label else None
    caption = f"{case.subject}\n{case.cohort}, {case.split}"
    if case.cohort == "stroke":
        caption += f"\nlesion {measured['lesion_ml']:.1f} ml" if case.label else "\nDWI-negative"
    if not np.isnan(measured["lateral_ventricle_ml"]):
        caption += f"\nventricles {measured['lateral_ventricle_ml']:.0f} ml"
    return Row(caption, read_volume(case.image)[0], lesion)


def _draw_intensities(densities: dict[str, np.ndarray], path: Path, title: str) -> None:
    figure = Figure(figsize=(5.5, 3.4), layout="constrained")
    ax = figure.subplots()
    for cohort, density in densities.items():
        ax.stairs(density, BINS, color=COLORS[cohort], label=cohort, linewidth=1.4)
    ax.set(title=title, xlabel="intensity in the brain, rescaled to [0, 1]", ylabel="density", xlim=(0, 1))
    ax.set_ylim(bottom=0)
    ax.legend(frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


def _draw_places(lesions: pd.DataFrame, path: Path, title: str) -> None:
    figure = Figure(figsize=(8.5, 3), layout="constrained")
    for ax, column in zip(figure.subplots(1, len(PLACES)), PLACES):
        counts = lesions[column].value_counts()
        counts = counts.sort_index() if column == "components" else counts
        ax.bar([str(name) for name in counts.index], counts, color=LESION_RED)
        ax.set(xlabel="number of parts" if column == "components" else column, ylabel="cases")
        ax.yaxis.set_major_locator(MaxNLocator(integer=True))
        ax.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"{title}: where lesions lie (territories by the template brain)", fontsize=10)
    figure.savefig(path, dpi=150)


def _draw_volumes(frame: pd.DataFrame, path: Path, title: str) -> None:
    volumes = frame.loc[frame["lesion_ml"] > 0, "lesion_ml"]
    figure = Figure(figsize=(5.5, 3.4), layout="constrained")
    ax = figure.subplots()
    edges = np.geomspace(min(0.1, volumes.min()), max(300, volumes.max() * 1.01), 19)
    ax.hist(volumes, edges, color=LESION_RED, edgecolor="white")
    ax.axvline(volumes.median(), color="black", linewidth=1, linestyle="--", label=f"median {volumes.median():.1f} ml")
    ax.set(title=title, xlabel="lesion volume, ml", ylabel="cases", xscale="log")
    ax.xaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend(frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
