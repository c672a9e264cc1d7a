"""Tables and figures beyond the paper: criteria, grid pointing, stability, sanity."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import spearmanr
from skimage.metrics import structural_similarity

from benchmarks.artefacts import Run, table
from benchmarks.pictures import named, pictured, save
from results import figures, tables
from results.export import interval
from results.statistics import bootstrap_interval


def criteria(run: Run) -> Iterator[Path]:
    """MAR of every ranking, by criterion and fill."""
    rows = run.rows[run.rows["metric"].str.startswith("mar_") & run.rows["value"].notna()]
    lines = []
    for method, group in rows.groupby("method", sort=False):
        line: dict[str, Any] = {"method": method}
        for metric, of in group.groupby("metric", sort=False):
            low, high = bootstrap_interval(of["value"].to_numpy())
            line[str(metric).removeprefix("mar_").replace("_", ", ")] = interval(of["value"].mean(), float(low), float(high), 2, ends=2)
        lines.append(line | {"images": group["image"].nunique()})
    caption = f"MAR of rankings by criterion and fill, mean and 95 % bootstrap interval: {named(run.records[0])}."
    yield from table(pd.DataFrame(lines), run.out / "criteria", caption)


def pointing(run: Run) -> Iterator[Path]:
    """The grid pointing game: the share of positive attribution in the right cell."""
    lines = []
    for method, group in run.rows.groupby("method", sort=False):
        found = group.loc[(group["metric"] == "grid_pointing") & group["value"].notna(), "value"].to_numpy()
        low, high = bootstrap_interval(found) if len(found) else (np.nan, np.nan)
        share = interval(found.mean() if len(found) else np.nan, float(low), float(high))
        lines.append({"method": method, "share": share, "mosaics": len(found), "of": group["image"].nunique()})
    cells = run.settings["benchmark"]["pointing"]["cells"]
    caption = f"Share of positive attribution in the right cell of a mosaic, mean and 95 % bootstrap interval; chance {1 / cells**2:.3f}."
    yield from table(pd.DataFrame(lines), run.out / "grid_pointing", caption)


def stability(run: Run, top: float = 0.1) -> Iterator[Path]:
    """How far MAR, region and map depend on the seed: per method, means over images and pairs of seeds."""
    mar = run.rows[(run.rows["metric"] == "mar") & run.rows["value"].notna()]
    lines = []
    for method in dict.fromkeys(run.rows["method"]):
        jobs = sorted((record for record in run.records if record["method"] == method), key=lambda record: record["seed"])
        by_image: dict[tuple[str, str], list[dict[str, NDArray[Any]]]] = {}
        for record in jobs:
            for shown in pictured(record, most=len(record["images"])):
                by_image.setdefault(shown.key, []).append(shown.arrays)
        regions, tops, ranks = [], [], []
        for several in by_image.values():
            for a, b in combinations(several, 2):
                if "kept" in a and "kept" in b:
                    regions.append(_iou(np.unpackbits(a["kept"]) > 0, np.unpackbits(b["kept"]) > 0))
                tops.append(_iou(*(_top(arrays["saliency"], top) for arrays in (a, b))))
                ranks.append(spearman(a["saliency"], b["saliency"]))
        of = mar[mar["method"] == method].groupby("image")["value"]
        line: dict[str, Any] = {"method": method, "MAR": of.mean().mean(), "std over seeds": of.std().mean()}
        likenesses = {"IoU of regions": regions, f"IoU of top {100 * top:g} %": tops, "Spearman of maps": ranks}
        line |= {name: np.nanmean(values) if np.isfinite(values).any() else np.nan for name, values in likenesses.items()}
        lines.append(line | {"seeds": len(jobs), "images": len(by_image)})
    caption = f"The same images under several seeds: means over images and pairs of seeds. {named(run.records[0])}."
    yield from table(pd.DataFrame(lines).round(3).replace(-0.0, 0.0), run.out / "stability", caption)


def sanity(run: Run) -> Iterator[Path]:
    """Likeness of each map to that of the trained model, against the share of randomised layers."""
    maps_: dict[tuple[str, str], dict[tuple[str, str], NDArray[np.float32]]] = {}
    for record in run.records:
        layers = json.dumps(record["config"]["model"].get("randomise"))
        maps_[record["method"], layers] = {s.key: s.arrays["saliency"] for s in pictured(record, most=len(record["images"]))}
    lines = []
    for (method, layers), found in maps_.items():
        if layers == "null" or (method, "null") not in maps_:
            continue
        first, last = json.loads(layers)
        trained = maps_[method, "null"]
        for image in sorted(found.keys() & trained.keys()):
            line = {"method": method, "mode": "independent" if first else "cascading", "layers": f"{first:g} to {last:g}", "last": last}
            likeness = {"spearman": spearman(trained[image], found[image]), "ssim": ssim(trained[image], found[image])}
            lines.append(line | {"image": image[0]} | likeness)
    if not lines:
        raise ValueError("sanity compares with the trained model: give +model.randomise=null and at least one of [first,last]")
    frame = pd.DataFrame(lines)
    frame.to_csv(run.out / "sanity_images.csv", index=False)
    yield run.out / "sanity_images.csv"
    frame = frame.assign(place=frame["method"].map(tables.method_place))
    shown = []
    for (_, name, mode, _, part), group in frame.groupby(["place", "method", "mode", "last", "layers"]):
        cells: dict[str, str] = {}
        for metric in ("spearman", "ssim"):
            values = group[metric].dropna().to_numpy()
            low, high = bootstrap_interval(values) if len(values) else (np.nan, np.nan)
            cells[metric] = interval(values.mean() if len(values) else np.nan, float(low), float(high), 2, ends=2)
        shown.append({"method": name, "mode": mode, "layers randomised": part, **cells, "images": group["image"].nunique()})
    caption = (
        "Likeness to the trained model's map after randomising layers, counted from the output, as shares of all: near 1 the map does not "
        "depend on what was learned. Both maps of an image have one random stream, so that a stochastic method keeps what it draws. "
        "A constant map has no rank correlation. The class explained is the one the model at hand predicts."
    )
    yield from table(pd.DataFrame(shown), run.out / "sanity", caption)
    cascading = frame[frame["mode"] == "cascading"]
    if len(set(cascading["last"])) > 1:
        figure = Figure(figsize=(8, 2.8), layout="constrained")
        axes = figure.subplots(1, 2, sharex=True)
        for ax, metric, title in zip(axes, ("spearman", "ssim"), ("Spearman's rank correlation", "SSIM"), strict=True):
            means = cascading.pivot_table(index="last", columns="method", values=metric)
            figures.lines(means.reindex(columns=sorted(set(cascading["method"]), key=tables.method_place)), ax, legend=ax is axes[-1])
            ax.set(xlabel="share of layers randomised", ylabel=title)
        yield from save(figure, run.out / "figures" / "sanity")


def spearman(a: Float[np.ndarray, "h w"], b: Float[np.ndarray, "h w"]) -> float:
    """Spearman's rank correlation of two maps; NaN where one is constant."""
    if a.min() == a.max() or b.min() == b.max():
        return float("nan")
    return float(spearmanr(a.ravel(), b.ravel()).statistic)


def ssim(a: Float[np.ndarray, "h w"], b: Float[np.ndarray, "h w"]) -> float:
    """Structural similarity of two maps, each scaled to its own range."""
    scaled = [(m - m.min()) / (m.max() - m.min()) if m.max() > m.min() else np.zeros_like(m) for m in (a, b)]
    return float(structural_similarity(*scaled, data_range=1.0))


def _top(saliency: NDArray[np.float32], share: float) -> NDArray[np.bool_]:
    """The top share of the pixels; those that tie at its edge all count."""
    values = saliency.ravel()
    edge = np.partition(values, -max(1, round(share * values.size)))[-max(1, round(share * values.size))]
    return values >= edge


def _iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    union = (a | b).sum()
    return float((a & b).sum() / union) if union else 1.0
