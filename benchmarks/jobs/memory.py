"""Time and peak memory of a piece of work."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch


@contextmanager
def measured(cost: dict[str, float], device: torch.device, memory: bool) -> Iterator[None]:
    """Add the ``seconds`` that the context took and, where ``memory`` is wanted, raise the peak to its own: see ``peak_memory``."""
    with peak_memory(device, memory) as peak:
        start = _clock(device)
        yield
        cost["seconds"] = cost.get("seconds", 0) + _clock(device) - start
    cost |= {name: max(value, cost.get(name, value)) for name, value in peak.items()}


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


def _clock(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()
