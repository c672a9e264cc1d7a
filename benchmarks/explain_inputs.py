"""What ``python -m da`` reads: a photograph, a model with its engine, and the network itself behind the engine."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from benchmarks import own_folders
from benchmarks.bad_input import cause, suggestion
from benchmarks.configured import load, plain
from benchmarks.datasets import Photograph, demo
from benchmarks.decoding import checked_range
from benchmarks.engines import Engine
from benchmarks.models import Model


def photograph(photo: Path, value_range: Sequence[float] | None = None) -> Photograph:
    """A file, or the demo photograph of that name where there is no such file. value_range: of a file, see ``image_folder``."""
    if photo.is_dir():
        raise ValueError(f"{photo} is a folder: give one photograph, or run python -m benchmarks dataset=image_folder dataset.root={photo}")
    by_name = {of.id: of for of in demo().photographs}
    if str(photo) not in by_name and not photo.exists():
        raise ValueError(f"{photo} cannot be read: there is no such file{suggestion(str(photo), by_name)}")
    if not photo.exists():
        return by_name[str(photo)]
    name = os.fsencode(photo.name).decode("utf-8", "backslashreplace")
    return Photograph(name, None, photo, value_range=checked_range(value_range))


def named_files(cfg: DictConfig) -> list[Path]:
    """The files that are read: those that the configuration names, such as weights, and the user's own configurations."""
    found: list[Path] = []
    nodes: list[Any] = [OmegaConf.to_container(cfg[name], resolve=True, throw_on_missing=False) for name in ("model", "method", "engine")]
    while nodes:
        node = nodes.pop()
        nodes += node.values() if isinstance(node, dict) else node if isinstance(node, list) else []
        if isinstance(node, str) and Path(node).is_file():
            found += [Path(node), Path(f"{node}.data")]  # an ONNX graph's own weights lie beside it
    return [*found, *(path for folder in own_folders.folders() for path in folder.rglob("*.yaml"))]


def loaded(cfg: DictConfig, instead: DictConfig | None) -> tuple[Model, Engine]:
    """The model and its engine. instead: an engine to take, and to say so, where the configured one does not run the model."""
    try:
        return load(plain(cfg.model), plain(cfg.engine))
    except Exception as error:
        if instead is None or instead._target_ == cfg.engine._target_:
            raise
        reason, batch = cause(error), cfg.engine.batch
        cfg.engine = instead
        cfg.engine.batch = batch
        found = load(plain(cfg.model), plain(cfg.engine))  # what is wrong with the model itself is raised here
        print(f"note: engine=torch is used, since onnxruntime does not run this model: {reason}", file=sys.stderr)
        return found


def by_network(engine: Engine) -> Engine:
    """The network itself in the engine's place, which may be an exported graph."""

    def forward(images: Tensor) -> Tensor:
        was = engine.module.training
        engine.module.eval()
        try:
            with torch.no_grad():
                logits: Tensor = engine.module(images.to(engine.device))
        finally:
            engine.module.train(was)
        return logits.float()

    return replace(engine, forward=forward)
