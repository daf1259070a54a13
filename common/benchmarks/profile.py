"""Where the time of a training step goes, bundle by bundle, now and at an earlier commit."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import torch
from matplotlib import pyplot as plt
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile

from ..bundles import configured
from ..cost import sample_batch
from ..steps.iteration import bare_engine
from .harness import Table

__all__ = ["benchmark", "step_seconds"]

FIGURES = Path(__file__).resolve().parents[2] / "docs" / "figures" / "performance"
BEFORE = FIGURES / "profile_before.json"  # written by this file in a checkout of the commit that it names
BATCHES = {"stroke_unet": 1, "pix2pix_itm": 8, "spade_itm": 8, "cyclegan_itm": 2, "lesion_wgan": 1}
SIZE = [128, 128, 32]
KINDS = {
    "convolutions": ("convolution", "conv_transpose", "conv2d", "conv3d", "mm", "linear"),
    "norms": ("norm",),
    "activations, pooling": ("relu", "threshold", "clamp", "pool", "tanh", "softmax"),
    "random numbers": ("bernoulli", "normal_", "uniform", "random_", "poisson", "randint", "dropout"),
    "copies, layout": ("copy_", "clone", "contiguous", "cat", "slice_backward", "_to_copy", "fill_", "zero_"),
}
OPTIMISER, OTHER = "optimiser", "everything else"


def benchmark(folder: Path) -> list[Table]:
    """Seconds of one step by kind of operation; a picture beside those of an earlier commit."""
    now = {bundle: step_seconds(bundle) for bundle in BATCHES}
    (folder / "profile_now.json").write_text(json.dumps(now, indent=1))
    before = json.loads(BEFORE.read_text())
    _draw(before["seconds"], now, FIGURES / "profile.png", before["commit"])
    rows = []
    for bundle, seconds in now.items():
        earlier = sum(before["seconds"][bundle].values())
        total = sum(seconds.values())
        rows.append({"bundle": bundle, f"s at {before['commit']}": round(earlier, 2), "s now": round(total, 2)})
        rows[-1] |= {kind: f"{value / total:.0%}" for kind, value in seconds.items()}
    return [Table("One training step by kind of operation (profiler running)", rows)]


def step_seconds(bundle: str) -> dict[str, float]:
    """{kind: seconds} of one step of a bundle at the size of the paper, with fewer samples where a batch is large."""
    parser = configured(bundle, [], {"size": SIZE, "device": torch.device("cpu")})
    step, single = parser.get_parsed_content("train#step"), sample_batch(parser, bundle)
    batch = {key: value.repeat(BATCHES[bundle], *[1] * (value.ndim - 1)) for key, value in single.items()}
    engine = bare_engine()
    step(engine, batch)
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        step(engine, batch)
    seconds = dict.fromkeys([*KINDS, OPTIMISER, OTHER], 0.0)
    for event in profiled.events():
        seconds[_kind(event)] += event.self_cpu_time_total / 1e6
    return seconds


def _kind(event: FunctionEvent) -> str:
    ancestor = event
    while ancestor is not None:
        if ancestor.name.startswith("Optimizer.step"):
            return OPTIMISER
        ancestor = ancestor.cpu_parent
    for kind, parts in KINDS.items():
        if any(part in event.name for part in parts):
            return kind
    return OTHER


def _draw(before: dict, now: dict, path: Path, commit: str) -> None:
    figure, axes = plt.subplots(figsize=(8, 4))
    names = [f"{bundle}, {when}" for bundle in now for when in (commit, "now")]
    left = [0.0] * len(names)
    for kind in [*KINDS, OPTIMISER, OTHER]:
        widths = [run[bundle][kind] for bundle in now for run in (before, now)]
        axes.barh(names, widths, left=left, label=kind)
        left = [a + b for a, b in zip(left, widths)]
    axes.invert_yaxis()
    axes.set_xlabel("seconds of one training step, 128x128x32 or slices of it")
    axes.legend(fontsize=7)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)
