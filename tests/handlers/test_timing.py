"""Where the time of a training goes, with a clock that the test sets."""

from __future__ import annotations

import pandas as pd
import pytest
from ignite.engine import Engine

from common.handlers import timing


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    return now


def trained(folder, clock, epochs, loading=1.0, working=3.0, done=0):
    def step(engine, batch):
        clock[0] += working

    def batches():
        while True:
            clock[0] += loading
            yield 0

    engine = Engine(step)
    engine.state.rank = 0
    timing.Timing(str(folder)).attach(engine)
    if done:
        engine.load_state_dict({"epoch": done, "max_epochs": epochs, "epoch_length": 2})
    engine.run(batches(), max_epochs=epochs, epoch_length=2)
    return pd.read_csv(folder / "timing.csv")


def test_an_epochs_time_is_that_of_its_steps_and_of_waiting_for_their_batches(tmp_path, clock):
    rows = trained(tmp_path, clock, 2)

    assert rows["epoch"].tolist() == [1, 2]
    assert rows["steps"].tolist() == [2, 2]
    assert rows["seconds"].tolist() == [8, 8]
    assert rows["waiting"].tolist() == [0.25, 0.25]


def test_epochs_that_are_made_again_replace_their_rows(tmp_path, clock):
    trained(tmp_path, clock, 3)
    rows = trained(tmp_path, clock, 3, loading=5.0, done=1)

    assert rows["epoch"].tolist() == [1, 2, 3]
    assert rows["waiting"].tolist() == [0.25, 0.625, 0.625]


@pytest.mark.parametrize(("loading", "told"), [(0.1, False), (1.0, True)])
def test_a_training_that_waits_much_says_so_at_its_end(tmp_path, clock, capsys, loading, told):
    trained(tmp_path, clock, 3, loading)

    assert ("went into waiting for batches" in capsys.readouterr().out) == told
