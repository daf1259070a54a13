"""Resume, history, early stopping: on a toy training whose every step depends on the weights and on random numbers."""

import json

import pandas as pd
import pytest
import torch
from monai.engines import Evaluator, Trainer
from monai.handlers import ValidationHandler

from common.handlers.progress import EarlyStop, Progress
from common.handlers.resume import Resume
from common.handlers.scalars import History, averages


class Toy:
    def __init__(self, folder, epochs, settings=None, scores=None, keep_last=0, patience=None, pretrained=None):
        torch.manual_seed(0)
        self.network = torch.nn.Linear(3, 1)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=0.1)
        self.scores = scores or {}
        validator = Evaluator(
            device="cpu",
            val_data_loader=[{}],
            iteration_update=lambda engine, _: {
                "val_score": self.scores.get(engine.state.epoch, self.network.bias.item()),
                "val_loss": self.scores.get(engine.state.epoch, 0.0),
            },
            key_val_metric=averages(["val_score", "val_loss"]),
            decollate=False,
        )
        self.history = History(str(folder), validator)
        self.trainer = Trainer(
            "cpu", epochs, data_loader=[0, 1, 2], iteration_update=self.step, decollate=False, handlers=[]
        )
        ValidationHandler(1, validator).attach(self.trainer)
        self.history.attach(self.trainer)
        if patience:
            EarlyStop(self.history, patience).attach(self.trainer)
        resume = Resume(
            str(folder), "toy", settings or {"rate": 0.1}, 5, self.history, "val_score", "max", self.network,
            {"network": self.network, "optimizer": self.optimizer}, keep_last, 0, pretrained,
        )  # fmt: skip
        resume.attach(self.trainer)

    def step(self, engine, _batch):
        loss = (self.network(torch.randn(4, 3)) - 1).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        engine.state.output = {"loss": loss.item()}
        return engine.state.output

    def run(self):
        self.trainer.run()
        return self


def test_four_epochs_are_the_same_as_two_and_two(tmp_path):
    whole = Toy(tmp_path / "whole", 4).run()
    Toy(tmp_path / "parts", 2).run()
    parts = Toy(tmp_path / "parts", 4).run()
    assert torch.equal(whole.network.weight, parts.network.weight)
    assert whole.history.rows == parts.history.rows
    assert (tmp_path / "whole/losses.csv").read_text() == (tmp_path / "parts/losses.csv").read_text()


def test_a_finished_run_is_not_trained_again(tmp_path, capsys):
    first = Toy(tmp_path, 3).run()
    again = Toy(tmp_path, 3).run()
    assert torch.equal(first.network.weight, again.network.weight)
    assert len(pd.read_csv(tmp_path / "losses.csv")) == 3
    assert "already finished after 3 epochs" in capsys.readouterr().out


def test_a_changed_setting_is_refused_by_name(tmp_path):
    Toy(tmp_path, 1).run()
    with pytest.raises(ValueError, match=r"other settings \(rate: 0.1 -> 0.2\)"):
        Toy(tmp_path, 2, settings={"rate": 0.2})


def test_a_run_of_another_bundle_is_refused(tmp_path):
    Toy(tmp_path, 1).run()
    content = json.loads((tmp_path / "settings.json").read_text())
    (tmp_path / "settings.json").write_text(json.dumps({**content, "bundle": "other"}))
    with pytest.raises(ValueError, match="holds a run of other, not of toy"):
        Toy(tmp_path, 2)


def test_the_published_weights_are_those_of_the_best_epoch_and_load_without_pickles(tmp_path):
    scores = {1: 0.1, 2: 0.9, 3: 0.5}
    Toy(tmp_path / "until_best", 2, scores=scores).run()
    Toy(tmp_path / "longer", 3, scores=scores).run()
    best, longer = (
        torch.load(tmp_path / name / "model.pt", weights_only=True)["model"] for name in ("until_best", "longer")
    )
    last = torch.load(tmp_path / "longer/last.pt", weights_only=True)["state"]["network"]
    assert torch.equal(best["weight"], longer["weight"])
    assert not torch.equal(longer["weight"], last["weight"])


