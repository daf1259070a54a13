"""Where the time of a training goes: timing.csv."""

from __future__ import annotations

import time
from pathlib import Path

import pandas as pd
from ignite.engine import Engine, Events

__all__ = ["Timing"]

MUCH = 0.05


class Timing:
    """Write one row an epoch: `epoch`, `steps`, `seconds` of them, and `waiting`, the share spent on getting batches.

    Validation and checkpoints are not in it. The clock is not part of a run's state: rows of epochs that were made
    again after a stop replace the earlier ones.

    Args:
        output_dir: gets timing.csv.
    """

    def __init__(self, output_dir: str):
        self.path = Path(output_dir) / "timing.csv"
        self._loading = self._working = self._since = 0.0
        self._waiting: list[float] = []

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_STARTED, self._begin)
        engine.add_event_handler(Events.GET_BATCH_STARTED, self._mark)
        engine.add_event_handler(Events.GET_BATCH_COMPLETED, self._loaded)
        engine.add_event_handler(Events.ITERATION_STARTED, self._mark)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._worked)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._write)
        engine.add_event_handler(Events.COMPLETED, self._warn)

    def _begin(self) -> None:
        self._loading = self._working = 0.0

    def _mark(self) -> None:
        self._since = time.perf_counter()

    def _loaded(self) -> None:
        self._loading += time.perf_counter() - self._since

    def _worked(self) -> None:
        self._working += time.perf_counter() - self._since

    def _write(self, engine: Engine) -> None:
        if engine.state.rank:
            return
        seconds = self._loading + self._working
        self._waiting.append(self._loading / seconds)
        row = {
            "epoch": engine.state.epoch,
            "steps": engine.state.epoch_length,
            "seconds": round(seconds, 3),
            "waiting": round(self._waiting[-1], 4),
        }
        earlier = pd.read_csv(self.path) if self.path.is_file() else pd.DataFrame()
        if len(earlier):
            earlier = earlier[earlier["epoch"] < row["epoch"]]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_name(".timing.csv")
        pd.concat([earlier, pd.DataFrame([row])]).to_csv(temporary, index=False)
        temporary.replace(self.path)

    def _warn(self, engine: Engine) -> None:
        later = self._waiting[1:]  # the first epoch fills the cache
        if later and not engine.state.rank and sum(later) / len(later) > MUCH:
            print(
                f"{sum(later) / len(later):.0%} of the training's time went into waiting for batches ({self.path}). "
                "More --num_workers may help."
            )
