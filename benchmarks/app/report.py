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

from benchmarks.app.pictures import ForPage, pictured
from benchmarks.inputs.compose import before_loading
from da.rule import picture
from da.types import OK
from results import comparability, tables, tracking
from results.artefacts import pictures as galleries
from results.artefacts.parts import Run, file_suffix, image_count_text, parts, run_title
from results.artefacts.search import FOUND, search
from results.export import LINE_WIDTH, to_csv, to_parquet
from results.figures import matplotlib as figures
from results.figures.matplotlib import save
from results.metrics import CATALOGUE
from results.metrics import metric_named as metric_of
from results.moved_modules import current_name
from results.naming import configuration, naming_columns
from results.records import no_run_error, records
from results.store.store import unpacked
from results.summary import summary as summary_of

MOST_RESULTS = 1_000_000
MOST_LETTERS = 40  # of a setting in the table
MOST_COLUMNS = 16  # configurations drawn side by side

Records = list[dict[str, Any]]
Record = dict[str, Any]


def write(out: Path, cfg: DictConfig) -> None:
    """Write ``rows.parquet``, ``summary.csv`` and figures of a run, print the short table, and mirror to W&B if asked.

    Of a run with more than ``MOST_RESULTS`` images, counted once per job, only the summary.
    """
    jobs = records(out)
    if (results := sum(len(record["images"]) for record in jobs)) > MOST_RESULTS:
        means = summary_of(out)
        to_csv(means, out / "summary.csv")
        print(f"{results:,} results: means in {out / 'summary.csv'}; no rows in one table, figures and page of so many")
        return
    rows = tables.load(out, jobs)
    if rows.empty:
        return
    to_parquet(rows, out / "rows.parquet")
    summary = tables.summarise(rows)
    to_csv(summary, out / "summary.csv")
    # Without what the jobs of a sweep are given each, and may be missing here.
    of_sweep = OmegaConf.masked_copy(
        cfg, [str(name) for name in cfg if name not in ("model", "dataset", "method", "engine")]
    )  # may lack values
    of_sweep._set_parent(before_loading(cfg))
    settings = OmegaConf.to_container(of_sweep, resolve=True, throw_on_missing=False)
    assert isinstance(settings, dict)
    run = Run(out, rows, jobs, {str(name): value for name, value in settings.items()}, pictures=pictured)
    drawn = list(draw(run)) if not cfg.artefacts else []
    for name in cfg.artefacts:
        drawn += get_method(current_name(name))(run)
    if (out / FOUND).exists() and "results.artefacts.search" not in cfg.artefacts:
        drawn += search(run)
    console = Console(soft_wrap=True, markup=False) if Console().is_terminal else Console(width=LINE_WIDTH, markup=False)
    if not any(path.suffix == ".md" for path in drawn):
        console.print(short_table(summary))
    for note in comparability.run_warnings(run.records):
        console.print(f"Note: {note}", highlight=False, soft_wrap=True)
    strange = rows[rows["status"] != OK].drop_duplicates(["job", "image", "digest", "status"])
    for (name, status), images in strange.groupby(["configuration", "status"], sort=False)["image"]:
        some = list(dict.fromkeys(images))
        console.print(f"{name}: {len(images)} x {status} ({', '.join(some[:3])}{', …' if len(some) > 3 else ''})", highlight=False)
    for path in (path for path in drawn if path.suffix == ".md"):
        console.print(Markdown(path.read_text(encoding="utf-8")))
    if cfg.page:
        console.print(f"Page: {page(out, rows, jobs)}", highlight=False, soft_wrap=True)
    written = [out / "summary.csv", out / "rows.parquet", *(path for path in drawn if path.suffix == ".csv")]
    console.print(f"Tables: {', '.join(map(str, written))}", highlight=False, soft_wrap=True)
    if pictures := [path for path in drawn if path.parent == out / "figures"]:
        console.print(f"Figures: {out / 'figures'} ({len(pictures)} files)", highlight=False, soft_wrap=True)
    if cfg.tracking.enabled:
        tracking.mirror(
            rows, run.records, drawn, folder=out, project=cfg.tracking.project, mode=cfg.tracking.mode, group=cfg.tracking.group
        )


def page(out: Path, rows: pd.DataFrame | None = None, jobs: Records | None = None) -> Path:
    """Write a run's page, from the store where its rows are not at hand. Raises ValueError where there is no run, or nothing in it yet."""
    from results.page.page import write_run  # only now: it takes a second to import

    jobs = records(out) if jobs is None else jobs
    rows = tables.load(out, jobs) if rows is None else rows
    if rows.empty:
        raise no_run_error(out)
    return write_run(out, rows, jobs, ForPage())


