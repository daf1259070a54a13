"""The part of `common` that a bundle needs, found by following names and imports."""

from __future__ import annotations

import ast
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

__all__ = ["needed_modules", "rewrite_config", "vendor"]

COMMON = Path(__file__).resolve().parents[1]
NAME = re.compile(r"(?<=[\"'])common\.([A-Za-z0-9_.]+)")


def needed_modules(configs: Iterable[str]) -> set[Path]:
    """Files of `common`, relative to it, that configs name and that those import, packages' `__init__` included.

    Args:
        configs: texts of JSON configs.

    Raises:
        ValueError: a config names something that is not there.
    """
    waiting = {path for text in configs for name in NAME.findall(text) for path in _files_of(name)}
    found: set[Path] = set()
    while waiting:
        path = waiting.pop()
        found.add(path)
        waiting |= _imports(path) - found
    packages = {parent / "__init__.py" for path in found for parent in path.parents}
    return found | {path for path in packages if (COMMON / path).is_file()}


def vendor(modules: Iterable[Path], target: Path) -> None:
    """Copy modules of `common` into a folder, as the package scripts.common."""
    for module in modules:
        (target / module).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(COMMON / module, target / module)
    for folder in {target, target.parent, *(path.parent for path in target.rglob("*.py"))}:
        (folder / "__init__.py").touch()


def rewrite_config(text: str) -> str:
    """A config that finds `common` as scripts.common, and its bundle where it is."""
    text = NAME.sub(r"scripts.common.\1", text)
    return re.sub(r'"bundle_root": "[^"]*"', '"bundle_root": "."', text)


def _files_of(name: str) -> set[Path]:
    """The module that holds `a.b.Name`; all modules of a package that an expression completes (`common.networks.`)."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        path = Path(*[part for part in parts[:length] if part])
        if (COMMON / path.with_suffix(".py")).is_file():
            return {path.with_suffix(".py")}
        if (COMMON / path).is_dir() and not parts[-1]:
            return {file.relative_to(COMMON) for file in (COMMON / path).glob("*.py")}
    raise ValueError(f"a config names common.{name}, which is not there.")


def _imports(path: Path) -> set[Path]:
    """What a module imports from `common`, wherever the import stands."""
    found = set()
    for node in ast.walk(ast.parse((COMMON / path).read_text())):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        base = path.parents[node.level - 1]
        names = [node.module.replace(".", "/")] if node.module else [alias.name for alias in node.names]
        for name in names:
            file = base / f"{name}.py"
            if (COMMON / file).is_file():
                found.add(file)
    return found
