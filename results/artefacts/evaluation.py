"""Tables and figures beyond the paper: criteria, grid pointing, stability, sanity."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from da.types import OK
from results import tables
from results.artefacts.likeness import BETWEEN_SEEDS, TO_THE_TRAINED, TOP, alike, of_one_model, randomised
from results.artefacts.parts import Run, run_title
from results.export import interval, table, to_csv
from results.figures import matplotlib as figures
from results.figures.matplotlib import save
from results.statistics import bootstrap_interval

LIKENESSES = ("spearman", "ssim")


@dataclass(frozen=True)
class Configuration:
    """The jobs of a run that differ in the seed (and images) alone. name: what tells it from the others; rows: of all its jobs."""

    name: str
    jobs: list[dict[str, Any]]
    rows: pd.DataFrame

    def values(self, metric: str) -> NDArray[np.float64]:
        """One value per image that has one: its mean over the seeds."""
        known = self.rows[(self.rows["metric"] == metric) & self.rows["value"].notna()]
        return tables.per_image(known)


def by_configuration(run: Run, but: Sequence[str] = ()) -> list[Configuration]:
    """The configurations of a run in the order of their methods. A hyper-parameter such as ``mask_seed`` is a seed, too.

    but: settings that do not tell configurations apart.
    """
    found = alike(run.records, but)
    rows = [run.rows[run.rows["job"].isin([record["job"] for record in jobs])] for jobs in found.values()]
    every = [Configuration(name, jobs, of) for (name, jobs), of in zip(found.items(), rows, strict=True) if len(of)]
    return sorted(every, key=lambda one: tables.method_sort_key(one.jobs[0]["method"]))


def trained_and_randomised(run: Run) -> Run:
    """A run whose randomised networks have the name of the trained one, without the layers that are randomised."""
    base = {record["model"]: record["config"]["model"]["name"] for record in run.records}
    return replace(run, records=of_one_model(run.records), rows=run.rows.assign(model=run.rows["model"].map(base)))


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
        for metric in sorted(set(of.rows.loc[of.rows["metric"].str.startswith("mar_"), "metric"])):
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


def stability(run: Run) -> Iterator[Path]:
    """How far MAR, region and map depend on the seed: per method, means over images and pairs of seeds.

    Parameters
    ----------
    run : Run
        A finished run, see ``results.artefacts.parts.Run``.

    Yields
    ------
    Path
        Of each file that it writes.
    """
    numbers, lines = BETWEEN_SEEDS.of(run.rows, run.records), []
    for of in by_configuration(run):
        here = numbers[numbers["job"].isin([record["job"] for record in of.jobs])]
        mar = of.rows[(of.rows["metric"] == "mar") & of.rows["value"].notna()].groupby(["image", "digest"])["value"]
        line: dict[str, Any] = {"method": of.name, "MAR": mean(mar.mean().to_numpy()), "std over seeds": mar.std().mean()}
        titles = {
            "IoU of regions": "seeds_region_iou",
            f"IoU of top {100 * TOP:g} %": "seeds_top_iou",
            "Spearman of maps": "seeds_spearman",
        }
        for title, metric in titles.items():
            found = here[here["metric"] == metric]
            line[title] = mean(tables.means_by_image(tables.image_keys(found).to_numpy(), found["value"].to_numpy()), 2, ends=2)
        images = len(of.rows.loc[of.rows["value"].notna(), ["image", "digest"]].drop_duplicates())
        lines.append(line | {"seeds": len({record["seed"] for record in of.jobs}), "images": images})
    caption = (
        "The same images under several seeds: means over images and pairs of seeds, with 95 % bootstrap intervals over images. "
        f"{what(run)}. Regions: of pairs that both have one. Ties at the edge of the top {100 * TOP:g} % are broken at random."
    )
    yield from table(pd.DataFrame(lines).round(3), run.out / "stability", caption)


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
    numbers = TO_THE_TRAINED.of(run.rows, run.records)
    run = trained_and_randomised(run)
    frames = [_likeness_rows(of, numbers) for of in by_configuration(run, but=["model.randomise"])]
    frame = pd.concat([one for one in frames if len(one)] or [pd.DataFrame()], ignore_index=True)
    if frame.empty or None not in map(randomised, run.records):
        raise ValueError("sanity compares with the trained model: give +model.randomise=null and at least one of [first,last]")
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


def _likeness_rows(of: Configuration, numbers: pd.DataFrame) -> pd.DataFrame:
    """Of one configuration under each randomisation: a line per image and seed."""
    lines = []
    for record in of.jobs:
        if (layers := randomised(record)) is None:
            continue
        first, last = layers
        mode = {"method": of.name, "mode": "independent" if first else "cascading", "layers": f"{first:g} to {last:g}", "last": last}
        found = numbers[numbers["job"] == record["job"]].pivot_table(index=["image", "digest"], columns="metric", values="value")
        status = (
            of.rows[(of.rows["job"] == record["job"]) & of.rows["value"].notna()]
            .drop_duplicates(["image", "digest"])
            .set_index(["image", "digest"])["status"]
        )
        for image, said in status.items():
            values = {name: found[f"trained_{name}"].get(image, np.nan) if f"trained_{name}" in found else np.nan for name in LIKENESSES}
            lines.append(mode | {"image": image[0], "seed": record["seed"], "status": said} | values)
    return pd.DataFrame(lines)
