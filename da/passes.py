"""What a method or measure declares of its cost, so that a sweep can be planned."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])
Passes = Callable[..., tuple[int, int]]


def passes(of: Passes) -> Callable[[Function], Function]:
    """Declare the passes that a function takes an image.

    Parameters
    ----------
    of : callable
        The hyper-parameters as keywords to ``(forward, backward)``: forward passes alone, and those that are followed by a backward pass.
        TypeError or KeyError where that depends on the image.

    Returns
    -------
    callable
        A decorator that keeps the declaration in the function's attribute ``passes``, which anybody's function can have.

    """

    def declare(function: Function) -> Function:
        function.passes = of  # type: ignore[attr-defined]
        return function

    return declare
