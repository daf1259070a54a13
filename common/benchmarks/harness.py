"""Measure two ways of doing the same, alternately, against what the machine can do."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import numpy as np
import torch

from ..arithmetic import CountFlops
from ..precision import has_bf16

__all__ = ["Comparison", "Table", "compare", "count_flops", "matrix_product_limit", "median_seconds", "timed"]

MARGIN = 0.8  # of a goal, below which the gate closes: medians on a shared machine move by some percent
LIMIT_EDGE = 4096


@dataclass(frozen=True)
class Comparison:
    """What was measured of one job.

    Attributes:
        job: what was done, in words.
        baseline: what users would otherwise run, in words.
        seconds, baseline_seconds: medians.
        spread: interquartile range of `seconds`, as a share of the median.
        ratio: median of the rounds' ratios, baseline / ours.
        agreement: how the two answers compare, in words.
        limit_share: of the matrix product's speed that ours reaches; None where that is not the limit.
        goal, limit_goal: the ratio and share that are wanted, or None.
    """

    job: str
    baseline: str
    seconds: float
    baseline_seconds: float
    spread: float
    ratio: float
    agreement: str
    limit_share: float | None = None
    goal: float | None = None
    limit_goal: float | None = None

    @property
    def kept(self) -> bool:
        """Whether the goals are reached, but for the margin."""
        return (self.goal is None or self.ratio >= MARGIN * self.goal) and (
            self.limit_goal is None or self.limit_share >= MARGIN * self.limit_goal
        )

    def row(self) -> dict[str, Any]:
        return {**asdict(self), "kept": self.kept}


@dataclass(frozen=True)
class Table:
    """Measurements without a baseline.

    Attributes:
        title: what was measured, in words.
        rows: dictionaries with the same keys.
        kept: whether all stay within the bounds that are stated; None where there are none.
    """

    title: str
    rows: list[dict[str, Any]]
    kept: bool | None = None


def compare(
    job: str,
    ours: Callable[[], Any],
    baseline: Callable[[], Any],
    baseline_name: str,
    agreement: Callable[[Any, Any], str],
    rounds: int = 5,
    flops: float | None = None,
    goal: float | None = None,
    limit_goal: float | None = None,
) -> Comparison:
    """Run two jobs alternately, `rounds` times each after one run to warm up, and compare time and answers.

    Args:
        ours, baseline: the jobs; each returns its answer.
        agreement: (our answer, the baseline's) -> words. Raises where they disagree: then no time counts.
        flops: of ours, for its share of the limit; None where arithmetic is not the limit.
        goal, limit_goal: see `Comparison`.
    """
    words = agreement(ours(), baseline())
    times = np.array([(timed(ours)[0], timed(baseline)[0]) for _ in range(rounds)])
    median, baseline_median = np.median(times, 0)
    low, high = np.percentile(times[:, 0], (25, 75))
    return Comparison(
        job=job,
        baseline=baseline_name,
        seconds=float(median),
        baseline_seconds=float(baseline_median),
        spread=float((high - low) / median),
        ratio=float(np.median(times[:, 1] / times[:, 0])),
        agreement=words,
        limit_share=None if flops is None else float(flops / median / matrix_product_limit()),
        goal=goal,
        limit_goal=limit_goal,
    )


def median_seconds(job: Callable[[], Any], rounds: int = 5) -> float:
    """Median time of a job after one run to warm up."""
    job()
    return float(np.median([timed(job)[0] for _ in range(rounds)]))


def count_flops(job: Callable[[], Any]) -> float:
    """Floating-point operations of the matrix products and convolutions that a job does, forward and backward."""
    with CountFlops() as counter:
        job()
    return float(counter.total)


@cache
def matrix_product_limit(dtype: torch.dtype | None = None) -> float:
    """Operations per second of a large matrix product, the best of ten: what this machine can do.

    Args:
        dtype: None takes bf16 where the machine has it, else fp32.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = dtype or (torch.bfloat16 if has_bf16(device) else torch.float32)
    a, b = (torch.randn(LIMIT_EDGE, LIMIT_EDGE, device=device).to(dtype) for _ in range(2))
    a @ b
    return 2 * LIMIT_EDGE**3 / min(timed(lambda: a @ b)[0] for _ in range(10))


def timed(job: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds that a job takes, and its answer."""
    _synchronise()
    start = time.perf_counter()
    answer = job()
    _synchronise()
    return time.perf_counter() - start, answer


def _synchronise() -> None:
    """Wait for a GPU's queue, so that a clock measures work and not its submission."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
