"""The efficient randomisation test: whether maps become more complex when all that the network has learned is destroyed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.stats import entropy

from results.artefacts.evaluation import by_configuration, mean, what
from results.artefacts.parts import Run, stored_attributions
from results.export import table

BINS = 100
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
    lines = []
    for of in by_configuration(run, but=("model.randomise",)):
        found: dict[str, dict[Any, float]] = {}
        for record in of.jobs:
            layers = json.dumps(record["config"]["model"].get("randomise"))
            known = {(*shown.key, record["seed"]): discrete_entropy(shown.arrays["saliency"]) for shown in stored_attributions(record)}
            found.setdefault(layers, {}).update(known)
        before, after = (found.get(json.dumps(layers), {}) for layers in (LEARNED, RANDOM))
        both = [key for key in before if key in after]
        rise = np.array([(after[key] - before[key]) / before[key] for key in both if before[key] > 0])
        if both:
            learned, destroyed = (float(np.mean([of_map[key] for key in both])) for of_map in (before, after))
            lines.append({"method": of.name, "learned": learned, "random": destroyed, "rise": mean(rise), "images": len(rise)})
    if not lines:
        raise ValueError("randomisation compares maps of model.randomise=null and model.randomise=[0,1]: run both")
    caption = (
        f"Efficient randomisation test: the entropy (nats) of a map's histogram of {BINS} bins under the learned network and under the one "
        f"with all weights permuted, and its relative rise, mean and 95 % bootstrap interval: {what(run)}. Larger is better; about 0: the "
        "map does not depend on what was learned. Each map is of the class that its network gives; one with a single value has no rise."
    )
    yield from table(pd.DataFrame(lines).round(3), run.stem("randomisation"), caption)


def discrete_entropy(saliency: Float[np.ndarray, "h w"]) -> float:
    """The entropy in nats of a map's histogram of 100 bins between its least and largest value; 0 of a map with one value."""
    if float(np.ptp(saliency)) == 0:
        return 0.0
    return float(entropy(np.histogram(saliency, bins=BINS)[0]))
