"""Compose configurations, and make plain Python of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

import benchmarks.inputs.resolvers  # noqa: F401 (configurations use them)
from benchmarks.inputs.command_line import as_given
from benchmarks.inputs.own_folders import CONFIGURATIONS

STATED = ("size", "crop_pct", "interpolation", "mean", "std", "gradcam_layer")  # by the model, once it is loaded


def composed(*overrides: str) -> DictConfig:
    """The application's configuration with overrides, inside the application or anywhere else."""
    given = as_given(overrides)
    if GlobalHydra.instance().is_initialized():
        return compose("config", overrides=given)
    with initialize_config_dir(CONFIGURATIONS, version_base="1.3"):
        return compose("config", overrides=given)


def before_loading(cfg: DictConfig) -> DictConfig:
    """A copy that resolves although its model is not loaded: what the model will state, and its configuration leaves out, is None."""
    known = cfg.copy()
    OmegaConf.set_struct(known, False)
    if not OmegaConf.is_missing(known, "model"):
        known.model = OmegaConf.merge(dict.fromkeys(STATED), known.model)
    return known


def resolved(cfg: DictConfig) -> dict[str, Any]:
    """A configuration as plain Python, interpolations resolved."""
    found: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
    return found


def resolved_values(keywords: dict[str, Any]) -> dict[str, Any]:
    """Keyword arguments with OmegaConf lists made plain."""
    return {name: OmegaConf.to_object(value) if OmegaConf.is_config(value) else value for name, value in keywords.items()}


def as_json(cfg: DictConfig | Mapping[str, Any]) -> str:
    """A configuration as JSON, to be a cache's key."""
    return json.dumps(resolved(cfg) if isinstance(cfg, DictConfig) else cfg, sort_keys=True)
