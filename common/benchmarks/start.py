"""How long commands take to start."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from ..phantom.cohort import make_phantom
from .harness import Table, timed

__all__ = ["benchmark"]

ROOT = Path(__file__).resolve().parents[2]
HELP_SECONDS, FIRST_STEP_SECONDS = 1.5, 12.0
CASES = {"normal": 4, "training": 3, "validation": 2, "test": 2}
SMALL = {
    "lesion_wgan": ["--draws_per_epoch", "40", "--val_masks", "8"],
    "pix2pix_itm": ["--draws_per_epoch", "8"],
    "spade_itm": ["--draws_per_epoch", "8"],
    "cyclegan_itm": ["--draws_per_epoch", "8"],
    "stroke_unet": ["--draws_per_epoch", "1"],
}


def benchmark(folder: Path) -> list[Table]:
    """Help texts, and a training of one step in every bundle from start to end, which bounds its first step."""
    commands = sorted(path.stem for path in (ROOT / "scripts").glob("*.py") if path.stem != "__init__")
    rows = [_row(f"python -m scripts.{name} --help", [f"scripts.{name}", "--help"], HELP_SECONDS) for name in commands]
    data = make_phantom(folder / "small", CASES, (32, 32, 16), negatives=0.0).folder
    (folder / "runs").mkdir(exist_ok=True)
    for bundle, flags in SMALL.items():
        configs = [f"bundles/{bundle}/configs/{name}.json" for name in ("train", "demo")]
        arguments = ["monai.bundle", "run", "training", "--config_file", str(configs), "--dataset_dir", str(data)]
        arguments += ["--epochs", "1", *flags, "--output_dir"]
        rows.append(_row(f"{bundle}: one step, one validation", arguments, FIRST_STEP_SECONDS, folder / "runs"))
    return [Table("Start-up (the best of three)", rows, all(row["s"] <= row["bound"] for row in rows))]


def _row(job: str, arguments: list[str], bound: float, runs: Path | None = None) -> dict:
    """Best of three runs of a module; with `runs`, its last argument is a new folder in there."""

    def run() -> None:
        new = [] if runs is None else [tempfile.mkdtemp(dir=runs)]
        command = [sys.executable, "-m", *arguments, *new]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(arguments)} ended with {done.returncode}:\n{done.stderr[-2000:]}")

    return {"job": job, "s": round(min(timed(run)[0] for _ in range(3)), 2), "bound": bound}
