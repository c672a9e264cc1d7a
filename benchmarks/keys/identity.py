"""What identifies what was computed, for the store's keys: names and versions, never where a file lies."""

from __future__ import annotations

import hashlib
import inspect
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, lru_cache, partial
from importlib.resources import files
from pathlib import Path
from typing import Any

from hydra.utils import get_object
from omegaconf import OmegaConf
from torch import nn

from benchmarks.inputs.messages import CONFIGURATIONS
from benchmarks.inputs.parameters import given_by_the_harness
from benchmarks.keys.sources import fingerprint, is_ours, modules_behind, modules_of_network, own_hash
from benchmarks.models.classifier import Model
from da.fill import PHOTOGRAPHS

VERSIONS = "versions.json"  # of each function that a configuration names: its version, and a fingerprint of what it was made with
HARNESS = ("da.rng", "benchmarks.engines.views", "benchmarks.jobs.attribute")  # what every number goes through
HARNESS_VERSION = "1"
HYDRA = ("_target_", "_partial_", "_recursive_", "_convert_")


def function_identity(function: Callable[..., Any], target: str = "") -> dict[str, str]:
    """The name of a function with its declared version (its module's ``__version__``), or with a hash of all sources that it imports.

    The version stands for this project's own functions, and only while their sources are those that it was declared for
    (``versions.json``): in a copy that somebody has edited they are identified by their sources, too. target: the dotted name by which a
    configuration finds it, of which the part inside the module tells apart what a module makes of one function.
    """
    bare = function.func if isinstance(function, partial) else function
    name = str(getattr(bare, "__qualname__", type(bare).__qualname__))
    own = str(getattr(bare, "__module__", ""))
    if not is_ours(own):
        module, _, inside = split_target(target) if target else (own, "", name)
        modules = modules_behind(function) | {module}
        return {"name": name, "as": inside, "module": own_hash(module), "sources": fingerprint(modules)}
    return _of_ours(name, version_of(own), (own,))


def split_target(target: str) -> tuple[str, str, str]:
    """A dotted name as the module, a dot, and the name inside it."""
    module = target.rpartition(".")[0]
    while module and module not in sys.modules:
        module = module.rpartition(".")[0]
    return module, ".", target.removeprefix(f"{module}.")


def version_of(module: str) -> str:
    """The declared version of one of this project's modules."""
    return str(getattr(sys.modules[module], "__version__", "0"))


def harness_identity() -> dict[str, str]:
    """The version of what every number goes through, whatever the method."""
    return _of_ours("harness", HARNESS_VERSION, HARNESS)


def model_identity(model: Model) -> dict[str, Any]:
    """A model's identity with the identity of the functions that made its network, and of the sources of the network's own layers."""
    known = dict(model.identity)
    return known | {"net": {**configuration_identity(known.get("net", {})), **network_identity(model.module)}}


def network_identity(net: nn.Module) -> dict[str, str]:
    """A hash of the sources that the layers of a network are made in, nothing where they are all of installed packages or ours."""
    found = fingerprint(name for name in modules_of_network(net) if not is_ours(name) and name.partition(".")[0] not in _known())
    return {"sources": found} if found else {}


