"""Tables and figures beyond the paper: criteria, grid pointing, stability, sanity."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import spearmanr
from skimage.metrics import structural_similarity

from da.ranking import importance_rank
from da.rng import image_rng
from da.types import OK
from results import tables
from results.artefacts.parts import Run, StoredAttribution, run_title, stored_attributions
from results.export import interval, table, to_csv
from results.figures import matplotlib as figures
from results.figures.matplotlib import save
from results.records import configuration, naming_columns
from results.statistics import bootstrap_interval


@dataclass(frozen=True)
class Configuration:
    """The jobs of a run that differ in the seed (and images) alone. name: what tells it from the others; rows: of all its jobs."""

    name: str
    jobs: list[dict[str, Any]]
    rows: pd.DataFrame

    def values(self, metric: str) -> NDArray[np.float64]:
        """One value an image that has one: its mean over the seeds."""
        known = self.rows[(self.rows["metric"] == metric) & self.rows["value"].notna()]
        return tables.per_image(known)


def by_configuration(run: Run, but: Sequence[str] = ()) -> list[Configuration]:
    """The configurations of a run in the order of their methods. A hyper-parameter such as ``mask_seed`` is a seed, too.

    but: settings that do not tell configurations apart.
    """
    names = [name for name in naming_columns(run.records) if not name.endswith("seed") and name not in but]
    found: dict[str, list[dict[str, Any]]] = {}
    for record in run.records:
        found.setdefault(configuration(record, names), []).append(record)
    rows = [run.rows[run.rows["job"].isin([record["job"] for record in jobs])] for jobs in found.values()]
    every = [Configuration(name, jobs, of) for (name, jobs), of in zip(found.items(), rows, strict=True) if len(of)]
    return sorted(every, key=lambda one: tables.method_sort_key(one.jobs[0]["method"]))


def of_one_model(run: Run) -> Run:
    """A run whose randomised networks have the name of the trained one, without the layers that are randomised."""
    base = {record["model"]: record["config"]["model"]["name"] for record in run.records}
    records = [record | {"model": base[record["model"]]} for record in run.records]
    return replace(run, records=records, rows=run.rows.assign(model=run.rows["model"].map(base)))


def what(run: Run) -> str:
    """The models and data sets of a run, for captions."""
    return "; ".join(dict.fromkeys(map(run_title, run.records)))


def mean(values: NDArray[np.float64], digits: int = 3, ends: int | None = None) -> str:
    """The mean and its 95 % bootstrap interval as text."""
    if not len(values):
        return interval(np.nan, np.nan, np.nan)
    low, high = bootstrap_interval(values)
    return interval(values.mean(), float(low), float(high), digits, ends)


def criteria(run: Run) -> Iterator[Path]:
    """MAR of every ranking, by criterion and fill.

    Parameters
    ----------
    run : Run
        A finished run, see ``results.artefacts.parts.Run``.

    Yields
    ------
    Path
        Of each file that it writes.
    """
    lines = []
    for of in by_configuration(run):
        line: dict[str, Any] = {"method": of.name}
        images = len(of.rows.loc[of.rows["value"].notna(), ["image", "digest"]].drop_duplicates())
        for metric in dict.fromkeys(of.rows.loc[of.rows["metric"].str.startswith("mar_"), "metric"]):
            found = of.values(metric)
            fewer = "" if len(found) == images else f" ({len(found)})"
            line[metric.removeprefix("mar_").replace("_", ", ")] = mean(found, 2, ends=2) + fewer
        lines.append(line | {"images": images})
    caption = (
        f"MAR of rankings by criterion and fill, mean and 95 % bootstrap interval: {what(run)}. "
        "In brackets, of how many images where that is fewer: the whole image, too, can have less than the threshold."
    )
    yield from table(pd.DataFrame(lines), run.out / "criteria", caption)


def pointing(run: Run) -> Iterator[Path]:
    """The grid pointing game: the share of positive attribution in the right cell.

    Parameters
    ----------
    run : Run
        A finished run, see ``results.artefacts.parts.Run``.

    Yields
    ------
    Path
        Of each file that it writes.
    """
    lines = []
    for of in by_configuration(run):
        found = of.values("grid_pointing")
        lines.append(
            {"method": of.name, "share": mean(found), "mosaics": len(found), "of": len(of.rows[["image", "digest"]].drop_duplicates())}
        )
    cells = run.settings["benchmark"]["pointing"]["cells"]
    caption = f"Share of positive attribution in the right cell of a mosaic, mean and 95 % bootstrap interval; chance {1 / cells**2:.3f}."
    yield from table(pd.DataFrame(lines), run.out / "grid_pointing", caption)


def stability(run: Run, top: float = 0.1) -> Iterator[Path]:
    """How far MAR, region and map depend on the seed: per method, means over images and pairs of seeds.

    Parameters
    ----------
    run : Run
        A finished run, see ``results.artefacts.parts.Run``.
    top : float
        The share of top pixels that are compared, from 0 to 1.

    Yields
    ------
    Path
        Of each file that it writes.
    """
    lines = []
    for of in by_configuration(run):
        by_image: dict[tuple[str, str], list[dict[str, NDArray[Any]]]] = {}
        for record in of.jobs:
            for shown in stored_attributions(record):
                image, seed = shown.key[0], record["seed"]
                first = {"top": top_pixels(shown.arrays["saliency"], top, image_rng(seed, "ties", image))}
                region = {"region": np.unpackbits(shown.arrays["kept"]) > 0} if "kept" in shown.arrays and shown.status == OK else {}
                by_image.setdefault(shown.key, []).append({"map": shown.arrays["saliency"], **first, **region})
        regions, tops, ranks = [], [], []
        for several in by_image.values():
            for a, b in combinations(several, 2):
                if "region" in a and "region" in b:
                    regions.append(_iou(a["region"], b["region"]))
                tops.append(_iou(a["top"], b["top"]))
                ranks.append(spearman(a["map"], b["map"]))
        mar = of.rows[(of.rows["metric"] == "mar") & of.rows["value"].notna()].groupby(["image", "digest"])["value"]
        line: dict[str, Any] = {"method": of.name, "MAR": mar.mean().mean(), "std over seeds": mar.std().mean()}
        likenesses = {"IoU of regions": regions, f"IoU of top {100 * top:g} %": tops, "Spearman of maps": ranks}
        line |= {name: np.nanmean(values) if np.isfinite(values).any() else np.nan for name, values in likenesses.items()}
        lines.append(line | {"seeds": len({record["seed"] for record in of.jobs}), "images": len(by_image)})
    caption = (
        f"The same images under several seeds: means over images and pairs of seeds. {what(run)}. Regions: of pairs that both have one. "
        f"Ties at the edge of the top {100 * top:g} % are broken at random."
    )
    yield from table(pd.DataFrame(lines).round(3).replace(-0.0, 0.0), run.out / "stability", caption)


def sanity(run: Run) -> Iterator[Path]:
    """Likeness of each map to that of the trained model, against the share of randomised layers.

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
        For a run without the trained model or a randomised one.
    """
    run = of_one_model(run)
    lines = []
    for of in by_configuration(run, but=["model.randomise"]):
        maps_: dict[str, dict[tuple[int, tuple[str, str]], StoredAttribution]] = {}
        for record in of.jobs:
            here = maps_.setdefault(json.dumps(record["config"]["model"].get("randomise")), {})
            here |= {(record["seed"], shown.key): shown for shown in stored_attributions(record)}
        trained = maps_.pop("null", {})
        for layers, found in maps_.items():
            first, last = json.loads(layers)
            line = {"method": of.name, "mode": "independent" if first else "cascading", "layers": f"{first:g} to {last:g}", "last": last}
            for seed, image in sorted(found.keys() & trained.keys()):
                a, b = (shown[seed, image].arrays["saliency"] for shown in (trained, found))
                likeness = {"spearman": spearman(a, b), "ssim": ssim(a, b)}
                lines.append(line | {"image": image[0], "seed": seed, "status": found[seed, image].status} | likeness)
    if not lines:
        raise ValueError("sanity compares with the trained model: give +model.randomise=null and at least one of [first,last]")
    frame = pd.DataFrame(lines)
    to_csv(frame, run.out / "sanity_images.csv")
    yield run.out / "sanity_images.csv"
    frame["place"] = frame["method"].map({name: i for i, name in enumerate(dict.fromkeys(frame["method"]))})
    shown = []
    for (_, name, mode, _, part), group in frame.groupby(["place", "method", "mode", "last", "layers"]):
        cells: dict[str, Any] = {"method": name, "mode": mode, "layers randomised": part}
        for metric in ("spearman", "ssim"):
            known = group[group[metric].notna()]
            cells[metric] = mean(tables.means_by_image(known["image"].to_numpy(), known[metric].to_numpy()), 2, ends=2)
        changing = group.loc[group["spearman"].notna(), "image"].nunique()
        decided = group.loc[group["spearman"].notna() & (group["status"] == OK), "image"].nunique()
        shown.append(cells | {"images": group["image"].nunique(), "with a map": changing, "status ok": decided})
    caption = (
        "Likeness to the trained model's map after randomising layers, counted from the output, as shares of all: near 1 the map does not "
        "depend on what was learned. Both maps of an image have one random stream, so that a stochastic method keeps what it draws. "
        "A constant map has no likeness: the means are over the images with two maps that vary. Status ok: of how many of these the "
        "randomised model, too, was asked for more than the premise; where a black image already has the class (vacuous), a walk accepts "
        f"whatever it tries. The class explained is the one the model at hand predicts. {what(run)}."
    )
    yield from table(pd.DataFrame(shown), run.out / "sanity", caption)
    cascading = frame[frame["mode"] == "cascading"]
    if len(set(cascading["last"])) > 1:
        figure = Figure(figsize=(8, 2.8), layout="constrained")
        axes = figure.subplots(1, 2, sharex=True)
        for ax, metric, title in zip(axes, ("spearman", "ssim"), ("Spearman's rank correlation", "SSIM"), strict=True):
            means = cascading.pivot_table(index="last", columns="method", values=metric)
            in_order = [name for name in dict.fromkeys(cascading["method"]) if name in means]
            figures.lines(means[in_order], ax, legend=ax is axes[-1])
            ax.set(xlabel="share of layers randomised", ylabel=title)
        yield from save(figure, run.out / "figures" / "sanity")


def spearman(a: Float[np.ndarray, "h w"], b: Float[np.ndarray, "h w"]) -> float:
    """Spearman's rank correlation of two maps; NaN where one is constant."""
    if a.min() == a.max() or b.min() == b.max():
        return float("nan")
    return float(spearmanr(a.ravel(), b.ravel()).statistic)


def ssim(a: Float[np.ndarray, "h w"], b: Float[np.ndarray, "h w"]) -> float:
    """Structural similarity of two maps, each scaled to its own range; NaN where one is constant."""
    if a.min() == a.max() or b.min() == b.max():
        return float("nan")
    scaled = [(m - m.min()) / (m.max() - m.min()) for m in (a, b)]
    return float(structural_similarity(*scaled, data_range=1.0))


def top_pixels(saliency: Float[np.ndarray, "h w"], share: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """The top share of the pixels, ties broken at random as in the insertion game."""
    rank = importance_rank(torch.from_numpy(saliency)[None], [rng])[0].numpy()
    return np.asarray(rank < round(share * saliency.size))


def _iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    union = (a | b).sum()
    return float((a & b).sum() / union) if union else 1.0
