"""Folders whose making may be stopped and goes on: one JSON file in them holds the settings that they are made with."""

from __future__ import annotations

import json
import os
from pathlib import Path

from .environment import describe_environment

__all__ = ["begin_folder", "refuse_count", "write_json"]


def begin_folder(path: Path, settings: dict, more: dict) -> dict:
    """Start a folder with the file that tells its settings, or go on with what that file holds.

    Raises:
        ValueError: the folder was made with other settings, or by something else.
    """
    if not path.is_file():
        if path.parent.is_dir() and any(path.parent.iterdir()):
            raise ValueError(
                f"{path.parent} is not empty and has no {path.name}, so it was made otherwise. Choose another --out."
            )
        write_json(path, settings | more | {"versions": describe_environment()["packages"]})
    found = json.loads(path.read_text())
    changed = [
        f"{key} {found.get(key)!r} instead of {value!r}" for key, value in settings.items() if found.get(key) != value
    ]
    if changed:
        raise ValueError(
            f"{path.parent} was made with other settings: {'; '.join(changed)}. Restore them to go on, "
            "or choose another --out."
        )
    return found


def write_json(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    temporary.write_text(json.dumps(content, indent=1))
    temporary.replace(path)


def refuse_count(count: int) -> None:
    if count < 1:
        raise ValueError(f"--count {count}: expected at least 1.")
