"""The study: small enough for a test, by the command that `make demo` runs."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from common.stage_state import finished_stages, run_stage
from common.study import stages
from common.study_file import begin, load_study
from scripts.study import stage as stage_command

DEMO = "scripts/studies/demo.json"


def test_a_scale_replaces_only_what_it_names():
    small, large = load_study(DEMO, "tiny"), load_study(DEMO)
    assert small["data"]["size"] == [32, 32, 16]
    assert small["data"]["seed"] == large["data"]["seed"]
    assert set(small["arms"]) == set(large["arms"])


def test_an_unknown_scale_or_study_is_refused():
    with pytest.raises(ValueError, match="no scale 'huge'; it has"):
        load_study(DEMO, "huge")
    with pytest.raises(FileNotFoundError, match="no such study. Found in that folder: .*demo.json"):
        load_study("scripts/studies/nothing.json")


def test_the_benchmark_asks_for_real_data():
    with pytest.raises(ValueError, match="set REAL_DATA=DIR"):
        load_study("scripts/studies/benchmark.json")


def test_a_folder_with_another_study_is_refused(tmp_path):
    begin(load_study(DEMO), tmp_path)
    with pytest.raises(ValueError, match="holds a study with other .*data"):
        begin(load_study(DEMO, "tiny"), tmp_path)


@pytest.mark.parametrize("name", ["demo", "benchmark"])
def test_the_fixed_segmenter_is_trained_before_the_translator_on_no_other_cases(name, tmp_path):
    study = json.loads(Path(f"scripts/studies/{name}.json").read_text())
    todo = stages(study, tmp_path)
    names = [stage.name for stage in todo]
    first = f"train {study['baseline']} seed {study['seeds'][0]}"
    by_name = {stage.name: stage.settings for stage in todo}
    for translator in (f"train {name}" for name in study["translators"]):
        assert names.index(first) < names.index(translator)
        assert by_name[first]["clinical_cases"] == by_name[translator]["clinical_cases"]
        assert by_name[translator]["segmenter"] == by_name[first]["output_dir"]


@pytest.mark.parametrize("name", ["demo", "benchmark"])
def test_all_arms_take_the_same_number_of_optimiser_steps(name, tmp_path):
    study = json.loads(Path(f"scripts/studies/{name}.json").read_text())
    trainings = [s.settings for s in stages(study, tmp_path) if s.name.startswith("train ") and "seed" in s.name]
    budgets = {tuple(s.get(key) for key in ("epochs", "draws_per_epoch", "batch_size")) for s in trainings}
    assert len(trainings) == len(study["arms"]) * len(study["seeds"])
    assert len(budgets) == 1


@pytest.mark.parametrize("name", ["demo", "benchmark"])
def test_every_stage_comes_after_those_that_it_needs(name, tmp_path):
    seen = set()
    for stage in stages(json.loads(Path(f"scripts/studies/{name}.json").read_text()), tmp_path):
        assert seen >= set(stage.needs), stage.name
        seen.add(stage.name)


def test_an_arm_trains_on_the_synthetic_set_that_it_names_after_it_was_made(tmp_path):
    study = load_study(DEMO)
    study["variants"]["quiet"] = {"noise": "none"}
    study["arms"]["quiet"] = {"clinical_cases": 12, "synthetic": "synthetic_quiet"}
    by_name = {stage.name: stage for stage in stages(study, tmp_path)}

    assert by_name["train quiet seed 1"].settings["synthetic_dir"] == str(tmp_path / "synthetic_quiet")
    assert "make synthetic_quiet" in by_name["train quiet seed 1"].needs
    made, varied = (by_name[f"make {name}"].settings for name in ("synthetic", "synthetic_quiet"))
    assert varied == made | {"noise": "none"}


def test_a_variant_takes_the_masks_of_the_library(tmp_path):
    (tmp_path / "anatomies").mkdir()
    (tmp_path / "some_lesion_masks.npz").touch()
    path = tmp_path / "study.json"
    study = json.loads(Path(DEMO).read_text())
    study["variants"]["real"] = {"masks": "library"}
    path.write_text(json.dumps(study))
    by_name = {stage.name: stage for stage in stages(load_study(path, real_data=str(tmp_path)), tmp_path)}

    assert by_name["make synthetic_real"].settings["masks"] == str(tmp_path / "some_lesion_masks.npz")
    assert by_name["make synthetic"].settings["masks"] == str(tmp_path / "masks")
    with pytest.raises(ValueError, match='"masks": "library".*REAL_DATA=DIR'):
        load_study(path)


def test_a_set_is_made_by_the_translator_that_it_names_or_by_the_first(tmp_path):
    study = load_study(DEMO)
    study["translators"]["spade"] = {"bundle": "spade_itm", "overlays": ["demo"], "settings": {"clinical_cases": 12}}
    study["translators"]["tuned"] = {**study["translators"]["spade"], "pretrained": "spade"}
    study["variants"]["other"] = {"translator": "tuned"}
    by_name = {stage.name: stage for stage in stages(study, tmp_path)}

    first, other = by_name["make synthetic"], by_name["make synthetic_other"]
    assert (first.settings["bundle"], other.settings["bundle"]) == ("pix2pix_itm", "spade_itm")
    assert other.settings["model"] == str(tmp_path / "runs" / "tuned") == by_name["train tuned"].settings["output_dir"]
    assert other.needs == ("train tuned", "draw masks")
    assert by_name["train tuned"].settings["pretrained"] == by_name["train spade"].settings["output_dir"]
    assert "train spade" in by_name["train tuned"].needs
    assert "pretrained" not in by_name["train spade"].settings

    study["variants"]["other"]["translator"] = "spadee"
    with pytest.raises(ValueError, match="'synthetic_other' has \"translator\": 'spadee'; its .* are pix2pix"):
        stages(study, tmp_path)


def test_a_study_whose_masks_are_a_librarys_trains_no_gan(tmp_path):
    study = load_study(DEMO)
    del study["masks"]
    with pytest.raises(ValueError, match='draws no "masks", so that every synthetic set must name some'):
        stages(study, tmp_path)

    study["images"]["masks"] = "library.npz"
    by_name = {stage.name: stage for stage in stages(study, tmp_path)}
    assert not {"train lesion_wgan", "draw masks"} & set(by_name)
    assert by_name["make synthetic"].needs == ("train pix2pix_itm",)
    assert by_name["make synthetic"].settings["masks"] == "library.npz"


def test_a_study_takes_the_masks_of_a_published_model(tmp_path):
    study = load_study(DEMO)
    study["masks"]["model"] = "bundles/lesion_wgan/models"
    by_name = {stage.name: stage for stage in stages(study, tmp_path)}
    assert "train lesion_wgan" not in by_name
    assert by_name["draw masks"].needs == ()
    assert by_name["draw masks"].settings["model"] == "bundles/lesion_wgan/models"


def test_masks_of_a_published_model_take_after_the_real_library(tmp_path):
    (tmp_path / "anatomies").mkdir()
    (tmp_path / "some_lesion_masks.npz").touch()
    path = tmp_path / "study.json"
    study = json.loads(Path(DEMO).read_text())
    study["masks"] = {"model": "bundles/lesion_wgan/models", "select": "library"}
    path.write_text(json.dumps(study))

    assert load_study(path, real_data=str(tmp_path))["masks"]["select"] == str(tmp_path / "some_lesion_masks.npz")
    with pytest.raises(ValueError, match='"select": "library", for which set REAL_DATA=DIR'):
        load_study(path)


@pytest.mark.parametrize("path", sorted(Path("scripts/studies").glob("*.json")), ids=lambda path: path.stem)
def test_every_study_names_overlays_and_knobs_that_exist(path, dataset, tmp_path):
    (tmp_path / "anatomies").mkdir()
    (tmp_path / "some_lesion_masks.npz").touch()
    own = str(dataset) if "folder" in json.loads(path.read_text())["data"] else None
    study = load_study(path, real_data=str(tmp_path), data=own)
    parts = [*study["translators"].values(), {"bundle": "stroke_unet", **study["segmenter"]}]
    parts += [{"bundle": "lesion_wgan", **study["lesion_wgan"]}] if "lesion_wgan" in study else []
    for part in parts:
        configs = Path("bundles") / part["bundle"] / "configs"
        knobs = json.loads((configs / "train.json").read_text())
        assert all((configs / f"{name}.json").is_file() for name in part["overlays"])
        assert set(part["settings"]) <= set(knobs)
    assert len({stage.name for stage in stages(study, tmp_path)}) == len(stages(study, tmp_path))


def test_an_arm_that_names_no_synthetic_set_is_refused(tmp_path):
    study = load_study(DEMO)
    study["arms"]["clinical_synthetic"]["synthetic"] = "synthetic_quite"
    with pytest.raises(ValueError, match="'synthetic_quite'; its sets are synthetic"):
        stages(study, tmp_path)


def test_a_stage_by_name_refuses_to_run_before_those_it_needs(tmp_path):
    begin(load_study(DEMO, "tiny"), tmp_path)
    with pytest.raises(ValueError, match="needs data first"):
        stage_command("train clinical seed 1", str(tmp_path))
    with pytest.raises(ValueError, match="'score' is not a stage"):
        stage_command("score", str(tmp_path))


def test_a_finished_stage_is_not_run_again(tmp_path):
    calls = []
    stage = stages(load_study(DEMO, "tiny"), tmp_path)[0]
    stage = type(stage)(stage.name, stage.settings, lambda: calls.append(1))
    assert run_stage(stage, tmp_path)
    assert not run_stage(stage, tmp_path)
    assert calls == [1]


def demo(out, cores, **kwargs):
    command = [sys.executable, "-m", "scripts.study", "run", "--study", DEMO, "--scale", "tiny", "--out", str(out)]
    command += ["--cores", str(cores)]
    return subprocess.Popen(
        command,
        env={**os.environ, "OMP_NUM_THREADS": "2"},
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's "&" has its children ignore it
        **kwargs,
    )


@pytest.mark.e2e
def test_the_demo_is_interrupted_goes_on_and_ends_with_a_report(tmp_path):
    out = tmp_path / "demo"
    process = demo(out, cores=1, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 200
    while len(finished_stages(out)) < 3 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors[-2000:]
    assert "run the same command again" in errors
    before = {name: line["seconds"] for name, line in finished_stages(out).items()}

    process = demo(out, cores=2)
    assert process.wait(timeout=400) == 0
    after = finished_stages(out)
    assert {name: after[name]["seconds"] for name in before} == before
    study = load_study(DEMO, "tiny")
    assert set(after) == {stage.name for stage in stages(study, out)}
    for arm in study["arms"]:
        rows = pd.read_csv(out / f"results/{arm}_seed1.csv")
        assert (rows["lesion_ml"] > 0).sum() == study["data"]["subjects"]["test"]
    page = (out / "report/index.html").read_text()
    assert "simulated" in page.lower()
    assert json.loads((out / "report/summary.json").read_text())
    readings = [json.loads(line)["epoch"] for line in (out / "data/test_readings.jsonl").read_text().splitlines()]
    assert sorted(readings, key=str) == [1] * len(study["arms"]) + [None] * len(study["arms"])
    for arm in study["arms"]:  # scored as the paper does it, then let go
        assert set(pd.read_csv(out / f"results/epochs/{arm}_seed1.csv")["epoch"]) == {1}
        assert not (out / f"runs/{arm}_seed1/epochs").exists()
