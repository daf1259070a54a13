"""The data set contract: `dataset.json` and the files it names (docs/data.md).

The only code that reads or writes `dataset.json`. Reading validates: paths exist and stay inside the folder, and no
subject, source brain, source mask or donor stands on both sides of a split.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from .grids import spacing_of, voxel_ml
from .labels import LABELS

__all__ = [
    "SPLITS",
    "COHORTS",
    "Case",
    "Dataset",
    "read_dataset",
    "write_dataset",
    "fingerprint",
    "items",
    "size_of",
    "refuse_foreign_donors",
]

SPLITS = ("training", "validation", "test")
COHORTS = ("normal", "stroke")
HOW_TO_MAKE = (
    "Make one with `python -m scripts.data phantom --out DATA --subjects 48 --size 64,64,16`, or see README.md."
)


@dataclass(frozen=True)
class Case:
    """One subject's files. `label` is the lesion mask, None for a lesion-free case; `anatomy` the healthy label map."""

    subject: str
    cohort: str
    split: str
    image: Path
    label: Path | None
    anatomy: Path | None
    sidecar: Path | None

    @cached_property
    def source(self) -> dict:
        """The sidecar: where the case came from ({} without one)."""
        if not self.sidecar:
            return {}
        try:
            content = json.loads(self.sidecar.read_text())
        except json.JSONDecodeError as error:
            raise ValueError(
                f"{self.sidecar}: sidecar of subject {self.subject} is not valid JSON ({error}). Restore it."
            ) from error
        if not isinstance(content, dict):
            raise ValueError(f"{self.sidecar}: sidecar of subject {self.subject} is no JSON object. Restore it.")
        return content


@dataclass(frozen=True)
class Dataset:
    """A data set on disk: its header (everything of `dataset.json` but the cases) and its cases in file order."""

    folder: Path
    header: dict
    cases: tuple[Case, ...]

    @property
    def size(self) -> tuple[int, int, int]:
        return tuple(self.header["size"])

    @property
    def affine(self) -> np.ndarray:
        return np.array(self.header["affine"], dtype=float)

    @property
    def spacing(self) -> tuple[float, float, float]:
        return spacing_of(self.affine)

    @property
    def voxel_ml(self) -> float:
        return voxel_ml(self.affine)

    @property
    def simulated(self) -> bool:
        return bool(self.header["simulated"])

    @property
    def synthetic(self) -> bool:
        return bool(self.header["synthetic"])

    def select(self, split: str | None = None, cohort: str | None = None, has_lesion: bool | None = None) -> list[Case]:
        """Cases that match, in file order."""
        return [
            case
            for case in self.cases
            if (split is None or case.split == split)
            and (cohort is None or case.cohort == cohort)
            and (has_lesion is None or (case.label is not None) == has_lesion)
        ]


def read_dataset(folder: str | Path) -> Dataset:
    """Read and validate `folder/dataset.json`.

    Raises:
        FileNotFoundError: the folder is not a data set, or a file that it names is missing.
        ValueError: the JSON, a case or the split breaks the contract; the message names file, subject and remedy.
    """
    folder = Path(folder)
    path = folder / "dataset.json"
    if not path.is_file():
        raise FileNotFoundError(f"{folder} is not a data set: it has no dataset.json. {HOW_TO_MAKE}")
    try:
        content = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not valid JSON ({error}). Restore it or make the data set again.") from error
    missing = [key for key in ("name", "simulated", "synthetic", "size", "affine", *SPLITS) if key not in content]
    if missing:
        raise ValueError(f"{path}: lacks {missing}. Expected the keys of docs/data.md.")
    cases = tuple(_case(path, folder, split, entry) for split in SPLITS for entry in content[split])
    dataset = Dataset(folder, {key: value for key, value in content.items() if key not in SPLITS}, cases)
    _refuse_duplicates(path, cases)
    _refuse_leaks(path, cases)
    return dataset


