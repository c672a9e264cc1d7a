"""The efficient randomisation test: whether maps become more complex when all that the network has learned is destroyed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from results.artefacts.evaluation import by_configuration, mean, trained_and_randomised, what
from results.artefacts.likeness import BINS, ENTROPY, randomised
from results.artefacts.parts import Run
from results.export import table

LEARNED, RANDOM = None, [0, 1]  # values of model.randomise


def randomisation(run: Run) -> Iterator[Path]:
    """The relative rise of the entropy of a map's histogram from the learned network to one with all weights permuted.

    Parameters
    ----------
    run : Run
        A finished run with ``model.randomise`` null and [0, 1], see ``results.artefacts.parts.Run``.

    Yields
    ------
    Path
        Of each file that it writes.

    Raises
    ------
    ValueError
        For a run without these two.
    """
    numbers = ENTROPY.of(run.rows, run.records)
    run, lines = trained_and_randomised(run), []
    for of in by_configuration(run, but=["model.randomise"]):
        found: dict[str, dict[Any, float]] = {}
        for record in of.jobs:
            here = numbers[numbers["job"] == record["job"]]
            values = {(*image, record["seed"]): value for *image, value in here[["image", "digest", "value"]].itertuples(index=False)}
            found.setdefault(json.dumps(randomised(record)), {}).update(values)
        learned, random = (found.get(json.dumps(layers), {}) for layers in (LEARNED, RANDOM))
        frame = pd.DataFrame({"learned": pd.Series(learned), "random": pd.Series(random)}).dropna()
        if len(frame):
            rise = (frame["random"] / frame["learned"].where(frame["learned"] > 0) - 1).dropna()
            of_images = {name: values.groupby(level=[0, 1]).mean() for name, values in (*frame.items(), ("rise", rise))}
            line = {name: float(of_images[name].mean()) for name in ("learned", "random")}
            lines.append({"method": of.name, **line, "rise": mean(of_images["rise"].to_numpy()), "images": len(of_images["rise"])})
    if not lines:
        raise ValueError("randomisation compares maps of model.randomise=null and model.randomise=[0,1]: run both")
    caption = (
        f"Efficient randomisation test: the entropy (nats) of a map's histogram of {BINS} bins under the learned network and under the one "
        f"with all weights permuted, and its relative rise, mean and 95 % bootstrap interval: {what(run)}. Larger is better; about 0: the "
        "map does not depend on what was learned. Each map is of the class that its network gives, another one under random weights; an "
        "image has its mean over the seeds, and one whose learned map has a single value no rise."
    )
    yield from table(pd.DataFrame(lines).round(3), run.stem("randomisation"), caption)
