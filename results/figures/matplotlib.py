"""Figures: functions of data and axes, without statistics. They are told apart in greyscale, too: lines by dash and marker."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from da.plot import grid_of_pictures as grid_of_pictures
from da.plot import heat_map as heat_map
from da.plot import row_of_pictures as row_of_pictures
from da.plot import show as show
from da.plot import with_status as with_status

MARKERS = "osD^vP*X<>phd"
DASHES = (
    "solid",
    (0, (4, 1.5)),
    (0, (1, 1.2)),
    (0, (5, 1.5, 1, 1.5)),
    (0, (8, 1.5, 1, 1.5, 1, 1.5)),
)  # as many as share no factor with MARKERS
LEGEND = {"fontsize": 7, "frameon": False, "handlelength": 3.5}  # long enough to show the dashes


def number_grid(frame: pd.DataFrame, ax: Axes, title: str) -> Axes:
    """A heat map with its numbers, such as MAR by k and sp_num; darker is more."""
    sns.heatmap(frame.astype(float), ax=ax, annot=True, fmt=".3f", cmap="viridis_r", cbar=False, annot_kws={"size": 7})
    ax.set_title(title, fontsize=9)
    return ax


class Style(NamedTuple):
    """How a line is drawn. dash: matplotlib's line style; fill: of the marker, ``full`` or ``none``."""

    name: str
    colour: tuple[float, float, float]
    marker: str
    dash: Any
    fill: str

    def of_line(self) -> dict[str, Any]:
        """What ``Axes.plot`` takes."""
        marker = {"marker": self.marker, "markersize": 4, "fillstyle": self.fill}
        return {"color": self.colour, "linestyle": self.dash, "linewidth": 1.2, "label": self.name, **marker}


def styles(names: Sequence[str]) -> list[Style]:
    """A style for each name, told apart without colours: no two of up to 130 have dash, marker and its filling in common."""
    palette = sns.color_palette("colorblind", len(names)) if len(names) <= 10 else sns.color_palette("husl", len(names))
    pairs = len(MARKERS) * len(DASHES)
    return [
        Style(name, colour, MARKERS[i % len(MARKERS)], DASHES[i % len(DASHES)], ("full", "none")[i // pairs % 2])
        for i, (name, colour) in enumerate(zip(names, palette, strict=True))
    ]


def lines(frame: pd.DataFrame, ax: Axes, *, legend: bool = True) -> Axes:
    """A line a column against the index; a legend beside the axes."""
    for place, style in enumerate(styles([str(column) for column in frame.columns])):
        ax.plot(frame.index, frame.iloc[:, place], **style.of_line())
    if legend:
        ax.legend(**LEGEND, loc="center left", bbox_to_anchor=(1, 0.5))
    sns.despine(ax=ax)
    return ax


def band(curve: pd.DataFrame, ax: Axes, label: str) -> Axes:
    """A curve ``x, mean, low, high`` with its band, where it has one, its least value marked."""
    before = len(ax.get_legend_handles_labels()[1])
    (style,) = islice(styles([label] * max(10, before + 1)), before, before + 1)
    (line,) = ax.plot(curve["x"], curve["mean"], **style.of_line())
    ax.fill_between(curve["x"], curve["low"], curve["high"], color=line.get_color(), alpha=0.15, linewidth=0)
    if curve["mean"].notna().any():
        least = curve.iloc[int(np.nanargmin(curve["mean"].to_numpy(float)))]
        ax.plot(least["x"], least["mean"], "o", color=line.get_color(), markersize=8, fillstyle="none")
        ax.annotate(f"{least['x']:g}", (least["x"], least["mean"]), xytext=(0, -11), textcoords="offset points", ha="center", fontsize=7)
    sns.despine(ax=ax)
    return ax


def trade_off(frame: pd.DataFrame, ax: Axes) -> Axes:
    """MAR against passes on logarithmic axes, a line with a band a method. frame: ``method, passes, mar, low, high``, by rising passes."""
    groups = dict(tuple(frame.groupby("method", sort=False)))
    for style in styles([str(name) for name in groups]):
        of = groups[style.name]
        passes = of["passes"].clip(lower=1)
        ax.plot(passes, of["mar"], **style.of_line())
        if len(of) > 1:
            ax.fill_between(passes, of["low"], of["high"], color=style.colour, alpha=0.12 if len(groups) < 5 else 0.06, linewidth=0)
        else:
            ax.vlines(passes, of["low"], of["high"], colors=[style.colour], linewidth=0.8)
    ax.set(xscale="log", yscale="log", xlabel="passes per image", ylabel="MAR")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())
    ax.grid(which="both", alpha=0.2)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), **LEGEND)
    return ax


def distributions(values: Mapping[str, pd.Series[float]], ax: Axes, label: str) -> Axes:
    """The share of images with at most each value, a step line a name."""
    known = {name: np.sort(of.to_numpy()) for name, of in values.items() if len(of)}
    for style in styles(list(known)):
        of = known[style.name]
        ax.step(of, np.arange(1, len(of) + 1) / len(of), where="post", color=style.colour, linestyle=style.dash, label=style.name)
    ax.set(xlabel=label, ylabel="share of images", ylim=(0, 1.02))
    ax.grid(alpha=0.2)
    ax.legend(**LEGEND)
    return ax