def write_dataset(folder: str | Path, header: dict, cases: Iterable[Case]) -> Dataset:
    """Write `folder/dataset.json` in one move and read it back, which validates it.

    `header` holds at least name, description, licence, simulated, synthetic, size, affine, intensity. Cases go into
    the list of their split, in the order given. `labels`, `numTraining` and `numTest` are added.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    cases = list(cases)
    lists = {split: [_entry(folder, case) for case in cases if case.split == split] for split in SPLITS}
    content = {
        **header,
        "size": [int(n) for n in header["size"]],
        "affine": np.asarray(header["affine"]).tolist(),
        "labels": {str(label.id): label.name for label in LABELS},
        "numTraining": len(lists["training"]),
        "numTest": len(lists["test"]),
        **lists,
    }
    temporary = folder / ".dataset.json"
    temporary.write_text(json.dumps(content, indent=1))
    temporary.replace(folder / "dataset.json")
    return read_dataset(folder)


def size_of(dataset_dir: str) -> list[int]:
    """Grid of a data set, (H, W, D) in voxels."""
    return list(read_dataset(dataset_dir).size)


def fingerprint(dataset_dir: str | None) -> str | None:
    """SHA-256 of dataset.json: which cases there are and which split each is in. None for what trains on none."""
    if dataset_dir is None:
        return None
    return hashlib.sha256((Path(dataset_dir) / "dataset.json").read_bytes()).hexdigest()


def items(
    dataset_dir: str,
    split: str,
    needs: Iterable[str] = ("image", "label"),
    lesions_only: bool = False,
    clinical_cases: int | None = None,
    synthetic_dir: str | None = None,
    target: str = "lesion",
) -> list[dict]:
    """Cases as the dictionaries that MONAI's data sets take: subject, cohort, source and the files of `needs`.

    Args:
        dataset_dir: folder of a data set.
        split: training, validation or test.
        needs: image, label, anatomy. A lesion-free case has no "label" key; the transforms paint an empty mask then.
        lesions_only: leave out real cases without a lesion mask.
        clinical_cases: of the stroke cohort, only the first so many cases with a lesion (file order is a seeded draw,
            so smaller sets are nested in larger ones); the normal cohort stays.
        synthetic_dir: a synthetic data set whose cases are appended, with source "synthetic" instead of "real".
        target: what "label" names: lesion, the mask; or anatomy, the label map, of the cases that have one.

    Raises:
        ValueError: nothing is left, `clinical_cases` is more than there is, or a case lacks what is needed.
    """
    dataset = read_dataset(dataset_dir)
    path = dataset.folder / "dataset.json"
    cases = dataset.select(split, has_lesion=True if lesions_only else None)
    if clinical_cases is not None:
        positive = dataset.select(split, "stroke", has_lesion=True)
        if clinical_cases > len(positive):
            raise ValueError(
                f"{path}: clinical_cases is {clinical_cases}, but {split} has {len(positive)} stroke cases with one."
            )
        cases = positive[:clinical_cases] + [case for case in cases if case.cohort == "normal"]
    if synthetic_dir:
        synthetic = read_dataset(synthetic_dir)
        if synthetic.size != dataset.size:
            raise ValueError(f"{synthetic.folder}: grid {synthetic.size}, but {path} has {dataset.size}.")
        refuse_foreign_donors(dataset, synthetic)
        cases = cases + synthetic.select("training")
    if target == "anatomy":
        cases = [replace(case, label=case.anatomy) for case in cases if case.anatomy is not None]
    elif target != "lesion":
        raise ValueError(f"target is {target!r}, expected lesion or anatomy.")
    if not cases:
        what = "cases with a lesion" if lesions_only else "cases with an anatomy" if target == "anatomy" else "cases"
        raise ValueError(
            f"{path}: no {split} {what}. `python -m scripts.data split --data {dataset_dir}` assigns some."
        )
    real = {case.image for case in dataset.cases}
    return [_item(case, needs, "real" if case.image in real else "synthetic", path) for case in cases]


def _item(case: Case, needs: Iterable[str], source: str, path: Path) -> dict:
    files = {key: getattr(case, key) for key in needs}
    lacking = [key for key, file in files.items() if file is None and key != "label"]
    if lacking:
        raise ValueError(f"{path}: subject {case.subject} has no {' and no '.join(lacking)}, needed here.")
    return {
        "subject": case.subject,
        "cohort": case.cohort,
        "source": source,
        **{key: str(file) for key, file in files.items() if file is not None},
    }


def refuse_foreign_donors(real: Dataset, synthetic: Dataset) -> None:
    """Raise if a donor, brain or mask of a synthetic set is one of a validation or test case of `real`."""
    for key in ("donor", "source_brain", "source_mask"):
        held_out = {
            case.subject if key == "donor" else case.source.get(key): case.split
            for case in real.cases
            if case.split != "training"
        }
        for case in synthetic.cases:
            origin = case.source.get(key)
            if origin is not None and origin in held_out:
                raise ValueError(
                    f"{synthetic.folder / 'dataset.json'}: {key} {origin} of synthetic case {case.subject} is in "
                    f"{held_out[origin]!r} of {real.folder / 'dataset.json'}. Draw the set again from training cases."
                )


def _case(path: Path, folder: Path, split: str, entry: dict) -> Case:
    subject = entry.get("subject")
    if not subject:
        raise ValueError(f"{path}: an entry of {split!r} has no subject: {entry}.")
    if entry.get("cohort") not in COHORTS:
        raise ValueError(f"{path}: subject {subject} has cohort {entry.get('cohort')!r}; expected one of {COHORTS}.")
    if not entry.get("image"):
        raise ValueError(f"{path}: subject {subject} has no image.")
    files = {}
    for key in ("image", "label", "anatomy", "sidecar"):
        value = entry.get(key)
        files[key] = folder / value if value else None
        if not value:
            continue
        if not files[key].resolve().is_relative_to(folder.resolve()):
            raise ValueError(f"{path}: {key} of subject {subject} is {value!r}, outside the data set. Copy it inside.")
        if not files[key].is_file():
            raise FileNotFoundError(
                f"{path}: {key} of subject {subject} is missing: {files[key]}. Restore the file or remove the case."
            )
    return Case(str(subject), entry["cohort"], split, **files)


def _entry(folder: Path, case: Case) -> dict:
    relative = {
        key: str(Path(value).relative_to(folder)) if (value := getattr(case, key)) else None
        for key in ("image", "label", "anatomy", "sidecar")
    }
    return {"subject": case.subject, "cohort": case.cohort, **relative}


def _refuse_duplicates(path: Path, cases: tuple[Case, ...]) -> None:
    seen: dict[str, Case] = {}
    for case in cases:
        other = seen.setdefault(case.subject, case)
        if other is not case:
            where = (
                f"twice in {case.split!r}" if other.split == case.split else f"in {other.split!r} and {case.split!r}"
            )
            raise ValueError(f"{path}: subject {case.subject} stands {where}. Remove one of the entries.")


def _refuse_leaks(path: Path, cases: tuple[Case, ...]) -> None:
    """One brain, one mask, one donor: one split."""
    for key in ("source_brain", "source_mask", "donor"):
        seen: dict[str, Case] = {}
        for case in cases:
            origin = case.source.get(key)
            if origin is None:
                continue
            other = seen.setdefault(str(origin), case)
            if other.split != case.split:
                raise ValueError(
                    f"{path}: {key} {origin!r} is in {other.split!r} (subject {other.subject}) and in {case.split!r} "
                    f"(subject {case.subject}): test results would be too good. Split the data by {key}."
                )
    subjects = {case.subject: case for case in cases}
    for case in cases:
        donor = subjects.get(str(case.source.get("donor")))
        if donor is not None and donor.split != case.split:
            raise ValueError(
                f"{path}: donor {donor.subject} of training case {case.subject} is in {donor.split!r}. "
                "Draw the synthetic cases again from training donors only."
            )
