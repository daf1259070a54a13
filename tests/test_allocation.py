"""Freed memory stays with the process."""

from __future__ import annotations

import ctypes
import resource
import subprocess
import sys

import pytest

CODE = """
import resource, torch
from common.allocation import keep_freed_memory
if {keep}: keep_freed_memory()
for _ in range(20): torch.ones(16, 1024, 1024)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="without glibc there is nothing to tell")
def test_pages_of_freed_tensors_are_used_again():
    faults = [
        int(subprocess.run([sys.executable, "-c", CODE.format(keep=keep)], capture_output=True, check=True).stdout)
        for keep in (False, True)
    ]

    pages = 16 * 1024 * 1024 * 4 // resource.getpagesize()
    assert faults[0] - faults[1] > 10 * pages / 512  # or a 512th, where the system hands out huge pages
