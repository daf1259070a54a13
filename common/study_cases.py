"""How many cases of which kind a study's data set has, or will have."""

from __future__ import annotations

from dataclasses import dataclass

from .datalists import SPLITS, read_dataset

__all__ = ["Cases", "cases_of"]


@dataclass(frozen=True)
class Cases:
    """Numbers of cases. By split: with a lesion (`positive`) and DWI-negative (`negative`); of the normal cohort, those
    in training. `anatomies`: whether every case has a label map."""

    positive: dict[str, int]
    negative: dict[str, int]
    normal: int
    size: tuple[int, int, int]
    anatomies: bool = True


def cases_of(data: dict) -> Cases:
    """Count what a study's "data" describes: {"folder"} of an existing data set, or settings of a phantom.

    Raises:
        FileNotFoundError, ValueError: the folder is no data set; impossible numbers of subjects.
    """
    if "folder" in data:
        dataset = read_dataset(data["folder"])
        if dataset.synthetic:
            raise ValueError(f"{data['folder']} is a synthetic set; a study needs the real one that it was made from.")
        return Cases(
            {split: len(dataset.select(split, "stroke", has_lesion=True)) for split in SPLITS},
            {split: len(dataset.select(split, "stroke", has_lesion=False)) for split in SPLITS},
            len(dataset.select("training", "normal")),
            dataset.size,
            all(case.anatomy for case in dataset.select("training")),
        )
    from .phantom.plan import plan_subjects  # takes seconds to import

    plan = plan_subjects(data["subjects"], data.get("negatives", 0))
    count = {(split, kind): 0 for split in SPLITS for kind in ("positive", "negative", "normal")}
    for subject in plan:
        count[subject.split, subject.kind] += 1
    return Cases(
        {split: count[split, "positive"] for split in SPLITS},
        {split: count[split, "negative"] for split in SPLITS},
        count["training", "normal"],
        tuple(data["size"]),
    )