def short_table(summary: pd.DataFrame) -> Table:
    """Method and what else tells a line from the others, MAR, insertion AUC, queries, seconds: means, with intervals."""
    counts = sorted(set(summary["images"]))
    title = f"Mean over {counts[0]} images" if len(counts) == 1 else "Mean over images"
    labelled = summary["insertion_auc"].notna().any()  # without labels, how often the class stays that of the whole image
    left_out = "insertion_consistency_auc" if labelled else "insertion_auc"
    every = [metric_of(str(name).removesuffix("_n")) for name in summary if str(name).endswith("_n")]
    shown = [one for one in every if not one.cost and not one.by_request and one.name != left_out and summary[one.name].notna().any()]
    metrics = {one.name: one.heading or one.name for one in shown if one.heading or one.name not in CATALOGUE}
    fewer = any(0 < line[f"{metric}_n"] < line["images"] for line in summary.to_dict("records") for metric in metrics)
    more = "; in brackets of how many images, where of fewer" if fewer else ""
    table = Table(title=f"{title} [95 % bootstrap interval]{more}", title_justify="left", box=SIMPLE_HEAD)
    by = [name for name in tables.configuration_columns(summary) if name == "method" or tables.varies(summary[name])]
    also = [name for name in ("images", "failed") if len(counts) > 1 or (name == "failed" and summary["failed"].any())]
    for name in by:
        table.add_column(name.removeprefix("param."), no_wrap=True)
    for title in (*metrics.values(), "queries", "seconds", *also):
        table.add_column(title, justify="right", no_wrap=True)
    for line in summary.to_dict("records"):
        table.add_row(
            *(_plain(line[name]) for name in by),
            *(_interval(line, metric) for metric in metrics),
            _number(line["queries"], ".0f"),
            _number(line["seconds"], ".2f"),
            *(str(line[name]) for name in also),
        )
    return table


def _plain(value: object) -> str:
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return "–"
    said = tables.cell_text(value)
    return said if len(said) <= MOST_LETTERS else f"{said[: MOST_LETTERS - 1]}…"


def _number(value: float, form: str) -> str:
    return "–" if np.isnan(value) else format(value, form)


def _interval(line: dict[Any, Any], metric: str) -> str:
    if np.isnan(line[metric]):
        return "–"
    low, high = line[f"{metric}_low"], line[f"{metric}_high"]
    fewer = f" ({line[f'{metric}_n']})" if line[f"{metric}_n"] < line["images"] else ""
    return (f"{line[metric]:.2f}" if np.isnan(low) else f"{line[metric]:.2f} [{low:.2f}, {high:.2f}]") + fewer


def draw(run: Run) -> Iterator[Path]:
    """Draw a run's figures, those of each model and data set apart, and say where they are."""
    apart = list(parts(run, ["method", "param", "engine", "select.count", "select.order", "benchmark"], ("dataset", "model")))
    for of in apart:
        where = f"{of.records[0]['dataset']}_{of.records[0]['model']}{of.part}"
        yield from _curves(of, run.out / "figures" / f"insertion_{where}")
        records = galleries.one_seed(of.records)
        every = {configuration(record, naming_columns(records)): record for record in records}
        if len(every) > MOST_COLUMNS:  # of a sweep, the first of each method
            every = {record["method"]: record for record in reversed(records)}
        for name, record in every.items():
            yield from _triptychs(record, run.out / "figures", name, f"_{where}" if len(apart) > 1 else "")
        names = sorted(every, key=lambda name: tables.method_sort_key(every[name]["method"]))
        paper = [name for name in names if every[name]["method"] in tables.METHOD_ORDER]
        others = [name for name in names if name not in paper]
        for stem, columns in (("fig3", paper), ("maps", others)):
            if len(columns) > 1 and (maps := galleries.maps(run, [every[name] for name in columns], columns)) is not None:
                yield from save(maps, run.out / "figures" / f"{stem}_{where}")


def _curves(run: Run, stem: Path) -> Iterator[Path]:
    """The insertion game; without labels, whether the class stays that of the whole image."""
    metrics = [metric for metric in ("insertion_accuracy", "insertion_consistency") if (run.rows["metric"] == metric).any()]
    if metrics:
        figure = Figure(figsize=(5.6, 3.4), layout="constrained")
        frame = tables.curves(run.rows, metrics[0])
        ax = figures.insertion_curves(frame, figure.subplots(), hue="configuration", metric=metrics[0])
        ax.set_title(f"{run_title(run.records[0])}, {image_count_text(frame['images'])}", fontsize=9)
        yield from save(figure, stem)


def _triptychs(record: Record, folder: Path, name: str, part: str) -> Iterator[Path]:
    """The paper's Fig. 1 for each image of a method that ends in a mask: image, kept region, map."""
    for of in pictured(record):
        if "kept" not in of.arrays:
            return
        mask = unpacked(of.arrays["kept"], of.image.shape[:2])
        shown = [of.image, picture(of.image, mask), figures.heat_map(of.image, of.arrays["saliency"])]
        verb = "absent" if record["parameters"].get("rule") == "negative" else "present"
        map_title = figures.with_status(f"map, {name}", of.status)
        figure = figures.row_of_pictures(shown, [of.words, f"if {verb}: {100 * mask.mean():.1f} %", map_title])
        yield from save(figure, folder / f"fig1_{of.key[0].replace('/', '_')}_{file_suffix(name.split())}{part}", pdf=False)
