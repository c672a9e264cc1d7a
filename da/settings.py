"""A method's hyper-parameters written once, as a dataclass: its fields become the method's keyword arguments."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


def added_later(**values: Any) -> Callable[[Function], Function]:
    """Declare the values that hyper-parameters had before there were such: with these, a function does what it did without them.

    Results of before are results of these values: where they are identified, the hyper-parameters are left out at these values.
    """

    def declare(function: Function) -> Function:
        function.added_later = values  # type: ignore[attr-defined]
        return function

    return declare


def with_settings(kind: type[Any], *, leave_out: tuple[str, ...] = ()) -> Callable[[Function], Function]:
    """Let a function that takes ``settings``, a dataclass of ``kind``, be called with the fields as keyword arguments instead.

    leave_out: fields that are not arguments; they keep their defaults.
    """
    hints = typing.get_type_hints(kind)
    keywords = [
        inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name])
        for field in fields(kind)
        if field.name not in leave_out
    ]

    def decorate(function: Function) -> Function:
        @wraps(function)
        def called(*arguments: Any, **given: Any) -> Any:
            own = {one.name: given.pop(one.name) for one in keywords if one.name in given}
            return function(*arguments, settings=kind(**own), **given)

        asked = inspect.signature(function)
        parameters = [one for one in asked.parameters.values() if one.name != "settings"]
        called.settings = kind  # type: ignore[attr-defined]
        called.__signature__ = asked.replace(parameters=[*parameters, *keywords])  # type: ignore[attr-defined]
        annotations = {name: hint for name, hint in function.__annotations__.items() if name != "settings"}
        called.__annotations__ = annotations | {one.name: one.annotation for one in keywords}
        return typing.cast(Function, called)

    return decorate
