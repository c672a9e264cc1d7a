"""The paper's tables and figures from a run's rows: one function each, named in ``conf/experiment``.

A function takes a Run and yields the files that it writes to the run's folder. Tables come as CSV, Parquet, Markdown and LaTeX
(booktabs), figures as PNG and PDF.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
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

from benchmarks.job import unpacked
from benchmarks.pictures import Pictured, named, pictured, save
from da.circles import segment_masks, segments_inside
from da.rule import picture
from da.superpixels import superpixels
from results import figures, tables
from results.export import NOTHING, interval, to_latex, to_markdown
from results.paper import beside, published
from results.statistics import bootstrap_interval

Records = list[dict[str, Any]]


@dataclass(frozen=True)
class Run:
    """A finished run. settings: the application's configuration, such as ``models`` and ``pairs`` of Table 1."""

    out: Path
    rows: pd.DataFrame
    records: Records
    settings: dict[str, Any]


Artefact = Callable[[Run], Iterator[Path]]


def table1(run: Run) -> Iterator[Path]:
    """Table 1: MAR by model, with the sizes and accuracies by which to judge "a more complex model needs less"."""
    rows, by_model = run.rows, {record["model"]: record for record in run.records}
    models = [model for model in run.settings.get("models") or by_model if model in by_model]
    ours = _means(rows, ["mar"], ["model"])
    joined = beside(ours, "Table 1", ["model"]).set_index("model")
    lines = []
    for model in [*models, *(model for model in joined.index if model not in models)]:
        record, line = by_model.get(model), joined.loc[model]
        accuracy = (record or {}).get("accuracy") or {}
        lines.append(
            {
                "model": model,
                "parameters, M": round(record["model_parameters"] / 1e6, 2) if record else np.nan,
                "accuracy": accuracy.get(model, np.nan),
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
    yield from table(pd.DataFrame(lines), run.out / "table1", caption)
    if len(models) > 1:
        pairs = [(a, b) for a, b in run.settings.get("pairs") or combinations(models, 2)]
        caption = "Does the second need less than the first? Paired Wilcoxon tests over the images, corrected by Holm."
        yield from table(_compared(tables.paired(rows, "mar", "model", pairs)), run.out / "table1_tests", caption)


def table2(run: Run) -> Iterator[Path]:
    """Table 2: MAR, seconds and queries by number of circles and superpixels, beside the paper's; a heat map of MAR."""
    rows = run.rows.assign(**{name: _values(run, name) for name in ("k", "sp_num")})
    ours = _means(rows, ["mar", "seconds", "queries"], ["k", "sp_num"])
    joined = beside(ours, "Table 2", ["k", "sp_num"])
    joined = joined[joined["ours"].notna()] if run.settings.get("scale") != "paper" else joined
    shown = joined.assign(ours=[interval(line["ours"], line["low"], line["high"]) for line in joined.to_dict("records")])
    setup = next((line["setup"] for line in joined.to_dict("records") if pd.notna(line["paper"])), "")
    caption = f"MAR, seconds and queries an image by circles k and superpixels asked for, the paper's numbers beside ours ({setup})."
    yield from table(shown.drop(columns=["low", "high", "setup"]), run.out / "table2", caption)
    grid = joined[joined["metric"] == "mar"]
    columns = [name for name in ("50", "100", "500", "1000", "pixels") if name in set(grid["sp_num"])]
    columns += [name for name in dict.fromkeys(grid["sp_num"]) if name not in columns]
    figure = Figure(figsize=(7, 2.8), layout="constrained")
    sides = figure.subplots(1, 2, sharey=True)
    for ax, value, title in zip(sides, ("ours", "paper"), (named(run.records[0]), "paper: resnet50, imagenet"), strict=True):
        figures.number_grid(grid.pivot_table(index="k", columns="sp_num", values=value).reindex(columns=columns), ax, title)
    yield from save(figure, run.out / "figures" / "table2")
    cells = rows.assign(cell="k=" + rows["k"].astype(str) + " sp_num=" + rows["sp_num"].map(_superpixels))
    default = "k=4 sp_num=500"
    in_order = cells.sort_values(["k", "sp_num"], key=lambda values: pd.to_numeric(values))  # pixels, a gap, last
    others = [cell for cell in dict.fromkeys(in_order["cell"]) if cell != default]
    if default in set(cells["cell"]) and others:
        caption = "Is the default better than the other settings? Paired Wilcoxon tests over the images, corrected by Holm."
        compared = tables.paired(cells, "mar", "cell", [(default, other) for other in others])
        yield from table(_compared(compared), run.out / "table2_tests", caption)


def fig1(run: Run) -> Iterator[Path]:
    """Fig. 1: image, kept region, map; a row an image."""
    for record in run.records:
        rows, titles = [], []
        for shown in pictured(record):
            mask = unpacked(shown.arrays["kept"], shown.image.shape[:2])
            rows.append([shown.image, picture(shown.image, mask), figures.heat_map(shown.image, shown.arrays["saliency"])])
            titles.append([shown.words, f"if present: {100 * mask.mean():.1f} %", "sum of the accepted masks"])
        yield from save(figures.grid_of_pictures(rows, titles), run.out / "figures" / f"fig1_{record['model']}")


def fig2(run: Run, states: int = 6) -> Iterator[Path]:
    """Fig. 2: accepted states of each walk as the area shrinks, and under each the first proposal rejected after it."""
    for record in run.records:
        for shown in pictured(record):
            if "trace_accepted" not in shown.arrays:
                raise ValueError("fig2 draws a walk's states: run it with method.trace=true")
            accepted = np.flatnonzero(shown.arrays["trace_accepted"])
            if not len(accepted):
                continue
            chosen = accepted[np.unique(np.linspace(0, len(accepted) - 1, states).astype(int))]
            rejected = np.flatnonzero(~shown.arrays["trace_accepted"])
            below = [rejected[rejected > step][:1] for step in chosen]
            masks = _states(shown, [*chosen, *(int(step[0]) for step in below if len(step))], record["parameters"]["sp_num"])
            top = [picture(shown.image, masks[int(step)]) for step in chosen]
            nothing, red = np.ones_like(shown.image), (1.0, 0.2, 0.2)
            bottom = [picture(shown.image, masks[int(step[0])], colour=red) if len(step) else nothing for step in below]
            share = shown.arrays["trace_share"]
            titles = [
                [f"step {step + 1}: {100 * share[step]:.0f} %" for step in chosen],
                [f"rejected: {100 * share[step[0]]:.0f} %" if len(step) else "" for step in below],
            ]
            rows = [[shown.image, *top], [nothing, *bottom]]
            figure = figures.grid_of_pictures(rows, [[shown.words, *titles[0]], ["", *titles[1]]])
            yield from save(figure, run.out / "figures" / f"fig2_{shown.key[0].replace('/', '_')}")


def fig3(run: Run) -> Iterator[Path]:
    """Fig. 3: one row an image, one column a method."""
    records = sorted(run.records, key=lambda record: tables.method_place(record["method"]))
    figure = maps(records, [record["method"] for record in records])
    yield from save(figure, run.out / "figures" / "fig3") if figure else ()


def fig4(run: Run) -> Iterator[Path]:
    """Fig. 4: one row an image, one column a model."""
    order = list(dict.fromkeys(run.rows["model"]))
    records = sorted(run.records, key=lambda record: order.index(record["model"]))
    figure = maps(records, [record["model"] for record in records], words=False)
    yield from save(figure, run.out / "figures" / "fig4") if figure else ()


def fig5(run: Run) -> Iterator[Path]:
    """Fig. 5: accuracy against the share of pixels kept, and the areas under the curves, as insertion game and as in eclique/RISE."""
    rows = run.rows
    whole = rows.drop_duplicates("image").dropna(subset=["label", "prediction"])
    accuracy = float((whole["label"] == whole["prediction"]).mean()) if len(whole) else np.nan
    metric = "insertion_accuracy" if (rows["metric"] == "insertion_accuracy").any() else "insertion_consistency"
    curves = tables.curves(rows, metric)
    figure = Figure(figsize=(5.6, 3.4), layout="constrained")
    ax = figures.insertion_curves(curves, figure.subplots())
    if np.isfinite(accuracy):
        ax.axhline(accuracy, color="0.3", linestyle=":", linewidth=1)
        ax.annotate(f"unmasked {accuracy:.3f}", (0.02, accuracy), xytext=(0, 2), textcoords="offset points", fontsize=7)
    ax.set_title(f"{named(run.records[0])}, {curves['images'].max()} images", fontsize=9)
    yield from save(figure, run.out / "figures" / "fig5")
    curves.to_csv(run.out / "fig5_curves.csv", index=False)
    yield run.out / "fig5_curves.csv"
    headings = {
        "insertion_auc" if metric == "insertion_accuracy" else "insertion_consistency_auc": "insertion AUC",
        "eclique_insertion_auc": "eclique insertion",
        "eclique_deletion_auc": "eclique deletion",
        "mar_holds": "MAR of the ranking",
        "mar": "MAR of the mask",
    }
    summary = tables.summarise(rows)
    lines = pd.DataFrame({"method": summary["method"]})
    for column, heading in headings.items():
        ends = (summary[name] for name in (column, f"{column}_low", f"{column}_high"))
        lines[heading] = [interval(*cell) for cell in zip(*ends, strict=True)]
    lines["images"], lines["statuses"] = summary["images"], summary["statuses"]
    theirs = published()
    theirs = theirs[(theirs["source"] == "Fig. 5") & (theirs["dataset"].isin([run.records[0]["dataset"].split("_")[0]]))]
    paper = f" (paper: {', '.join(f'{v:.3f}' for v in theirs['value'])})" if len(theirs) else ""
    caption = f"Areas under the curves, mean and 95 % bootstrap interval over images. Unmasked accuracy {accuracy:.3f}{paper}."
    yield from table(lines, run.out / "fig5_auc", caption)
    first = next(iter(headings))
    methods = [method for method in dict.fromkeys(rows["method"]) if method != "da_pos"]
    if len(methods) < rows["method"].nunique():
        compared = tables.paired(rows, first, "method", [("da_pos", method) for method in methods])
        caption = "DA Pos-R against each other method, insertion AUC: paired Wilcoxon tests over the images, corrected by Holm."
        yield from table(_compared(compared), run.out / "fig5_tests", caption)


def fig6(run: Run) -> Iterator[Path]:
    """Fig. 6: MAR of both rules against alpha_step and against fc, with bands and the least value marked."""
    default = {"alpha_step": 0.2, "fc": 0.95}
    rows = run.rows.assign(**{name: _values(run, name).astype(float) for name in default})
    rows = rows[(rows["metric"] == "mar") & rows["value"].notna()]
    figure = Figure(figsize=(7, 2.8), layout="constrained")
    lines = []
    for ax, name in zip(figure.subplots(1, 2), default, strict=True):
        other = next(iter(default.keys() - {name}))
        for method, group in rows[np.isclose(rows[other], default[other])].groupby("method"):
            table_ = group.pivot_table(index="image", columns=name, values="value")
            low, high = bootstrap_interval(table_.to_numpy())
            curve = pd.DataFrame({"x": table_.columns, "mean": table_.mean().to_numpy(), "low": low, "high": high})
            figures.band(curve, ax, str(method))
            lines += [{"method": method, "parameter": name, "images": len(table_), **line} for line in curve.to_dict("records")]
        ax.set(xlabel=name, ylabel="MAR", ylim=(0, None), xlim=(-0.02, 1.02))
        ax.legend(fontsize=7, frameon=False)
    figure.suptitle(f"{named(run.records[0])}, {rows['image'].nunique()} images", fontsize=9)
    yield from save(figure, run.out / "figures" / "fig6")
    points = pd.DataFrame(lines)
    points.to_csv(run.out / "fig6_curves.csv", index=False)
    yield run.out / "fig6_curves.csv"
    least = points.loc[points.groupby(["method", "parameter"])["mean"].idxmin()]
    least = least.assign(MAR=[interval(line["mean"], line["low"], line["high"]) for line in least.to_dict("records")])
    least = least.rename(columns={"x": "least at"}).assign(paper=least["parameter"].map(default))
    columns = ["method", "parameter", "least at", "paper", "MAR", "images"]
    yield from table(least[columns], run.out / "fig6_minima", "Where MAR is least, and where the paper finds it.")


def runtime(run: Run) -> Iterator[Path]:
    """The paper's complexity evaluation: seconds, passes and memory of a map, without the first image, which is warm-up."""
    lines = []
    theirs = published().query("source == 'Complexity evaluation'").set_index("method")["value"]
    for method, group in run.rows.groupby("method", sort=False):
        of = group.pivot_table(index="image", columns="metric", values="value", sort=False)
        of = of.iloc[1:] if len(of) > 1 else of
        line: dict[str, Any] = {"method": method, "seconds, median": of["seconds"].median()}
        line |= {"least": of["seconds"].min(), "most": of["seconds"].max(), "paper": theirs.get(method, np.nan)}
        line |= {"forward passes": of["queries"].mean(), "backward passes": of["backwards"].mean()}
        lines.append(line | {"peak MB": of["peak_mb"].max() if "peak_mb" in of else np.nan, "images": len(of)})
    where = run.records[0]["provenance"]
    versions = ", ".join(f"{name} {where[name]}" for name in ("python", "torch") if name in where)
    caption = (
        f"Seconds a map, one image at a time, after warm-up: {named(run.records[0])}, {run.records[0]['engine']}; "
        f"{where['processor']}, {where['threads']} threads; {versions}. Paper: resnet50, GeForce GTX TITAN X."
    )
    yield from table(pd.DataFrame(lines), run.out / "runtime", caption)


def maps(records: Records, columns: Sequence[str], *, words: bool = True) -> Figure | None:
    """A row an image: the image and then each job's map, blank where it failed; None where all did.

    words: the class over each image, else over each map.
    """
    rows: dict[tuple[str, str], list[NDArray[np.float32]]] = {}
    titles: dict[tuple[str, str], list[str]] = {}
    for i, record in enumerate(records):
        for shown in pictured(record):
            row, title = rows.setdefault(shown.key, [shown.image]), titles.setdefault(shown.key, [shown.words if words else ""])
            row += [np.ones_like(shown.image)] * (i + 1 - len(row))
            title += [""] * (i + 1 - len(title))
            row.append(figures.heat_map(shown.image, shown.arrays["saliency"]))
            title.append("" if words else shown.words)
    if not rows:
        return None
    head = [list(title) for title in titles.values()]
    below = [*head[0][1:], *[""] * len(columns)]
    head[0] = [head[0][0], *("\n".join(filter(None, pair)) for pair in zip(columns, below, strict=False))]
    return figures.grid_of_pictures(list(rows.values()), head)


def table(frame: pd.DataFrame, stem: Path, caption: str) -> Iterator[Path]:
    """Write a table in all its forms, and its caption beside it."""
    frame.to_csv(stem.with_suffix(".csv"), index=False)
    frame.to_parquet(stem.with_suffix(".parquet"), index=False)
    stem.with_suffix(".md").write_text(f"{caption}\n\n{to_markdown(frame)}", encoding="utf-8")
    stem.with_suffix(".tex").write_text(to_latex(frame, caption, f"tab:{stem.name}"), encoding="utf-8")
    for suffix in (".csv", ".parquet", ".md", ".tex"):
        yield stem.with_suffix(suffix)


def _means(rows: pd.DataFrame, metrics: Sequence[str], by: list[str]) -> pd.DataFrame:
    """``by, metric, value, low, high, model, dataset, n``: what ``beside`` takes."""
    lines = []
    for values, group in rows[rows["metric"].isin(metrics) & rows["value"].notna()].groupby([*by, "metric"], dropna=False, sort=False):
        found = group["value"].to_numpy()
        low, high = bootstrap_interval(found)
        where = {"model": group["model"].iloc[0], "dataset": group["dataset"].iloc[0]}
        cell = dict(zip([*by, "metric"], values, strict=True))
        lines.append({**where, **cell, "value": found.mean(), "low": float(low), "high": float(high), "n": len(found)})
    return pd.DataFrame(lines)


def _values(run: Run, name: str) -> pd.Series[Any]:
    """A hyper-parameter of each row, whether or not it varies in the run."""
    return run.rows["hyperparameters"].map(lambda text: json.loads(text).get(name)).astype(object)


def _superpixels(value: Any) -> str:
    return "pixels" if pd.isna(value) else f"{int(value)}"


def _compared(compared: pd.DataFrame) -> pd.DataFrame:
    """A family of comparisons as text."""
    difference = [interval(line["difference"], line["low"], line["high"]) for line in compared.to_dict("records")]
    verdicts = [
        verdict.replace("A smaller", f"{a} smaller").replace("B smaller", f"{b} smaller")
        for verdict, a, b in zip(compared["verdict"], compared["a"], compared["b"], strict=True)
    ]
    p = [NOTHING if pd.isna(value) else f"{value:.2g}" for value in compared["p_holm"]]
    effect = compared["effect"].round(2)
    columns = {"A": compared["a"], "B": compared["b"], "A - B": difference, "p (Holm)": p, "effect": effect, "images": compared["n"]}
    return pd.DataFrame(columns | {"verdict": verdicts})


def _statuses(rows: pd.DataFrame) -> str:
    counts = rows.drop_duplicates("image")["status"].str.split(":").str[0].value_counts()
    return ", ".join(f"{count} {status}" for status, count in counts.items())


def _states(shown: Pictured, steps: Sequence[int], sp_num: int | None) -> dict[int, NDArray[np.bool_]]:
    """The masks of a walk's states, from its circles."""
    segments = superpixels(torch.from_numpy(shown.image).permute(2, 0, 1)[None], sp_num)
    found = {}
    for step in steps:
        x, y, r = torch.from_numpy(shown.arrays["trace_circles"][step])[:, None]
        found[int(step)] = segment_masks(segments_inside(x, y, r, segments.centres), segments.index)[0].numpy()
    return found


def criteria(run: Run) -> Iterator[Path]:
    """MAR of every ranking, by criterion and fill."""
    rows = run.rows[run.rows["metric"].str.startswith("mar_") & run.rows["value"].notna()]
    lines = []
    for method, group in rows.groupby("method", sort=False):
        line: dict[str, Any] = {"method": method}
        for metric, of in group.groupby("metric", sort=False):
            low, high = bootstrap_interval(of["value"].to_numpy())
            line[str(metric).removeprefix("mar_").replace("_", ", ")] = interval(of["value"].mean(), float(low), float(high), 2)
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
    yield from table(pd.DataFrame(lines).round(3), run.out / "stability", caption)


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
    frame = pd.DataFrame(lines)
    frame.to_csv(run.out / "sanity_images.csv", index=False)
    yield run.out / "sanity_images.csv"
    shown = []
    for (name, mode, part), group in frame.groupby(["method", "mode", "layers"], sort=False):
        cells: dict[str, str] = {}
        for metric in ("spearman", "ssim"):
            values = group[metric].dropna().to_numpy()
            low, high = bootstrap_interval(values) if len(values) else (np.nan, np.nan)
            cells[metric] = interval(values.mean() if len(values) else np.nan, float(low), float(high), 2)
        shown.append({"method": name, "mode": mode, "layers randomised": part, **cells, "images": group["image"].nunique()})
    caption = (
        "Likeness to the trained model's map after randomising layers, counted from the output, as shares of all: near 1 the map does not "
        "depend on what was learned. A constant map has no rank correlation. The class explained is the one the model at hand predicts."
    )
    order = pd.DataFrame(shown).sort_values("method", key=lambda names: names.map(tables.method_place), kind="stable")
    yield from table(order, run.out / "sanity", caption)
    cascading = frame[frame["mode"] == "cascading"]
    if len(set(cascading["last"])) > 1:
        figure = Figure(figsize=(7, 2.8), layout="constrained")
        for ax, metric in zip(figure.subplots(1, 2, sharex=True), ("spearman", "ssim"), strict=True):
            figures.lines(cascading.pivot_table(index="last", columns="method", values=metric), ax)
            ax.set(xlabel="share of layers randomised, from the output", ylabel=metric)
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
