"""Score a trained segmenter on one split of a data set: one CSV row per case.

Every reading of a test split is logged in DATA/test_readings.jsonl: choose models on the validation split.
"""

from __future__ import annotations

import json
import os
import re
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from .bundles import load_network, read_settings, sha256
from .datalists import SPLITS, Case, Dataset, fingerprint, read_dataset
from .external import refuse_seen_cases
from .metrics import case_metrics
from .prediction import read_lesion, segment_dataset
from .results import read_results, summary, write_results
from .translation import default_device

__all__ = ["describe_results", "evaluate", "origin_path", "write_origin"]

BATCH_SIZE = 4
SCORERS = 4  # threads; half of a score's time is spent where Python lets others run


def evaluate(
    model: str,
    data: str,
    out: str,
    split: str = "test",
    arm: str | None = None,
    seed: int | None = None,
    limit: int | None = None,
    epoch: int | None = None,
) -> pd.DataFrame:
    """Segment a split and write RESULTS.csv, and RESULTS.json that says which weights and data it came from.

    Args:
        model: run folder of `stroke_unet`.
        data: data set on the grid that the segmenter was trained on.
        out: RESULTS.csv. If it is there from the same weights and data, it is read, not made again.
        split: training, validation or test; or all: the whole stroke cohort of a data set from elsewhere, that the run
            has not been trained on.
        arm, seed: written into the rows; by default from a run folder named ARM_seedN, else its name and the seed of
            its settings.
        limit: only the first so many cases.
        epoch: score `epochs/NNNN.pt`, kept by a run with `keep_last`, instead of the selected weights.

    Returns:
        the rows, as `common.results.read_results` gives them.

    Raises:
        FileNotFoundError, ValueError: run, data or an existing RESULTS.csv are not what they should be; the message
            names the file and the remedy.
    """
    model, out = Path(model), Path(out)
    if split not in (*SPLITS, "all"):
        raise ValueError(f"--split {split!r} is not known; expected one of {(*SPLITS, 'all')}.")
    if limit is not None and limit < 1:
        raise ValueError(f"--limit {limit}: expected a number of cases, at least 1.")
    if out.suffix != ".csv":
        raise ValueError(f"--out {out}: expected a name that ends in .csv.")
    dataset = read_dataset(data)
    cases = dataset.select(cohort="stroke") if split == "all" else dataset.select(split)
    cases = cases[:limit]
    if not cases:
        raise ValueError(
            f"{dataset.folder / 'dataset.json'}: no {split} cases. Split it: `python -m scripts.data split`."
        )
    weights = "model.pt" if epoch is None else f"epochs/{epoch:04d}.pt"
    network = load_network(model, "stroke_unet", default_device(), weights=weights)
    settings = read_settings(model)["settings"]
    _refuse_other_grid(model, settings, dataset.size)
    _refuse_other_split(model, settings, dataset)
    if split in ("test", "all"):
        refuse_seen_cases(settings, dataset, cases)
    named_arm, named_seed = _arm_and_seed(model.resolve().name, settings)
    origin = {
        "model": str(model.resolve()),
        "model_sha256": sha256(model / weights),
        "data": str(dataset.folder.resolve()),
        "data_sha256": sha256(dataset.folder / "dataset.json"),
        "split": split,
        "limit": limit,
        "epoch": epoch,
        "arm": named_arm if arm is None else str(arm),
        "seed": named_seed if seed is None else int(seed),
    }
    if out.exists():
        _refuse_other_origin(out, origin)
        print(f"{out}: already there, from the same weights and data.")
        return read_results(out)

    if split in ("test", "all"):
        _log_test_reading(origin, dataset.folder, out)
    grid = dataset.size, dataset.affine
    masks = segment_dataset(network, cases, settings.get("precision", "fp32"), BATCH_SIZE, grid)
    which = f"{model.name} on {split}" if epoch is None else f"{model.name}, epoch {epoch}, on {split}"
    rows = [
        {
            "run": model.resolve().name, "arm": origin["arm"], "seed": origin["seed"], "epoch": epoch,
            "subject": case.subject, "cohort": case.cohort, **scores,
        }
        for case, scores in tqdm(_scored(masks, dataset), total=len(cases), desc=which, unit="case")
    ]  # fmt: skip
    # The CSV comes last: where it is, the evaluation is whole.
    write_origin(out, {**origin, "simulated": dataset.simulated, "cases": len(rows), "time": _now()})
    write_results(pd.DataFrame(rows), out)
    return read_results(out)


