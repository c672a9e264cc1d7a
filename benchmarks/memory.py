"""Peak memory of a piece of work."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch


@contextmanager
def peak_memory(device: torch.device, wanted: bool = True) -> Iterator[dict[str, float]]:
    """Fill in ``peak_mb``: MB that the work took at most beyond what was in use before; nothing where it cannot be measured.

    On CUDA the allocator's peak. On Linux the process's resident memory; what was freed before is returned to the system first.
    """
    found: dict[str, float] = {}
    if not wanted:
        yield found
    elif device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        yield found
        found["peak_mb"] = (torch.cuda.max_memory_allocated() - before) / 1e6
    elif (clear := Path("/proc/self/clear_refs")).exists():
        getattr(ctypes.CDLL(None), "malloc_trim", lambda _: None)(0)  # glibc's alone
        clear.write_text("5")  # the peak starts from here
        before = _status("VmRSS")
        yield found
        found["peak_mb"] = (_status("VmHWM") - before) / 1e6
    else:
        yield found


def _status(name: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return 1024 * int(line.split()[1])
