"""What a finished run leaves to look at: rows, summary, curves, pictures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from hydra.utils import instantiate
from matplotlib.figure import Figure
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from benchmarks.datasets import ImageSet, prepared
from benchmarks.job import image_key, unpacked
from benchmarks.models import Preprocessing
from da.rule import picture
from da.types import OK
from results import figures, tables, tracking
from results.store import Arrays, ImageKey, Store

MOST_PICTURES = 16  # images drawn of a run


def write(out: Path, cfg: DictConfig) -> None:
    """Write ``rows.parquet``, ``summary.csv`` and figures of a run, print the short table, and mirror to W&B if asked."""
    rows = tables.load(out)
    if rows.empty:
        return
    rows.to_parquet(out / "rows.parquet", index=False)
    summary = tables.summarise(rows)
    summary.to_csv(out / "summary.csv", index=False)
    drawn = dict(draw(out, rows))
    console = Console(soft_wrap=True) if Console().is_terminal else Console(width=120)
    console.print(short_table(summary))
    strange = rows[rows["status"] != OK].drop_duplicates([*tables.groups(rows), "image"])
    for (method, status), images in strange.groupby(["method", "status"])["image"]:
        console.print(f"{method}: {len(images)} x {status} ({', '.join(images[:3])}{', …' if len(images) > 3 else ''})", highlight=False)
    where = f"Tables: {out / 'summary.csv'}, {out / 'rows.parquet'}\nFigures: {out / 'figures'} ({len(drawn)} files)"
    console.print(where, highlight=False, soft_wrap=True)
    if cfg.tracking.enabled:
        config = OmegaConf.to_container(cfg, resolve=True)
        assert isinstance(config, dict)
        settings = {key: cfg.tracking[key] for key in ("project", "mode", "group")}
        tracking.mirror(rows, summary, drawn, config={str(k): v for k, v in config.items()}, folder=out, **settings)


def short_table(summary: pd.DataFrame) -> Table:
    """Method, MAR, insertion AUC, queries, seconds: means, with intervals."""
    table = Table(title=f"Mean over {summary['images'].max()} images [95 % bootstrap interval]", title_justify="left", box=SIMPLE_HEAD)
    by = [name for name in tables.groups(summary) if name == "method" or len(set(summary[name].astype(str))) > 1]
    for name in by:
        table.add_column(name, no_wrap=True)
    for title in ("MAR, mask", "MAR, ranking", "insertion AUC", "queries", "seconds"):
        table.add_column(title, justify="right", no_wrap=True)
    for line in summary.to_dict("records"):
        cells = [_interval(line, metric) for metric in ("mar", "mar_holds", "insertion_auc")]
        table.add_row(*(str(line[name]) for name in by), *cells, _number(line["queries"], ".0f"), _number(line["seconds"], ".2f"))
    return table


def _number(value: float, form: str) -> str:
    return "–" if np.isnan(value) else format(value, form)


def _interval(line: dict[Any, Any], metric: str) -> str:
    if np.isnan(line[metric]):
        return "–"
    low, high = line[f"{metric}_low"], line[f"{metric}_high"]
    return f"{line[metric]:.2f}" if np.isnan(low) else f"{line[metric]:.2f} [{low:.2f}, {high:.2f}]"


def draw(out: Path, rows: pd.DataFrame) -> Iterator[tuple[str, Path]]:
    """Draw a run's figures and say where they are."""
    folder = out / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    for (dataset, model), group in rows.groupby(["dataset", "model"], sort=False):
        if (group["metric"] == "insertion_accuracy").any():
            figure = Figure(figsize=(5.6, 3.4), layout="constrained")
            frame = tables.curves(group)
            by = [name for name in tables.groups(group) if name not in ("dataset", "model")]
            frame["configuration"] = frame[by].astype(str).agg(" ".join, axis=1)
            ax = figures.insertion_curves(frame, figure.subplots(), hue="configuration")
            ax.set_title(f"{dataset}, {model}, {frame['images'].max()} images", fontsize=9)
            yield from _save(figure, folder / f"insertion_{dataset}_{model}")
    records = [json.loads(path.read_text()) for path in sorted((out / "jobs").glob("*.json"))]
    for record in records:
        yield from _triptychs(record, folder)
    for dataset, model in dict.fromkeys((record["dataset"], record["model"]) for record in records):
        of_model = {record["method"]: record for record in records if (record["dataset"], record["model"]) == (dataset, model)}
        methods = sorted(of_model, key=tables.method_place)
        paper = [method for method in methods if method in tables.METHOD_ORDER]
        others = [method for method in methods if method not in tables.METHOD_ORDER]
        for name, shown in (("fig3", paper), ("maps", others)):
            maps = _maps([of_model[method] for method in shown]) if len(shown) > 1 else None
            if maps is not None:
                yield from _save(maps, folder / f"{name}_{dataset}_{model}")


