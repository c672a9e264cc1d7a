"""A run as one page: overview, interactive charts, gallery; everything it needs is inside it."""

from __future__ import annotations

import base64
import gzip
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader
from matplotlib import colormaps
from plotly.offline import get_plotlyjs

from results import agreement, comparability, metrics, tables
from results.compare import CAPTION, Comparison, as_text
from results.export import NOTHING, csv_text, number, right_aligned, texts, with_intervals
from results.figures import charts
from results.figures.charts import Chart, View
from results.figures.plotly import forest, scatter
from results.page.gallery import Gallery, GallerySource, gallery
from results.paper import paper_value
from results.store.store import write_atomically

EMBEDDED = 4e6  # bytes of a run's own files inside its page; the others are linked
TYPES = {".csv": "text/csv", ".md": "text/markdown", ".tex": "application/x-tex", ".png": "image/png", ".pdf": "application/pdf"}
TIPS = {"effect": "rank-biserial correlation: -1 where A is smaller on every image, 1 where it is larger on every image"}
TIPS |= {"p (Holm)": "of the paired Wilcoxon test, corrected for the pairs of the measure", "images": "that have a value"}
FIGURES = {"fig1": "Image, what is kept, and map", "fig2": "States of the walk", "fig3": "Maps by method", "fig4": "Maps by model"}
FIGURES |= {"fig5": "Insertion curves", "fig6": "MAR by alpha_step and fc", "table2": "MAR by k and sp_num"}
FIGURES |= {"search": "Search"}
FIGURES |= {"insertion": "Insertion curves", "maps": "Maps of other methods", "sanity": "Sanity check"}
FIGURES |= {"evidence": "What is found of known evidence", "agreement": "Ranks of methods by measure", "randomisation": "Random weights"}
PALETTES = ("viridis", "cividis", "turbo")  # of the maps; turbo is the paper's, and not for all eyes

Records = Sequence[Mapping[str, Any]]


def write_run(out: Path, rows: pd.DataFrame, records: Records, pictures: GallerySource) -> Path:
    """Write ``index.html`` of a run to its folder and return it.

    rows: ``tables.load``'s; pictures: where photographs and maps come from. The tables and figures that lie in the folder are
    shown and can be downloaded from the page.
    """
    shown = [table("headline", *headline(rows, records)), *_own_tables(out)]
    page = {
        "title": records[0]["config"].get("name") or out.name,
        "facts": facts(records),
        "commands": commands(records),
        "notes": [*comparability.run_warnings(records), *agreement.turning(rows)],
        "tables": shown,
        "problems": problems(rows),
        "figures": _own_figures(out, records, sum(len(file["href"]) for one in shown for file in one["files"])),
        "charts": list(charts.charts(rows)),
        "gallery": gallery(rows, records, pictures),
        "metrics": metrics.single_numbers(rows),
    }
    return _write(out / "index.html", page)


def write_comparison(out: Path, comparison: Comparison, pictures: GallerySource, command: str) -> Path:
    """Write ``index.html`` of a comparison to a folder and return it: differences, images against each other, those that differ most."""
    sides = comparison.sides
    rows = pd.concat([side.rows for side in sides], ignore_index=True)
    records = [record for side in sides for record in side.records]
    names = list(dict.fromkeys(name for pair in comparison.pairs for name in pair))
    rows = rows[rows["configuration"].isin(names)]
    metric = comparison.differences["metric"].iloc[0]
    of_metric = comparison.images[comparison.images["metric"] == metric]
    first = list(dict.fromkeys(of_metric.sort_values("difference", key=lambda values: -values.abs())["image"]))
    differences = as_text(comparison.differences)
    shown = table("headline", differences.assign(metric=[metrics.metric_named(name).title for name in differences["metric"]]), CAPTION)
    shown["files"] = [_file("differences.csv", csv_text(comparison.differences).encode())]
    shown["files"].append(_file("images.csv", csv_text(comparison.images).encode()))
    compared = {side.upper(): list(dict.fromkeys(comparison.differences[side])) for side in ("a", "b")}
    if len(sides) > 2:
        compared = {"Runs": [side.folder.resolve().name for side in sides]}
    run = [fact for fact in facts(records) if fact[0] in ("Models", "Images", "Seeds", "Engines", "Methods")]
    page = {
        "title": " against ".join(map(_few, compared.values())),
        "facts": [*((side, ", ".join(names)) for side, names in compared.items()), *run],
        "notes": comparison.notes,
        "commands": [command],
        "tables": [shown],
        "problems": problems(rows),
        "figures": [],
        "charts": list(_compared_charts(comparison)),
        "gallery": gallery(rows[rows["image"].isin(first)], records, pictures, first),
        "metrics": metrics.single_numbers(rows),
    }
    return _write(out / "index.html", page)


