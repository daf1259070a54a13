"""Run a study: data, lesion GAN, translator, synthetic set, segmenters, test scores, report.

    python -m scripts.study plan|run --study scripts/studies/demo.json --out STUDY [--cores 2] [--profile slurm]
    python -m scripts.study status|report --out STUDY

`REAL_DATA=DIR` puts real brains and lesion masks in the place of the default phantom's (README.md).
"""

from __future__ import annotations

import os
import signal
import sys
import time

from common.command_line import run_command
from common.stage_state import attempt_of, finished_stages, log_of, run_stage, state_of
from common.study import stages
from common.study_checks import refuse_impossible
from common.study_execution import execute, last_words
from common.study_file import begin, load_study, read_study


def plan(
    study: str, out: str, scale: str | None = None, data: str | None = None, library: str | None = None,
    external: dict | None = None, device: str = "A100", settings: bool = False,
) -> None:  # fmt: skip
    """Check a study and print its runs, their order, what they share, and an estimate of time and disk; nothing is run.

    Args:
        study: its JSON file.
        out: folder that it will be run in.
        scale: one of the study's "scales".
        data: an existing data set, in the place of the study's.
        library: lesion masks (NPZ file or folder) that "library" in the study stands for.
        external: further data sets to test on, such as {isles15:isles15_data}.
        device: A100, RTX 4090, RTX 3090, V100 or T4, for which the time of trainings is predicted.
        settings: print the settings of each stage as well.
    """
    definition = load_study(study, scale, os.environ.get("REAL_DATA"), data, library, external)
    from common.study_plan import describe_plan

    refuse_impossible(definition, out, room=False)
    print(describe_plan(definition, out, device, settings))
    refuse_impossible(definition, out)


def run(
    study: str, out: str, scale: str | None = None, cores: int = 1, profile: str | None = None,
    data: str | None = None, library: str | None = None, external: dict | None = None,
) -> None:  # fmt: skip
    """Run what is not finished yet, then draw the report. Stop it at any time; the same command goes on.

    Each stage is a process of its own that prints into STUDY/logs/; Snakemake starts them.

    Args:
        study: its JSON file.
        out: folder of the study.
        scale: one of the study's "scales".
        cores: stages at a time on this machine.
        profile: where stages run instead: a folder of scripts/profiles such as slurm, or a path.
        data: an existing data set, in the place of the study's.
        library: lesion masks (NPZ file or folder) that "library" in the study stands for.
        external: further data sets to test on, such as {isles15:isles15_data}.
    """
    if cores < 1:
        raise ValueError(f"--cores {cores}: expected a number of processes, at least 1.")
    definition = load_study(study, scale, os.environ.get("REAL_DATA"), data, library, external)
    todo = stages(definition, out)
    refuse_impossible(definition, out)
    begin(definition, out)
    start = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a scheduler's time limit stops the stages too
    try:
        execute(todo, out, cores, profile)
    finally:
        print(f"{definition['name']}: {time.monotonic() - start:.0f} s")
    report(out)


def stage(name: str, out: str) -> None:
    """Run one stage of a study that was begun, by its name in the plan; those that it needs must be finished."""
    by_name = {stage.name: stage for stage in stages(read_study(out), out)}
    if name not in by_name:
        raise ValueError(f"{name!r} is not a stage of {out}. Stages: {', '.join(by_name)}.")
    missing = sorted(set(by_name[name].needs) - set(finished_stages(out)))
    if missing:
        raise ValueError(f"{name!r} needs {' and '.join(missing)} first: `python -m scripts.study run`.")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    run_stage(by_name[name], out)


def status(out: str) -> None:
    """What is done and how long it took, what is running and how far it is, what failed and why."""
    done = finished_stages(out)
    counts: dict[str, int] = {}
    for stage in stages(read_study(out), out):
        state = state_of(stage, out, done)
        counts[state] = counts.get(state, 0) + 1
        took = f"{done[stage.name]['seconds']:8.0f} s" if state == "done" else ""
        print(f"{state:8s} {took:>10s}  {stage.name}")
        attempt = attempt_of(stage, out)
        if state == "running":
            where = f"job {attempt['slurm_job']}" if attempt["slurm_job"] else f"process {attempt['pid']}"
            print(f"{'':21s}{where} on {attempt['host']} since {attempt['began']}: {last_words(log_of(stage, out))}")
        if state == "failed":
            print(f"{'':21s}{attempt['error']}\n{'':21s}{log_of(stage, out)}")
    print(", ".join(f"{count} {state}" for state, count in counts.items()))


def report(out: str) -> None:
    """Draw report/index.html from what is there."""
    from common.reporting import write_report

    print(f"report: {write_report(out)}")


if __name__ == "__main__":
    run_command({"plan": plan, "run": run, "stage": stage, "status": status, "report": report})
