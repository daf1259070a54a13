"""Run a benchmark, print its tables, keep them as JSON and in docs/performance.md."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

import torch

from .harness import Comparison, Table, matrix_product_limit

__all__ = ["markdown", "put_into_docs", "run_benchmark"]

DOCS = Path(__file__).resolve().parents[2] / "docs" / "performance.md"


def run_benchmark(name: str, folder: str | Path, docs: bool = False) -> bool:
    """Run `common.benchmarks.NAME`; True if every goal is reached within its margin.

    Args:
        name: of the module.
        folder: gets NAME.json; the benchmark works in there too.
        docs: replace the section of that name in docs/performance.md.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    print(f"{name} ...", flush=True)
    found = import_module(f".{name}", __package__).benchmark(folder)
    machine = describe_machine()
    rows = [{"kind": type(one).__name__.lower(), **asdict(one), "kept": one.kept} for one in found]
    (folder / f"{name}.json").write_text(json.dumps({"machine": machine, "results": rows}, indent=1))
    text = f"{machine}\n\n{markdown(found)}"
    print(text)
    if docs:
        put_into_docs(name, text)
    return all(one.kept is not False for one in found)


def describe_machine() -> str:
    """In words: cores, threads, versions and the limit that shares refer to."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{os.cpu_count()} CPU cores"
    limit = matrix_product_limit() / 1e9
    return f"{device}, {torch.get_num_threads()} threads, torch {torch.__version__}; matrix product {limit:.0f} GFLOP/s"


def markdown(found: Sequence[Comparison | Table]) -> str:
    """Tables of the results."""
    comparisons = [one for one in found if isinstance(one, Comparison)]
    parts = []
    if comparisons:
        head = ["job", "instead of", "ours, s", "theirs, s", "times faster", "of the limit", "answers", "kept"]
        parts.append(_table(head, [_cells(one) for one in comparisons]))
    for table in (one for one in found if isinstance(one, Table)):
        cells = [[str(value) for value in row.values()] for row in table.rows]
        kept = "" if table.kept is None else f" ({'kept' if table.kept else 'not kept'})"
        parts.append(f"{table.title}{kept}:\n\n{_table(list(table.rows[0]), cells)}")
    return "\n\n".join(parts)


def put_into_docs(name: str, text: str, path: Path = DOCS) -> None:
    """Replace what stands between `<!-- NAME -->` and `<!-- /NAME -->`.

    Raises:
        ValueError: the page has no such marks.
    """
    page = path.read_text()
    marks = f"<!-- {name} -->", f"<!-- /{name} -->"
    pattern = re.compile(f"{re.escape(marks[0])}.*?{re.escape(marks[1])}", re.DOTALL)
    if not pattern.search(page):
        raise ValueError(f"{path}: has no {marks[0]} and {marks[1]}; put them where the table belongs.")
    path.write_text(pattern.sub(lambda _: f"{marks[0]}\n{text}\n{marks[1]}", page))


def _cells(one: Comparison) -> list[str]:
    goal = "" if one.goal is None else f" (goal {one.goal:g})"
    limit = "" if one.limit_share is None else f"{one.limit_share:.0%}"
    limit += "" if one.limit_goal is None else f" (goal {one.limit_goal:.0%})"
    return [
        one.job,
        one.baseline,
        f"{one.seconds:.3g} ± {one.spread:.0%}",
        f"{one.baseline_seconds:.3g}",
        f"{one.ratio:.1f}{goal}",
        limit,
        one.agreement,
        "yes" if one.kept else "no",
    ]


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
