"""What a run ran on, for environment.json and for reports."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import torch

__all__ = ["describe_environment", "peak_memory_gb"]

PACKAGES = ("torch", "monai", "pytorch-ignite", "numpy", "scipy", "nibabel", "SimpleITK")


def describe_environment() -> dict:
    """Versions, device, threads, the command and the commit (None outside a git checkout)."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else f"cpu, {os.cpu_count()} cores",
        "threads": torch.get_num_threads(),
        "command": " ".join(sys.argv),
        "commit": _commit(),
    }


def peak_memory_gb() -> float:
    """Largest resident memory of this process so far, in GB.

    Of Linux, not from `getrusage`, whose number a process takes over from the one that started it.
    """
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.is_file() else []
    for line in lines:
        if line.startswith("VmHWM"):  # some sandboxes do not tell it
            return int(line.split()[1]) / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def _commit() -> str | None:
    root = Path(__file__).resolve().parents[1]
    try:
        found = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return found.stdout.strip() or None
