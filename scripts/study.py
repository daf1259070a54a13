"""Run a study: data, lesion GAN, translator, synthetic set, segmenters, test scores, report.

    python -m scripts.study plan|run|status|report --study scripts/studies/demo.json --out STUDY

`REAL_DATA=DIR` puts real brains and lesion masks in the place of the default phantom's (README.md).
"""

from __future__ import annotations

import json
import os
import time

from common.command_line import run_command
from common.study import begin, finished_stages, load_study, run_stage, stages


def plan(study: str, out: str, scale: str | None = None) -> None:
    """Print the stages of a study and their settings; nothing is run."""
    definition = load_study(study, scale, os.environ.get("REAL_DATA"))
    for number, stage in enumerate(stages(definition, out), 1):
        print(f"{number:3d}  {stage.name}\n     {json.dumps(stage.settings)}")


def run(study: str, out: str, scale: str | None = None) -> None:
    """Run what is not finished yet, then draw the report. Stop it at any time; the same command goes on."""
    definition = load_study(study, scale, os.environ.get("REAL_DATA"))
    begin(definition, out)
    todo = stages(definition, out)
    start = time.monotonic()
    for number, stage in enumerate(todo, 1):
        print(f"[{number}/{len(todo)}] {stage.name}", flush=True)
        if not run_stage(stage, out):
            print("    done before", flush=True)
    print(f"{definition['name']}: {time.monotonic() - start:.0f} s")
    report(out)


def status(out: str) -> None:
    """Which stages are finished, and how long each took."""
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
    run_command({"plan": plan, "run": run, "status": status, "report": report})
