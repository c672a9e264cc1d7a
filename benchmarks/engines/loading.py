"""Load a model and its engine, once for all the jobs of a process."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import lru_cache

from hydra.utils import instantiate

from benchmarks.engines.engine import Engine
from benchmarks.engines.load_checks import examined
from benchmarks.keys.sources import is_ours
from benchmarks.models.classifier import Model


@lru_cache(maxsize=6)
def load(model_json: str, engine_json: str) -> tuple[Model, Engine]:
    """A model and its engine, kept for the next job of a sweep in this process; the engine has been ``examined``, which see for errors."""
    config = json.loads(model_json)
    own = {} if is_ours(str(config["_target_"]).rpartition(".")[0]) else {"_target_": config["_target_"]}
    network = config.get("net", {})
    # A file's content is hashed: it may lie elsewhere.
    ours = is_ours(str(network.get("_target_", "")).rpartition(".")[0])  # somebody else's file of weights may hold code
    net = own | {name: value for name, value in network.items() if name not in ("weights", "checkpoint") or not ours}
    model = replace(instantiate(config), net=net)
    return model, examined(model, instantiate(json.loads(engine_json))(model))
