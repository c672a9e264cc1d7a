"""Whether a configured function takes what its configuration gives it: names and types, before anything is computed."""

from __future__ import annotations

import importlib
import inspect
import json
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal

from hydra.utils import get_method
from omegaconf import DictConfig, OmegaConf
from pydantic import ConfigDict, NonNegativeInt, PositiveInt, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from benchmarks.inputs.messages import suggestion

WORDS = {
    "greater_than": "a number greater than 0",
    "greater_than_equal": "a number of at least 0",
    "is_instance_of": "a list",
    "int_type": "a whole number",
    "float_type": "a number",
    "none_required": "null",
    "dict_type": "a mapping, {name: value}",
}

SETTINGS: dict[str, Any] = {
    "seed": NonNegativeInt,
    "batch_size": PositiveInt | None,
    "measure_memory": bool,
    "method_name": str | None,
    "per_method": dict[str, dict[str, Any]] | None,
    "variation": dict[str, Any] | None,
    "select.count": int | None,
    "select.skip": int | None,
    "select.order": Literal["first", "random"],
    "select.correct_for": list[str] | None,
    "select.part": Literal["tune", "held_back"] | None,
    "objective": str | list[str] | None,
}

CLOSED = {"select": ("count", "skip", "order", "correct_for", "part"), "tracking": ("enabled", "project", "mode", "group")}


def check_settings(cfg: DictConfig) -> None:
    """Check the application's own values. Raises ValueError for one of another type, and for a key that nothing reads."""
    for group, known in CLOSED.items():
        if not OmegaConf.is_dict(cfg[group]):
            raise ValueError(f"{group}={cfg[group]}: give its keys one by one, such as {group}.{known[0]}=VALUE")
        for given in map(str, cfg[group]):
            if given not in known:
                raise ValueError(f"{group}.{given}: there is no such key{suggestion(given, known)}; {group} has {', '.join(known)}")
    for name, kind in SETTINGS.items():
        value = OmegaConf.select(cfg, name)
        _check(name, OmegaConf.to_container(value) if OmegaConf.is_config(value) else value, kind)


METHOD = ("model", "images", "targets")
MEASURE = ("model", "images", "targets", "labels", "attribution")


def find_function(target: str) -> Callable[..., Any]:
    """The function of a dotted name (``_target_``).

    Raises ValueError where its module has no such function, and what importing the module raises.
    """
    try:
        found: Callable[..., Any] = get_method(target)
    except Exception:
        module, names = None, target.split(".")
        for end in range(1, len(names) + 1):
            try:
                module = importlib.import_module(".".join(names[:end]))
            except ModuleNotFoundError as error:
                there = {} if module is None else vars(module)
                if module is None or error.name != ".".join(names[:end]) or names[end - 1] in there:
                    break
                known = [name for name, one in there.items() if callable(one) and name[0] != "_"]
                raise ValueError(f"{target}: {module.__name__} has no {names[end - 1]}{suggestion(names[end - 1], known)}") from None
        raise
    return found


def check_contract(where: str, function: Callable[..., Any], first: Sequence[str]) -> None:
    """Check that a function can be called as a method or a measure: with these arguments, and ``rngs``. Raises ValueError where not."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # built in: nothing is known
        return
    kinds = [one.kind for one in parameters]
    placed = sum(kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD) for kind in kinds)
    named = {one.name for one in parameters if one.kind in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)}
    enough = placed >= len(first) or inspect.Parameter.VAR_POSITIONAL in kinds
    if not enough or not ("rngs" in named or inspect.Parameter.VAR_KEYWORD in kinds):
        name = getattr(function, "__name__", type(function).__name__)
        raise ValueError(f"{where}: {name} is called as {name}({', '.join(first)}, rngs=...): write it as ({', '.join(first)}, *, rngs)")


def given_by_the_harness(function: Callable[..., Any]) -> frozenset[str]:
    """The parameters of a method or measure that are no hyper-parameters: its own random streams, and what is known of the images.

    That is a measure's ``evidence`` and ``explain`` and, of a method that names ``files`` that it reads, the ids of the images and of
    ``every`` one.
    """
    found = inspect.signature(function).parameters
    own = found.get("rngs")
    given = {"ids", "every"} if hasattr(getattr(function, "func", function), "files") else set()
    given |= {"evidence"} if takes_evidence(function) else set()
    given |= {"explain"} if takes_explain(function) else set()
    return frozenset(given | ({"targets", "rngs", "seed"} if own is not None and own.default is None else {"rngs"}))


def takes_evidence(function: Callable[..., Any]) -> bool:
    """Whether a function is a measure that compares with what is known of the images, ``benchmarks.data.Evidence``."""
    return {"attribution", "evidence"} <= inspect.signature(function).parameters.keys()


def takes_explain(function: Callable[..., Any]) -> bool:
    """Whether a function is a measure that has the method explain other versions of the images."""
    return {"attribution", "explain"} <= inspect.signature(function).parameters.keys()


def check(where: str, function: Callable[..., Any], given: Mapping[str, Any], unchecked: Collection[str] = ()) -> None:
    """Check the keyword arguments of a function against its signature and annotations; where it has none, anything goes.

    where: what stands before the keywords in messages, such as ``method.``. unchecked: those of which only the name counts. Raises
    ValueError for a name that the function does not take, one that it lacks, and a value of another type.
    """
    parameters = inspect.signature(function).parameters
    reserved = given_by_the_harness(function)
    keywords = {name for name, p in parameters.items() if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)} - reserved
    name_of = getattr(function, "__name__", str(function))
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        for name in given:
            if name not in keywords:
                takes = ", ".join(p.name for p in parameters.values() if p.kind is p.KEYWORD_ONLY and p.name not in reserved) or "none"
                raise ValueError(f"{where}{name}: {name_of} has no such parameter{suggestion(name, keywords)}; it takes {takes}")
    for name, p in parameters.items():
        if p.kind is p.KEYWORD_ONLY and p.default is p.empty and name not in given and name not in reserved:
            raise ValueError(f"{where}{name} is needed by {name_of}: add +{where}{name}=VALUE")
    try:
        hints = typing.get_type_hints(function)
    except (NameError, TypeError):  # names that exist for type checkers alone
        return
    for name, value in given.items():
        if name not in unchecked:
            _check_finite(f"{where}{name}", value)
            _check(f"{where}{name}", value, hints.get(name, Any))


def _check_finite(name: str, value: Any) -> None:
    try:
        json.dumps(value, allow_nan=False, default=str)
    except ValueError:
        raise ValueError(f"{name}={value!r}: give finite numbers") from None


def _check(name: str, value: Any, kind: Any) -> None:
    try:
        TypeAdapter(kind, config=ConfigDict(arbitrary_types_allowed=True)).validate_python(value, strict=True)
    except PydanticUserError:  # a type that brings its own configuration
        return
    except ValidationError as error:
        wanted = dict.fromkeys(WORDS.get(found["type"], str(found["msg"]).removeprefix("Input should be ")) for found in error.errors())
        raise ValueError(f"{name}={value!r}: give {' or '.join(wanted)}") from None
