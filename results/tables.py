"""From stored rows to tidy frames and summaries."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from results.statistics import Comparison, bootstrap_interval, compare_family
from results.store import FAILED, Store, digest

GROUP = ["dataset", "model", "method"]
METHOD_ORDER = ("da_pos", "da_neg", "gradient", "guided_backprop", "gradcam", "rise", "ep")  # the paper's Fig. 3
REFERENCES = ("random", "centre", "sobel")  # know nothing of the model; listed last
SUMMARY = (
    "mar",
    "mar_first",
    "mar_holds",
    "insertion_auc",
    "insertion_consistency_auc",
    "eclique_insertion_auc",
    "eclique_deletion_auc",
    "grid_pointing",
    "queries",
    "backwards",
    "seconds",
)
LARGER = ("insertion_auc", "insertion_consistency_auc", "eclique_insertion_auc", "grid_pointing")  # is better
BATCHED = ("seconds",)  # a batch's mean stands at each of its images: they are no sample, and have no interval

FIXED = {*GROUP, "engine", "seed", "image", "label", "prediction", "confidence", "status", "metric", "x", "value"}
FIXED |= {"hyperparameters", "provenance", "images", "statuses", "configuration", "side"}


def records(out: Path) -> list[dict[str, Any]]:
    """The records that a run's jobs left, each with the path of its store. Raises ValueError where there is no run."""
    found = [json.loads(path.read_text()) for path in sorted((Path(out) / "jobs").glob("*.json"))]
    lists: dict[str, Any] = {}  # jobs on the same images share their list
    for record in found:
        record["store"] = os.path.normpath(Path(out) / record["store"])  # relative to the run, so that both can be elsewhere
        if isinstance(name := record.get("images"), str):
            if name not in lists:
                lists[name] = json.loads((Path(out) / "images" / f"{name}.json").read_text())
            record["images"] = lists[name]
    if not found:
        raise ValueError(f"{out} holds no run: jobs leave their record in {out}/jobs")
    return found


def nothing(out: Path) -> ValueError:
    """Why a run has no rows."""
    stores = {record["store"] for record in records(out)}
    if gone := [store for store in stores if not Path(store).is_dir()]:
        return ValueError(f"{out} kept its results in {gone[0]}, which is not there: put the store back, or run its command again")
    return ValueError(f"{out} has no results yet: run its command first, or again")


def mixture(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """What differs between a run's jobs that are shown beside one another: their images, and the settings of their measures."""
    notes = []
    for what, of in (("images", "images"), ("settings of the measures", "benchmark")):
        seen: dict[tuple[Any, ...], dict[str, list[str]]] = {}
        for record in records:
            content = record["images"] if of == "images" else record["config"].get(of)
            group = (record["dataset"], record["model"])
            seen.setdefault(group, {}).setdefault(digest({"": content}), []).append(str(record["method"]))
        for kinds in seen.values():
            if len(kinds) > 1:
                told = "; ".join(", ".join(dict.fromkeys(methods)) for methods in kinds.values())
                notes.append(f"jobs of this run have other {what} than others ({told}): compare them only where they agree")
    return notes


def load(out: Path, varying: list[str] | None = None) -> pd.DataFrame:
    """Every row of a run: one an image, method, metric and x, with the configuration that made it.

    varying: hyper-parameters that are to be columns of their own, named as in the configuration; left out, those that differ between
    the run's jobs of one method. ``status`` is that of the image's attribution. Raises ValueError where there is no run.
    """
    jobs = records(out)
    varying = varying_parameters(jobs) if varying is None else varying
    frames = [_job_rows(record, varying) for record in jobs]
    rows = pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True)
    return rows if rows.empty else settled(rows, varying)


def settled(rows: pd.DataFrame, varying: Sequence[str]) -> pd.DataFrame:
    """Rows in the order of their methods, each hyper-parameter's column of one type, as a file needs it."""
    for name in varying:
        if pd.api.types.infer_dtype(rows[name], skipna=True) in ("mixed", "mixed-integer"):
            rows[name] = rows[name].map(str, na_action="ignore")
    return rows.sort_values("method", key=lambda names: names.map(method_place), kind="stable", ignore_index=True)


def method_place(name: str) -> tuple[int, str]:
    """Where a method stands in tables and figures: the paper's first, then the others by name, then the references."""
    if name in METHOD_ORDER:
        return METHOD_ORDER.index(name), ""
    return (99 if name in REFERENCES else 50), name


