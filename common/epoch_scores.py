"""The paper's own protocol: every kept epoch of a run scored on the test split, then mean and maximum over epochs.

The paper trains for so many epochs and reports the mean over the last hundred, with the best of them beside it. The
maximum is chosen on the test cases, so that it is too high; the mean is not, but belongs to no model that one could
hand on. We choose the epoch on validation cases, and show these beside it.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from .bundles import sha256
from .evaluation import evaluate, origin_path, write_origin
from .results import read_results, write_results

__all__ = ["epochs_table", "kept_epochs", "score_epochs"]


def kept_epochs(run: str | Path) -> list[int]:
    """Numbers of the epochs whose weights a run has kept (knob `keep_last`), ascending."""
    return sorted(int(path.stem) for path in (Path(run) / "epochs").glob("[0-9]*.pt"))


def score_epochs(
    model: str, data: str, out: str, split: str = "test", arm: str | None = None, seed: int | None = None,
    limit: int | None = None, tidy: bool = False,
) -> pd.DataFrame:  # fmt: skip
    """Score `epochs/NNNN.pt` of a run one after the other: RESULTS.csv with a row per epoch and case.

    An epoch's rows are on disk when it is done (a folder beside RESULTS.csv), so that a killed run goes on with the
    next. Each epoch is a reading of the split, and logged as one.

    Args:
        model, data, split, arm, seed, limit: as in `common.evaluation.evaluate`.
        out: RESULTS.csv. If it is there, it is read, not made again.
        tidy: delete the epochs' weights once all are scored; model.pt stays.

    Returns:
        the rows, `epoch` filled.

    Raises:
        FileNotFoundError: the run has kept no epochs.
        ValueError: as in `evaluate`.
    """
    out = Path(out)
    if out.suffix != ".csv":
        raise ValueError(f"--out {out}: expected a name that ends in .csv.")
    kept = {f"{epoch:04d}": sha256(Path(model) / "epochs" / f"{epoch:04d}.pt") for epoch in kept_epochs(model)}
    parts = out.with_suffix("")
    if out.exists():
        _refuse_other_origin(out, Path(model), {"split": split, "limit": limit, "arm": arm, "seed": seed}, kept, data)
    else:
        if not kept:
            raise FileNotFoundError(f"{model}/epochs: no weights there. Train with `--keep_last 100`, as the paper.")
        frames = [
            evaluate(model, data, str(parts / f"{name}.csv"), split, arm, seed, limit, int(name))
            for name in tqdm(kept, desc=f"{Path(model).name}, epochs on {split}", unit="epoch")
        ]
        header = json.loads(origin_path(parts / f"{max(kept)}.csv").read_text())
        whole = {**header, "epoch": None, "model_sha256": sha256(Path(model) / "model.pt"), "epochs": kept}
        write_origin(out, whole)
        write_results(pd.concat(frames, ignore_index=True), out)
    if parts.is_dir():  # also where a run was killed before it came here
        _keep_readings(parts)
        shutil.rmtree(parts)
    if tidy:
        shutil.rmtree(Path(model) / "epochs", ignore_errors=True)
    return read_results(out)


def epochs_table(frame: pd.DataFrame, metric: str = "dice") -> pd.DataFrame:
    """The paper's numbers of a metric over the epochs' means on lesion cases, one row per arm and seed.

    Returns:
        `n_epochs`, `first`, `last` (epochs); `mean`, `sd` (NaN of one epoch) and `max` over epochs of the mean over
        cases; `best`, the epoch of the maximum. Distances leave out missed lesions.
    """
    lesions = frame[(frame["lesion_ml"] > 0) & frame["epoch"].notna()]
    means = lesions.groupby(["arm", "seed", "epoch"], sort=False)[metric].mean().reset_index()
    groups = means.groupby(["arm", "seed"], sort=False)
    table = groups.agg(
        n_epochs=("epoch", "size"), first=("epoch", "min"), last=("epoch", "max"),
        mean=(metric, "mean"), sd=(metric, "std"), max=(metric, "max"),
    )  # fmt: skip
    best = means.loc[groups[metric].idxmax()].set_index(["arm", "seed"])["epoch"]
    return table.assign(best=best)


def _keep_readings(parts: Path) -> None:
    """Move what was logged of readings beside the parts, where the data are read-only, to where the result lies."""
    log = parts / "test_readings.jsonl"
    if log.is_file():
        with open(parts.parent / log.name, "a") as file:
            file.write(log.read_text())


def _refuse_other_origin(out: Path, model: Path, choice: dict, kept: dict[str, str], data: str) -> None:
    before = json.loads(origin_path(out).read_text()) if origin_path(out).is_file() else {}
    now = {"model_sha256": sha256(model / "model.pt"), "data_sha256": sha256(Path(data) / "dataset.json"), **choice}
    given = {key: value for key, value in now.items() if value is not None or key == "limit"}
    changed = [key for key, value in given.items() if before.get(key) != value]
    scored = before.get("epochs") or {}
    changed += [f"epoch {epoch}" for epoch, found in kept.items() if scored.get(epoch) != found]
    if changed:
        raise ValueError(
            f"{out} is there, made with another {', '.join(changed)}. It is not overwritten: move it or choose another "
            "--out."
        )