def describe_results(frame: pd.DataFrame, split: str, simulated: bool) -> str:
    """The tables of `common.results.summary` as text, with what they were made on."""
    lesions = int((frame["lesion_ml"] > 0).sum())
    lines = [
        f"{len(frame)} {'simulated ' if simulated else ''}{split} cases: {lesions} with a lesion, "
        f"{len(frame) - lesions} without."
    ]
    titles = {
        "metrics": "Lesion cases (distances in mm, without misses; _with_misses: a miss counts as the diagonal)",
        "misses": "Misses",
        "sizes": "By true lesion volume",
        "negatives": "Cases without a lesion (specificity per case, 95 % Clopper-Pearson)",
    }
    for name, table in summary(frame).items():
        shown = table.dropna(how="all")
        if len(shown):
            text = shown.to_string(float_format=lambda x: f"{x:.3f}", na_rep="-")
            lines.append(f"\n{'Simulated data. ' if simulated else ''}{titles[name]}\n{text}")
    return "\n".join(lines)


def _scored(masks: Iterable[tuple[Case, np.ndarray]], dataset: Dataset) -> Iterator[tuple[Case, dict[str, float]]]:
    """The metrics of each mask, in order, made in threads while the network goes on; few masks are held at a time."""
    grid = dataset.size, dataset.affine

    def score(case: Case, mask: np.ndarray) -> dict[str, float]:
        return case_metrics(mask, read_lesion(case, grid), dataset.spacing)

    with ThreadPoolExecutor(SCORERS) as pool:
        ahead: deque = deque()
        for case, mask in masks:
            ahead.append((case, pool.submit(score, case, mask)))
            if len(ahead) > 2 * SCORERS:
                case, scores = ahead.popleft()
                yield case, scores.result()
        for case, scores in ahead:
            yield case, scores.result()


def _refuse_other_grid(model: Path, settings: dict, size: tuple[int, int, int]) -> None:
    trained = tuple(settings["size"])
    if trained != size:
        raise ValueError(
            f"{model} was trained on a {trained} grid, the data set lies on {size}. Make the data set with "
            f"`--size {','.join(map(str, trained))}`."
        )


def _refuse_other_split(model: Path, settings: dict, dataset: Dataset) -> None:
    """After a new split of the same folder, cases that the run was trained on may be test cases."""
    trained = settings.get("dataset_dir")
    same_folder = trained is not None and Path(trained).resolve() == dataset.folder.resolve()
    if same_folder and settings.get("dataset") not in (None, fingerprint(trained)):
        raise ValueError(
            f"{dataset.folder / 'dataset.json'} has changed since {model} was trained on it: its training cases may be "
            "test cases now. Restore the file, or train again in another folder."
        )


def _arm_and_seed(name: str, settings: dict) -> tuple[str, int]:
    match = re.fullmatch(r"(.+)_seed(\d+)", name)
    return (match[1], int(match[2])) if match else (name, int(settings.get("seed", 0)))


def origin_path(out: Path) -> Path:
    """RESULTS.json of a RESULTS.csv: which weights and data it came from."""
    return out.with_suffix(".json")


def write_origin(out: Path, header: dict) -> None:
    """Write RESULTS.json, in one move."""
    path = origin_path(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    temporary.write_text(json.dumps(header, indent=1))
    temporary.replace(path)


def _refuse_other_origin(out: Path, origin: dict) -> None:
    path = origin_path(out)
    if not path.is_file():
        raise ValueError(f"{out} is there, but not {path.name} that says where it came from. Move it or choose --out.")
    before = json.loads(path.read_text())
    # Folders may have moved; the hashes say whether weights and data are the same.
    changed = [key for key in origin if key not in ("model", "data") and before.get(key) != origin[key]]
    if changed:
        what = ", ".join(f"{key} {before.get(key)!r} instead of {origin[key]!r}" for key in changed)
        raise ValueError(f"{out} is there with {what}. It is not overwritten: move it or choose another --out.")


def _log_test_reading(origin: dict, data: Path, out: Path) -> None:
    keys = ("model", "model_sha256", "data", "split", "limit", "epoch")
    line = json.dumps({"time": _now(), **{key: origin[key] for key in keys}, "out": str(out.resolve())}) + "\n"
    try:
        with open(data / "test_readings.jsonl", "a") as log:
            log.write(line)
    except OSError:  # a data set shared read-only
        out.parent.mkdir(parents=True, exist_ok=True)
        with open(out.parent / "test_readings.jsonl", "a") as log:
            log.write(line)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