def varying_parameters(records: list[dict[str, object]]) -> list[str]:
    """The hyper-parameters that differ between jobs of one method."""
    values: dict[tuple[str, str], set[str]] = {}
    for record in records:
        assert isinstance(record["parameters"], dict)
        for name, value in record["parameters"].items():
            values.setdefault((str(record["method"]), name), set()).add(json.dumps(value))
    return sorted({name for (_, name), seen in values.items() if len(seen) > 1})


def _job_rows(record: dict[str, object], varying: list[str]) -> pd.DataFrame:
    store = Store(Path(str(record["store"])))
    keys, parameters, images = record["keys"], record["parameters"], record["images"]
    assert isinstance(keys, dict)
    assert isinstance(parameters, dict)
    assert isinstance(images, list)
    labels = {(image, content): label for image, content, label in images}
    frames = [store.rows(key, labels) for key in keys.values()]
    rows = pd.concat([frame for frame in frames if len(frame)], ignore_index=True) if any(map(len, frames)) else pd.DataFrame()
    if rows.empty:
        return rows
    image = pd.MultiIndex.from_frame(rows[["image", "digest"]])
    rows["label"] = pd.array([labels[key] for key in image], dtype="Int64")
    wide = rows[rows["metric"].isin(["prediction", "confidence"])].pivot_table(index=["image", "digest"], columns="metric", values="value")
    for column in ("prediction", "confidence"):
        rows[column] = wide[column].reindex(image).to_numpy() if column in wide else np.nan
    rows["prediction"] = rows["prediction"].astype("Int64")
    status = rows[rows["metric"] == "queries"].drop_duplicates(["image", "digest"]).set_index(["image", "digest"])["status"]
    of_attribution = status.reindex(image).to_numpy()
    failed = rows["status"].str.startswith(FAILED).to_numpy()
    rows["status"] = np.where(failed | pd.isna(of_attribution), rows["status"], of_attribution)
    rows = rows[~rows["metric"].isin(["prediction", "confidence"]) | failed]
    rows = rows.drop(columns="digest").assign(hyperparameters=hyperparameters(parameters))
    for i, (name, value) in enumerate(columns_of(record, varying).items()):
        rows.insert(i, name, value)
    return rows


def columns_of(record: Mapping[str, Any], varying: Sequence[str]) -> dict[str, Any]:
    """What the columns that tell configurations apart hold in a job's rows."""
    front = {name: record[name] for name in (*GROUP, "engine", "seed")} | {name: record["parameters"].get(name) for name in varying}
    return {name: value if not isinstance(value, list) else json.dumps(value) for name, value in front.items()}


def hyperparameters(parameters: Mapping[str, Any]) -> str:
    """A method's hyper-parameters as text, in the column of that name."""
    return json.dumps(parameters, sort_keys=True)


def better(metric: str) -> str:
    """Whether a smaller or a larger value of a metric is better; empty where neither is known to be."""
    return "larger" if metric in LARGER else "smaller" if metric in SUMMARY else ""


def groups(rows: pd.DataFrame) -> list[str]:
    """The columns that tell a run's configurations apart: data set, model, method, and hyper-parameters that vary."""
    return GROUP + [name for name in rows.columns if name not in FIXED and not name.startswith(SUMMARY)]


def settings(rows: pd.DataFrame) -> list[str]:
    """The columns that tell configurations apart, seed and engine among them."""
    return [*groups(rows), *(name for name in ("seed", "engine") if name in rows)]


def word(value: Any) -> str:
    """A setting as a word."""
    if pd.isna(value):
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def varies(values: pd.Series[Any]) -> bool:
    """Whether a setting has several values."""
    return len(set(values.drop_duplicates().map(word))) > 1