def headline(rows: pd.DataFrame, records: Records) -> tuple[pd.DataFrame, str]:
    """The table of a run: a line per configuration, means with intervals, the paper's MAR where it prints one; and its caption."""
    summary = tables.summarise(rows)
    by = [name for name in tables.configuration_columns(summary) if name == "method" or tables.varies(summary[name])]
    jobs = rows.drop_duplicates(tables.configuration_columns(rows))["job"]
    headings = {name: title for name, title in metrics.titles(rows).items() if not metrics.metric_named(name).by_request}
    shown = with_intervals(summary, by, headings).rename(columns=lambda name: name.removeprefix("param."))
    for metric in ("queries", "seconds"):
        shown.insert(len(shown.columns) - 2, metrics.metric_named(metric).title, summary[metric].map(number))
    of_job = {record["job"]: record for record in records}
    paper = [paper_value(of_job[job]) for job in jobs]
    caption = (
        "Means over images with 95 % bootstrap intervals, in brackets of how many images where that is fewer; "
        "↓ smaller is better, ↑ larger is better."
    )
    if "mar" in headings and any(value is not None for value, _ in paper):
        theirs = [NOTHING if value is None else f"{value:.3f}" + (f" ({differs})" if differs else "") for value, differs in paper]
        shown.insert(1 + list(shown.columns).index(headings["mar"]), "MAR, paper", theirs)
    return shown, caption


def table(name: str, frame: pd.DataFrame, caption: str) -> dict[str, Any]:
    """A table for the page, with itself as CSV."""
    head, cells = texts(frame)
    files_ = [_file(f"{name}.csv", csv_text(frame).encode())]
    return {"id": name, "caption": caption, "head": head, "cells": cells, "numbers": right_aligned(cells, len(head)), "files": files_}


def facts(records: Records) -> list[tuple[str, str]]:
    """What was run, as terms and words."""
    found: dict[str, list[str]] = {}
    for record in records:
        weights = str(record.get("weights_sha256") or "")[:12]
        parameters = record.get("model_parameters")
        size = f" ({parameters / 1e6:.1f} M parameters, weights {weights})" if parameters else ""
        images = f"{record['dataset']}: {len(record['images'])} images ({str(record.get('dataset_sha256', ''))[:12]})"
        settings = ", ".join(f"{name}={value}" for name, value in record["parameters"].items())
        where = record.get("provenance") or {}
        versions = [f"{name} {where[name]}" for name in ("python", "torch", "captum", "scikit-image", "numpy", "timm") if name in where]
        line = {"Models": record["model"] + size, "Images": images, "Seeds": str(record["seed"]), "Engines": record["engine"]}
        line |= {"Methods": record["method"] + (f": {settings}" if settings else ""), "Versions": ", ".join(versions)}
        line |= {"Revision": str(where.get("git", "")), "Machine": f"{where.get('processor', '')}, {where.get('threads', '?')} threads"}
        for name, benchmark in (record["config"].get("benchmark") or {}).items():
            values = {key: value for key, value in benchmark.items() if not key.startswith("_")}
            found.setdefault("Measures", []).append(f"{name}: " + ", ".join(f"{key}={value}" for key, value in values.items()))
        for term, words in line.items():
            found.setdefault(term, []).append(words)
    return [(term, words) for term, several in found.items() for words in dict.fromkeys(several) if words.strip(", ")]


def commands(records: Records) -> list[str]:
    """The command lines that made a run."""
    return list(
        dict.fromkeys(shlex.join(["python", "-m", "benchmarks", *record["command"][2:]]) for record in records if "command" in record)
    )


def problems(rows: pd.DataFrame) -> list[tuple[str, str, list[str]]]:
    """Configuration, status and images of what did not end well."""
    strange = rows[rows["status"] != "ok"].drop_duplicates(["job", "image", "digest"])
    grouped = strange.groupby(["configuration", "status"], sort=False)["image"]
    return [(str(name), str(status), list(dict.fromkeys(images))) for (name, status), images in grouped]


def _few(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) < 4 else f"{len(names)} configurations"


