"""The number that a job returns, for a sweep that searches: ``objective=mar``, ``objective=mar:median``, ``objective=[mar,queries]``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from results.metrics import CATALOGUE, metric_named

if TYPE_CHECKING:
    from benchmarks.jobs.job import Job

FORM = "METRIC, METRIC:median or METRIC:q90, and for a metric of yours METRIC:mean:smaller or METRIC:mean:larger"


@dataclass(frozen=True)
class Objective:
    """A statistic of a metric over a job's images. better: ``smaller`` or ``larger``."""

    metric: str
    statistic: str
    better: str

    @property
    def name(self) -> str:
        """As it is given, such as ``mar`` or ``mar:median``."""
        return self.metric if self.statistic == "mean" else f"{self.metric}:{self.statistic}"

    @property
    def of(self) -> Callable[[NDArray[np.float64]], float]:
        """The number of some values."""
        if self.statistic in ("mean", "median"):
            return lambda values: float(getattr(np, self.statistic)(values))
        return lambda values: float(np.percentile(values, float(self.statistic[1:])))


def objectives_of(given: Any) -> list[Objective]:
    """What ``objective`` asks for; nothing for None. Raises ValueError for another form, and where no direction is known."""
    if given is None:
        return []
    return [_objective(str(one)) for one in (given if isinstance(given, Sequence) and not isinstance(given, str) else [given])]


def _objective(text: str) -> Objective:
    metric, _, rest = text.partition(":")
    statistic, _, better = rest.partition(":")
    statistic, better = statistic or "mean", better or metric_named(metric).better
    if not metric or not re.fullmatch(r"mean|median|q\d{1,2}(\.\d+)?", statistic) or better not in ("smaller", "larger", ""):
        raise ValueError(f"objective={text}: give {FORM}")
    if not better:
        raise ValueError(f"objective={text}: no direction is known of {metric}: give objective={metric}:{statistic}:smaller or :larger")
    return Objective(metric, statistic, better)


class Number(float):
    """What a job returns: a number, and the images that have a value in it, by id and content."""

    images: frozenset[tuple[str, str]]

    def __new__(cls, value: float, images: Iterable[tuple[str, str]]) -> Number:
        """A number of these images."""
        found = super().__new__(cls, value)
        found.images = frozenset(images)
        return found

    def __reduce__(self) -> tuple[Any, ...]:
        """As a worker sends it."""
        return Number, (float(self), self.images)


def objective_values(job: Job, objectives: Sequence[Objective]) -> list[Number]:
    """The job's numbers. Raises ValueError where an image failed, since the others alone would be another objective, and without values."""
    if left := job.pending():
        some = f"{', '.join(image for image, _ in left[:3])}{', …' if len(left) > 3 else ''}"
        raise ValueError(
            f"objective: {len(left)} of {len(job.shard_images)} images failed ({some}), so that there is no number of all of them: "
            "mend them, or leave them out"
        )
    frames = [frame for name in job.keys if len(frame := job.rows(name))]
    found = []
    for one in objectives:
        there = [frame[(frame["metric"] == one.metric) & frame["x"].isna() & frame["value"].notna()] for frame in frames]
        values = pd.concat(there)
        if values.empty:
            known = sorted(
                {str(name) for frame in frames for name in frame.loc[frame["x"].isna(), "metric"]} - {"prediction", "confidence"}
            )
            hint = "choose its measure, such as benchmark=[mar]" if one.metric in CATALOGUE else f"choose one of {', '.join(known)}"
            raise ValueError(f"objective={one.metric}: no image of this job has it: {hint}")
        images = zip(values["image"], values["digest"].str.partition(" ")[0], strict=True)
        found.append(Number(one.of(values["value"].to_numpy(dtype=float)), images))
    return found
