from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from common import epoch_scores
from common.datalists import Case, write_dataset
from common.epoch_scores import epochs_table, score_epochs
from common.evaluation import describe_results, evaluate
from common.grids import grid_affine, write_volume
from common.results import COLUMNS, read_results
from scripts.evaluate import main

SIZE = (7, 8, 9)


class Threshold(nn.Module):
    """Calls everything brighter than its bias lesion."""

    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.bias - images, images - self.bias], dim=1)


@pytest.fixture
def data(tmp_path) -> Path:
    """Test cases: found (bright lesion), dark (lesion that is not bright), quiet and noisy (no lesion)."""
    folder, affine = tmp_path / "data", grid_affine(SIZE)
    lesion = np.zeros(SIZE, np.uint8)
    lesion[2:5, 3:5, 4:7] = 1
    bright, dim = np.where(lesion, 0.8, -0.5).astype(np.float32), np.full(SIZE, -0.5, np.float32)
    cases = []
    for subject, image, label in (
        ("found", bright, lesion), ("dark", dim, lesion), ("quiet", dim, None), ("noisy", bright, None),
    ):  # fmt: skip
        write_volume(folder / "images" / f"{subject}.nii.gz", image, affine)
        if label is not None:
            write_volume(folder / "lesions" / f"{subject}.nii.gz", label, affine)
        paths = folder / "images" / f"{subject}.nii.gz", folder / "lesions" / f"{subject}.nii.gz"
        cases.append(Case(subject, "stroke", "test", paths[0], paths[1] if label is not None else None, None, None))
    header = {"name": "t", "simulated": True, "synthetic": False, "size": SIZE, "affine": affine, "intensity": {}}
    write_dataset(folder, header, cases)
    return folder


@pytest.fixture
def run(tmp_path, monkeypatch) -> Path:
    """A run folder whose network is `Threshold`."""
    folder = tmp_path / "runs" / "combined_seed3"
    folder.mkdir(parents=True)
    torch.save({"model": Threshold().state_dict()}, folder / "model.pt")
    (folder / "settings.json").write_text(json.dumps({"bundle": "stroke_unet", "settings": {"size": list(SIZE)}}))

    def load_network(run, bundle, device, weights):
        network = Threshold()
        network.load_state_dict(torch.load(Path(run) / weights)["model"])
        return network.eval()

    monkeypatch.setattr("common.evaluation.load_network", load_network)
    return folder


def test_rows_say_who_scored_what(run, data, tmp_path):
    frame = evaluate(str(run), str(data), str(tmp_path / "r.csv")).set_index("subject")

    assert frame["dice"].dropna().to_dict() == {"found": 1, "dark": 0}
    assert frame["false_positive_ml"].gt(0).to_dict() == {"found": False, "dark": False, "quiet": False, "noisy": True}
    assert set(frame["run"]) == {"combined_seed3"}
    assert set(frame["arm"]) == {"combined"}
    assert set(frame["seed"]) == {3}


def test_arm_seed_split_and_limit_can_be_given(run, data, tmp_path):
    frame = evaluate(str(run), str(data), str(tmp_path / "r.csv"), arm="mine", seed=7, limit=3)

    assert frame[["arm", "seed"]].drop_duplicates().values.tolist() == [["mine", 7]]
    assert frame["subject"].tolist() == ["found", "dark", "quiet"]


def test_kept_epoch_is_scored_by_its_own_weights(run, data, tmp_path):
    blind = Threshold()
    nn.init.constant_(blind.bias, 1.0)
    (run / "epochs").mkdir()
    torch.save({"model": blind.state_dict()}, run / "epochs" / "0012.pt")

    frame = evaluate(str(run), str(data), str(tmp_path / "r.csv"), epoch=12)

    assert frame["epoch"].tolist() == [12] * 4
    assert frame["dice"].dropna().tolist() == [0, 0]


def test_every_reading_of_the_test_split_is_logged(run, data, tmp_path):
    for name in ("a.csv", "b.csv", "b.csv"):  # the third finds its result there
        evaluate(str(run), str(data), str(tmp_path / name))

    readings = [json.loads(line) for line in (data / "test_readings.jsonl").read_text().splitlines()]
    assert [Path(reading["out"]).name for reading in readings] == ["a.csv", "b.csv"]
    assert {"time", "model", "model_sha256", "data", "split", "limit", "epoch", "out"} == set(readings[0])


def test_reading_is_logged_beside_the_result_where_the_data_are_read_only(run, data, tmp_path):
    (data / "test_readings.jsonl").mkdir()  # as good as read-only, for root too

    evaluate(str(run), str(data), str(tmp_path / "results" / "a.csv"))

    assert len((tmp_path / "results" / "test_readings.jsonl").read_text().splitlines()) == 1


