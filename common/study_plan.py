"""A study's plan in words: its arms, its stages in order, what is shared, and what they will take."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from .study import Stage, stages
from .study_cases import cases_of
from .study_needs import STEP_SECONDS, Need, needs_of, room_of, set_size
from .study_parts import synthetic_sets

__all__ = ["describe_plan"]


def describe_plan(study: dict, folder: str | Path, device: str = "A100", settings: bool = False) -> str:
    """What `scripts.study plan` prints.

    Args:
        study: of `load_study`.
        folder: that it will be run in.
        device: one of `common.cost.DEVICES`, for whose speed the trainings are predicted.
        settings: whether each stage's settings stand below it.
    """
    from .cost import EFFICIENCY

    todo, cases = stages(study, folder), cases_of(study["data"])
    needs = {stage.name: needs_of(study, stage, cases, device) for stage in todo}
    users = Counter(name for stage in todo for name in stage.needs)
    lines = [f"{study['name']}: {study.get('title', '')}", "", *_data_lines(study, cases), "", *_arm_lines(study), ""]
    lines.append("stages, in the order in which they can run (x N: how many others wait for it)")
    for number, stage in enumerate(todo, 1):
        need = needs[stage.name]
        shared = f"x {users[stage.name]}" if users[stage.name] > 1 else ""
        lines.append(f"{number:4d}  {stage.name:58s} {shared:>5s} {_time(need.seconds):>9s} {need.gb:7.2f} GB")
        if settings:
            lines.append(f"      {json.dumps(stage.settings)}")
    lines += ["", *_totals(todo, needs, device, EFFICIENCY, cases.size)]
    return "\n".join(lines)


def _data_lines(study: dict, cases) -> list[str]:
    where = study["data"].get("folder")
    kind = f"the data set {where}" if where else "a phantom (simulated), made first"
    lines = [f"data: {kind}, {'x'.join(map(str, cases.size))} voxels"]
    for split in ("training", "validation", "test"):
        normal = f", {cases.normal} normal" if split == "training" else ""
        lines.append(
            f"  {split:10s} {cases.positive[split]:5d} with a lesion, {cases.negative[split]} DWI-negative{normal}"
        )
    for name in synthetic_sets(study):
        lines.append(f"  {name}: {set_size(study, name, cases)} synthetic cases")
    return lines


def _arm_lines(study: dict) -> list[str]:
    arms, seeds = len(study["arms"]), len(study["seeds"])
    lines = [f"{arms} arms x {seeds} seeds = {arms * seeds} runs"]
    for name, arm in study["arms"].items():
        what = [f"{'all' if arm.get('clinical_cases') is None else arm['clinical_cases']} clinical"]
        what += [arm["synthetic"]] if arm.get("synthetic") else []
        what += [f"goes on from {arm['pretrained']}"] if arm.get("pretrained") else []
        what += [arm["protocol"]] if arm.get("protocol") else []
        lines.append(f"  {name:40s} {', '.join(what)}")
    return lines


def _totals(todo: Sequence[Stage], needs: dict[str, Need], device: str, efficiency: float, size) -> list[str]:
    seconds = sum(need.seconds for need in needs.values())
    longest: dict[str, float] = {}
    for stage in todo:
        before = max((longest[name] for name in stage.needs), default=0.0)
        longest[stage.name] = before + needs[stage.name].seconds
    gb, kept = (sum(getattr(need, key) for need in needs.values()) for key in ("gb", "kept_gb"))
    memory = max(need.memory_gb for need in needs.values())
    until = ""
    if kept > gb / 100:
        at_a_time = room_of(needs.values())
        until = f", of which {kept:.1f} GB are epochs kept until they are scored: {at_a_time:.1f} GB at a time"
    return [
        f"time: about {_time(seconds)} one after the other on one {device}; the longest chain takes "
        f"{_time(max(longest.values()))}.",
        f"  Assumed: trainings go through all their epochs, at {efficiency:.0%} of the device's data sheet and "
        f"{1000 * STEP_SECONDS:.0f} ms a step",
        "  at least; validation left out; other stages as on two CPU cores in the benchmark, by voxels and cases.",
        "  Nothing of this was measured on a GPU.",
        f"memory: up to {memory:.1f} GB on the device, predicted for {'x'.join(map(str, size))} voxels.",
        f"disk: about {gb:.1f} GB{until}.",
    ]


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 72 * 3600 else f"{seconds / 86400:.1f} days"