def configuration_identity(value: Any, *, folders: bool = True, theirs: bool = False) -> Any:
    """A configuration with each configured function (``_target_``) as its identity and all its keywords, defaults among them.

    Of somebody else's function, a keyword that names a file stands for what is in it; one that names a folder for the names, sizes and
    times of its files or, with ``folders=False``, for nothing. So do the keywords that one of ours names in its attribute ``files``.
    """
    if isinstance(value, Mapping):
        if "_target_" not in value:
            return {str(name): configuration_identity(one, folders=folders, theirs=theirs) for name, one in value.items()}
        target = value["_target_"] if callable(value["_target_"]) else get_object(str(value["_target_"]))
        if getattr(target, "__module__", "") == "hydra.utils" and "path" in value:  # a function as a value
            return {"function": function_identity(get_object(str(value["path"])), str(value["path"]))}
        given = {str(name): one for name, one in value.items() if name not in HYDRA}
        theirs = not is_ours(str(getattr(target, "__module__", "")))
        named = "" if callable(value["_target_"]) else str(value["_target_"])
        later = getattr(target, "added_later", {})  # see ``da.settings.added_later``
        keywords = {name: one for name, one in with_defaults(target, given).items() if name not in later or one != later[name]}
        read = {name: _content(str(keywords[name]), folders) for name in getattr(target, "files", ()) if keywords.get(name)}
        return {"function": function_identity(target, named), **configuration_identity(keywords, folders=folders, theirs=theirs), **read}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [configuration_identity(one, folders=folders, theirs=theirs) for one in value]
    if isinstance(value, str) and value.startswith(PHOTOGRAPHS):
        return {"photographs": _content(value.removeprefix(PHOTOGRAPHS), True)}
    return _content(value, folders) if theirs and isinstance(value, str) else value


def with_defaults(function: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Keywords with the defaults of a function, as far as these are JSON: stated or left out, they are the same."""
    try:
        parameters = [p for p in inspect.signature(function).parameters.values() if p.name not in given_by_the_harness(function)]
    except (TypeError, ValueError):
        return dict(given)
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty and _is_json(p.default)}
    return json.loads(json.dumps(defaults)) | dict(given)


def dataset_identity(node: Mapping[str, Any]) -> dict[str, Any]:
    """The function of a data set; of somebody else's its keywords, too, since its images' content is in their own keys."""
    target = get_object(str(node["_target_"]))
    if not is_ours(str(target.__module__)):
        return dict(configuration_identity(node, folders=False))
    nested = {str(name): dataset_identity(one) for name, one in node.items() if isinstance(one, Mapping) and "_target_" in one}
    return {"function": function_identity(target, str(node["_target_"])), **nested}


def current_versions() -> dict[str, dict[str, str]]:
    """What ``versions.json`` should say: of each of this project's functions that its configurations name."""
    entries = {"harness": _entry(HARNESS_VERSION, HARNESS)}
    for path in sorted(Path(CONFIGURATIONS).glob("*/*.yaml")):
        for target in _targets(OmegaConf.to_container(OmegaConf.load(path))):
            function = get_object(target)
            if is_ours(function.__module__):
                entries[function.__qualname__] = _entry(version_of(function.__module__), (function.__module__,))
    return dict(sorted(entries.items()))


def _of_ours(name: str, version: str, modules: tuple[str, ...]) -> dict[str, str]:
    named = {"name": name, "version": version}
    made = _entry(version, modules)
    return named if _stated().get(name) == made else named | {"sources": made["sources"]}


@cache
def _entry(version: str, modules: tuple[str, ...]) -> dict[str, str]:
    return {"version": version, "sources": fingerprint(modules, own=True)}


@lru_cache(maxsize=1)
def _stated() -> dict[str, dict[str, str]]:
    file = files("benchmarks.keys").joinpath(VERSIONS)
    found: dict[str, dict[str, str]] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return found


def _targets(node: Any) -> Iterable[str]:
    if isinstance(node, Mapping):
        if "_target_" in node and "${" not in str(node["_target_"]):
            yield str(node["_target_"])
        for one in node.values():
            yield from _targets(one)


def _known() -> set[str]:
    return {"torch", "torchvision", "timm", "transformers", "open_clip"}


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True


def _content(text: str, folders: bool) -> Any:
    path = Path(text).expanduser()
    try:
        if path.is_file():
            return {"file": hashlib.sha256(path.read_bytes()).hexdigest()}
        if not path.is_dir() or not text:
            return text
        if not folders:
            return {"folder": ""}
        inside = [
            (one.relative_to(path).as_posix(), one.stat().st_size, one.stat().st_mtime_ns) for one in path.rglob("*") if one.is_file()
        ]
    except (OSError, ValueError):  # no path at all
        return text
    return {"folder": hashlib.sha256(json.dumps(sorted(inside)).encode()).hexdigest()}
