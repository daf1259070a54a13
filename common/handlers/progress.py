"""A progress bar over the whole training, and stopping when validation no longer improves."""

from __future__ import annotations

from ignite.engine import Engine, Events
from tqdm import tqdm

from .scalars import History

__all__ = ["EarlyStop", "Progress"]


class Progress:
    """tqdm over all iterations of a training; shows the epoch, the loss and the validation metric.

    Args:
        history: of the run.
        metric: validation metric to show.
        name: words before the bar.
    """

    def __init__(self, history: History, metric: str, name: str):
        self.history, self.metric, self.name = history, metric, name
        self._bar: tqdm | None = None

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self._open)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._advance)
        engine.add_event_handler(Events.COMPLETED | Events.TERMINATE, self._close)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self._fail)

    def _open(self, engine: Engine) -> None:
        state = engine.state
        total, done = state.max_epochs * state.epoch_length, state.epoch * state.epoch_length
        self._bar = tqdm(total=total, initial=done, desc=self.name, unit="step", mininterval=1)

    def _advance(self, engine: Engine) -> None:
        shown = {
            "epoch": f"{engine.state.epoch}/{engine.state.max_epochs}",
            "loss": f"{engine.state.output['loss']:.3f}",
        }
        known = [row[self.metric] for row in self.history.rows[-50:] if self.metric in row]
        if known:
            shown[self.metric] = f"{known[-1]:.3f}"
        self._bar.set_postfix(shown, refresh=False)
        self._bar.update()

    def _close(self, engine: Engine) -> None:
        if self._bar is not None:
            self._bar.close()

    def _fail(self, engine: Engine, error: BaseException) -> None:
        self._close(engine)
        raise error  # ignite takes an exception that somebody listens to for dealt with, and ends as if all were well


class EarlyStop:
    """End the training when `key` has not fallen for `patience` epochs (paper: validation loss, 100 epochs).

    It reads the history only, so a resumed run stops where an uninterrupted one would have.
    """

    def __init__(self, history: History, patience: int, key: str = "val_loss"):
        self.history, self.patience, self.key = history, patience, key

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._check)

    def _check(self, engine: Engine) -> None:
        best = self.history.best(self.key, "min")
        if best is not None and engine.state.epoch - best[0] >= self.patience:
            engine.terminate()
