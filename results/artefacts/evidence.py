"""What methods find of known evidence, and whether the model uses it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from results import tables
from results.artefacts.evaluation import by_configuration, mean, what
from results.artefacts.parts import Run, for_each_part
from results.artefacts.pictures import maps, one_seed
from results.export import table
from results.figures import matplotlib as figures
from results.figures.matplotlib import save
from results.metrics import metric_named
from results.naming import configuration, naming_columns
from results.statistics import bootstrap_interval

SCORES = ("mass", "rank", "told", "recall", "precision")
PICTURES = 4  # images whose maps are drawn


@for_each_part("method", "param")
def evidence(run: Run) -> Iterator[Path]:
    """Known evidence: what each method finds of it, on how many images the model uses it, a chart, and the first maps.

    Parameters
    ----------
    run : Run
        A finished run, see ``results.artefacts.parts.Run``.

    Yields
    ------
    Path
        Of each file that it writes.

    Raises
    ------
    ValueError
        For a run whose rows have no evidence.
    """
    every = by_configuration(run)
    if not any(len(of.values("evidence_parts")) for of in every):
        raise ValueError("evidence needs images of which something is known: dataset=planted, dataset.masks=DIR or dataset.boxes=DIR")
    scores = {score: {of.name: of.values(f"evidence_{score}") for of in every} for score in SCORES}
    lines = [
        {"method": of.name}
        | {score: mean(found[of.name], 2, ends=2) for score, found in scores.items()}
        | {"scored": len(of.values("evidence_share")), "images": len(of.values("evidence_parts"))}
        for of in every
    ]
    chance = np.concatenate([of.values("evidence_share") for of in every])
    caption = (
        "Known evidence, mean and 95 % bootstrap interval over the images on which the model was shown to use it: "
        f"{what(run)}. Mass: share of positive attribution in it. Rank: share of as many top pixels as it has. Of both, chance is "
        f"{chance.mean() if len(chance) else np.nan:.3f}, its share of the image. Told: share of images on which its pixels have "
        "more positive attribution than those of the other one (parts or ground) and of distractors, by chance about a third. Recall and "
        "precision: of the region that a method ends in."
    )
    yield from table(pd.DataFrame(lines), run.stem("evidence"), caption)
    yield from table(conditions(run), run.stem("evidence_conditions"), _of_conditions(run))
    figure = Figure(figsize=(11, 0.8 + 0.24 * len(every)), layout="constrained")
    for score, ax in zip(SCORES, figure.subplots(1, len(SCORES), sharey=True), strict=True):
        known = {name: values for name, values in scores[score].items() if len(values)}
        ends = [bootstrap_interval(values) for values in known.values()]
        frame = pd.DataFrame({"mean": [values.mean() for values in known.values()]}, index=list(known))
        frame["low"], frame["high"] = ([float(end[i]) for end in ends] for i in (0, 1))
        expected = {"mass": chance.mean(), "rank": chance.mean(), "told": 1 / 3}.get(score) if len(chance) else None
        figures.dots(frame.reindex([of.name for of in every]), ax, metric_named(f"evidence_{score}").title, expected)
    yield from save(figure, run.figure("evidence"))
    records = sorted(one_seed(run.records), key=lambda record: tables.method_sort_key(record["method"]))
    names = naming_columns(records)
    some = replace(run, pictures=partial(run.pictures, most=PICTURES))
    drawn = maps(some, records, [configuration(record, names) for record in records])
    yield from save(drawn, run.figure("evidence_maps")) if drawn else ()


def conditions(run: Run) -> pd.DataFrame:
    """Shares of the images on which the class is kept by the evidence alone, and lost without it, by fill."""
    lines: list[dict[str, Any]] = []
    fills = run.settings["benchmark"]["evidence"]["fills"]
    for source in ("parts", "ground"):
        keep, lose, changed, holds = (
            run.rows[(run.rows["metric"] == metric) & run.rows["value"].notna()]
            for metric in (f"{source}_keep", f"{source}_lose", f"{source}_changed", f"evidence_{source}")
        )
        for x, fill in enumerate(fills if len(keep) else ()):
            line = {"evidence": source, "shown instead": fill if isinstance(fill, str) else f"colour {list(fill)}"}
            values = {"kept by it alone": keep[keep["x"] == x], "lost without it": lose[lose["x"] == x]}
            lines.append(line | {name: f"{tables.per_image(rows).mean():.3f}" for name, rows in values.items()})
        if len(changed):
            other = "the image without parts" if source == "parts" else "the ground of another class"
            lines.append({"evidence": source, "shown instead": other, "lost without it": f"{tables.per_image(changed).mean():.3f}"})
        if len(holds):
            found = tables.per_image(holds)
            lines.append({"evidence": source, "shown instead": "all of these", "holds": f"{found.mean():.3f}", "images": len(found)})
    return pd.DataFrame(lines)


def _of_conditions(run: Run) -> str:
    return (
        f"Whether the model uses the evidence: shares of the images, {what(run)}. With the ground of another class, lost means that the "
        "image has that class. A method is scored on the images on which one of the two holds under all of these."
    )
