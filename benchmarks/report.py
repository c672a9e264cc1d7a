"""What a finished run leaves to look at: rows, summary, curves, pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from hydra.utils import get_method
from matplotlib.figure import Figure
from omegaconf import DictConfig, OmegaConf
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markdown import Markdown
from rich.table import Table

from benchmarks import artefacts, galleries
from benchmarks.attribute import unpacked
from benchmarks.pictures import ForPage, pictured, save
from da.rule import picture
from da.types import OK
from results import figures, tables, tracking
from results.export import WIDTH
from results.summary import summary as summary_of

MOST_RESULTS = 1_000_000


def write(out: Path, cfg: DictConfig) -> None:
    """Write ``rows.parquet``, ``summary.csv`` and figures of a run, print the short table, and mirror to W&B if asked.

    Of a run with more than ``MOST_RESULTS`` images, counted once a job, only the summary.
    """
    if (results := sum(len(record["images"]) for record in tables.records(out))) > MOST_RESULTS:
        means = summary_of(out)
        means.to_csv(out / "summary.csv", index=False)
        print(f"{results:,} results: means in {out / 'summary.csv'}; no rows in one table, figures and page of so many")
        return
    rows = tables.load(out)
    if rows.empty:
        return
    rows.to_parquet(out / "rows.parquet", index=False)
    summary = tables.summarise(rows)
    summary.to_csv(out / "summary.csv", index=False)
    settings = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(settings, dict)
    run = artefacts.Run(out, rows, tables.records(out), {str(name): value for name, value in settings.items()})
    drawn = list(draw(out, rows)) if not cfg.artefacts else []
    for name in cfg.artefacts:
        drawn += get_method(name)(run)
    console = Console(soft_wrap=True, markup=False) if Console().is_terminal else Console(width=WIDTH, markup=False)
    if not any(path.suffix == ".md" for path in drawn):
        console.print(short_table(summary))
    for note in tables.mixture(run.records):
        console.print(f"Note: {note}", highlight=False, soft_wrap=True)
    strange = rows[rows["status"] != OK].drop_duplicates([*tables.settings(rows), "image"])
    for (method, status), images in strange.groupby(["method", "status"])["image"]:
        some = list(dict.fromkeys(images))
        console.print(f"{method}: {len(images)} x {status} ({', '.join(some[:3])}{', …' if len(some) > 3 else ''})", highlight=False)
    for path in (path for path in drawn if path.suffix == ".md"):
        console.print(Markdown(path.read_text(encoding="utf-8")))
    if cfg.page:
        console.print(f"Page: {page(out, rows)}", highlight=False, soft_wrap=True)
    written = [out / "summary.csv", out / "rows.parquet", *(path for path in drawn if path.suffix == ".csv")]
    console.print(f"Tables: {', '.join(map(str, written))}", highlight=False, soft_wrap=True)
    if pictures := [path for path in drawn if path.parent == out / "figures"]:
        console.print(f"Figures: {out / 'figures'} ({len(pictures)} files)", highlight=False, soft_wrap=True)
    if cfg.tracking.enabled:
        tracking.mirror(
            rows, run.records, drawn, folder=out, project=cfg.tracking.project, mode=cfg.tracking.mode, group=cfg.tracking.group
        )


def page(out: Path, rows: pd.DataFrame | None = None) -> Path:
    """Write a run's page, from the store where its rows are not at hand. Raises ValueError where there is no run, or nothing in it yet."""
    from results.page import write_run  # only now: it takes a second to import

    rows = tables.load(out) if rows is None else rows
    if rows.empty:
        raise tables.nothing(out)
    return write_run(out, rows, tables.records(out), ForPage())


