"""The history of a run: epoch means of what a step returns and of the validation, as losses.csv and for TensorBoard."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from ignite.engine import Engine, Events
from ignite.metrics import Average
from torch.utils.tensorboard import SummaryWriter

__all__ = ["History", "averages", "pick"]


def pick(name: str) -> Callable[[dict], float]:
    """An `output_transform` for loggers and metrics: one number of the flat dictionary that a step returns."""
    return lambda output: output[name]


def averages(names: list[str]) -> dict[str, Average]:
    """Metrics for an engine: the mean over its iterations of each named number; the first is the key metric."""
    return {name: FiniteAverage(output_transform=pick(name)) for name in names}


class FiniteAverage(Average):
    """ignite's Average over the finite numbers; NaN if there are none."""

    def update(self, output: float) -> None:
        if math.isfinite(output):
            super().update(output)

    def compute(self) -> float:
        return float(super().compute()) if self.num_examples else math.nan


class History:
    """Keep one row an epoch: `epoch`, the step's numbers (means over its iterations), the validator's metrics.

    `rows` is what the best model, early stopping and the resume are decided from. The finite numbers of an epoch become
    the engine's `state.metrics` as well, where other loggers (MLflow's) look for them.

    Args:
        output_dir: gets losses.csv and TensorBoard events.
        validator: engine whose `state.metrics` are added when it ran in this epoch; attach this handler after it.
    """

    def __init__(self, output_dir: str, validator: Engine | None = None):
        self.folder = Path(output_dir)
        self.validator = validator
        self.rows: list[dict[str, float]] = []
        self._sums: dict[str, float] = {}
        self._count = 0
        self._validated = False
        self._writer: SummaryWriter | None = None

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._finish)
        engine.add_event_handler(Events.COMPLETED, self._close)
        if self.validator is not None:
            self.validator.add_event_handler(Events.COMPLETED, lambda: setattr(self, "_validated", True))

    def restore(self, rows: list[dict[str, float]]) -> None:
        """Go on from the rows of a checkpoint; later rows on disk are made again."""
        self.rows = [dict(row) for row in rows]

    def best(self, key: str, mode: str) -> tuple[int, float] | None:
        """Epoch and value of the best row so far ("max" or "min"); None before the first validation."""
        known = [(row[key], int(row["epoch"])) for row in self.rows if key in row and row[key] == row[key]]
        if not known:
            return None
        value, epoch = max(known, key=lambda k: (k[0], -k[1])) if mode == "max" else min(known)
        return epoch, value

    def _start(self) -> None:
        self._sums, self._count, self._validated = {}, 0, False

    def _add(self, engine: Engine) -> None:
        for name, value in engine.state.output.items():
            self._sums[name] = self._sums.get(name, 0.0) + float(value)
        self._count += 1

    def _finish(self, engine: Engine) -> None:
        row = {"epoch": engine.state.epoch, **{name: total / self._count for name, total in self._sums.items()}}
        if self._validated:
            row |= {name: float(value) for name, value in self.validator.state.metrics.items()}
        self.rows.append(row)
        engine.state.metrics = {k: value for k, value in row.items() if k != "epoch" and math.isfinite(value)}
        if engine.state.rank:
            return
        self._write()
        self._writer = self._writer or SummaryWriter(str(self.folder))
        for name, value in row.items():
            if name != "epoch":
                self._writer.add_scalar(name, value, engine.state.epoch)

    def _write(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / ".losses.csv"
        pd.DataFrame(self.rows).to_csv(temporary, index=False)
        temporary.replace(self.folder / "losses.csv")

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
