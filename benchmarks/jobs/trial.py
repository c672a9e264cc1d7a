"""Whether a method and its measures take their hyper-parameters: called on one image, until they ask the model.

What is ours checks its arguments before its first query, so that a value out of range is known before anything is computed. Of somebody
else's functions nothing is known, and they are not called: the first image will say.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from hydra.utils import instantiate
from torch import nn

from benchmarks.engines.engine import Engine
from benchmarks.engines.loading import load
from benchmarks.engines.views import access
from benchmarks.inputs.compose import as_json, resolved_values
from benchmarks.inputs.parameters import given_by_the_harness
from benchmarks.jobs.attribute import starts
from benchmarks.jobs.untouched import settings_kept, untouched
from benchmarks.keys.sources import is_ours
from da.types import Attribution, Images


class ReachedError(BaseException):
    """The model was asked: the arguments are right. No ``Exception``, which methods may catch."""


def check_by_trial(where: str, node: Mapping[str, Any], model_json: str, engine_json: str) -> None:
    """Raises ValueError or TypeError where a configured method or measure of ours refuses its hyper-parameters."""
    if said := _refused(where, as_json(node), model_json, engine_json):
        raise ValueError(said)


@lru_cache(maxsize=10_000)  # by the jobs of a sweep, and by its plan
def _refused(where: str, node_json: str, model_json: str, engine_json: str) -> str:
    model, engine = load(model_json, engine_json)
    function = instantiate(json.loads(node_json))
    if not isinstance(function, partial):
        function = partial(function)
    size = model.preprocessing.size
    images = torch.full((1, 3, size, size), 0.5, device=engine.device)
    try:
        if where == "method":
            try_method(function, engine, images)
        else:
            try_measure(function, images)
    except (ValueError, TypeError) as error:
        if _raised_by_ours(error):
            said = " ".join(str(error).split())
            return said if said.startswith((where, str(getattr(function.func, "__name__", where)))) else f"{where}: {said}"
    except Exception:  # of the network or a file: not about the arguments
        pass
    return ""


def try_method(method: Callable[..., Any], engine: Engine, images: Images) -> None:
    """Call a method of ours until it asks the model; raises what it says of its arguments."""
    for name, start in starts(method).items():
        try_method(start, engine, images)
        method = partial(method, **{name: _anything(images)})
    function = inspect.unwrap(method.func if isinstance(method, partial) else method)
    if not is_ours(str(getattr(function, "__module__", ""))) or "ids" in given_by_the_harness(method):
        return
    targets, rngs = torch.zeros(1, dtype=torch.long, device=images.device), [np.random.default_rng(0)]
    with settings_kept(rngs[0]), suppress(ReachedError):
        if access(method) is not nn.Module:
            method(_reached, images, targets, rngs=rngs)
            return
        let_through = iter(("layer",) if "layer" in inspect.signature(function).parameters else ())  # what is wrong with it, a pass shows

        def reached(_module: nn.Module, inputs: tuple[Any, ...]) -> None:
            if len(inputs[0]) > 1 or next(let_through, None) is None:
                raise ReachedError

        handle = engine.module.register_forward_pre_hook(reached)
        try:
            with untouched(engine.module, str(getattr(function, "__name__", "")), images):
                method(engine.module, images.clone(), targets, rngs=rngs)
        finally:
            handle.remove()


def try_measure(measure: partial[Any], images: Images) -> None:
    """Call a measure of ours until it asks the model; raises what it says of its arguments."""
    if not is_ours(str(getattr(measure.func, "__module__", ""))):
        return
    measure = partial(measure.func, **resolved_values(measure.keywords))
    stand_ins: dict[str, Any] = {"evidence": [None], "explain": _reached}
    given = {name: value for name, value in stand_ins.items() if name in given_by_the_harness(measure)}
    targets, rngs = torch.zeros(1, dtype=torch.long, device=images.device), [np.random.default_rng(0)]
    with settings_kept(rngs[0]), suppress(ReachedError):
        measure(_reached, images, targets, [0], _anything(images), rngs=rngs, **given)


def _reached(images: Images, /) -> Any:
    raise ReachedError


def _anything(images: Images) -> Attribution:
    """An attribution of the right shape."""
    return Attribution(images.mean(1), torch.ones_like(images[:, 0], dtype=torch.bool))


def _raised_by_ours(error: BaseException) -> bool:
    """Whether a function of this project said so itself: not the network, a library that it uses, or the call of it here."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    name = "" if frame is None else str(frame.tb_frame.f_globals.get("__name__", ""))
    return name != __name__ and is_ours(name)