def test_only_the_last_epochs_weights_are_kept(tmp_path):
    Toy(tmp_path, 4, keep_last=2).run()
    assert sorted(path.name for path in (tmp_path / "epochs").iterdir()) == ["0003.pt", "0004.pt"]


def test_training_stops_when_validation_has_not_improved_and_stays_stopped(tmp_path):
    scores = {1: 0.5, 2: 0.3, 3: 0.4, 4: 0.6, 5: 0.1}
    stopped = Toy(tmp_path, 9, scores=scores, patience=2).run()
    assert [row["epoch"] for row in stopped.history.rows] == [1, 2, 3, 4]
    assert len(Toy(tmp_path, 9, scores=scores, patience=2).run().history.rows) == 4


def test_a_fine_tuning_starts_from_the_pretrained_weights(tmp_path):
    source = Toy(tmp_path / "source", 2, scores={1: 0.0, 2: 1.0}).run()
    tuned = Toy(tmp_path / "tuned", 1, pretrained=str(tmp_path / "source"))
    assert torch.equal(tuned.network.weight, source.network.weight)


def test_missing_pretrained_weights_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no model.pt there"):
        Toy(tmp_path / "run", 1, pretrained=str(tmp_path / "nothing"))


class Interrupted(Toy):
    def __init__(self, folder, error):
        super().__init__(folder, 3)
        self.error = error
        Progress(self.history, "val_score", "toy").attach(self.trainer)

    def step(self, engine, batch):
        if engine.state.iteration == 5:
            raise self.error
        return super().step(engine, batch)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), FloatingPointError("loss is nan")])
def test_an_interrupted_or_failed_training_does_not_end_as_if_all_were_well(tmp_path, error):
    with pytest.raises(type(error)):
        Interrupted(tmp_path, error).run()
    again = Toy(tmp_path, 3).run()
    whole = Toy(tmp_path.parent / "whole", 3).run()
    assert again.history.rows == whole.history.rows


def test_fewer_epochs_than_were_done_train_nothing(tmp_path):
    Toy(tmp_path, 3).run()
    shorter = Toy(tmp_path, 2).run()
    assert [row["epoch"] for row in shorter.history.rows] == [1, 2, 3]


def test_numbers_that_are_not_finite_are_left_out_of_a_mean():
    metric = averages(["x"])["x"]
    metric.reset()
    for value in (1.0, float("nan"), 3.0):
        metric.update(value)
    assert metric.compute() == 2.0


def test_partners_start_from_the_state_of_the_pretrained_run(tmp_path):
    source = Toy(tmp_path / "source", 2, scores={1: 1.0, 2: 0.0}).run()
    network, partner = torch.nn.Linear(3, 1), torch.nn.Linear(3, 1)
    trainer = Trainer("cpu", 1, data_loader=[0], iteration_update=lambda *_: {}, decollate=False)
    options = {"pretrained": str(tmp_path / "source"), "partners": ["network"]}
    state = {"network": partner}

    Resume(str(tmp_path / "tuned"), "toy", {}, 5, History("unused"), "x", "max", network, state, **options).attach(
        trainer
    )

    assert torch.equal(partner.weight, source.network.weight)  # the last epoch's
    assert not torch.equal(network.weight, source.network.weight)  # left as it was: not the best epoch's either
    best = torch.load(tmp_path / "source/model.pt", weights_only=True)["model"]
    assert not torch.equal(network.weight, best["weight"])
    (tmp_path / "source/last.pt").unlink()
    with pytest.raises(FileNotFoundError, match=r"no last\.pt there, which holds network"):
        Resume(str(tmp_path / "again"), "toy", {}, 5, History("unused"), "x", "max", network, state, **options).attach(
            trainer
        )
