"""Measure speed and memory against what users would otherwise run: docs/performance.md.

    python -m scripts.bench [NAME] [--folder bench] [--docs True]

Run it alone: whatever else runs changes the figures. It ends with 1 where a goal is missed by more than a fifth.
"""

from __future__ import annotations

import sys

from common.command_line import run_command

NAMES = (
    "segmenter", "translator", "lesion_gan", "scores", "loading", "start", "memory", "scaling", "precision", "profile",
    "importing", "scanner",
)  # fmt: skip


def main(name: str | None = None, folder: str = "bench", docs: bool = False) -> None:
    """Run one benchmark, or all of them; print and keep its tables.

    Args:
        name: segmenter, translator, lesion_gan, scores, loading, start, memory, scaling, precision, profile,
            importing or scanner; None runs all.
        folder: gets NAME.json and what the benchmarks work on, which the next run uses again.
        docs: put the tables into docs/performance.md as well.
    """
    from common.benchmarks.running import run_benchmark

    if name not in (None, *NAMES):
        raise ValueError(f"{name!r} is not a benchmark; expected one of {', '.join(NAMES)}, or none for all.")
    kept = [run_benchmark(one, folder, docs) for one in ([name] if name else NAMES)]
    if not all(kept):
        sys.exit(1)


if __name__ == "__main__":
    run_command(main)
