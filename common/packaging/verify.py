"""Check a released bundle as the model zoo and MONAI Label do, in a process that knows nothing of this repository."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

__all__ = ["verify_release"]

CHECKS = Path(__file__).with_name("checks.py")


def verify_release(
    bundle: str | Path, schema: str | Path | None = None, data: str | Path | None = None
) -> dict[str, str]:
    """Run all checks of `checks.py`.

    Args:
        bundle: released bundle.
        schema: MONAI's meta_schema_20240725.json; None: the environment's META_SCHEMA, else that check is left out.
        data: data set on the bundle's grid, with which its properties are built, not only looked for.

    Returns:
        {check: what is wrong, empty if nothing is}.

    Raises:
        FileNotFoundError: no bundle there.
        RuntimeError: the process ended before the last check.
    """
    bundle = Path(bundle)
    if not (bundle / "configs" / "metadata.json").is_file():
        raise FileNotFoundError(f"{bundle}: is no bundle: it has no configs/metadata.json.")
    given = [str(Path(path).resolve()) if path else "" for path in (schema or os.environ.get("META_SCHEMA"), data)]
    command = [sys.executable, "-I", str(CHECKS), str(bundle.resolve()), *given]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"check"')]
    if done.returncode:
        raise RuntimeError(f"{bundle}: the checks ended early:\n{done.stderr[-2000:]}")
    return {line["check"]: line["wrong"] for line in lines}
