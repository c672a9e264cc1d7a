"""Time one thing beside another, in turns, and show the ratios."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from rich.box import SIMPLE_HEAD
from rich.table import Table

Work = Callable[[], int]  # does some work and returns how many units of it


@dataclass(frozen=True)
class Rate:
    """One thing timed beside another in the same rounds: medians, and the median and range of the rounds' ratios."""

    line: str
    rate: float
    beside: float
    unit: str
    ratio: float
    low: float
    high: float


@dataclass(frozen=True)
class Value:
    """One thing measured by itself."""

    line: str
    value: float
    unit: str


@dataclass(frozen=True)
class Timer:
    """How often to time, and the device that the work is done on."""

    rounds: int
    device: torch.device

    def compare(self, line: str, unit: str, work: Work, floor: Work, spare: Work | None = None) -> Rate:
        """Time two pieces of work in turns, after one warm-up of each.

        spare: what of the first is not counted, such as its start. Of that the quickest time is taken off: it is in every piece of work.
        """
        work(), floor()
        without = self.timed(spare)[1] if spare else 0.0
        rates: list[tuple[float, float]] = []
        for i in range(self.rounds):
            second = self.timed(floor) if i % 2 else None
            without = min(without, self.timed(spare)[1]) if spare else 0.0
            units, seconds = self.timed(work)
            units_beside, seconds_beside = second or self.timed(floor)
            rates.append((units / (seconds - without), units_beside / seconds_beside))
        ratios = [a / b for a, b in rates]
        rate, beside = (statistics.median(side) for side in zip(*rates, strict=True))
        return Rate(line, rate, beside, unit, statistics.median(ratios), min(ratios), max(ratios))

    def timed(self, work: Work) -> tuple[int, float]:
        """Units of work, and seconds."""
        self.wait()
        start = time.perf_counter()
        units = work()
        self.wait()
        return units, time.perf_counter() - start

    def wait(self) -> None:
        """Until the device has done all that it was asked."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def table(found: Sequence[Rate | Value], caption: str) -> Table:
    """What was measured, for people."""
    shown = Table(box=SIMPLE_HEAD, caption=caption, caption_justify="left")
    for name in ("what", "rate", "beside", "unit", "ratio", "of the rounds"):
        shown.add_column(name, justify="left" if name in ("what", "unit") else "right")
    for one in found:
        if isinstance(one, Rate):
            cells = (f"{one.rate:.1f}", f"{one.beside:.1f}", one.unit, f"{one.ratio:.2f}", f"{one.low:.2f} to {one.high:.2f}")
            shown.add_row(one.line, *cells)
        else:
            shown.add_row(one.line, f"{one.value:.3g}", "", one.unit, "", "")
    return shown
