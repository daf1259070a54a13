"""Stages as processes: order, number at a time, failures."""

import json
import sys

import pytest

from common.scheduling import run_together
from common.study import Stage

WORKER = """
import json, sys, time
name, folder = sys.argv[1:]
start = time.time()
time.sleep(0.6)
if name.startswith("broken"):
    sys.exit("out of luck")
with open(f"{folder}/stages.jsonl", "a") as file:
    file.write(json.dumps({"stage": name, "start": start, "end": time.time()}) + "\\n")
"""


def plan(**needs) -> list[Stage]:
    return [Stage(name, {}, lambda: None, tuple(others)) for name, others in needs.items()]


def run(stages, folder, cores=2) -> dict[str, dict]:
    run_together(stages, folder, cores, lambda name: [sys.executable, "-c", WORKER, name, str(folder)])
    return ended(folder)


def ended(folder) -> dict[str, dict]:
    lines = map(json.loads, (folder / "stages.jsonl").read_text().splitlines())
    return {line["stage"]: line for line in lines}


def test_a_stage_starts_after_those_it_needs_and_beside_others(tmp_path):
    done = run(plan(a=[], b=[], c=["a", "b"]), tmp_path)

    assert done["c"]["start"] >= max(done["a"]["end"], done["b"]["end"])
    assert done["a"]["start"] < done["b"]["end"]
    assert done["b"]["start"] < done["a"]["end"]


def test_no_more_run_at_a_time_than_asked_for(tmp_path):
    done = run(plan(a=[], b=[], c=[]), tmp_path)

    assert done["c"]["start"] >= min(done["a"]["end"], done["b"]["end"])


def test_a_failure_stops_those_that_need_it_and_no_others(tmp_path):
    with pytest.raises(ValueError, match=r"2 of 3 stages.*\n.*broken_one.log: out of luck$"):
        run(plan(**{"broken one": [], "after": ["broken one"], "other": []}), tmp_path)

    assert set(ended(tmp_path)) == {"other"}


def test_a_stage_that_waits_for_none_that_exists_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"wait for stages that do not exist: b\.$"):
        run(plan(a=[], b=["c"]), tmp_path)


def test_finished_stages_are_not_run_again(tmp_path):
    stages = plan(a=[], b=["a"])
    first = run(stages, tmp_path)

    assert run(stages, tmp_path) == first  # begin and end as well
