"""Score a trained segmenter on one split of a data set: one CSV row per case (docs/results.md).

    python -m scripts.evaluate --model runs/clinical_seed1 --data data --split test --out results/clinical_seed1.csv

Every reading of a test split is logged in DATA/test_readings.jsonl: choose models on `--split validation`.
"""

from __future__ import annotations

import json
from pathlib import Path

from common.command_line import run_command


def main(
    model: str,
    data: str,
    out: str,
    split: str = "test",
    arm: str | None = None,
    seed: int | None = None,
    limit: int | None = None,
    epoch: int | None = None,
) -> None:
    """Score a segmenter's run on a split, write RESULTS.csv and print its summary."""
    from common.evaluation import describe_results, evaluate, origin_path

    frame = evaluate(model, data, out, split, arm, seed, limit, epoch)
    header = json.loads(origin_path(Path(out)).read_text())
    print(describe_results(frame, header["split"], header["simulated"]))


if __name__ == "__main__":
    run_command(main)