def configurations(rows: pd.DataFrame, shown: Sequence[str] | None = None) -> pd.Series[str]:
    """A name for each row's configuration: the method, and the settings ``shown``, left out those that differ between the rows.

    A hyper-parameter that the method does not have is not in its name.
    """
    if shown is None:
        shown = [name for name in settings(rows) if varies(rows[name])]
    names = rows["method"].astype(str)
    for name in shown:
        if name != "method":
            added = f" {name}=" + rows[name].map(word)
            parameter = name not in (*GROUP, "seed", "engine")
            names += added.where(rows["hyperparameters"].str.contains(f'"{name}"', regex=False), "") if parameter else added
    return names


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """One line a configuration: mean and 95 % interval over images of each metric, and how many attributions had which status.

    Under several seeds or engines an image has the mean of its values, so that the interval remains one over images. Images whose
    computation failed have no values; the others all count, whatever their status.
    """
    lines = []
    by = groups(rows)
    for values, group in rows.groupby(by, dropna=False, sort=False):
        known = group[group["value"].notna()]
        found = {
            metric: per_image(*(known.loc[known["metric"] == metric, name].to_numpy() for name in ("image", "value"))) for metric in SUMMARY
        }
        lines.append(line(dict(zip(by, values, strict=True)), group, found))
    return pd.DataFrame(lines)


def per_image(images: NDArray[Any], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of each image's values, in the order in which the images come first."""
    return np.asarray(pd.Series(values).groupby(images, sort=False).mean(), float)


def line(named: Mapping[str, Any], attributions: pd.DataFrame, values: Mapping[str, NDArray[np.float64]]) -> dict[str, Any]:
    """A configuration's line of a summary, of the images that did not fail.

    attributions: rows ``image, seed, engine, status``, of which the first of each attribution counts. values: of each metric, one an
    image that has it.
    """
    first = attributions.drop_duplicates([name for name in ("image", "seed", "engine") if name in attributions])
    statuses = first["status"].str.split(":").str[0]
    found = {**named, "images": first.loc[statuses != FAILED, "image"].nunique()}
    for metric, of_metric in values.items():
        low, high = bootstrap_interval(of_metric) if len(of_metric) and metric not in BATCHED else (np.nan, np.nan)
        found |= {metric: of_metric.mean() if len(of_metric) else np.nan, f"{metric}_low": float(low), f"{metric}_high": float(high)}
    counts = ", ".join(f"{count} {status}" for status, count in statuses.value_counts().items())
    return found | {"statuses": counts}


def curves(rows: pd.DataFrame, metric: str = "insertion_accuracy") -> pd.DataFrame:
    """A metric against x: mean and 95 % interval over images, one line a configuration and x."""
    lines = []
    by = groups(rows)
    for values, group in rows[rows["metric"] == metric].groupby(by, dropna=False, sort=False):
        table = group.pivot_table(index="image", columns="x", values="value")
        low, high = bootstrap_interval(table.to_numpy())
        configuration = dict(zip(by, values, strict=True))
        for x, mean, below, above in zip(table.columns, table.mean(), low, high, strict=True):
            lines.append({**configuration, "x": x, "mean": mean, "low": below, "high": above, "images": len(table)})
    return pd.DataFrame(lines)


def paired(rows: pd.DataFrame, metric: str, of: str = "method", pairs: Sequence[tuple[str, str]] | None = None) -> pd.DataFrame:
    """Compare the values of column ``of`` two by two on a metric, paired over the images both have (``statistics.compare_family``).

    rows: of one data set, with everything but ``of`` held fixed. pairs: those that make up the family, left out all of them.

    Returns ``a, b, metric, difference, low, high, p, p_holm, effect, n, verdict``. Raises ValueError where one of them has two values for
    an image, since a mean over settings would pass for a measurement.
    """
    chosen = rows[(rows["metric"] == metric) & rows["value"].notna()]
    chosen = chosen.assign(**{of: chosen[of].astype(str)})
    if len(twice := chosen[chosen.duplicated([of, "image"])]):
        raise ValueError(f"{metric} of {of} {twice[of].iloc[0]} has several values for image {twice['image'].iloc[0]}: hold the rest fixed")
    table = chosen.pivot_table(index="image", columns=of, values="value")[list(dict.fromkeys(chosen[of]))]
    return compared(compare_family({str(name): table[name].to_numpy(dtype=float) for name in table.columns}, pairs), metric)


def compared(found: Mapping[tuple[str, str], Comparison], metric: str) -> pd.DataFrame:
    """A family of comparisons as rows, see ``paired``."""
    lines = [{"a": a, "b": b, "metric": metric, **asdict(c), "verdict": c.verdict} for (a, b), c in found.items()]
    names = ["a", "b", "metric", "difference", "low", "high", "p", "p_holm", "effect", "n", "verdict"]
    return pd.DataFrame(lines, columns=names)
