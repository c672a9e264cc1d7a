"""``engine=auto``: the engine that a short measurement finds fastest."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from importlib.metadata import version
from importlib.util import find_spec

import torch
from hydra.errors import InstantiationException
from omegaconf import DictConfig, open_dict

from benchmarks.bad_input import cause
from benchmarks.configured import composed, load, plain, resolved
from benchmarks.engines import EngineError, cache_folder
from benchmarks.plan import seconds_a_pass
from results.store import digest, write_atomically


def fall_back(cfg: DictConfig) -> str:
    """Put ``engine=torch`` in place of a default engine that cannot run the model, and return what it said, nothing where it runs."""
    try:
        load(plain(cfg.model), plain(cfg.engine))
    except EngineError as error:
        torch_cfg = composed("engine=torch").engine
        torch_cfg.update({key: value for key, value in resolved(cfg.engine).items() if key in torch_cfg and not key.startswith("_")})
        with open_dict(cfg):
            cfg.engine = torch_cfg
        return str(error)
    return ""


def settle(cfg: DictConfig) -> str:
    """Put the fastest engine in place of ``engine=auto``, and return what was found, nothing for another engine.

    The choice is measured once a machine with its packages, model and batch, and then kept in the user's cache, so that a sweep, its
    shards and its repetitions use one engine and find each other's results. Raises ValueError where none of the candidates runs.
    """
    if "candidates" not in cfg.engine:
        return ""
    given = resolved(cfg.engine)
    names = given.pop("candidates")
    choices = {}
    for name in names:
        choices[name] = composed(f"engine={name}").engine
        choices[name].update({key: value for key, value in given.items() if key in choices[name]})
    model = json.loads(plain(cfg.model))
    chosen, found = fastest({name: plain(choice) for name, choice in choices.items()}, plain(cfg.model))
    with open_dict(cfg):
        cfg.engine = choices[chosen]
    return f"engine=auto: {chosen} for {model.get('name')} ({', '.join(f'{name} {said}' for name, said in found.items())})"


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
