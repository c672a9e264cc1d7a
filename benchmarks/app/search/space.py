"""What is searched: Hydra's sweeps of a command line as the distributions of a study."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

WHOLE = re.compile(r"interval\(\s*(start=)?[-+]?\d+\s*,\s*(end=)?[-+]?\d+\s*\)")
DIGITS = 4  # of a suggested number, significant: what differs less is the same job


@dataclass(frozen=True)
class Space:
    """fixed: the overrides that every trial has. searched: by key, the sweep that says which values it can take."""

    fixed: list[str]
    searched: dict[str, Override]

    @classmethod
    def of(cls, params: Mapping[str, Any], arguments: Sequence[str]) -> Space:
        """From the sweeper's ``params`` and the command line, which goes before."""
        given = [f"{key}={value}" for key, value in params.items()]
        fixed, searched = dict[str, str](), dict[str, Override]()
        for override in OverridesParser.create().parse_overrides([*given, *arguments]):
            key = override.get_key_element()
            fixed.pop(key, None)
            searched.pop(key, None)
            if override.is_sweep_override():
                searched[key] = override
            else:
                fixed[key] = f"{key}={override.get_value_element_as_str()}"
        return cls(list(fixed.values()), searched)

    def text(self) -> dict[str, str]:
        """The searched keys with what was given for them."""
        return {key: str(override.input_line).partition("=")[2] for key, override in self.searched.items()}

    def distributions(self) -> dict[str, BaseDistribution]:
        """The searched keys as Optuna takes them."""
        return {key: distribution(override) for key, override in self.searched.items()}


def distribution(override: Override) -> BaseDistribution:
    """``range`` and ``interval`` as numbers, ``tag(log, interval(...))`` on a logarithmic scale, anything else as choices.

    Of ``interval(1,8)`` both ends are whole numbers, and so is what is suggested; of ``range(1,8)`` the last is 7, as in every sweep.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    value = override.value()
    if isinstance(value, IntervalSweep):
        low, high, log = value.start, value.end, "log" in value.tags
        assert low is not None
        assert high is not None
        if low >= high or (log and low <= 0):
            raise ValueError(f"{override.input_line}: give an interval that rises{', from above 0' if log else ''}")
        whole = bool(WHOLE.search(str(override.input_line)))  # Hydra's own numbers are all floats
        return IntDistribution(int(low), int(high), log=log) if whole else FloatDistribution(float(low), float(high), log=log)
    if isinstance(value, RangeSweep) and not value.shuffle:
        start, stop, step = value.start, value.stop, value.step
        assert start is not None
        assert stop is not None
        count = math.ceil((stop - start) / step - 1e-9)
        if step <= 0 or count < 1:
            raise ValueError(f"{override.input_line}: give a range that rises, of at least one value")
        if all(isinstance(number, int) for number in (start, stop, step)):
            return IntDistribution(int(start), int(start + (count - 1) * step), step=int(step))
        return FloatDistribution(float(start), float(start + (count - 1) * step), step=float(step))
    return CategoricalDistribution(list(override.sweep_string_iterator()))


def written(value: Any) -> str:
    """A suggested value as it is given to the job; choices are written as overrides already."""
    return f"{value:.{DIGITS}g}" if isinstance(value, float) else str(value)
