"""``engine=auto``: the engine that a short measurement finds fastest."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import torch
from hydra.errors import InstantiationException
from omegaconf import DictConfig

from benchmarks.engines.engine import EngineError
from benchmarks.engines.graphs import cache_folder
from benchmarks.engines.loading import load
from benchmarks.engines.rate import seconds_a_pass
from benchmarks.inputs.compose import as_json, composed, resolved
from benchmarks.inputs.messages import cause
from results.store.store import digest, write_atomically


def or_torch(engine: DictConfig, model: DictConfig) -> tuple[DictConfig, str]:
    """A default engine, or ``engine=torch`` in place of one that cannot run the model, and what it said, nothing where it runs."""
    try:
        load(as_json(model), as_json(engine))
    except EngineError as error:
        return _with_settings("torch", resolved(engine)), str(error)
    return engine, ""


def fastest_engine(engine: DictConfig, model: DictConfig) -> tuple[DictConfig, str]:
    """The fastest engine in place of ``engine=auto``, and what was found; another engine as it is, and nothing.

    The choice is measured once per machine with its packages, model and batch, and then kept in the user's cache, so that a sweep, its
    shards and its repetitions use one engine and find each other's results. Raises ValueError where none of the candidates runs.
    """
    if "candidates" not in engine:
        return engine, ""
    given = resolved(engine)
    candidates = {name: _with_settings(name, given) for name in given.pop("candidates")}
    chosen, found = fastest({name: as_json(candidate) for name, candidate in candidates.items()}, as_json(model))
    said = f"engine=auto: {chosen} for {resolved(model).get('name')} ({', '.join(f'{name} {rate}' for name, rate in found.items())})"
    return candidates[chosen], said


def _with_settings(name: str, given: Mapping[str, Any]) -> DictConfig:
    """The configuration of an engine, with those of the given settings that it has."""
    engine: DictConfig = composed(f"engine={name}").engine
    engine.update({key: value for key, value in given.items() if key in engine and not key.startswith("_")})
    return engine


def fastest(choices: Mapping[str, str], model_json: str) -> tuple[str, dict[str, str]]:
    """The fastest engine for a model and what was found of each, from the cache or by a short measurement."""
    machine = [platform.processor(), platform.node(), torch.get_num_threads(), torch.cuda.is_available()]
    machine += [(name, version(name) if find_spec(name) else None) for name in ("torch", "onnxruntime", "openvino")]
    kept = cache_folder() / f"auto-{digest({'machine': machine, 'model': model_json, 'engines': dict(choices)})}.json"
    if kept.exists():
        name, found = json.loads(kept.read_text())
        return name, found
    rates, found = {}, {}
    for name, engine_json in choices.items():
        try:
            model, engine = load(model_json, engine_json)
        except (ValueError, InstantiationException) as error:  # such as a package that is not installed
            found[name] = f"does not run: {cause(error)}"
            continue
        seconds, _ = seconds_a_pass(engine, model.preprocessing.size)
        rates[name] = 1 / seconds
        found[name] = f"{rates[name]:.0f} images/s"
    if not rates:
        raise ValueError(f"engine=auto: none runs: {found}")
    best = max(rates, key=rates.__getitem__)
    write_atomically(kept, json.dumps([best, found]).encode())
    return best, found