def _triptychs(record: dict[str, Any], folder: Path) -> Iterator[tuple[str, Path]]:
    """The paper's Fig. 1 for each image of a method that ends in a mask: image, kept region, map."""
    for key, image, arrays, words in pictured(record):
        if "kept" not in arrays:
            return
        mask = unpacked(arrays["kept"], image.shape[:2])
        shown = [image, picture(image, mask), figures.heat_map(image, arrays["saliency"])]
        verb = "absent" if record["parameters"].get("rule") == "negative" else "present"
        figure = figures.row_of_pictures(shown, [words, f"if {verb}: {100 * mask.mean():.1f} %", f"map, {record['method']}"])
        yield from _save(figure, folder / f"fig1_{key[0].replace('/', '_')}_{record['method']}", pdf=False)


def _maps(records: list[dict[str, Any]]) -> Figure | None:
    """The paper's Fig. 3: a row an image, the image and then each method's map, blank where it failed; None where all did."""
    rows: dict[ImageKey, list[NDArray[np.float32]]] = {}
    titles: dict[ImageKey, list[str]] = {}
    for column, record in enumerate(records):
        for key, image, arrays, words in pictured(record):
            row = rows.setdefault(key, [image])
            row += [np.ones_like(image)] * (column + 1 - len(row))
            row.append(figures.heat_map(image, arrays["saliency"]))
            titles.setdefault(key, [words])
    if not rows:
        return None
    named = [record["method"] for record in records]
    return figures.grid_of_pictures(list(rows.values()), [[*titles[key], *(named if i == 0 else [])] for i, key in enumerate(rows)])


def pictured(record: dict[str, Any]) -> Iterator[tuple[ImageKey, NDArray[np.float32], Arrays, str]]:
    """The first images of a job that have an attribution: key, pixels ``[h, w, 3]``, arrays, class and confidence in words."""
    store = Store(Path(record["store"]))
    images: ImageSet = instantiate(record["config"]["dataset"])
    photographs = {image_key(photograph): photograph for photograph in images.photographs}
    model = record["config"]["model"]
    mean, std = ((values[0], values[1], values[2]) for values in (model["mean"], model["std"]))
    preprocessing = Preprocessing(model["size"], model["crop_pct"], model["interpolation"], mean, std)
    index = store.index(record["keys"]["attribution"])
    wanted = [(image, content) for image, content, _ in record["images"] if (image, content) in index and (image, content) in photographs]
    predictions = store.rows(record["keys"]["prediction"], wanted[:MOST_PICTURES])
    for key in wanted[:MOST_PICTURES]:
        of_image = predictions[predictions["image"] == key[0]].set_index("metric")["value"]
        words = f"{record['class_names'][int(of_image['prediction'])]} {of_image['confidence']:.2f}"
        pixels = prepared(photographs[key], key[1], preprocessing).permute(1, 2, 0).numpy()
        yield key, pixels, store.arrays(record["keys"]["attribution"], key), words


def _save(figure: Figure, stem: Path, *, pdf: bool = True) -> Iterator[tuple[str, Path]]:
    for suffix in (".png", ".pdf")[: 2 if pdf else 1]:
        path = stem.with_name(stem.name + suffix)
        figure.savefig(path, dpi=200)
        yield stem.name + suffix, path