def short_table(summary: pd.DataFrame) -> Table:
    """Method, MAR, insertion AUC, queries, seconds: means, with intervals."""
    counts = sorted(set(summary["images"]))
    title = f"Mean over {counts[0]} images" if len(counts) == 1 else "Mean over images"
    table = Table(title=f"{title} [95 % bootstrap interval]", title_justify="left", box=SIMPLE_HEAD)
    labelled = summary["insertion_auc"].notna().any()  # without labels, how often the class stays that of the whole image
    auc = ("insertion_auc", "insertion AUC") if labelled else ("insertion_consistency_auc", "insertion AUC, own class")
    metrics = {"mar": "MAR, mask", "mar_holds": "MAR, ranking", auc[0]: auc[1], "grid_pointing": "grid pointing"}
    metrics = {metric: said for metric, said in metrics.items() if summary[metric].notna().any()}
    by = [name for name in tables.groups(summary) if name == "method" or len(set(summary[name].astype(str))) > 1]
    for name in by:
        table.add_column(name, no_wrap=True)
    for title in (*metrics.values(), "queries", "seconds", *(["images"] if len(counts) > 1 else [])):
        table.add_column(title, justify="right", no_wrap=True)
    for line in summary.to_dict("records"):
        table.add_row(
            *(_plain(line[name]) for name in by),
            *(_interval(line, metric) for metric in metrics),
            _number(line["queries"], ".0f"),
            _number(line["seconds"], ".2f"),
            *([str(line["images"])] if len(counts) > 1 else []),
        )
    return table


def _plain(value: object) -> str:
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return "–"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _number(value: float, form: str) -> str:
    return "–" if np.isnan(value) else format(value, form)


def _interval(line: dict[Any, Any], metric: str) -> str:
    if np.isnan(line[metric]):
        return "–"
    low, high = line[f"{metric}_low"], line[f"{metric}_high"]
    return f"{line[metric]:.2f}" if np.isnan(low) else f"{line[metric]:.2f} [{low:.2f}, {high:.2f}]"


def draw(out: Path, rows: pd.DataFrame) -> Iterator[Path]:
    """Draw a run's figures and say where they are."""
    folder = out / "figures"
    for (dataset, model), group in rows.groupby(["dataset", "model"], sort=False):
        metrics = ["insertion_accuracy", "insertion_consistency"]  # without labels, whether the class stays that of the whole image
        metric = next((metric for metric in metrics if (group["metric"] == metric).any()), None)
        if metric is not None:
            figure = Figure(figsize=(5.6, 3.4), layout="constrained")
            frame = tables.curves(group, metric)
            by = [name for name in tables.groups(group) if name not in ("dataset", "model")]
            frame["configuration"] = frame[by].map(_plain).agg(" ".join, axis=1)
            ax = figures.insertion_curves(frame, figure.subplots(), hue="configuration", metric=metric)
            ax.set_title(f"{dataset}, {model}, {frame['images'].max()} images", fontsize=9)
            yield from save(figure, folder / f"insertion_{dataset}_{model}")
    every = tables.records(out)
    for record in every:
        yield from _triptychs(record, folder)
    for dataset, model in dict.fromkeys((record["dataset"], record["model"]) for record in every):
        of_model = {record["method"]: record for record in every if (record["dataset"], record["model"]) == (dataset, model)}
        methods = sorted(of_model, key=tables.method_place)
        paper = [method for method in methods if method in tables.METHOD_ORDER]
        others = [method for method in methods if method not in tables.METHOD_ORDER]
        for name, shown in (("fig3", paper), ("maps", others)):
            if len(shown) > 1 and (maps := galleries.maps([of_model[method] for method in shown], shown)) is not None:
                yield from save(maps, folder / f"{name}_{dataset}_{model}")


def _triptychs(record: dict[str, Any], folder: Path) -> Iterator[Path]:
    """The paper's Fig. 1 for each image of a method that ends in a mask: image, kept region, map."""
    for of in pictured(record):
        if "kept" not in of.arrays:
            return
        mask = unpacked(of.arrays["kept"], of.image.shape[:2])
        shown = [of.image, picture(of.image, mask), figures.heat_map(of.image, of.arrays["saliency"])]
        verb = "absent" if record["parameters"].get("rule") == "negative" else "present"
        figure = figures.row_of_pictures(shown, [of.words, f"if {verb}: {100 * mask.mean():.1f} %", f"map, {record['method']}"])
        yield from save(figure, folder / f"fig1_{of.key[0].replace('/', '_')}_{record['method']}", pdf=False)
