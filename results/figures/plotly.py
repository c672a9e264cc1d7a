"""Interactive figures by Plotly, from numbers in tidy frames. They are told apart in greyscale, too: lines by dash and marker."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd
import plotly.graph_objects as go
import seaborn as sns

from results.export import NOTHING

DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
MARKERS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "triangle-down", "star", "hexagon", "pentagon", "bowtie")
COLOURS = [colour for colour in sns.color_palette("colorblind", 10).as_hex() if colour != "#949494"]
VERDICTS = {"A smaller": COLOURS[0], "B smaller": COLOURS[1], "no difference shown": "#8a8a8a", "not tested": "#8a8a8a"}
SYMBOLS = ("triangle-left", "triangle-right", "circle-open", "line-ns-open")


def style(place: int) -> tuple[str, str, str]:
    """Colour, dash and marker of a line by its place: no two of up to 132 have dash and marker in common."""
    hollow = "-open" if place // (len(MARKERS) * len(DASHES)) % 2 else ""
    return COLOURS[place % len(COLOURS)], DASHES[place % len(DASHES)], MARKERS[place % len(MARKERS)] + hollow


def lines(numbers: pd.DataFrame, x: str, y: str, *, markers: bool = False) -> go.Figure:
    """Means with bands, one line per configuration (``configuration, x, mean, low, high, images``)."""
    figure = go.Figure(layout={"template": "none"})
    for i, (name, line) in enumerate(numbers.groupby("configuration", sort=False)):
        (colour, dash, symbol), group = style(i), str(name)
        alpha = 0.14 if numbers["configuration"].nunique() < 5 else 0.07
        fill = "rgba({},{},{},{})".format(*(int(colour[k : k + 2], 16) for k in (1, 3, 5)), alpha)
        around = list(_outline(line))
        figure.add_trace(
            go.Scatter(
                x=[x for x, _ in around],
                y=[y for _, y in around],
                fill="toself",
                fillcolor=fill,
                line={"width": 0},
                legendgroup=group,
                showlegend=False,
                hoverinfo="skip",
            )
        )
        said = [_range(low, high) for low, high in zip(line["low"], line["high"], strict=True)]
        figure.add_trace(
            go.Scatter(
                x=line["x"].tolist(),
                y=line["mean"].tolist(),
                name=group,
                legendgroup=group,
                mode="lines+markers",
                line={"color": colour, "dash": dash, "width": 2},
                marker={"symbol": symbol, "size": 7 if markers else 6},
                customdata=list(zip(said, line["images"].tolist(), strict=True)),
                hovertemplate="%{y:.3~r}%{customdata[0]} at %{x:.3~r}, %{customdata[1]} images<extra>%{fullData.name}</extra>",
            )
        )
    figure.update_layout(height=460, xaxis_title=x, yaxis_title=y)
    return figure


def _outline(line: pd.DataFrame) -> Iterator[tuple[float | None, float | None]]:
    """The corners of a band: a polygon for each stretch of neighbours that have an interval, parted by None."""
    known = line["low"].notna() & line["high"].notna()
    for _, stretch in line[known].groupby((~known).cumsum()[known]):
        yield from zip(stretch["x"], stretch["high"], strict=True)
        yield from zip(stretch["x"][::-1], stretch["low"][::-1], strict=True)
        yield None, None


def _range(low: float, high: float) -> str:
    return "" if pd.isna(low) or pd.isna(high) else f" [{low:.3g}, {high:.3g}]"


def boxes(rows: pd.DataFrame, title: str) -> go.Figure:
    """Values, one point an image, one box a configuration with median, quartiles and, dashed, the mean."""
    figure = go.Figure(layout={"template": "none"})
    for i, (name, group) in enumerate(rows.groupby("configuration", sort=False)):
        figure.add_trace(
            go.Box(
                x=group["value"].tolist(),
                name=str(name),
                text=group["image"].tolist(),
                hovertemplate="%{text}: %{x:.3~r}<extra>%{fullData.name}</extra>",
                boxpoints="all",
                hoveron="points",  # the labels of quartiles would cover each other
                jitter=0.5,
                pointpos=0,
                boxmean=True,
                marker={"symbol": style(i)[2], "size": 7, "opacity": 0.9, "color": style(i)[0], "line": {"width": 1, "color": "#6b6b6b"}},
                line={"width": 1.2},
                fillcolor="rgba(128,128,128,0.15)",  # points of the box's own colour would not be seen on it
            )
        )
    height = 120 + 34 * rows["configuration"].nunique()
    figure.update_layout(showlegend=False, height=height, xaxis_title=title, yaxis={"autorange": "reversed", "automargin": True})
    return figure


def grid(means: pd.DataFrame, a: str, b: str, title: str) -> go.Figure:
    """Means as numbers on a heat map. means: index the words of ``a``, columns those of ``b``."""
    numbers = [[None if pd.isna(value) else float(value) for value in line] for line in means.to_numpy()]
    figure = go.Figure(
        go.Heatmap(
            z=numbers,
            x=list(means.columns),
            y=list(means.index),
            colorscale="Cividis",
            reversescale=True,
            texttemplate="%{z:.3~r}",
            hovertemplate=f"{a}=%{{y}}, {b}=%{{x}}: %{{z:.3~r}}<extra></extra>",
            colorbar={"title": {"text": title, "side": "right"}},
        ),
        layout={"template": "none"},
    )
    axis = {"type": "category", "automargin": True}
    figure.update_layout(height=140 + 44 * len(means), xaxis={**axis, "title": b}, yaxis={**axis, "title": a})
    return figure


def forest(compared: pd.DataFrame, title: str, names: Sequence[str] | None = None) -> go.Figure:
    """Differences A - B (``tables.paired``) with their intervals where they have one, one line a comparison, by verdict."""
    figure = go.Figure(layout={"template": "none"})
    labels = list(names or compared["a"])
    verdicts = compared["verdict"].where(compared["verdict"].isin(VERDICTS.keys()), "not tested")
    for symbol, (verdict, colour) in zip(SYMBOLS, VERDICTS.items(), strict=True):
        of = compared.assign(label=labels)[verdicts == verdict]
        if of.empty:
            continue
        figure.add_trace(
            go.Scatter(
                x=of["difference"].tolist(),
                y=of["label"].tolist(),
                mode="markers",
                name={"A smaller": "smaller", "B smaller": "larger"}.get(verdict, verdict),
                marker={"color": colour, "size": 10, "symbol": symbol},
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": _numbers(of["high"] - of["difference"]),
                    "arrayminus": _numbers(of["difference"] - of["low"]),
                    "color": colour,
                },
                customdata=[
                    [line["a"], line["b"], _known(line["p_holm"], ".3g"), _known(line["effect"], "z.2f"), line["n"]]
                    for line in of.to_dict("records")
                ],
                hovertemplate="%{customdata[0]} − %{customdata[1]}: %{x:.3~r}<br>p (Holm) %{customdata[2]}, "
                "effect %{customdata[3]}, %{customdata[4]} images<extra></extra>",
            )
        )
    figure.add_vline(x=0, line={"width": 1, "dash": "dot", "color": "#8a8a8a"})
    order = {"categoryorder": "array", "categoryarray": labels[::-1], "automargin": True}
    legend = {"orientation": "h", "y": 1.02, "yanchor": "bottom"}
    figure.update_layout(height=180 + 30 * len(labels), xaxis_title=title, yaxis=order, legend=legend, showlegend=True)
    return figure


def _numbers(values: pd.Series[float]) -> list[float | None]:
    return [None if pd.isna(value) else float(value) for value in values]


def _known(value: float, form: str) -> str:
    return NOTHING if pd.isna(value) else format(value, form)


def scatter(by_image: pd.DataFrame, title: str) -> go.Figure:
    """Paired values, one point an image; on the diagonal both are equal."""
    figure = go.Figure(layout={"template": "none"})
    values = by_image[["value_a", "value_b"]]
    low, high = float(values.min().min()), float(values.max().max())
    figure.add_trace(go.Scatter(x=[low, high], y=[low, high], mode="lines", line={"dash": "dot", "color": "#8a8a8a"}, hoverinfo="skip"))
    figure.add_trace(
        go.Scatter(
            x=by_image["value_b"].tolist(),
            y=by_image["value_a"].tolist(),
            mode="markers",
            text=by_image["image"].tolist(),
            marker={"color": COLOURS[0], "size": 8, "opacity": 0.9, "line": {"width": 1, "color": "#6b6b6b"}},
            hovertemplate="%{text}<br>A %{y:.3~r}, B %{x:.3~r}<extra></extra>",
        )
    )
    a, b = by_image["a"].iloc[0], by_image["b"].iloc[0]
    figure.update_layout(showlegend=False, height=480, xaxis_title=f"{title}: {b} (B)", yaxis_title=f"{a} (A)")
    return figure