def _compared_charts(comparison: Comparison) -> Iterator[Chart]:
    views, points = [], []
    for metric, lines in comparison.differences.groupby("metric", sort=False):
        title = metrics.metric_named(str(metric)).title
        names = [f"{a} − {b}" for a, b in zip(lines["a"], lines["b"], strict=True)]
        views.append(View(title, forest(lines, f"{title}: A − B", names), lines))
        of = comparison.images[comparison.images["metric"] == metric]
        points += [View(f"{title}: {a}, {b}", scatter(images, title), images) for (a, b), images in of.groupby(["a", "b"], sort=False)]
    alt = "Mean paired differences with 95 % intervals; colour and marker say the verdict of the test."
    yield Chart("differences", "Paired differences", alt, views, axes="")
    alt = "One point an image, its value under B across and under A upwards; on the dotted line both are equal."
    yield Chart("images", "Image by image", alt, points)


def _own_tables(out: Path) -> Iterator[dict[str, Any]]:
    """The tables that the run's artefacts left."""
    for path in sorted(out.glob("*.md")):
        if path.with_suffix(".parquet").exists():
            caption = path.read_text(encoding="utf-8").split("\n\n", 1)[0]
            shown = table(path.stem, pd.read_parquet(path.with_suffix(".parquet")), caption)
            others = (path.with_suffix(suffix) for suffix in (".csv", ".tex", ".md"))
            yield shown | {"files": [_file(file.name, file.read_bytes()) for file in others if file.exists()]}


def _own_figures(out: Path, records: Records, spent: float) -> list[dict[str, Any]]:
    """The figures that the run left as PNG and PDF, inside the page while there is room for them, otherwise linked."""
    found, names = [], [record[name] for record in records for name in ("method", "model", "dataset")]
    for png in sorted((out / "figures").glob("*.png")):
        if not (pdf := png.with_suffix(".pdf")).exists():
            continue
        size = 1.4 * (png.stat().st_size + pdf.stat().st_size)
        inside = spent + size <= EMBEDDED
        spent += size * inside
        both = [
            _file(path.name, path.read_bytes()) if inside else {"name": path.name, "href": f"figures/{path.name}"} for path in (png, pdf)
        ]
        found.append({"name": _figure_title(png.stem, names), "src": both[0]["href"], "files": both})
    return found


def _figure_title(stem: str, names: Sequence[str]) -> str:
    """A figure's file name in words: what it shows, then an image, data set, method or model of the run that it is named by."""
    what, _, rest = stem.partition("_")
    for name in sorted(set(names), key=len):
        rest = rest.removesuffix(f"_{name}") + f", {name}" if rest.endswith(f"_{name}") else rest
    return ": ".join(filter(None, [FIGURES.get(what, what), rest]))


def _file(name: str, content: bytes) -> dict[str, str]:
    return {"name": name, "href": f"data:{TYPES[Path(name).suffix]};base64,{base64.b64encode(content).decode()}"}


def _write(path: Path, page: Mapping[str, Any]) -> Path:
    made: Gallery = page["gallery"]
    drawn: list[Chart] = page["charts"]
    named = {name: metrics.metric_named(name).title for name in page["metrics"]}
    data = {
        "title": page["title"],
        "commands": page["commands"],
        "charts": {
            chart.id: {"title": chart.title, "views": [{"name": view.name, "figure": view.json, "csv": view.csv} for view in chart.views]}
            for chart in drawn
        },
        "columns": made.columns,
        "rows": made.rows,
        "names": named,
        "palettes": {name: _palette(name) for name in PALETTES},
    }
    environment = Environment(loader=PackageLoader("results.page", "."), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    own = {name: files("results.page").joinpath(name).read_text(encoding="utf-8") for name in ("page.css", "page.js", "gallery.js")}
    text = environment.get_template("page.html.j2").render(
        **page,
        tips=TIPS | {title: name for name, title in named.items()},
        better={title: metrics.metric_named(name).better for name, title in named.items()},
        css=own["page.css"],
        script=own["page.js"] + own["gallery.js"],
        data=_script(data),
        pictures=[_script(shown) for shown in made.pictures],
        plotly=_plotly() if drawn else "",
        methods=list(dict.fromkeys(column["method"] for column in made.columns)),
    )
    write_atomically(path, text.encode("utf-8", "backslashreplace"))
    return path


def _script(value: Any) -> str:
    """JSON that can stand in a script element."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _palette(name: str) -> str:
    """256 colours, six hexadecimal digits each."""
    return bytes((255 * colormaps[name](np.arange(256))[:, :3]).round().astype(np.uint8).ravel()).hex()


@lru_cache(maxsize=1)
def _plotly() -> str:
    """plotly.js, compressed: a third of its size in a page."""
    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), mtime=0)).decode()
