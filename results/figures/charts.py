"""What a run's rows can show, as interactive charts: a figure (see ``plotly``) for each view, and the numbers behind it as CSV."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from results import agreement, metrics, tables
from results.export import csv_text
from results.figures import plotly as plots

MOST_LINES = 24  # configurations in one chart of curves
MOST_BOXES = 60
MOST_TESTS = 12
MOST_GRIDS = 60
CURVES = {
    "insertion_accuracy": ("share of pixels kept", "accuracy"),
    "insertion_consistency": ("share of pixels kept", "share of images that keep their class"),
    "insertion_score": ("share of pixels inserted", "probability of the class"),
    "deletion_score": ("share of pixels deleted", "probability of the class"),
    "road_morf_score": ("share of pixels imputed, most relevant first", "probability of the class"),
    "road_lerf_score": ("share of pixels imputed, least relevant first", "probability of the class"),
    "sensitivity_n_correlation": ("share of pixels removed", "correlation"),
    **{
        f"{order}_score_{fill}": (f"share of pixels replaced ({fill}), {relevant} relevant first", "probability of the class")
        for fill in ("black", "mean", "blur", "noise", "road", "photographs", "colour")
        for order, relevant in (("morf", "most"), ("lerf", "least"))
    },
}


@dataclass(frozen=True)
class View:
    """One of a chart's figures. figure: plotly's; numbers: what it shows, to download."""

    name: str
    figure: go.Figure
    numbers: pd.DataFrame

    @property
    def json(self) -> Any:
        """What plotly.js reads."""
        return json.loads(self.figure.to_json())

    @property
    def csv(self) -> str:
        """The numbers as a file."""
        return csv_text(self.numbers)


@dataclass(frozen=True)
class Chart:
    """A chart with a choice of views. alt: what it shows, for readers who do not see it; axes: which can be logarithmic."""

    id: str
    title: str
    alt: str
    views: list[View]
    axes: str = "xy"


def charts(rows: pd.DataFrame) -> Iterator[Chart]:
    """Every chart that the rows (``tables.load``'s) have numbers for; an image has its mean over the seeds."""
    rows = tables.over_seeds(rows)
    for chart in (curves(rows), ablation_curves(rows), ablation_grids(rows), distributions(rows), differences(rows), measures(rows)):
        if chart.views:
            most = max(_lines_shown(view) for view in chart.views)
            chart.views.sort(key=lambda view: _lines_shown(view) < most)  # what all configurations have comes first
            yield chart


def curves(rows: pd.DataFrame) -> Chart:
    """A metric against x by configuration, means over images with bands."""
    views = []
    for metric, (x, y) in CURVES.items():
        of = rows[(rows["metric"] == metric) & rows["value"].notna()]
        if of.empty or of["configuration"].nunique() > MOST_LINES:
            continue
        lines = pd.concat(
            [tables.mean_curve(group, "x").assign(configuration=name) for name, group in of.groupby("configuration", sort=False)]
        )
        views.append(View(metric.replace("_", " "), plots.lines(lines, x, y), lines))
    return Chart(
        "curves", "Curves", "Means over images against the share of pixels, one line per configuration, with 95 % intervals.", views
    )


def ablation_curves(rows: pd.DataFrame) -> Chart:
    """A measure against each numeric setting that varies, the other settings of the method at the value that most results have."""
    views = []
    parameters = [name for name in _parameters(rows) if pd.to_numeric(rows[name], errors="coerce").notna().any()]
    for name in parameters:
        held, rest = rows[pd.to_numeric(rows[name], errors="coerce").notna()], ""
        others = [other for other in _parameters(held) if other != name and other.startswith("param.")]
        for other in others:
            middle = tables.cell_text(central(held[other]))
            held = held[held[other].map(tables.cell_text) == middle]
            rest += f", {_short(other)}={middle}"
        for metric, title in metrics.titles(held, costs=True).items():
            of = held[(held["metric"] == metric) & held["value"].notna()]
            if of.empty or of[name].map(tables.cell_text).nunique() < 2:
                continue
            of = of.assign(**{name: of[name].astype(float)})
            lines = pd.concat([tables.mean_curve(group, name).assign(configuration=label) for label, group in _told_apart(of, name)])
            if metrics.metric_named(metric).batched:
                lines[["low", "high"]] = np.nan
            views.append(View(f"{title} by {_short(name)}{rest}", plots.lines(lines, _short(name), title, markers=True), lines))
    return Chart("ablation", "Ablation: one hyper-parameter", "A measure against one hyper-parameter, means with 95 % intervals.", views)


def ablation_grids(rows: pd.DataFrame) -> Chart:
    """A measure over two hyper-parameters that were swept together, as a heat map with its numbers: one for each value of all the rest."""
    views = []
    parameters = [name for name in _parameters(rows) if name.startswith("param.")]
    for i, a in enumerate(parameters):
        for b in parameters[i + 1 :]:
            for metric, title in metrics.titles(rows, costs=True).items():
                of = rows[(rows["metric"] == metric) & rows["value"].notna() & rows[a].notna() & rows[b].notna()]
                for label, group in _told_apart(of, a, b):
                    cells = group[[a, b]].drop_duplicates()
                    if len(cells) < 4 or len(cells) < 0.8 * cells[a].nunique() * cells[b].nunique():
                        continue
                    views += _grid(group, a, b, f"{title}, {label}", title)
    alt = "A measure for each pair of values of two hyper-parameters, means over images, as numbers on a heat map."
    return Chart("grid", "Ablation: two hyper-parameters", alt, views[:MOST_GRIDS], axes="")


def _told_apart(rows: pd.DataFrame, *names: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """Rows that differ in ``names`` alone, each group named by the rest: the method, and every other setting that varies."""
    by = [name for name in tables.configuration_columns(rows) if name not in names]
    for values, group in rows.groupby(by, dropna=False, sort=False):
        told = dict(zip(by, values, strict=True))
        said = [
            f"{_short(name)}={tables.cell_text(value)}" for name, value in told.items() if name != "method" and tables.varies(rows[name])
        ]
        yield " ".join([str(told["method"]), *(word for word in said if not word.endswith("=none"))]), group


def distributions(rows: pd.DataFrame) -> Chart:
    """A measure's values, one point an image, by configuration."""
    views = []
    for metric, title in metrics.titles(rows, costs=True, by_image=True).items():
        of = rows[(rows["metric"] == metric) & rows["value"].notna()]
        if of.empty or of["configuration"].nunique() > MOST_BOXES:
            continue
        views.append(View(title, plots.boxes(of, title), of[["configuration", "image", "value"]]))
    alt = "The measure of each image as a point, one box a configuration with median, quartiles and, dashed, the mean."
    return Chart("distributions", "Distributions over images", alt, views, axes="x")


def differences(rows: pd.DataFrame) -> Chart:
    """Each configuration's paired difference from one of them, chosen by its place and not by its numbers."""
    views: list[View] = []
    if 1 < (count := rows["configuration"].nunique()) <= MOST_BOXES:
        for metric, title in metrics.titles(rows).items():
            if views and count > MOST_TESTS:
                break  # a sweep: one measure, since exact tests of many pairs take their time
            of = rows[(rows["metric"] == metric) & rows["value"].notna()]
            if of.empty:
                continue
            first = reference(of)
            pairs = [(name, first) for name in dict.fromkeys(of["configuration"]) if name != first]
            compared = tables.paired(of, metric, "configuration", pairs)
            if (compared := compared[compared["n"] > 0]).empty:
                continue
            views.append(View(title, plots.forest(compared, f"{title}: difference from {first}"), compared))
    alt = "Mean paired differences from the configuration that the axis names, with 95 % intervals; colour and marker say the verdict."
    return Chart("differences", "Paired differences", alt, views, axes="")


def measures(rows: pd.DataFrame) -> Chart:
    """Whether the measures agree on the configurations: their ranks by measure, and the rank correlation of each two measures."""
    views = []
    if rows["configuration"].nunique() <= MOST_BOXES and (of := agreement.agreement_of_one(rows)) is not None:
        titles = [metrics.metric_named(name).title for name in of.measures]
        w, low, high = of.concordance()
        said = f"Ranks by measure, 1 for the best; Kendall's W {w:.2f} ({low:.2f} to {high:.2f})"
        ranks = pd.DataFrame(of.ranks[0].T, index=titles, columns=of.methods)
        views.append(View(said, plots.grid(ranks, "measure", "configuration", "rank"), ranks.rename_axis("measure").reset_index()))
        alike = of.matrix().set_axis(titles).set_axis(titles, axis=1)
        name = "Rank correlation of measures over the configurations' means"
        views.append(View(name, plots.grid(alike, "measure", "measure", "Spearman"), alike.rename_axis("measure").reset_index()))
    alt = "Ranks of the configurations by each measure, and how alike two measures rank them, as numbers on heat maps."
    return Chart("agreement", "Do the measures agree?", alt, views, axes="")


def central(values: pd.Series[Any]) -> Any:
    """The value of a hyper-parameter that most rows have; of several the middle one, what is no number last."""
    counts = values.map(tables.cell_text).value_counts()
    often = [value for value in values.drop_duplicates() if counts[tables.cell_text(value)] == counts.max()]
    often.sort(key=_numbers_first)
    return often[len(often) // 2]


def reference(rows: pd.DataFrame) -> str:
    """The configuration that others are compared with: of the first method, its hyper-parameters at their central values."""
    first = rows[rows["method"] == rows["method"].iloc[0]]
    for name in _parameters(rows):
        if len(at := first[first[name].map(tables.cell_text) == tables.cell_text(central(first[name]))]):
            first = at
    return str(first["configuration"].iloc[0])


def _lines_shown(view: View) -> int:
    return view.numbers["configuration"].nunique() if "configuration" in view.numbers else len(view.numbers)


def _parameters(rows: pd.DataFrame) -> list[str]:
    return [name for name in tables.setting_columns(rows) if tables.varies(rows[name].dropna())]


def _short(name: str) -> str:
    return name.removeprefix("param.")


def _grid(rows: pd.DataFrame, a: str, b: str, name: str, title: str) -> list[View]:
    order = [sorted(rows[p].drop_duplicates(), key=_numbers_first) for p in (a, b)]
    words = [[tables.cell_text(value) for value in values] for values in order]
    means = rows.assign(a=rows[a].map(tables.cell_text), b=rows[b].map(tables.cell_text)).pivot_table(
        index="a", columns="b", values="value"
    )
    means = means.reindex(index=words[0], columns=words[1])
    return [View(name, plots.grid(means, _short(a), _short(b), title), means.rename_axis(f"{_short(a)} / {_short(b)}").reset_index())]


def _numbers_first(value: Any) -> tuple[bool, float, str]:
    number = pd.to_numeric(value, errors="coerce")
    return bool(pd.isna(number)), 0.0 if pd.isna(number) else float(number), str(value)