def test_result_of_the_same_weights_is_not_made_again(run, data, tmp_path, capsys):
    out = tmp_path / "r.csv"
    first = evaluate(str(run), str(data), str(out))
    written = out.stat().st_mtime_ns
    moved = run.rename(run.parent.parent / run.name)

    again = evaluate(str(moved), str(data), str(out))

    assert "already there" in capsys.readouterr().out
    assert out.stat().st_mtime_ns == written
    assert again.equals(first)


def test_result_of_other_weights_is_never_overwritten(run, data, tmp_path):
    out = tmp_path / "r.csv"
    evaluate(str(run), str(data), str(out))
    before = out.read_bytes()
    network = Threshold()
    nn.init.constant_(network.bias, 0.1)
    torch.save({"model": network.state_dict()}, run / "model.pt")

    with pytest.raises(ValueError, match=r"r\.csv is there with model_sha256 .* not overwritten"):
        evaluate(str(run), str(data), str(out))
    assert out.read_bytes() == before


def test_result_of_unknown_origin_is_never_overwritten(run, data, tmp_path):
    (tmp_path / "r.csv").write_text("mine")

    with pytest.raises(ValueError, match=r"r\.csv is there, but not r\.json"):
        evaluate(str(run), str(data), str(tmp_path / "r.csv"))
    assert (tmp_path / "r.csv").read_text() == "mine"


def test_broken_image_leaves_no_result(run, data, tmp_path):
    shutil.copy(data / "dataset.json", data / "images" / "noisy.nii.gz")

    with pytest.raises(ValueError, match="noisy"):
        evaluate(str(run), str(data), str(tmp_path / "r.csv"))
    assert not (tmp_path / "r.csv").exists()


def test_model_of_another_grid_is_refused(run, data, tmp_path):
    (run / "settings.json").write_text(json.dumps({"bundle": "stroke_unet", "settings": {"size": [9, 8, 7]}}))

    with pytest.raises(ValueError, match=r"trained on a \(9, 8, 7\) grid.*--size 9,8,7"):
        evaluate(str(run), str(data), str(tmp_path / "r.csv"))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"split": "tests"}, "--split 'tests' is not known"),
        ({"split": "training"}, "no training cases"),
        ({"limit": 0}, "--limit 0"),
        ({"out": "r.txt"}, "ends in .csv"),
    ],
)
def test_wrong_argument_is_refused_by_name(run, data, tmp_path, wrong, message):
    arguments = {"model": str(run), "data": str(data), "out": str(tmp_path / "r.csv")} | wrong

    with pytest.raises(ValueError, match=message):
        evaluate(**arguments)
    assert not (data / "test_readings.jsonl").exists()


def test_printed_summary_says_that_the_data_are_simulated(run, data, tmp_path, capsys):
    main(str(run), str(data), str(tmp_path / "r.csv"))

    printed = capsys.readouterr().out
    assert "4 simulated test cases: 2 with a lesion, 2 without" in printed
    assert "specificity" in printed
    assert "simulated" not in describe_results(read_results(tmp_path / "r.csv"), "test", simulated=False).lower()


def test_a_run_is_not_scored_on_data_that_were_split_anew_since(run, data, tmp_path):
    settings = {"size": list(SIZE), "dataset_dir": str(data), "dataset": "another split"}
    (run / "settings.json").write_text(json.dumps({"bundle": "stroke_unet", "settings": settings}))

    with pytest.raises(ValueError, match="has changed since .* was trained on it"):
        evaluate(str(run), str(data), str(tmp_path / "r.csv"))


@pytest.fixture
def kept(run) -> Path:
    """Epochs 8 to 10: blind, seeing, blind; a lesion is brighter than the bias only in epoch 9."""
    (run / "epochs").mkdir()
    for epoch, bias in ((8, 1.0), (9, 0.0), (10, 1.0)):
        network = Threshold()
        torch.nn.init.constant_(network.bias, bias)
        torch.save({"model": network.state_dict()}, run / "epochs" / f"{epoch:04d}.pt")
    return run


def epochs_read(folder: Path) -> list[int]:
    return [json.loads(line)["epoch"] for line in (folder / "test_readings.jsonl").read_text().splitlines()]


def test_every_kept_epoch_has_a_row_per_case(kept, data, tmp_path):
    frame = score_epochs(str(kept), str(data), str(tmp_path / "r.csv"))

    dice = frame.pivot(index="epoch", columns="subject", values="dice")
    assert dice["found"].to_dict() == {8: 0, 9: 1, 10: 0}
    assert dice[["quiet", "noisy"]].isna().all(axis=None)
    assert epochs_read(data) == [8, 9, 10]
    assert sorted(path.name for path in tmp_path.glob("r*")) == ["r.csv", "r.json", "runs"]


