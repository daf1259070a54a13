"""A folder of clinical images, imported as a data set."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from ..datalists import COHORTS, Case, Dataset, read_dataset, write_dataset
from ..dataset_split import assign_splits
from ..grids import grid_affine
from ..preprocessing.pipeline import Options
from ..resumable import begin_folder
from .case import Job, import_case
from .centres import centres_of
from .layouts import Found, find_cases, matched

__all__ = ["import_dataset"]


def import_dataset(
    layout: str,
    source: str | Path,
    out: str | Path,
    cohort: str = "stroke",
    options: Options | None = None,
    images: str | None = None,
    masks: str | None = None,
    brains: str | None = None,
    anatomies: str = "none",
    volume: int | None = None,
    seed: int = 1,
    validation: float = 0.15,
    test: float = 0.2,
    workers: int = 1,
    strict: bool = False,
) -> Dataset:
    """Find, read, prepare and write all cases of a folder; the same call again goes on where it stopped.

    Bad cases are skipped and listed with their reasons in OUT/import.csv. A second source (a healthy cohort) can be
    imported into the same folder; cases that are there keep their split.

    Args:
        layout, source, images, masks: see `find_cases`.
        out: folder of the data set.
        cohort: normal or stroke. Without a mask, or with an empty one, a stroke case is DWI-negative.
        options: of the preparation.
        brains: pattern below `source` of brain masks in the images' space, with one * for the subject.
        anatomies: "none"; "atlas", the labels of the MNI brain carried over by the registration, a rough stand-in; or a
            pattern below `source` of label maps with FreeSurfer's ids in the images' space.
        volume: of 4D images, counted from 0.
        seed, validation, test: of the split of the new cases; small sets may stay in training as a whole.
        workers: processes.
        strict: stop at the first bad case instead of skipping it.

    Raises:
        FileNotFoundError, ValueError: no such source, nothing to import, or a bad case under `strict`.
    """
    out, options = Path(out), options or Options()
    if cohort not in COHORTS:
        raise ValueError(f"--cohort {cohort!r} is not known; expected one of {', '.join(COHORTS)}.")
    found = find_cases(layout, source, images, masks)
    found = _with_patterns(found, Path(source), brains, anatomies)
    centres = centres_of(Path(source))
    # Another hospital's sub-01 is somebody else.
    whose = Path(source).resolve().name
    found = [replace(case, centre=centres.get(case.person), person=f"{whose}/{case.person}") for case in found]
    kind = anatomies if anatomies in ("none", "atlas") else "maps"
    job = Job(out, cohort, options, volume, kind)
    begin_folder(out / "import.json", {"size": list(options.size)}, {"affine": grid_affine(options.size).tolist()})
    rows = {row["subject"]: row for row in _earlier(out)}
    waiting = []
    for case in found:
        sidecar = out / "sidecars" / f"{case.subject}.json"
        if not sidecar.is_file():
            waiting.append(case)
        else:
            _refuse_other_origin(sidecar, case, job)
    with tqdm(total=len(found), initial=len(found) - len(waiting), desc=f"import {layout}", unit="case") as bar:
        for row in _imported(job, waiting, workers):
            rows[row["subject"]] = row
            _write_rows(out, rows)
            if strict and row["status"] == "skipped":
                raise ValueError(f"{row['message']}. (--strict stops at the first bad case.)")
            bar.update()
    skipped = [row for row in rows.values() if row["status"] == "skipped"]
    for row in skipped:
        print(f"skipped {row['subject']}: {row['message']}")
    return _write(out, job, seed, validation, test)


def _imported(job: Job, waiting: list[Found], workers: int) -> Iterator[dict]:
    if workers < 2 or len(waiting) < 2:
        yield from (import_case(job, case) for case in waiting)
        return
    with ProcessPoolExecutor(workers) as pool:
        try:
            for future in as_completed([pool.submit(import_case, job, case) for case in waiting]):
                yield future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _refuse_other_origin(sidecar: Path, case: Found, job: Job) -> None:
    """A finished case stays as it is, so that it must be the one that would be made."""
    content = json.loads(sidecar.read_text())
    wanted = {"cohort": job.cohort, "anatomy": job.anatomy, "space": job.options.space, "floor": job.options.floor}
    found = {**content, **content["preparation"]}
    changed = [f"{key} {found[key]!r} instead of {value!r}" for key, value in wanted.items() if found[key] != value]
    if content["source"]["dwi"] != str(case.dwi):
        changed.append(f"another file than {case.dwi}")
    if changed:
        raise ValueError(
            f"{sidecar}: subject {case.subject} was imported with {'; '.join(changed)}. Restore that, choose another "
            "--out, or rename the subject."
        )


def _with_patterns(found: list[Found], source: Path, brains: str | None, anatomies: str) -> list[Found]:
    patterns = {"brain": brains, "anatomy": None if anatomies in ("none", "atlas") else anatomies}
    for key, pattern in patterns.items():
        if pattern is None:
            continue
        files = dict(matched(source, pattern))
        if not files:
            raise ValueError(f"{source}: no file fits the pattern {pattern!r}.")
        found = [replace(case, **{key: files.get(case.subject, files.get(case.person))}) for case in found]
    return found


def _earlier(out: Path) -> list[dict]:
    path = out / "import.csv"
    return pd.read_csv(path, keep_default_na=False).to_dict("records") if path.is_file() else []


def _write_rows(out: Path, rows: dict[str, dict]) -> None:
    temporary = out / ".import.csv"
    pd.DataFrame(list(rows.values())).to_csv(temporary, index=False)
    temporary.replace(out / "import.csv")


def _write(out: Path, job: Job, seed: int, validation: float, test: float) -> Dataset:
    """dataset.json from the sidecars; new cases get a split, earlier ones keep theirs."""
    known = {case.subject: case for case in read_dataset(out).cases} if (out / "dataset.json").is_file() else {}
    new = []
    for sidecar in sorted((out / "sidecars").glob("*.json")):
        content = json.loads(sidecar.read_text())
        subject = content["subject"]
        if subject in known:
            continue
        files = {
            key: path if (path := out / folder / f"{subject}.nii.gz").is_file() else None
            for key, folder in (("image", "images"), ("label", "lesions"), ("anatomy", "anatomy"))
        }
        new.append(Case(subject, content["cohort"], "training", sidecar=sidecar, **files))
    if not known and not new:
        raise ValueError(f"{out}: no case could be imported; {out / 'import.csv'} says why.")
    try:
        new = assign_splits(out / "dataset.json", new, seed, validation, test) if new else new
    except ValueError as error:
        print(f"all new cases stay in training ({error})")
    header = {
        "name": out.name,
        "description": "Imported by `python -m scripts.data`; import.csv and sidecars/ say from where and how.",
        "licence": "as the source's",
        "simulated": False,
        "synthetic": False,
        "size": list(job.options.size),
        "affine": grid_affine(job.options.size),
        "intensity": {"range": [-1, 1], "floor": job.options.floor, "percentile": 99.5},
    }
    return write_dataset(out, header, [*known.values(), *new])
