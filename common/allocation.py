"""Have freed memory used again instead of given back to the system."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["keep_freed_memory"]

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
ONE_GIB, TWO_GIB = 1 << 30, (1 << 31) - 1


def keep_freed_memory() -> None:
    """Tell glibc to serve blocks of up to 1 GiB from memory that the process holds already.

    By default the activations of every step are mapped anew, and the system clears each page of them at its first use:
    an eighth of a training step of the U-Net on a CPU. Elsewhere than with glibc nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, ONE_GIB)
        mallopt(M_TRIM_THRESHOLD, TWO_GIB)
