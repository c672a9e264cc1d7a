"""What the commands set for their process, before PyTorch is imported; as a library, the project sets nothing."""

from __future__ import annotations

import ctypes
import os
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h


def prepare() -> None:
    """Keep idle threads and freed memory from slowing eager passes down, and find the user's own modules in the current folder."""
    # Idle threads would spin for milliseconds after each operation, on the cores that the engine is to use.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    reuse_memory()
    if not {"", os.getcwd()} & set(sys.path):  # last, so that a folder such as results/ hides none of ours
        sys.path.append(os.getcwd())


def reuse_memory() -> None:
    """Let glibc keep the memory of freed tensors: returning it to the system at each pass halves the speed of eager CPU passes."""
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(M_MMAP_MAX, 0)  # large tensors come from the heap, too
    except (OSError, AttributeError):
        pass  # not glibc: nothing to set
