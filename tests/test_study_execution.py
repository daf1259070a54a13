"""Studies through Snakemake, for real: killed and gone on with, with a failing stage, on this machine and on SLURM."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from real_components import lack
from slurm_node import slurm_node

from common.report.folder import last_attempt
from common.stage_state import finished_stages, run_stage, state_of
from common.study import Stage, stages
from common.study_execution import execute, last_words, snakemake_command
from common.study_file import begin, load_study

SMALL = {"epochs": 1, "val_interval": 1, "channels": [4, 4, 8], "draws_per_epoch": 2}


HOLD = """
import fcntl, sys, time
with open(sys.argv[1], "a") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    print("held", flush=True)
    time.sleep(60)
"""


def write_study(folder: Path, data: Path, arms: dict, **settings) -> Path:
    """A study of segmenters alone, on a data set that is there."""
    study = {
        "name": "tiny", "data": {"folder": str(data)}, "seeds": [1], "baseline": "clinical",
        "segmenter": {"overlays": ["demo"], "settings": {**SMALL, **settings}}, "arms": arms,
    }  # fmt: skip
    (folder / "tiny.json").write_text(json.dumps(study))
    return folder / "tiny.json"


def start(study: Path, *flags: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "scripts.study", "run", "--study", str(study), "--out", str(study.parent / "out")]
    return subprocess.Popen([*command, *flags], stderr=subprocess.PIPE, text=True, start_new_session=True)


def wait_for(there, process: subprocess.Popen) -> None:
    while not there():
        assert process.poll() is None, process.stderr.read()[-3000:]
        time.sleep(0.05)


@pytest.mark.slow
def test_a_killed_study_goes_on_without_repeating_and_a_failure_takes_no_other_along(dataset_copy, tmp_path, capfd):
    arms = {"clinical": {}, "broken": {"augmentation": {"flip": 0.5}}, "few": {"clinical_cases": 2}}
    study, out = write_study(tmp_path, dataset_copy, arms), tmp_path / "out"
    first = start(study)
    wait_for(lambda: "train clinical seed 1" in finished_stages(out), first)
    group = int(subprocess.run(["pgrep", "-P", str(first.pid)], capture_output=True, text=True).stdout.split()[0])
    for leader in (first.pid, group):  # as a machine that loses its power
        os.killpg(leader, signal.SIGKILL)
    first.wait()
    before = finished_stages(out)

    second = start(study)
    _, errors = second.communicate()
    assert second.returncode == 2
    assert "2 of 7 stages could not be run" in errors
    assert "train_broken_seed_1.log" in errors
    assert {name: finished_stages(out)[name] for name in before} == before
    assert "score few seed 1" in finished_stages(out)
    readings = (out / "data/test_readings.jsonl").read_text().splitlines()
    assert len(readings) == 2

    subprocess.run([sys.executable, "-m", "scripts.study", "status", "--out", str(out)], check=True)
    said = capfd.readouterr().out
    assert "5 done, 1 failed, 1 open" in said
    assert "rotate" in said  # the knob that the failed arm lacks


def test_a_study_that_is_being_run_is_not_run_twice(tmp_path):
    done = Stage("data", {}, lambda: None)
    run_stage(done, tmp_path)
    process = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path / "attempts/run.lock"], stdout=subprocess.PIPE)
    process.stdout.readline()
    try:
        with pytest.raises(ValueError, match="is being run already.*stop it first"):
            execute([done], tmp_path)
    finally:
        process.kill()
        process.wait()
    execute([done], tmp_path)


def test_a_stage_tells_what_became_of_it(tmp_path):
    states = []

    def fail():
        states.append(state_of(stage, tmp_path, finished_stages(tmp_path)))
        raise ValueError("out of luck")

    stage = Stage("train x", {}, fail)
    assert state_of(stage, tmp_path, {}) == "open"
    with pytest.raises(ValueError, match="out of luck"):
        run_stage(stage, tmp_path)
    assert states == ["running"]
    assert state_of(stage, tmp_path, {}) == "failed"
    assert "out of luck" in (tmp_path / "attempts/train_x.json").read_text()
    assert run_stage(Stage("train x", {}, lambda: None), tmp_path)
    assert state_of(stage, tmp_path, finished_stages(tmp_path)) == "done"


def test_a_line_that_was_cut_short_counts_as_not_finished(tmp_path):
    (tmp_path / "stages.jsonl").write_text('{"stage": "data", "seconds": 1, "peak_gb": 1}\n{"stage": "draw ma')
    assert set(finished_stages(tmp_path)) == {"data"}
    run_stage(Stage("train x", {}, lambda: None), tmp_path)
    assert set(finished_stages(tmp_path)) == {"data", "train x"}  # it is not written onto the end of the other


def test_the_time_of_a_stage_that_went_on_is_said_to_be_that_of_its_last_attempt(tmp_path):
    def fail():
        raise ValueError("out of luck")

    with pytest.raises(ValueError, match="out of luck"):
        run_stage(Stage("train x", {}, fail), tmp_path)
    for name in ("train x", "train y"):
        run_stage(Stage(name, {}, lambda: None), tmp_path)
    lines = finished_stages(tmp_path)
    assert lines["train x"]["attempts"] == 2
    assert last_attempt(lines["train x"]) == " (last of 2 attempts)"
    assert last_attempt(lines["train y"]) == ""
    assert lines["train y"]["seconds"] < 0.5


def test_an_unknown_profile_is_refused(tmp_path):
    with pytest.raises(ValueError, match="--profile slrm: no folder with a config.yaml; known: slurm"):
        execute([Stage("data", {}, lambda: None)], tmp_path, profile="slrm")


def test_the_last_words_of_a_progress_bar_are_found(tmp_path):
    (tmp_path / "log").write_bytes(b"first\nepoch 1\repoch 2\r\n")
    assert last_words(tmp_path / "log") == "epoch 2"


@pytest.mark.slow
@pytest.mark.skipif(Path("/etc/slurm/slurm.conf").is_file(), reason="there is a cluster here, which would take the job")
@pytest.mark.real
def test_a_cluster_that_takes_no_job_is_told_in_its_own_words(dataset_copy, tmp_path):
    if not shutil.which("sbatch"):
        lack("there is no sbatch: apt-get install slurm-client")
    (tmp_path / "profile").mkdir()
    (tmp_path / "profile/config.yaml").write_text(PROFILE)
    process = start(write_study(tmp_path, dataset_copy, {"clinical": {}}), "--profile", str(tmp_path / "profile"))
    _, errors = process.communicate()
    assert process.returncode == 2
    assert "data.log: it did not start. SLURM sbatch failed" in errors


@pytest.mark.slow
def test_snakemake_accepts_the_paper_as_a_whole(tmp_path):
    study = load_study("scripts/studies/paper.json", library=str(tmp_path))
    begin(study, tmp_path)
    command = [
        *snakemake_command(tmp_path, 1, Path("scripts/profiles/slurm").resolve()),
        "--dry-run",
        "--quiet",
        "rules",
    ]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    counted = dict(line.split()[:2] for line in said.splitlines() if len(line.split()) == 2)
    assert counted["segmenter"] == counted["score"] == str(3 * len(study["arms"]))
    assert counted["total"] == str(len(stages(study, tmp_path)) + 1)  # and the rule that wants them all


PROFILE = """
executor: slurm
jobs: 2
retries: 1
slurm-no-account: true
slurm-status-command: squeue
slurm-init-seconds-before-status-checks: 2
default-resources: {slurm_partition: gpu, runtime: 30, mem_mb: 2000}
set-threads: {data: 1, segmenter: 1, score: 1}
"""


@pytest.mark.slow
@pytest.mark.real
def test_on_slurm_a_job_that_is_killed_goes_on_where_it_was(dataset_copy, tmp_path):
    study = write_study(tmp_path, dataset_copy, {"clinical": {}}, epochs=60, save_seconds=0, val_interval=60)
    out = tmp_path / "out"
    (tmp_path / "profile").mkdir()
    (tmp_path / "profile/config.yaml").write_text(PROFILE)
    attempt, losses = out / "attempts/train_clinical_seed_1.json", out / "runs/clinical_seed1/last.pt"
    with slurm_node(tmp_path / "node"):
        process = start(study, "--profile", str(tmp_path / "profile"))
        wait_for(losses.is_file, process)
        job = json.loads(attempt.read_text())["slurm_job"]
        subprocess.run(["scancel", job], check=True)
        _, errors = process.communicate()

    assert process.returncode == 0, errors[-3000:]
    assert json.loads(attempt.read_text())["slurm_job"] not in (None, job)
    assert "going on after epoch" in (out / "logs/train_clinical_seed_1.log").read_text()
    assert set(finished_stages(out)) == {"data", "train clinical seed 1", "score clinical seed 1"}


def test_no_more_stages_run_at_a_time_than_there_are_slots(tmp_path):
    """In threads here, each of which opens the lock's file for itself, as processes do."""
    running, most = set(), []

    def work(name):
        running.add(name)
        most.append(len(running))
        time.sleep(0.05)
        running.remove(name)

    def run(number):
        run_stage(Stage(f"train {number}", {}, lambda: work(number)), tmp_path)

    for slots in (1, 2):
        most.clear()
        with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(5) as pool:
            patch.setenv("STUDY_SLOTS", str(slots))
            list(pool.map(run, range(10 * slots, 10 * slots + 5)))
        assert max(most) <= slots
        assert len(most) == 5
