"""Rules of the repository that a reader relies on (docs/decisions.md)."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
COMMON = ROOT / "common"
MAXIMUM_LINES = 320

# What stands beside data sets, runs and studies; networks and steps know tensors only.
DISK = {
    "datalists",
    "dataset_check",
    "dataset_split",
    "describe",
    "bundles",
    "study",
    "results",
    "synthesis",
    "reporting",
}


def modules() -> list[Path]:
    return sorted(COMMON.rglob("*.py"))


def imports(path: Path) -> list[tuple[int, str]]:
    """(level, module) of each import in a file, wherever it stands; `from . import x` gives (1, "x")."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(0, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module] if node.module else [alias.name for alias in node.names]
            found += [(node.level, name) for name in names]
    return found


def target(path: Path, level: int, module: str) -> str:
    """Dotted name below `common` of a relative import."""
    package = path.parent.relative_to(COMMON).parts
    kept = package[: len(package) - (level - 1)]
    return ".".join([*kept, module])


def tracked() -> list[Path]:
    """Files of the repository: what git tracks or would track."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listed.returncode:
        pytest.skip(f"no git checkout: {listed.stderr.strip()}")
    return [path for name in listed.stdout.splitlines() if (path := ROOT / name).is_file()]


def test_imports_inside_common_are_relative_and_never_reach_scripts_or_tests():
    wrong = [
        f"{path.relative_to(ROOT)}: {module}"
        for path in modules()
        for level, module in imports(path)
        if (level == 0 and module.split(".")[0] in ("common", "scripts", "tests"))
        or level > len(path.relative_to(COMMON).parts)
    ]

    assert wrong == []


def test_imports_point_down_without_circles():
    graph = {}
    for path in modules():
        name = ".".join(path.relative_to(COMMON).with_suffix("").parts)
        graph[name] = {target(path, level, module) for level, module in imports(path) if level}
    graph = {name: {used for used in below if used in graph} for name, below in graph.items()}
    while leaves := [name for name, below in graph.items() if not below & graph.keys()]:
        for name in leaves:
            del graph[name]

    assert graph == {}, "these import each other in a circle"


@pytest.mark.parametrize("package", ["networks", "steps"])
def test_networks_and_steps_know_nothing_of_files(package):
    wrong = [
        f"{path.relative_to(ROOT)}: {module}"
        for path in sorted((COMMON / package).rglob("*.py"))
        for level, module in imports(path)
        if level and target(path, level, module).split(".")[0] in DISK
    ]

    assert wrong == []


def test_package_files_are_empty_and_scripts_is_no_package():
    assert [str(path) for path in COMMON.rglob("__init__.py") if path.read_text().strip()] == []
    folders = {path.parent for path in modules()}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").is_file()] == []
    assert not (ROOT / "scripts" / "__init__.py").exists()  # it would shadow a released bundle's `scripts`


def test_bundles_hold_no_python():
    assert [path for path in tracked() if path.is_relative_to(ROOT / "bundles") and path.suffix == ".py"] == []


def test_no_file_is_longer_than_a_reader_can_hold():
    long = {
        str(path.relative_to(ROOT)): lines
        for path in tracked()
        if path.suffix == ".py" and (lines := len(path.read_text().splitlines())) > MAXIMUM_LINES
    }

    assert long == {}


def test_nothing_tracked_names_a_path_of_one_machine():
    machine = re.compile(r"(?<![\w./])/(home|root|Users|work|mnt|scratch)/[\w.-]+")
    wrong = []
    for path in tracked():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        wrong += [f"{path.relative_to(ROOT)}: {match[0]}" for match in machine.finditer(text)]

    assert wrong == []
