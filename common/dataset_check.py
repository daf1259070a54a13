"""Open every file of a data set and say what is wrong with it, before hours of training find out."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from tqdm import tqdm

from .datalists import Case, Dataset, read_dataset
from .grids import minimum_lesion_voxels, read_volume
from .labels import LABELS, LESION, PARENCHYMA

__all__ = ["Finding", "findings", "refuse_broken"]

SAME_MM = 1e-3
OUTSIDE_SHARE = 0.05
PAIR_VOXELS = 5
SHOWN = 5
LEFT_LABELS = [label.id for label in LABELS if label.mirror > label.id]


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong. `severity` is "error" (do not train) or "warning" (look at it); `subject` may be "-"."""

    severity: str
    subject: str
    file: str
    message: str
    remedy: str

    def __str__(self) -> str:
        subject = "" if self.subject == "-" else f"{self.subject}: "
        return f"{subject}{self.file}: {self.message}. {self.remedy}"


def findings(dataset: Dataset | str | Path, progress: bool = False) -> list[Finding]:
    """Check the header, every file of every case, and duplicates among the images.

    Raises:
        FileNotFoundError, ValueError: the folder is no data set, or `dataset.json` itself breaks the contract.
    """
    dataset = dataset if isinstance(dataset, Dataset) else read_dataset(dataset)
    everything = ("image", "label", "anatomy", "sidecar")
    found, digests = _check_cases(dataset, dataset.cases, everything, progress)
    return [*_check_header(dataset), *found, *_check_duplicates(dataset.cases, digests)]


def refuse_broken(
    folder: str | Path,
    needs: Iterable[str] = ("image",),
    size: tuple[int, int, int] | None = None,
    splits: Iterable[str] = ("training", "validation"),
) -> None:
    """Raise if training on a data set would fail or silently learn the wrong thing.

    Args:
        folder: the data set.
        needs: files that every case must have (image, anatomy). Lesion masks are checked where there are any.
        size: grid that the caller expects; None takes that of the data set.
        splits: those that will be used; none of them may be empty.

    Raises:
        FileNotFoundError, ValueError: naming the first findings and how to list the others.
    """
    dataset = read_dataset(folder)
    path = dataset.folder / "dataset.json"
    if size is not None and tuple(size) != dataset.size:
        raise ValueError(
            f"{path}: the grid is {_times(dataset.size)}, expected {_times(size)}. Make the data set with "
            f"`--size {','.join(map(str, size))}`, or change the size that is asked for."
        )
    cases = [case for split in splits for case in dataset.select(split)]
    for split in splits:
        if not dataset.select(split):
            raise ValueError(f"{path}: no {split} cases. `python -m scripts.data split --data {folder}` assigns some.")
    for case in cases:
        lacking = [key for key in needs if key != "label" and getattr(case, key) is None]
        if lacking:
            raise ValueError(f"{path}: subject {case.subject} has no {' and no '.join(lacking)}, needed here.")
    found, digests = _check_cases(dataset, cases, {"image", "label", *needs}, progress=False)
    found += [*_check_header(dataset), *_check_duplicates(cases, digests)]
    errors = [finding for finding in found if finding.severity == "error"]
    if errors:
        lines = "".join(f"\n  {finding}" for finding in errors[:SHOWN])
        raise ValueError(
            f"{folder}: {len(errors)} error{'s' * (len(errors) > 1)} in the data:{lines}\n"
            f"`python -m scripts.data check --data {folder}` lists all findings."
        )


def _check_cases(
    dataset: Dataset, cases: Iterable[Case], keys: Iterable[str], progress: bool
) -> tuple[list[Finding], list[str | None]]:
    """Findings in the order of the cases, and a digest of each image (None where it cannot be read)."""
    cases, keys = list(cases), set(keys)
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:  # unpacking gzip releases the interpreter's lock
        checked = pool.map(lambda case: _check_case(dataset, case, keys), cases)
        checked = list(tqdm(checked, desc="check", unit="case", total=len(cases), disable=not progress))
    return [finding for found, _ in checked for finding in found], [digest for _, digest in checked]


