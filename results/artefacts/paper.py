"""The paper's tables and figures from a run's rows: one function each, named in ``conf/experiment``.

A function takes a Run and yields the files that it writes to the run's folder. Tables come as CSV, Parquet, Markdown and LaTeX
(booktabs), figures as PNG and PDF.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from results import tables
from results.artefacts.parts import Run, for_each_part, image_count_text, run_title
from results.export import comparisons, file, interval, table, to_csv
from results.figures import matplotlib as figures
from results.figures.matplotlib import save
from results.metrics import metric_named as of_metric
from results.paper import SETTINGS, is_algorithm_1, join_published, published
from results.statistics import bootstrap_interval, compare_family

COMPARED = ("k", "sp_num", *SETTINGS)  # hyper-parameters that stand beside the paper's number where they are not the paper's


@for_each_part("model")
def table1(run: Run) -> Iterator[Path]:
    """Table 1: MAR by model, with the sizes and accuracies by which to judge "a more complex model needs less".

    Parameters
    ----------
    run : Run
        A finished run, see ``results.artefacts.parts.Run``.

    Yields
    ------
    Path
        Of each file that it writes.
    """
    rows, by_model = run.rows, {record["model"]: record for record in run.records}
    models = [model for model in run.settings.get("models") or by_model if model in by_model]
    ours = _means(rows, ["mar"], ["model"])
    joined = join_published(ours, "Table 1", ["model"]).set_index("model")
    if not any(is_algorithm_1(record) for record in run.records):  # the paper prints nothing of other methods
        joined = joined.loc[models].assign(paper=np.nan, setup="not in the paper")
    lines = []
    for model in [*models, *(model for model in joined.index if model not in models)]:
        record, line = by_model.get(model), joined.loc[model]
        accuracy = (record or {}).get("accuracy") or {}
        lines.append(
            {
                "model": model,
                "parameters, M": round(record["model_parameters"] / 1e6, 2) if record else np.nan,
                "accuracy": round(accuracy.get(model, np.nan), 3),
                "paper": line["paper"],
                "ours": interval(line["ours"], line["low"], line["high"]),
                "images": len(record["images"]) if record else 0,
                "statuses": _statuses(rows[rows["model"] == model]),
                "setup": line["setup"],
            }
        )
    looked = max((record.get("accuracy", {}).get("images", 0) for record in run.records), default=0)
    caption = (
        f"MAR of Pos-R by model, mean and 95 % bootstrap interval over images that all models classify correctly. "
        f"Accuracy: on the {looked} images looked at to find them."
    )
    yield from table(pd.DataFrame(lines), run.stem("table1"), caption)
    if len(models) > 1:
        pairs = [(a, b) for a, b in run.settings.get("pairs") or combinations(models, 2)]
        caption = "Does the second need less than the first? Paired Wilcoxon tests over the images, corrected by Holm."
        yield from table(comparisons(tables.paired(rows, "mar", "model", pairs)), run.stem("table1_tests"), caption)


@for_each_part("param.k", "param.sp_num")
def table2(run: Run) -> Iterator[Path]:
    """Table 2: MAR, seconds and queries by number of circles and superpixels, beside the paper's; a heat map of MAR.

    Parameters
    ----------
    run : Run
        A finished run, see ``results.artefacts.parts.Run``.

    Yields
    ------
    Path
        Of each file that it writes.
    """
    rows = run.rows.assign(**{name: _values(run, name) for name in ("k", "sp_num")})  # whether or not they vary
    ours = _means(rows, ["mar", "seconds", "queries"], ["k", "sp_num"])
    joined = join_published(ours, "Table 2", ["k", "sp_num"])
    joined = joined[joined["ours"].notna()] if run.settings.get("scale") != "paper" else joined
    shown = joined.assign(ours=[interval(line["ours"], line["low"], line["high"]) for line in joined.to_dict("records")])
    setup = next((line["setup"] for line in joined.to_dict("records") if pd.notna(line["paper"])), "")
    caption = f"MAR, seconds and queries per image by circles k and superpixels asked for, the paper's numbers beside ours ({setup})."
    yield from table(shown.drop(columns=["low", "high", "setup"]), run.stem("table2"), caption)
    grid = joined[joined["metric"] == "mar"]
    columns = [name for name in ("50", "100", "500", "1000", "pixels") if name in set(grid["sp_num"])]
    columns += [name for name in dict.fromkeys(grid["sp_num"]) if name not in columns]
    figure = Figure(figsize=(7, 2.8), layout="constrained")
    sides = figure.subplots(1, 2, sharey=True)
    for ax, value, title in zip(sides, ("ours", "paper"), (run_title(run.records[0]), "paper: resnet50, imagenet"), strict=True):
        figures.number_grid(grid.pivot_table(index="k", columns="sp_num", values=value).reindex(columns=columns), ax, title)
    yield from save(figure, run.figure("table2"))
    cells = rows.assign(cell="k=" + rows["k"].astype(str) + " sp_num=" + rows["sp_num"].map(_superpixels))
    default = "k=4 sp_num=500"
    in_order = cells.sort_values(["k", "sp_num"], key=lambda values: pd.to_numeric(values))  # pixels, a gap, last
    others = [cell for cell in dict.fromkeys(in_order["cell"]) if cell != default]
    if default in set(cells["cell"]) and others:
        caption = "Is the default better than the other settings? Paired Wilcoxon tests over the images, corrected by Holm."
        compared = tables.paired(cells, "mar", "cell", [(default, other) for other in others])
        yield from table(comparisons(compared), run.stem("table2_tests"), caption)


@for_each_part("method", "param")
def fig5(run: Run) -> Iterator[Path]:
    """Fig. 5: accuracy against the share of pixels kept, and the areas under the curves, as insertion game and as in eclique/RISE.

    Parameters
    ----------
    run : Run
        A finished run, see ``results.artefacts.parts.Run``.

    Yields
    ------
    Path
        Of each file that it writes.
    """
    rows = run.rows
    whole = rows.drop_duplicates(["image", "digest"]).dropna(subset=["label", "prediction"])
    accuracy = float((whole["label"] == whole["prediction"]).mean()) if len(whole) else np.nan
    metric = "insertion_accuracy" if (rows["metric"] == "insertion_accuracy").any() else "insertion_consistency"
    curves = tables.curves(rows, metric)
    figure = Figure(figsize=(5.6, 3.4), layout="constrained")
    ax = figures.insertion_curves(curves, figure.subplots(), hue="configuration", metric=metric)
    if np.isfinite(accuracy):
        ax.axhline(accuracy, color="0.3", linestyle=":", linewidth=1)
        ax.annotate(f"unmasked {accuracy:.3f}", (0.02, accuracy), xytext=(0, 2), textcoords="offset points", fontsize=7)
    ax.set_title(f"{run_title(run.records[0])}, {image_count_text(curves['images'])}", fontsize=9)
    yield from save(figure, run.figure("fig5"))
    to_csv(curves, file(run.stem("fig5_curves"), ".csv"))
    yield file(run.stem("fig5_curves"), ".csv")
    headings = {
        "insertion_auc" if metric == "insertion_accuracy" else "insertion_consistency_auc": "insertion AUC",
        "eclique_insertion_auc": "eclique insertion",
        "eclique_deletion_auc": "eclique deletion",
        "mar_holds": "MAR of the ranking",
        "mar": "MAR of the mask",
    }
    summary = tables.summarise(rows)
    lines = pd.DataFrame({"method": list(dict.fromkeys(rows["configuration"]))})
    for column, heading in ((column, heading) for column, heading in headings.items() if column in summary):
        ends = (summary[name] for name in (column, f"{column}_low", f"{column}_high"))
        lines[heading] = [interval(*cell) for cell in zip(*ends, strict=True)]
    lines["images"], lines["statuses"] = summary["images"], summary["statuses"]
    theirs = published()
    theirs = theirs[(theirs["source"] == "Fig. 5") & (theirs["dataset"] == run.settings.get("paper_dataset"))]
    paper = "".join(f" (paper: {line['value']:.3f}, {line['model']}, {line['n']} images)" for line in theirs.to_dict("records"))
    caption = "Areas under the curves, mean and 95 % bootstrap interval over images. "
    caption += (
        f"Unmasked accuracy {accuracy:.3f}{paper}." if np.isfinite(accuracy) else "Without labels, of how often the class stays the same."
    )
    yield from table(lines, run.stem("fig5_auc"), caption)
    first = next(iter(headings))
    ours = next((name for name in lines["method"] if name.split()[0] == "da_pos"), None)
    if others := [(ours, name) for name in lines["method"] if ours is not None and name != ours]:
        compared = tables.paired(rows, first, "configuration", others)
        caption = "DA Pos-R against each other method, insertion AUC: paired Wilcoxon tests over the images, corrected by Holm."
        yield from table(comparisons(compared, of_metric(first).better), run.stem("fig5_tests"), caption)


@for_each_part("method", "param.alpha_step", "param.fc")
def fig6(run: Run) -> Iterator[Path]:
    """Fig. 6: MAR of both rules against alpha_step and against fc, with bands and the least value marked.

    Parameters
    ----------
    run : Run
        A finished run, see ``results.artefacts.parts.Run``.

    Yields
    ------
    Path
        Of each file that it writes.
    """
    default = {"alpha_step": 0.2, "fc": 0.95}
    rows = run.rows.assign(**{name: _values(run, name).astype(float) for name in default})
    rows = rows[(rows["metric"] == "mar") & rows["value"].notna()]
    figure = Figure(figsize=(7, 2.8), layout="constrained")
    lines, cells = [], dict[str, "pd.Series[float]"]()
    for ax, name in zip(figure.subplots(1, 2), default, strict=True):
        other = next(iter(default.keys() - {name}))
        held = default[other] if np.isclose(rows[other], default[other]).any() else rows[other].mode().iloc[0]
        for method, group in rows[np.isclose(rows[other], held)].groupby("method", sort=False):
            table_ = group.assign(image=tables.pairing(group)).pivot_table(index="image", columns=name, values="value")
            low, high = bootstrap_interval(table_.to_numpy())
            curve = pd.DataFrame({"x": table_.columns, "mean": table_.mean().to_numpy(), "low": low, "high": high})
            figures.band(curve, ax, str(method))
            cells |= {f"{method} {name}={x:g}": table_[x] for x in table_.columns}
            lines += [{"method": method, "parameter": name, "images": len(table_), **line} for line in curve.to_dict("records")]
        ax.set(xlabel=name, ylabel="MAR", ylim=(0, None), xlim=(-0.02, 1.02))
        ax.legend(fontsize=7, frameon=False)
    figure.suptitle(f"{run_title(run.records[0])}, {rows['image'].nunique()} images", fontsize=9)
    yield from save(figure, run.figure("fig6"))
    points = pd.DataFrame(lines)
    to_csv(points, file(run.stem("fig6_curves"), ".csv"))
    yield file(run.stem("fig6_curves"), ".csv")
    least = points.loc[points.groupby(["method", "parameter"])["mean"].idxmin()]
    curves = [(str(line["method"]), str(line["parameter"]), float(line["x"])) for line in least.to_dict("records")]
    least = least.assign(MAR=[interval(line["mean"], line["low"], line["high"]) for line in least.to_dict("records")])
    least = least.rename(columns={"x": "least at"}).assign(paper=least["parameter"].map(default))
    columns = ["method", "parameter", "least at", "paper", "MAR", "images"]
    yield from table(least[columns], run.stem("fig6_minima"), "Where MAR is least, and where the paper finds it.")
    pairs = [(f"{method} {name}={x:g}", f"{method} {name}={default[name]:g}") for method, name, x in curves if x != default[name]]
    if pairs := [pair for pair in pairs if all(end in cells for end in pair)]:
        images = {end: cells[end].reindex(tables.pairing(rows).unique()).to_numpy() for pair in pairs for end in pair}
        caption = (
            "Is the least MAR less than at the paper's value? Paired Wilcoxon tests over the images, corrected by Holm. "
            "A was chosen as the least on these images, which favours it."
        )
        yield from table(comparisons(tables.comparison_rows(compare_family(images, pairs), "mar")), run.stem("fig6_tests"), caption)


@for_each_part("method", "param")
def runtime(run: Run) -> Iterator[Path]:
    """The paper's complexity evaluation: seconds, passes and memory of a map, without the first image, which is warm-up.

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
    theirs = published().query("source == 'Complexity evaluation'").set_index("method")["value"]
    for method, group in run.rows.groupby("configuration", sort=False):
        of = group.pivot_table(index=["job", "image", "digest"], columns="metric", values="value", sort=False)
        warm = of[of.index.get_level_values("job").duplicated()]  # without the first of each job
        of = warm if len(warm) else of
        line: dict[str, Any] = {"method": method, "seconds, median": of["seconds"].median()}
        line |= {"least": of["seconds"].min(), "most": of["seconds"].max(), "paper": theirs.get(group["method"].iloc[0], np.nan)}
        line |= {"forward passes": of["queries"].mean(), "backward passes": of["backwards"].mean()}
        lines.append(line | {"peak MB": of["peak_mb"].max() if "peak_mb" in of else np.nan, "images": len(of)})
    where = json.loads(run.rows.loc[run.rows["metric"] == "seconds", "provenance"].iloc[0])  # when they were measured
    versions = ", ".join(f"{name} {where[name]}" for name in ("python", "torch") if name in where)
    caption = (
        f"Seconds a map, one image at a time, after warm-up: {run_title(run.records[0])}, {run.records[0]['engine']}; "
        f"{where['processor']}, {where['threads']} threads; {versions}. Paper: resnet50, GeForce GTX TITAN X."
    )
    yield from table(pd.DataFrame(lines), run.stem("runtime"), caption)


