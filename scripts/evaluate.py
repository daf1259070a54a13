"""Score a trained segmenter on one split of a data set: one CSV row per case (docs/results.md).

    python -m scripts.evaluate --model runs/clinical_seed1 --data data --split test --out results/clinical_seed1.csv

Every reading of a test split is logged in DATA/test_readings.jsonl: choose models on `--split validation`.
`--epoch kept` scores every epoch that a run with `--keep_last` has kept: the paper's own protocol (docs/studies.md).
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
    epoch: int | str | None = None,
) -> None:
    """Score a segmenter's run on a split, write RESULTS.csv and print its summary."""
    from common.evaluation import describe_results, evaluate, origin_path

    if epoch == "kept":
        from common.epoch_scores import epochs_table, score_epochs

        print(epochs_table(score_epochs(model, data, out, split, arm, seed, limit)).to_string(float_format="%.3f"))
        return
    if isinstance(epoch, str):
        raise ValueError(f"--epoch {epoch!r}: expected the number of an epoch, or kept.")
    frame = evaluate(model, data, out, split, arm, seed, limit, epoch)
    header = json.loads(origin_path(Path(out)).read_text())
    print(describe_results(frame, header["split"], header["simulated"]))


if __name__ == "__main__":
    run_command(main)
