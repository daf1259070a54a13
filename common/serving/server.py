"""Start MONAI Label's server in its own environment."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["server_command", "server_environment"]

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv-label" / "bin" / "python"
STARTUP = Path(__file__).with_name("startup")


def server_command(app: str | Path, studies: str | Path, host: str, port: int) -> list[str]:
    """The command line that serves an app folder.

    Raises:
        FileNotFoundError: no environment of MONAI Label, no such app, no folder of images.
    """
    if not PYTHON.is_file():
        raise FileNotFoundError(f"{PYTHON}: not there. `make .venv-label/installed` makes MONAI Label's environment.")
    if not (Path(app) / "main.py").is_file():
        raise FileNotFoundError(f"{app}: is no app folder, it has no main.py. `python -m scripts.label app` makes one.")
    if not Path(studies).is_dir():
        raise FileNotFoundError(f"{studies}: no such folder. Expected one with NIfTI images.")
    given = {"--app": Path(app).resolve(), "--studies": Path(studies).resolve(), "--host": host, "--port": port}
    flags = [str(word) for pair in given.items() for word in pair]
    return [str(PYTHON), "-m", "monailabel.main", "start_server", *flags]


def server_environment() -> dict[str, str]:
    """The environment variables for it: `startup` runs first, in the server and in its trainings."""
    return {**os.environ, "PYTHONPATH": str(STARTUP)}