def _means(rows: pd.DataFrame, metrics: Sequence[str], by: list[str]) -> pd.DataFrame:
    """``by, metric, value, low, high, model, dataset, n``: what ``beside`` takes."""
    lines = []
    for values, group in rows[rows["metric"].isin(metrics) & rows["value"].notna()].groupby([*by, "metric"], dropna=False, sort=False):
        found = tables.per_image(group)
        low, high = bootstrap_interval(found) if not of_metric(group["metric"].iloc[0]).batched else (np.nan, np.nan)
        where = {"model": group["model"].iloc[0], "dataset": group["dataset"].iloc[0]}
        where |= {
            name: value for name, value in json.loads(group["hyperparameters"].iloc[0]).items() if name in COMPARED and name not in by
        }
        cell = dict(zip([*by, "metric"], values, strict=True))
        lines.append({**where, **cell, "value": found.mean(), "low": float(low), "high": float(high), "n": len(found)})
    return pd.DataFrame(lines)


def _values(run: Run, name: str) -> pd.Series[Any]:
    """A hyper-parameter of each row, whether or not it varies in the run."""
    return run.rows["hyperparameters"].map(lambda text: json.loads(text).get(name)).astype(object)


def _superpixels(value: Any) -> str:
    return "pixels" if pd.isna(value) else f"{int(value)}"


def _statuses(rows: pd.DataFrame) -> str:
    counts = rows.drop_duplicates(["image", "digest", "seed"])["status"].str.split(":").str[0].value_counts()
    return ", ".join(f"{count} {status}" for status, count in counts.items())
