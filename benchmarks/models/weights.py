"""Weights: from files, downloads and packages into networks, without running any code that is in them."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from benchmarks.models.state import state_sha256

__all__ = ["RANDOM", "StateDict", "WeightsError", "fit", "load", "read_state", "state_sha256"]

StateDict = dict[str, Tensor]
RANDOM = "random"
COUNTER = "num_batches_tracked"  # of a batch normalisation, which changes no answer


class WeightsError(ValueError):
    """Weights that are missing, unsafe or of another architecture."""


def load(net: nn.Module, weights: str | None, *, url: str | None = None, unused: Sequence[str] = ()) -> nn.Module:
    """Load a local file of weights, or those at ``url`` through torch's cache; ``random`` leaves the initial values.

    unused: modules that a file may hold and the network has not.
    """
    if weights == RANDOM:
        return net
    if weights is not None:
        path = Path(weights).expanduser()
        return fit(net, fitting(net.state_dict(), _without(_opened(path), unused), weights), weights)
    assert url is not None
    try:
        state = torch.hub.load_state_dict_from_url(url, map_location="cpu", check_hash=True, weights_only=True, progress=False)
    except (URLError, OSError) as error:
        file = url.rsplit("/", 1)[-1]
        raise WeightsError(
            f"the weights {file} are not in torch's cache and could not be downloaded from {url} ({error}): "
            f"fetch that file on another machine and pass model.weights=/path/to/{file}"
        ) from None
    return fit(net, fitting(net.state_dict(), _without(state, unused), url), url)


def read_state(path: Path) -> StateDict:
    """A state dict from a ``.safetensors`` file, a PyTorch file, or the index of several, without running any code that is in them."""
    states = dict(_states("", _opened(path)))
    if not states:
        raise WeightsError(f"{path} does not hold a state dict (a dictionary of tensors)")
    return states.get("") or states.get("state_dict") or next(iter(states.values()))


def fitting(own: Mapping[str, Any], found: Any, source: str) -> StateDict:
    """The state dict among what a file holds that a network's own names and shapes fit, at whatever depth and behind whatever prefix.

    Where none fits, the one with the most names of the network, for ``fit`` to say what differs. Raises WeightsError where several fit,
    such as weights and their moving average.
    """
    states = dict(_states("", found))
    if not states:
        raise WeightsError(f"{source} does not hold a state dict (a dictionary of tensors)")
    fits, near = dict[str, StateDict](), dict[str, StateDict]()
    for where, whole in states.items():
        for prefix, state in _without_prefix(own, whole):
            near[f"{where}.{prefix}".strip(".")] = state
            if not any(_differences(own, state)):
                fits[f"{where}.{prefix}".strip(".")] = state
    if len(fits) > 1 and not all(_equal(state, next(iter(fits.values()))) for state in fits.values()):
        raise WeightsError(f"{source} holds several weights for this network, {', '.join(sorted(fits))}: save the ones to use alone")
    if fits:
        return next(iter(fits.values()))
    return max(near.values(), key=lambda state: len(own.keys() & state.keys()))


def fit(net: nn.Module, state: StateDict, source: str) -> nn.Module:
    """Load a state dict. source: its name for the WeightsError that is raised where it is of another architecture."""
    state = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    own = net.state_dict()
    missing, wrong, surplus = _differences(own, state)
    if missing or wrong or surplus:
        shapes = [f"{name} ({list(state[name].shape)} there, {list(own[name].shape)} here)" for name in wrong]
        problems = [f"{what} {_some(names)}" for what, names in (("lacks", missing), ("misshapes", shapes), ("adds", surplus)) if names]
        if not missing and not surplus and {len(state[name]) for name in wrong if state[name].dim()} == {_classes(state, wrong)}:
            given = _classes(state, wrong)
            raise WeightsError(
                f"{source} holds weights of another number of classes: {_some(shapes)}; "
                f"give model.num_classes={given} and model.classes, a list of {given} names"
            )
        raise WeightsError(f"{source} holds weights of another architecture: it {'; '.join(problems)}")
    net.load_state_dict(state, strict=False)
    return net


def _opened(path: Path) -> Any:
    """What a file of weights holds. Raises WeightsError for one that is missing, unreadable, or could run code."""
    if not path.is_file():
        raise WeightsError(f"no weights at {path}: model.weights takes a .safetensors or PyTorch state-dict file")
    try:
        if path.name.lower().endswith(".index.json"):
            parts = sorted(set(json.loads(path.read_text())["weight_map"].values()))
            return {name: tensor for part in parts for name, tensor in _opened(path.parent / part).items()}
        if path.suffix.lower() == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise WeightsError(
            f"{path} holds more than tensors and was not opened, since it could run code: save its state dict alone"
        ) from None
    except WeightsError:
        raise
    except Exception as error:
        raise WeightsError(f"{path} is not a readable file of weights: {error}") from None


def _without(found: Any, unused: Sequence[str]) -> Any:
    """What a file holds, at any depth, but for modules."""
    if not isinstance(found, Mapping):
        return found
    return {name: _without(value, unused) for name, value in found.items() if not {*str(name).split(".")} & {*unused}}


def _states(where: str, found: Any) -> Iterator[tuple[str, StateDict]]:
    """The dictionaries of tensors in what a file holds, at any depth, by the keys that lead there."""
    if isinstance(found, Mapping):
        tensors = {str(name): value for name, value in found.items() if isinstance(value, Tensor)}
        if tensors:
            yield where, tensors
        for name, value in found.items():
            yield from _states(f"{where}.{name}".strip("."), value)


def _without_prefix(own: Mapping[str, Any], state: StateDict) -> Iterator[tuple[str, StateDict]]:
    """A state dict as it is, and by the network's names: what stands before these there, such as ``module.``, or lacks before them."""
    yield "", state
    first = _longest(own)
    for prefix in sorted({name.removesuffix(first) for name in state if name.endswith(f".{first}")}):
        yield prefix, {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
    first = _longest(state)
    for prefix in sorted({name.removesuffix(first) for name in own if name.endswith(f".{first}")}):
        yield "", {f"{prefix}{name}": tensor for name, tensor in state.items()}


def _longest(names: Iterable[str]) -> str:
    """The longest name, but for those of counters, which files of old versions of PyTorch have not."""
    return max((name for name in names if not name.endswith(COUNTER)), key=len, default="")


def _differences(own: Mapping[str, Any], state: Mapping[str, Tensor]) -> tuple[list[str], list[str], list[str]]:
    """Names that a state dict lacks, has in another shape, and has too many."""
    missing = sorted(name for name in own.keys() - state.keys() if not name.endswith(COUNTER))
    shared = [name for name in own.keys() & state.keys() if isinstance(own[name], Tensor)]
    return missing, sorted(name for name in shared if own[name].shape != state[name].shape), sorted(state.keys() - own.keys())


def _classes(state: StateDict, wrong: list[str]) -> int | None:
    return next((len(state[name]) for name in wrong if state[name].dim()), None)


def _equal(one: StateDict, other: StateDict) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
