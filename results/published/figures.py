"""The figures of documents: from published rows to the data that is drawn, and how it is drawn.

The data are written beside each figure as CSV, and the figure says by their hash which data it shows.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from results import metrics as catalogue
from results import tables
from results.export import csv_text
from results.figures import matplotlib as drawing
from results.published.read import Rows, named, names_of
from results.published.tables import COSTS, values
from results.statistics import bootstrap_interval

DIGITS = 6  # of the data that are written: another processor may round the last ones otherwise


class Kind(NamedTuple):
    """A kind of figure. data: from rows and the marker's keywords to what is drawn; draw: from that to axes; size: in inches."""

    data: Callable[..., pd.DataFrame]
    draw: Callable[[pd.DataFrame, Axes], object]
    size: tuple[float, float]


def curves(rows: Rows, *, metric: str = "insertion_accuracy") -> pd.DataFrame:
    """A number against the share of pixels, a line per configuration: ``method, metric, x, mean, low, high, images``."""
    frame = named(rows)
    lines = []
    for name, group in frame[(frame["metric"] == metric) & frame["value"].notna()].groupby("configuration", sort=False):
        lines.append(tables.mean_curve(group, "x").assign(method=str(name), metric=metric))
    if not lines:
        raise ValueError(f"metric={metric}: the rows have no such curve")
    return pd.concat(lines, ignore_index=True)[["method", "metric", "x", "mean", "low", "high", "images"]]


def means(rows: Rows, *, metric: str = "mar_holds") -> pd.DataFrame:
    """A number with its interval, a line per configuration: ``method, metric, mean, low, high, images``."""
    return _means(rows, metric).drop(columns="passes")


def trade_off(rows: Rows, *, metric: str = "mar_holds") -> pd.DataFrame:
    """A number against the passes of an image: ``method, metric, passes, mean, low, high, images``, in the order of passes."""
    found, names = _means(rows, metric), names_of(rows)
    method = {names[record["job"]]: record["method"] for record in rows.records}
    return found.assign(method=found["method"].map(method)).sort_values(["method", "passes"], kind="stable", ignore_index=True)


def _means(rows: Rows, metric: str) -> pd.DataFrame:
    lines = []
    for name, group in named(rows).groupby("configuration", sort=False):
        if len(of := values(group, metric)):
            low, high = map(float, bootstrap_interval(of))
            spent = sum(float(cost.mean()) for what in COSTS if len(cost := values(group, what)))
            lines.append((str(name), metric, spent, of.mean(), low, high, len(of)))
    if not lines:
        raise ValueError(f"metric={metric}: the rows have no such number")
    return pd.DataFrame(lines, columns=["method", "metric", "passes", "mean", "low", "high", "images"])


def _draw_curves(frame: pd.DataFrame, ax: Axes) -> object:
    return drawing.insertion_curves(frame, ax, metric=str(frame["metric"].iloc[0]))


def _draw_means(frame: pd.DataFrame, ax: Axes) -> object:
    return drawing.dots(frame.set_index("method"), ax, catalogue.metric_named(str(frame["metric"].iloc[0])).title)


def _draw_trade_off(frame: pd.DataFrame, ax: Axes) -> object:
    drawn = drawing.trade_off(frame.rename(columns={"mean": "mar"}), ax)
    drawn.set_ylabel(catalogue.metric_named(str(frame["metric"].iloc[0])).title)
    return drawn


FIGURES: dict[str, Kind] = {
    "curves": Kind(curves, _draw_curves, (6.4, 3.4)),
    "means": Kind(means, _draw_means, (5.6, 3.4)),
    "trade_off": Kind(trade_off, _draw_trade_off, (6.4, 4.0)),
}


def data_text(data: pd.DataFrame) -> str:
    """What a figure shows, as CSV."""
    rounded = data.copy()
    for name in rounded.select_dtypes("float"):
        rounded[name] = [float(f"{value:.{DIGITS}g}") for value in rounded[name]]
    return csv_text(rounded)


def draw(kind: Kind, data: str, path: Path) -> None:
    """Draw the data of a figure, CSV, as SVG, which names their hash."""
    figure = Figure(figsize=kind.size, layout="constrained")
    kind.draw(pd.read_csv(io.StringIO(data)), figure.subplots())
    path.parent.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context({"svg.hashsalt": path.stem, "svg.fonttype": "none"}):
        drawing.to_file(figure, path, {"Date": None, "Description": stamp(data)})


def shows(path: Path, data: str) -> bool:
    """Whether a figure was drawn of these data."""
    return path.is_file() and stamp(data).encode() in path.read_bytes()


def stamp(data: str) -> str:
    """What a picture of these data says of them."""
    return f"data sha256 {hashlib.sha256(data.encode()).hexdigest()}"
