"""Figures that a printer without colours and a conference take."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import colormaps
from matplotlib.figure import Figure

from da.plot import HEAT, heat_map, rows_of_pictures, with_status
from da.types import Attribution
from results.figures import matplotlib as figures
from results.figures import plotly as plots


def luminance(rgb: np.ndarray) -> np.ndarray:
    """CIE Y of sRGB values ``[..., 3]`` in [0, 1]."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return linear @ np.array([0.2126, 0.7152, 0.0722])


def drawn(ax) -> list[tuple[object, ...]]:
    """Dash, marker and filling of the lines in a legend."""
    return [
        (str(line._unscaled_dash_pattern), line.get_marker(), line.get_fillstyle())
        for line in ax.get_lines()
        if not line.get_label().startswith("_")
    ]


@pytest.mark.parametrize("count", [2, 10, 13, 14, 40, 130])
def test_lines_differ_without_colours(count):
    names = [f"method {i}" for i in range(count)]
    ax = figures.lines(pd.DataFrame(np.random.default_rng(0).random((4, count)), columns=names), Figure().subplots())
    assert len(set(drawn(ax))) == count
    x = pd.DataFrame({"x": [0.0, 1.0], "mean": [0.1, 0.2], "low": [0.0, 0.1], "high": [0.2, 0.3]})
    ax = figures.insertion_curves(pd.concat([x.assign(method=name) for name in names]), Figure().subplots())
    assert len(set(drawn(ax))) == count
    ax = Figure().subplots()
    for name in names[:20]:
        figures.band(x, ax, name)
    assert len(set(drawn(ax))) == min(count, 20)
    numbers = pd.concat([x.assign(configuration=name, images=7) for name in names])
    shown = [trace for trace in plots.lines(numbers, "x", "y").data if trace.name]
    assert len({(trace.line.dash, trace.marker.symbol) for trace in shown}) == count


def test_neighbours_differ_in_dash_and_in_marker():
    for styles in ([style[2:4] for style in figures.styles(["x"] * 40)], [plots.style(i)[1:] for i in range(40)]):
        assert all(a[0] != b[0] and a[1] != b[1] for a, b in pairwise(styles))


@pytest.mark.parametrize("name", [HEAT, "viridis_r", "cividis_r"])
def test_heat_maps_are_ordered_by_lightness(name):
    steps = np.diff(luminance(colormaps[name](np.arange(256))[:, :3]))
    assert (steps > 0).all() or (steps < 0).all()


def test_a_map_is_lighter_where_it_is_more():
    colours = heat_map(np.full((1, 64, 3), 0.5, np.float32), np.linspace(0, 1, 64)[None])
    assert (np.diff(luminance(colours[0].astype(float))) > 0).all()


def test_every_file_is_saved_by_one_function():
    source = [path for folder in ("da", "baselines", "benchmarks", "results") for path in Path(folder).rglob("*.py")]
    saving = {path.as_posix() for path in source if ".savefig(" in path.read_text(encoding="utf-8")}
    assert saving == {"results/figures/matplotlib.py", "da/plot.py"}  # the latter for a notebook, in pixels


def test_a_point_without_an_interval_has_no_band():
    nothing = [np.nan] * 4
    line = pd.DataFrame({"x": [1.0, 2.0, 3.0, 4.0], "mean": [0.1, 0.2, 0.3, 0.4], "low": nothing, "high": nothing, "images": 1})
    band, curve = plots.lines(line.assign(configuration="seconds"), "k", "seconds").data
    assert not band.x
    assert [said for said, _ in curve.customdata] == [""] * 4
    gap = line.assign(low=[0.0, np.nan, 0.2, 0.3], high=[0.2, np.nan, 0.4, 0.5], configuration="a")
    band, curve = plots.lines(gap, "k", "y").data
    assert list(band.x) == [1, 1, None, 3, 4, 4, 3, None]  # nothing across 2
    assert list(band.y) == [0.2, 0.0, None, 0.4, 0.5, 0.3, 0.2, None]
    assert [said for said, _ in curve.customdata] == [" [0, 0.2]", "", " [0.2, 0.4]", " [0.3, 0.5]"]


def test_mar_against_passes_has_a_band_a_line_and_plain_ticks():
    frame = pd.DataFrame({"method": ["a", "a", "b"], "passes": [50, 500, 2], "mar": [0.2, 0.02, 0.5], "low": 0.01, "high": 0.6})
    ax = figures.trade_off(frame, Figure().subplots())
    band, point = ax.collections
    assert band.get_paths()[0].get_extents().x1 == 500
    assert [tuple(end) for end in point.get_segments()[0]] == [(2, 0.01), (2, 0.6)]
    ax.figure.canvas.draw()
    assert {"10", "100", "500"} <= {label.get_text() for label in ax.get_xticklabels()}


def test_a_difference_without_a_test_is_a_point_that_says_so():
    tested = {"a": "x", "b": "y", "difference": -0.1, "low": -0.2, "high": 0.0, "p_holm": 0.0123, "effect": -0.001, "n": 9}
    untested = {"a": "z", "b": "y", "difference": 2.0, "low": np.nan, "high": np.nan, "p_holm": np.nan, "effect": np.nan, "n": 7}
    compared = pd.DataFrame([tested | {"verdict": "A smaller"}, untested | {"verdict": None}])
    figure = json.loads(plots.forest(compared, "seconds").to_json())
    assert [(trace["name"], trace["x"], trace["error_x"]["array"], trace["error_x"]["arrayminus"]) for trace in figure["data"]] == [
        ("smaller", [-0.1], [0.1], [0.1]),
        ("not tested", [2.0], [None], [None]),
    ]
    assert [trace["customdata"][0][2:] for trace in figure["data"]] == [["0.0123", "0.00", 9], ["–", "–", 7]]
    assert len({trace["marker"]["symbol"] for trace in figure["data"]}) == 2


def test_the_least_value_is_found_beside_missing_ones():
    curve = pd.DataFrame({"x": [1.0, 2.0, 3.0], "mean": [np.nan, 0.2, 0.1], "low": np.nan, "high": np.nan})
    ax = Figure().subplots()
    figures.band(curve, ax, "a")
    assert [text.get_text() for text in ax.texts] == ["3"]
    figures.band(curve.assign(mean=np.nan), ax, "b")
    assert len(ax.texts) == 1


def test_a_map_says_what_became_of_it_unless_that_is_ok():
    images = torch.full((2, 3, 8, 8), 0.5)
    found = Attribution(torch.zeros(2, 8, 8), torch.ones(2, 8, 8, dtype=torch.bool), status=("ok", "nothing_accepted"))
    titles = [ax.get_title() for ax in rows_of_pictures(images, found, ["a", "b"]).axes]
    assert titles == ["a", "if present: 100.0 %", "map", "b", "if present: 100.0 %", "map\nnothing accepted"]
    assert with_status("", "error: ValueError: no") == "error"
