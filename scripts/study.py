"""Run a study: data, lesion GAN, translator, synthetic set, segmenters, test scores, report.

    python -m scripts.study plan|run|status|report --study scripts/studies/demo.json --out STUDY [--cores 2]

`REAL_DATA=DIR` puts real brains and lesion masks in the place of the default phantom's (README.md).
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time

from common.command_line import run_command


def plan(study: str, out: str, scale: str | None = None) -> None:
    """Print the stages of a study and their settings; nothing is run."""
    from common.study import load_study, stages

    definition = load_study(study, scale, os.environ.get("REAL_DATA"))
    for number, stage in enumerate(stages(definition, out), 1):
        print(f"{number:3d}  {stage.name}\n     {json.dumps(stage.settings)}")


def run(study: str, out: str, scale: str | None = None, cores: int = 1) -> None:
    """Run what is not finished yet, then draw the report. Stop it at any time; the same command goes on.

    With --cores 2 or more, so many stages run at a time, each in a process of its own that prints into STUDY/logs/.
    """
    from common.scheduling import run_together
    from common.study import begin, load_study, run_stage, stages

    if cores < 1:
        raise ValueError(f"--cores {cores}: expected a number of processes, at least 1.")
    definition = load_study(study, scale, os.environ.get("REAL_DATA"))
    begin(definition, out)
    todo = stages(definition, out)
    start = time.monotonic()
    if cores > 1:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a scheduler's time limit stops the stages too
        flags = ["--study", study, "--out", out, *(["--scale", scale] if scale else [])]
        run_together(todo, out, cores, lambda name: [sys.executable, "-m", "scripts.study", "stage", name, *flags])
    else:
        for number, stage in enumerate(todo, 1):
            print(f"[{number}/{len(todo)}] {stage.name}", flush=True)
            if not run_stage(stage, out):
                print("    done before", flush=True)
    print(f"{definition['name']}: {time.monotonic() - start:.0f} s")
    report(out)


def stage(name: str, study: str, out: str, scale: str | None = None) -> None:
    """Run one stage by its name in the plan; those that it needs must be finished."""
    from common.study import begin, finished_stages, load_study, run_stage, stages

    definition = load_study(study, scale, os.environ.get("REAL_DATA"))
    begin(definition, out)
    by_name = {stage.name: stage for stage in stages(definition, out)}
    if name not in by_name:
        raise ValueError(f"{name!r} is not a stage of {study}. Stages: {', '.join(by_name)}.")
    missing = sorted(set(by_name[name].needs) - set(finished_stages(out)))
    if missing:
        raise ValueError(f"{name!r} needs {' and '.join(missing)} first: `python -m scripts.study run`.")
    run_stage(by_name[name], out)


def status(out: str) -> None:
    """Which stages are finished, and how long each took."""
    from common.study import finished_stages, stages

    done = finished_stages(out)
    with open(f"{out}/study.json") as file:
        definition = json.load(file)
    for stage in stages(definition, out):
        line = done.get(stage.name)
        took = f"{line['seconds']:8.0f} s" if line else ""
        print(f"{'done' if line else 'open'} {took:>10s}  {stage.name}")


def report(out: str) -> None:
    """Draw report/index.html from what is there."""
    from common.reporting import write_report

    print(f"report: {write_report(out)}")


if __name__ == "__main__":
    run_command({"plan": plan, "run": run, "stage": stage, "status": status, "report": report})
