"""Translators on the page: what each makes of real validation maps, what it costs, and one map through all of them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ..bundles import load_network, read_settings
from ..stage_state import finished_stages
from ..study_parts import segmenter_of
from .folder import Section, StudyFolder, Table, last_attempt

__all__ = ["translators"]

# {column of losses.csv: (title, decimals)}
METRICS = {
    "val_l1": ("L1", 3),
    "val_psnr": ("PSNR (dB)", 1),
    "val_ssim": ("SSIM", 3),
    "val_contrast_gap": ("contrast gap (SD)", 2),
    "val_recovered_dice": ("recovered Dice", 3),
    "val_recovered_gap": ("recovered gap", 3),
}

COLUMNS = ("translator", "bundle", "parameters", "epoch", "minutes", "chosen by")


def translators(study: StudyFolder, section: Section) -> None:
    """Image metrics of the chosen epoch of each translator, beside its size and the time of its training."""
    times = finished_stages(study.path)
    for name in study.settings.get("translators", {}):
        run = study.path / "runs" / name
        if not (run / "model.pt").is_file() or not (run / "losses.csv").is_file():
            section.missing.append(f"the translator {name}")
            continue
        section.numbers[name] = _row(run, times.get(f"train {name}"))
    if not section.numbers:
        return
    shown = [key for key in METRICS if any(key in row for row in section.numbers.values())]
    rows = []
    for name, row in section.numbers.items():
        cells = [name, row["bundle"], f"{row['parameters']:,}", str(row["epoch"])]
        stage = times.get(f"train {name}")
        cells.append(f"{stage['seconds'] / 60:.1f}{last_attempt(stage)}" if stage else "–")
        cells.append(_chosen_by(study, name))
        rows.append(cells + [f"{row[key]:.{METRICS[key][1]}f}" if key in row else "–" for key in shown])
    section.tables.append(
        Table(
            "Translators on validation label maps",
            [*COLUMNS, *(METRICS[key][0] for key in shown)],
            rows,
            f"Means over the validation cases with a lesion, against their {study.real_word} images in [-1, 1]. "
            "Contrast gap: difference of the lesion contrast. Chosen by: the arm whose segmenter chose the epoch. "
            "Recovered Dice: what that finds of the lesion in the translation; recovered gap: how far that is from "
            "what it finds in the image itself. Both compare translators only that were chosen by the same arm. "
            "Minutes: of the training, with its validations; comparable only if nothing else ran.",
            words=2,
        )
    )


def _chosen_by(study: StudyFolder, name: str) -> str:
    arm = segmenter_of(study.settings, name)
    return "L1" if arm is None else study.titles[arm]


def _row(run: Path, stage: dict | None) -> dict:
    settings = read_settings(run)
    table = pd.read_csv(run / "losses.csv")
    key = "val_recovered_gap" if "val_recovered_gap" in table else "val_l1"
    chosen = table.loc[table[key].idxmin()] if key in table and table[key].notna().any() else table.iloc[-1]
    network = load_network(run, settings["bundle"])
    return {
        "bundle": settings["bundle"],
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "epoch": int(chosen["epoch"]),
        "seconds": stage["seconds"] if stage else None,
        **{name: float(chosen[name]) for name in METRICS if name in table and pd.notna(chosen[name])},
    }
