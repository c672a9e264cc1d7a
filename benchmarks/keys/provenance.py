"""What computed a number: the function and its version for keys, the machine and packages for the record."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Callable
from functools import lru_cache, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch


def target_name(function: Callable[..., Any]) -> str:
    """The dotted name of a configured function."""
    function = function.func if isinstance(function, partial) else function
    return f"{function.__module__}.{getattr(function, '__qualname__', type(function).__qualname__)}"


def processor() -> str:
    """The processor's and the GPU's name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    name = next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor() or platform.machine()
    )
    return f"{name}, {torch.cuda.get_device_name()}" if torch.cuda.is_available() else name


# What numbers are computed with; of the extras those that are there.
PACKAGES = (
    "torch", "torchvision", "captum", "scikit-image", "numpy", "timm", "onnxruntime", "openvino", "transformers", "open-clip-torch",
    "zennit", "grad-cam", "saliency",
)  # fmt: skip


@lru_cache(maxsize=1)
def provenance() -> str:
    """Where a row comes from: git revision, package versions, machine. Recorded, never part of a key."""
    revision = _git("rev-parse", "HEAD") or ""
    changes = _git("status", "--porcelain", "--untracked-files=no")
    packages = {name: found for name in PACKAGES if (found := _version(name))}
    machine = {"host": platform.node(), "processor": processor(), "python": platform.python_version(), "threads": torch.get_num_threads()}
    source = {"git": revision, "clean": None if changes is None else not changes}  # clean: every source is as in the revision
    return json.dumps({**source, **packages, **machine, "cores": os.cpu_count()}, sort_keys=True)


def _git(*arguments: str) -> str | None:
    """What git says of the folder of the sources; None where it says nothing of them, as of an installed package."""
    try:
        said = subprocess.run(["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return said.stdout.strip() if said.returncode == 0 else None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
