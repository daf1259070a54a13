"""Make, check, split and describe data sets (docs/data.md).

python -m scripts.data phantom  --out data --subjects 48 --size 64,64,16 --seed 1
python -m scripts.data check    --data data
python -m scripts.data split    --data data --seed 1 --validation 0.15 --test 0.2
python -m scripts.data describe --data data
"""

from __future__ import annotations

import sys

from common.command_line import run_command
from common.datalists import SPLITS, read_dataset
from common.dataset_check import findings
from common.dataset_split import split_dataset
from common.describe import describe_dataset
from common.phantom.cohort import make_phantom


def phantom(
    out: str,
    subjects: int | dict = 48,
    size: tuple[int, int, int] = (64, 64, 16),
    seed: int = 1,
    anatomies: str | None = None,
    lesions: str | None = None,
    workers: int = 1,
    negatives: float = 0.25,
) -> None:
    """Simulate a data set with a normal and a stroke cohort; the same command again goes on where it stopped.

    Args:
        out: folder of the data set.
        subjects: how many in all, or {normal:N,training:N,validation:N,test:N} (the last three with a lesion).
        size: voxels of the grid over the MNI box.
        seed: of everything random.
        anatomies: folder of FreeSurfer label maps in the place of the default brain.
        lesions: NPZ file or folder of lesion masks in MNI space in the place of drawn lesions.
        workers: processes.
        negatives: share of DWI-negative stroke cases.
    """
    print(_counts(make_phantom(out, subjects, size, seed, anatomies, lesions, workers, negatives)))


def check(data: str) -> None:
    """Open every file and list what is wrong; exits with 1 if there are errors.

    Args:
        data: folder of the data set.
    """
    dataset = read_dataset(data)
    found = sorted(findings(dataset, progress=True), key=lambda finding: finding.severity)
    for finding in found:
        print(
            f"{finding.severity:8s} {finding.subject:16s} {finding.file}\n         {finding.message}. {finding.remedy}."
        )
    errors = sum(finding.severity == "error" for finding in found)
    print(f"{_counts(dataset)}\n{errors} errors, {len(found) - errors} warnings")
    sys.exit(1 if errors else 0)


def split(data: str, seed: int, validation: float = 0.15, test: float = 0.2, move_normal: bool = False) -> None:
    """Assign the cases to training, validation and test anew; the old dataset.json is kept beside the new one.

    Args:
        data: folder of the data set.
        seed: of the draw.
        validation: share of the stroke cohort.
        test: share of the stroke cohort.
        move_normal: let normal cases leave training too.
    """
    print(_counts(split_dataset(data, seed, validation, test, move_normal)))


def describe(data: str, out: str | None = None) -> None:
    """Print counts and volumes per cohort and split; write a contact sheet, histograms and structures.csv.

    Args:
        data: folder of the data set.
        out: folder for the pictures; DATA/describe by default.
    """
    print(describe_dataset(data, out))


def _counts(dataset) -> str:
    lines = [f"{dataset.folder}: {len(dataset.cases)} cases ({'simulated' if dataset.simulated else 'not simulated'})"]
    for name in SPLITS:
        positive = len(dataset.select(name, "stroke", has_lesion=True))
        negative = len(dataset.select(name, "stroke", has_lesion=False))
        normal = len(dataset.select(name, "normal"))
        lines.append(f"  {name:11s}{positive:5d} with a lesion {negative:5d} DWI-negative {normal:5d} normal")
    return "\n".join(lines)


if __name__ == "__main__":
    run_command({"phantom": phantom, "check": check, "split": split, "describe": describe})