def _check_case(dataset: Dataset, case: Case, keys: set[str]) -> tuple[list[Finding], str | None]:
    found: list[Finding] = []
    volumes = {}
    for key in ("image", "label", "anatomy"):
        path = getattr(case, key) if key in keys else None
        if path is None:
            continue
        voxels, problem = _read(dataset, path)
        if problem is not None:
            found.append(Finding("error", case.subject, _name(dataset, path), *problem))
        else:
            volumes[key] = voxels

    def add(key: str, problems: Iterator[tuple[str, str, str]]) -> None:
        file = _name(dataset, getattr(case, key))
        found.extend(Finding(severity, case.subject, file, *words) for severity, *words in problems)

    image, lesion, anatomy = (volumes.get(key) for key in ("image", "label", "anatomy"))
    if image is not None:
        add("image", _image_problems(image))
    if anatomy is not None:
        add("anatomy", _anatomy_problems(anatomy, dataset.affine))
    if lesion is not None:
        add("label", _lesion_problems(lesion, image, anatomy, case, dataset))
    if "sidecar" in keys and case.sidecar is not None:
        add("sidecar", _sidecar_problems(case, dataset))
    digest = None if image is None else hashlib.blake2b(np.ascontiguousarray(image), digest_size=16).hexdigest()
    return found, digest


def _read(dataset: Dataset, path: Path) -> tuple[np.ndarray | None, tuple[str, str] | None]:
    """Voxels on the grid of the data set, or (message, remedy)."""
    try:
        voxels, affine = read_volume(path)
    except (ValueError, OSError) as error:
        reason = str(error).removeprefix(f"{path}: ").removesuffix(". Is the copy complete?")
        return None, (reason, "Copy or make the file again")
    if voxels.ndim != 3:
        return None, (f"{voxels.ndim}D of shape {_times(voxels.shape)}, expected 3D", "Keep one volume per file")
    if voxels.shape != dataset.size:
        message = f"shape {_times(voxels.shape)}, expected {_times(dataset.size)} of dataset.json"
        return None, (message, "Resample the file onto the grid of the data set")
    distance = np.abs(affine - dataset.affine).max()
    if not distance <= SAME_MM:
        message = f"off the grid: its affine differs from that of dataset.json by up to {distance:.3g} mm"
        return None, (message, "Resample the file onto the grid; correct the affine only if the voxels do match")
    return voxels, None


def _image_problems(image: np.ndarray) -> Iterator[tuple[str, str, str]]:
    bad = int((~np.isfinite(image)).sum())
    if bad:
        yield "error", f"{bad} voxels are NaN or infinite", "Preprocess the case again; NaN in the scan becomes 0 first"
        return
    low, high = float(image.min()), float(image.max())
    if low == high:
        yield "error", f"all voxels are {low:g}", "Preprocess the case again, or remove it"
    elif low < -1 - 1e-5 or high > 1 + 1e-5:
        yield "error", f"intensities {low:.4g} to {high:.4g}, expected -1 to 1", "Scale the image as dataset.json says"
    else:
        border = np.concatenate([image[[0, -1]].ravel(), image[:, [0, -1]].ravel()])
        background = float(np.median(border))
        if background > -0.999:
            yield "warning", f"the background is {background:.3g}, expected -1", "Strip the skull and set air to -1"


def _anatomy_problems(anatomy: np.ndarray, affine: np.ndarray) -> Iterator[tuple[str, str, str]]:
    ids = np.unique(anatomy)
    unknown = [n for n in ids.tolist() if n not in range(LESION)]
    if unknown:
        remedy = "Labels of FreeSurfer must be translated first; lesions belong into a file of their own"
        yield "error", f"label ids {unknown[:8]} are not anatomy, expected 0 to {LESION - 1}", remedy
        return
    if ids.max() == 0:
        yield "error", "no anatomy: all voxels are background", "Make the label map again, or remove the case"
        return
    yield from _side_problems(anatomy.astype(np.uint8), affine)


def _side_problems(anatomy: np.ndarray, affine: np.ndarray) -> Iterator[tuple[str, str, str]]:
    """Left labels lie at negative x (RAS). Swapped sides train without complaint and corrupt every mirrored sample."""
    voxels = np.flatnonzero(anatomy)
    index = np.stack(np.unravel_index(voxels, anatomy.shape))
    x = affine[0, :3] @ index + affine[0, 3]
    labels = anatomy.ravel()[voxels]
    count = np.bincount(labels, minlength=LESION)
    total = np.bincount(labels, weights=x, minlength=LESION)
    left, right = np.array(LEFT_LABELS), np.array(LEFT_LABELS) + 1
    remedy = "Flip the label map or swap its ids; look at a case with a lesion to see which side is right"
    sides = [total[side].sum() / count[side].sum() if count[side].any() else np.nan for side in (left, right)]
    if sides[0] > 0 or sides[1] < 0:
        means = f"left labels have mean x {sides[0]:.1f} mm, right labels {sides[1]:.1f} mm"
        yield "error", f"left and right are swapped: {means}, expected negative and positive", remedy
        return
    for one, other in zip(left, right):
        if min(count[one], count[other]) >= PAIR_VOXELS and total[one] / count[one] > total[other] / count[other]:
            yield "error", f"{LABELS[one].name} ({one}) lies to the right of {LABELS[other].name} ({other})", remedy


