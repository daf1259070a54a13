"""A data set as nnU-Net v2 wants it."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..datalists import Dataset, read_dataset, refuse_foreign_donors
from ..grids import write_volume

__all__ = ["export_nnunet"]


def export_nnunet(data: str | Path, out: str | Path, number: int, synthetic: str | Path | None = None) -> Path:
    """Write `nnUNet_raw/DatasetNNN_name` and `nnUNet_preprocessed/DatasetNNN_name/splits_final.json`.

    There is one fold, the data set's own: training and synthetic cases train, validation cases validate. More folds
    would let cases validate that the makers of the synthetic set (translator, lesion GAN) have seen. Test cases go to
    imagesTs and labelsTs. Normal cases are left out: they are there for the translators.

    Args:
        data: real data set.
        out: folder that gets both trees; nnU-Net's environment variables point into it.
        number: of the data set, 1 to 999.
        synthetic: synthetic data set made from `data`.

    Returns:
        the folder in nnUNet_raw.

    Raises:
        ValueError: a bad number, a synthetic set of other donors or on another grid; the folder is there already.
    """
    if not 1 <= number <= 999:
        raise ValueError(f"--number {number}: expected 1 to 999.")
    dataset = read_dataset(data)
    made = read_dataset(synthetic) if synthetic else None
    if made is not None:
        _refuse_strangers(dataset, made)
    name = f"Dataset{number:03d}_{re.sub(r'[^0-9A-Za-z]+', '', dataset.header['name']) or 'stroke'}"
    raw, preprocessed = Path(out) / "nnUNet_raw" / name, Path(out) / "nnUNet_preprocessed" / name
    if raw.exists():
        raise ValueError(f"{raw}: is there already and is not overwritten.")
    building = raw.with_name(f".{os.getpid()}.{name}")
    chosen = [case for case in dataset.cases if case.cohort == "stroke"]
    more = list(made.cases) if made is not None else []
    for case in tqdm([*chosen, *more], desc="nnU-Net", unit="case"):
        part = "Ts" if case.split == "test" else "Tr"
        _copy(case.image, building / f"images{part}" / f"{case.subject}_0000.nii.gz")
        label = building / f"labels{part}" / f"{case.subject}.nii.gz"
        if case.label is None:
            write_volume(label, np.zeros(dataset.size, np.uint8), dataset.affine)
        else:
            _copy(case.label, label)
    training = [case.subject for case in [*chosen, *more] if case.split == "training"]
    validation = [case.subject for case in chosen if case.split == "validation"]
    description = {
        "channel_names": {"0": "DWI"},
        "labels": {"background": 0, "lesion": 1},
        "numTraining": len(training) + len(validation),
        "file_ending": ".nii.gz",
        "description": "Simulated. " * dataset.simulated + dataset.header["description"],
        "licence": dataset.header["licence"],
        "synthetic": sorted(case.subject for case in more),
    }
    (building / "dataset.json").write_text(json.dumps(description, indent=1))
    preprocessed.mkdir(parents=True, exist_ok=True)
    splits = [{"train": sorted(training), "val": sorted(validation)}]
    (preprocessed / "splits_final.json").write_text(json.dumps(splits, indent=1))
    building.replace(raw)
    return raw


def _refuse_strangers(dataset: Dataset, made: Dataset) -> None:
    if not made.synthetic:
        raise ValueError(f"--synthetic {made.folder}: is no synthetic data set.")
    if made.size != dataset.size:
        raise ValueError(f"--synthetic {made.folder}: lies on {made.size}, the real data set on {dataset.size}.")
    refuse_foreign_donors(dataset, made)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