def insertion_curves(frame: pd.DataFrame, ax: Axes, hue: str = "method", metric: str = "insertion_accuracy") -> Axes:
    """The metric against the share of pixels kept, with interval bands; ``frame`` has ``hue, x, mean, low, high`` (``tables.curves``).

    metric: ``insertion_accuracy``, or ``insertion_consistency``, the share with the class of the whole image.
    """
    names = list(dict.fromkeys(frame[hue]))
    for style in styles(names):
        curve = frame[frame[hue] == style.name].sort_values("x")
        ax.plot(curve["x"], curve["mean"], **style.of_line())
        ax.fill_between(curve["x"], curve["low"], curve["high"], color=style.colour, alpha=0.12 if len(names) < 5 else 0.05, linewidth=0)
    ax.set(
        xlabel="share of pixels kept",
        ylabel="accuracy" if metric == "insertion_accuracy" else "class of the whole image",
        xlim=(0, 1),
        ylim=(0, 1.02),
    )
    ax.legend(**LEGEND, loc="center left", bbox_to_anchor=(1, 0.5))
    sns.despine(ax=ax)
    return ax


def dots(frame: pd.DataFrame, ax: Axes, title: str, chance: float | None = None) -> Axes:
    """A mean with its interval for each line of ``frame``, the first on top: ``mean, low, high``. chance: a dashed line."""
    places = np.arange(len(frame))
    values, low, high = (frame[name].to_numpy(float) for name in ("mean", "low", "high"))
    ax.errorbar(values, places, xerr=np.vstack([values - low, high - values]).clip(0), fmt="o", markersize=4, color="black", elinewidth=1)
    if chance is not None:
        ax.axvline(chance, color="grey", linestyle=(0, (4, 2)), linewidth=1)
    ax.set_yticks(places, [str(name) for name in frame.index], fontsize=7)
    ax.set(xlim=(-0.02, 1.02), ylim=(len(frame) - 0.5, -0.5))
    ax.set_title(title, fontsize=8)
    ax.tick_params(axis="x", labelsize=7)
    ax.grid(axis="y", color="0.92", linewidth=0.6)
    ax.set_axisbelow(True)
    sns.despine(ax=ax)
    return ax


def correlation_grid(frame: pd.DataFrame, ax: Axes, title: str) -> Axes:
    """Correlations as a heat map with their numbers, from -1 to 1."""
    sns.heatmap(frame, ax=ax, annot=True, fmt=".2f", cmap="vlag_r", vmin=-1, vmax=1, cbar=False, annot_kws={"size": 6}, square=True)
    ax.tick_params(labelsize=7)
    ax.set_title(title, fontsize=9)
    return ax


def critical_differences(ranks: pd.Series[float], alike: Sequence[tuple[str, str]], ax: Axes, title: str) -> Axes:
    """A critical-difference diagram: mean ranks, the best on top, and a bar over each stretch of methods that are not shown to differ.

    ranks: by method, rising. alike: the first and last method of each such stretch.
    """
    places = np.arange(len(ranks))
    values = ranks.to_numpy(float)
    ax.plot(values, places, "o", color="black", markersize=3.5)
    for value, place, name in zip(values, places, ranks.index, strict=True):
        ax.annotate(f"{name}  {value:.1f}", (value, place), xytext=(5, 0), textcoords="offset points", va="center", fontsize=6.5)
    where = dict(zip(ranks.index, places, strict=True))
    widest = float(np.ptp(values)) or 1.0
    for i, (first, last) in enumerate(alike):
        ax.plot([values.min() - widest * 0.05 * (1 + i % 4)] * 2, [where[first] - 0.2, where[last] + 0.2], color="grey", linewidth=2)
    ax.set(ylim=(len(ranks) - 0.4, -0.6), xlim=(values.min() - 0.28 * widest, values.max() + 0.75 * widest), yticks=[])
    ax.set_title(title, fontsize=8)
    ax.tick_params(axis="x", labelsize=7)
    sns.despine(ax=ax, left=True)
    return ax


def to_file(figure: Figure, path: Path, metadata: Mapping[str, str | None] | None = None) -> Path:
    """Write a figure to a file of the kind that its suffix names, its letters as TrueType in PDF and PostScript."""
    with mpl.rc_context({"pdf.fonttype": 42, "ps.fonttype": 42}):  # conferences reject matplotlib's Type 3 fonts
        figure.savefig(path, dpi=200, metadata=dict(metadata) if metadata else None)
    return path


def save(figure: Figure, stem: Path, *, pdf: bool = True) -> Iterator[Path]:
    """Write a figure as PNG and PDF."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    for suffix in (".png", ".pdf")[: 2 if pdf else 1]:
        yield to_file(figure, stem.with_name(stem.name + suffix))