def _lesion_problems(
    lesion: np.ndarray, image: np.ndarray | None, anatomy: np.ndarray | None, case: Case, dataset: Dataset
) -> Iterator[tuple[str, str, str]]:
    values = np.unique(lesion)
    if not np.isin(values, (0, 1)).all():
        yield "error", f"mask values {values[:8].tolist()}, expected 0 and 1", "Threshold the mask at 0.5"
        return
    inside = lesion > 0
    voxels, minimum = int(inside.sum()), minimum_lesion_voxels(dataset.affine)
    if voxels == 0:
        yield "warning", "the lesion mask is empty", "For a DWI-negative case set its label to null in dataset.json"
        return
    if voxels < minimum:
        yield "warning", f"a lesion of {voxels} voxels, fewer than {minimum} (0.22 ml)", "Use a finer grid, or drop it"
    if case.cohort == "normal":
        yield "warning", f"a lesion of {voxels} voxels in the normal cohort", "Make it a stroke case, or drop the mask"
    remedy = "Check that mask and case belong together"
    if image is not None and (share := float((image[inside] <= -1).mean())) > OUTSIDE_SHARE:
        yield "warning", f"{share:.0%} of the lesion lie on background of the image", remedy
    if anatomy is not None and anatomy.max() < LESION and anatomy.min() >= 0:
        share = float((~PARENCHYMA[anatomy[inside].astype(np.uint8)]).mean())
        if share > OUTSIDE_SHARE:
            yield "warning", f"{share:.0%} of the lesion lie outside the parenchyma of the anatomy", remedy


def _sidecar_problems(case: Case, dataset: Dataset) -> Iterator[tuple[str, str, str]]:
    try:
        source = json.loads(case.sidecar.read_text())
    except ValueError as error:
        yield "error", f"not valid JSON ({error})", "Make the case again"
        return
    if source.get("subject", case.subject) != case.subject:
        yield "error", f"belongs to subject {source['subject']}", "Give the case its own sidecar"
    if dataset.synthetic and not source.get("donor"):
        yield "warning", "names no donor, so leaks into test data cannot be seen", "Draw the synthetic set again"


def _check_header(dataset: Dataset) -> Iterator[Finding]:
    def finding(severity: str, message: str, remedy: str) -> Finding:
        return Finding(severity, "-", "dataset.json", message, remedy)

    axes = "".join(nib.aff2axcodes(dataset.affine))
    if axes != "RAS":
        yield finding("error", f"the affine's axes are {axes}, expected RAS", "Reorient all volumes and the affine")
    for key in ("simulated", "synthetic"):
        if not isinstance(dataset.header[key], bool):
            yield finding("error", f"{key!r} is {dataset.header[key]!r}, expected true or false", "Correct it")
    lacking = [key for key in ("description", "licence", "intensity") if not dataset.header.get(key)]
    if lacking:
        yield finding("warning", f"says nothing of {', '.join(lacking)}", "Add it: readers of results will ask")
    if dataset.synthetic and any(case.split != "training" for case in dataset.cases):
        yield finding("warning", "synthetic cases in validation or test", "Score on real cases only")
    without = [case.subject for case in dataset.cases if case.sidecar is None]
    if without:
        message = f"{len(without)} cases have no sidecar ({', '.join(without[:3])}...): their sources are unknown"
        yield finding("warning", message, "Leaks between splits can be seen by subject only")


def _check_duplicates(cases: Iterable[Case], digests: Iterable[str | None]) -> Iterator[Finding]:
    first: dict[str, Case] = {}
    for case, digest in zip(cases, digests):
        other = first.setdefault(digest, case) if digest else case
        if other is not case:
            across = other.split != case.split
            where = f" ({other.split} and {case.split})" if across else ""
            message = f"the same image as {other.subject}{where}"
            severity = "error" if across else "warning"
            yield Finding(severity, case.subject, case.image.name, message, "Remove one of the two cases")


def _name(dataset: Dataset, path: Path) -> str:
    return str(path.relative_to(dataset.folder))


def _times(shape: Iterable[int]) -> str:
    return "x".join(map(str, shape))
