"""What ``python -m da`` reads: a photograph, and the files that its configuration names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from benchmarks.data.decoding import checked_range
from benchmarks.data.demo_pictures import unreadable
from benchmarks.data.sets import Photograph, demo
from benchmarks.inputs import own_folders
from benchmarks.inputs.compose import before_loading


def load_photograph(photo: Path, value_range: Sequence[float] | None = None) -> Photograph:
    """A file, or the demo photograph of that name where there is no such file. value_range: of a file, see ``image_folder``."""
    if reason := unreadable(photo):
        raise ValueError(reason)
    if not photo.exists():
        return next(of for of in demo().photographs if of.id == str(photo))
    name = os.fsencode(photo.name).decode("utf-8", "backslashreplace")
    return Photograph(name, None, photo, value_range=checked_range(value_range))


def input_files(cfg: DictConfig) -> list[Path]:
    """The files that are read: those that the configuration names, such as weights, and the user's own configurations."""
    found: list[Path] = []
    known = before_loading(cfg)
    nodes: list[Any] = [OmegaConf.to_container(known[name], resolve=True, throw_on_missing=False) for name in ("model", "method", "engine")]
    while nodes:
        node = nodes.pop()
        nodes += node.values() if isinstance(node, dict) else node if isinstance(node, list) else []
        if isinstance(node, str) and Path(node).is_file():
            found += [Path(node), Path(f"{node}.data")]  # an ONNX graph's own weights lie beside it
    return [*found, *(path for folder in own_folders.folders() for path in folder.rglob("*.yaml"))]