def test_killed_scoring_goes_on_with_the_next_epoch(kept, data, tmp_path, monkeypatch):
    whole = epoch_scores.evaluate

    def killed(*args):
        if args[-1] == 10:
            raise KeyboardInterrupt
        return whole(*args)

    monkeypatch.setattr(epoch_scores, "evaluate", killed)
    with pytest.raises(KeyboardInterrupt):
        score_epochs(str(kept), str(data), str(tmp_path / "r.csv"), tidy=True)
    assert (kept / "epochs" / "0010.pt").is_file()

    monkeypatch.setattr(epoch_scores, "evaluate", whole)
    frame = score_epochs(str(kept), str(data), str(tmp_path / "r.csv"), tidy=True)

    assert set(frame["epoch"]) == {8, 9, 10}
    assert epochs_read(data) == [8, 9, 10]  # none twice
    assert not (kept / "epochs").exists()
    assert (kept / "model.pt").is_file()


def test_scored_epochs_are_read_again_after_their_weights_have_gone(kept, data, tmp_path):
    first = score_epochs(str(kept), str(data), str(tmp_path / "r.csv"), tidy=True)

    again = score_epochs(str(kept), str(data), str(tmp_path / "r.csv"), tidy=True)

    pd.testing.assert_frame_equal(first, again)
    assert epochs_read(data) == [8, 9, 10]


def test_result_of_other_weights_is_not_taken_for_this_one(kept, data, tmp_path):
    score_epochs(str(kept), str(data), str(tmp_path / "r.csv"))
    torch.save({"model": Threshold().state_dict()}, kept / "epochs" / "0010.pt")

    with pytest.raises(ValueError, match=r"r\.csv is there, made with another epoch 0010"):
        score_epochs(str(kept), str(data), str(tmp_path / "r.csv"))


def test_result_of_another_run_is_not_taken_for_this_one(kept, data, tmp_path):
    score_epochs(str(kept), str(data), str(tmp_path / "r.csv"), tidy=True)
    other = Path(shutil.copytree(kept, tmp_path / "runs" / "other_seed9"))
    network = Threshold()
    nn.init.constant_(network.bias, 0.5)
    torch.save({"model": network.state_dict()}, other / "model.pt")

    with pytest.raises(ValueError, match="made with another model_sha256"):
        score_epochs(str(other), str(data), str(tmp_path / "r.csv"))
    with pytest.raises(ValueError, match="made with another arm, seed"):
        score_epochs(str(kept), str(data), str(tmp_path / "r.csv"), arm="mine", seed=77)


def test_readings_of_read_only_data_outlive_the_parts(kept, data, tmp_path):
    (data / "test_readings.jsonl").mkdir()  # as good as read-only, for root too

    score_epochs(str(kept), str(data), str(tmp_path / "results" / "r.csv"))

    lines = (tmp_path / "results" / "test_readings.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [8, 9, 10]


def test_run_without_kept_epochs_says_how_to_keep_some(run, data, tmp_path):
    with pytest.raises(FileNotFoundError, match="--keep_last 100"):
        score_epochs(str(run), str(data), str(tmp_path / "r.csv"))


def test_command_prints_mean_and_maximum(kept, data, tmp_path, capsys):
    main(str(kept), str(data), str(tmp_path / "r.csv"), epoch="kept")

    row = capsys.readouterr().out.splitlines()[-1].split()
    assert row == ["combined", "3", "3", "8", "10", "0.167", "0.289", "0.500", "9"]  # lesions: found and dark


def test_command_refuses_what_is_no_epoch(kept, data, tmp_path):
    with pytest.raises(ValueError, match="expected the number of an epoch, or kept"):
        main(str(kept), str(data), str(tmp_path / "r.csv"), epoch="last")


def test_mean_and_maximum_are_over_epochs_of_the_mean_over_lesion_cases():
    rows = [
        dict.fromkeys(COLUMNS, np.nan)
        | {"arm": "a", "seed": seed, "epoch": epoch, "subject": subject, "lesion_ml": ml, "dice": dice}
        for seed, epoch, subject, ml, dice in (
            (1, 1, "x", 5, 0.2), (1, 1, "y", 1, 0.4), (1, 2, "x", 5, 0.8), (1, 2, "y", 1, 0.4),
            (1, 2, "none", 0, np.nan), (2, 1, "x", 5, 1.0), (2, None, "x", 5, 0.0),
        )
    ]  # fmt: skip

    table = epochs_table(pd.DataFrame(rows))

    assert table.loc[("a", 1)].to_dict() == pytest.approx(
        {"n_epochs": 2, "first": 1, "last": 2, "mean": 0.45, "sd": np.std([0.3, 0.6], ddof=1), "max": 0.6, "best": 2}
    )
    assert table.loc[("a", 2)][["n_epochs", "mean", "max"]].tolist() == [1, 1, 1]  # the selected weights are no epoch
