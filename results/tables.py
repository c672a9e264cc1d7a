"""From stored rows to tidy frames and summaries."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from results import metrics
from results.naming import SECTIONS, columns, configuration, naming_columns, varying
from results.records import ID_COLUMNS, PREDICTED, images_of, records
from results.statistics import Comparison, bootstrap_interval, compare_family
from results.store.published import store_of
from results.store.store import FAILED

METHOD_ORDER = ("da_pos", "da_neg", "da_minimal", "gradient", "guided_backprop", "gradcam", "rise", "ep")  # Fig. 3, with ours
REFERENCES = ("random", "centre", "sobel")  # know nothing of the model; listed last


class SharedMetricError(ValueError):
    """Two measures have a metric of one name, whose values would be averaged."""

    def __init__(self, metric: str, measures: Iterable[str]) -> None:
        super().__init__(f"{metric} is the name of a metric of several measures ({', '.join(measures)}): rename it in one of them")


def load(out: Path, jobs: Sequence[Mapping[str, Any]] | None = None, *, among: Sequence[Mapping[str, Any]] = ()) -> pd.DataFrame:
    """Every row of a run: one per image, method, metric and x, with the configuration that made it.

    jobs: records of the run, left out all of them. among: further records, such as another run's, that its jobs are told apart from.
    Columns: ``NAMED``, ``seed``, the settings that differ between jobs (``naming.varying``), ``job`` (the record's id), ``configuration``
    (in words, the same under every seed), ``image``, ``digest`` of its content, ``status`` of its attribution, ``label``,
    ``prediction``, ``confidence``, ``measure`` (empty: of the attribution),
    ``metric``, ``x``, ``value``. Raises ValueError where there is no run.
    """
    jobs = records(out) if jobs is None else jobs
    every = [*jobs, *among]
    names, named = varying(every), naming_columns(every)
    frames = [_job_rows(record, names, named) for record in jobs]
    rows = pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True)
    return rows if rows.empty else in_method_order(rows, names)


def in_method_order(rows: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Rows in the order of their methods and within one in that of the sweep, each setting's column ``typed``."""
    return typed(rows, names).sort_values("method", key=lambda names: names.map(method_sort_key), kind="stable", ignore_index=True)


def typed(frame: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """A frame whose columns of settings have one type each, as a file needs it: mixed kinds are text, whole numbers stay so beside gaps."""
    for name in names:
        kind = pd.api.types.infer_dtype(frame[name], skipna=True)
        whole = kind in ("floating", "mixed-integer-float") and (frame[name].dropna() % 1 == 0).all() and frame[name].isna().any()
        if kind in ("mixed", "mixed-integer"):
            frame[name] = frame[name].map(_as_text, na_action="ignore")
        elif whole or (kind == "integer" and frame[name].isna().any()):
            frame[name] = frame[name].astype("Int64")
    return frame


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def method_sort_key(name: str) -> tuple[int, str]:
    """Where a method stands in tables and figures: the paper's first, then the others by name, then the references."""
    if name in METHOD_ORDER:
        return METHOD_ORDER.index(name), ""
    return (99 if name in REFERENCES else 50), name


def _job_rows(record: Mapping[str, Any], names: Sequence[str], named: Sequence[str]) -> pd.DataFrame:
    store = store_of(record)
    labels = {(image, content): label for image, content, label in record["images"]}
    stored = {name: store.rows(key, images_of(record, name)) for name, key in record["keys"].items()}
    frames = [frame.assign(measure="" if name in PREDICTED else name) for name, frame in stored.items()]
    rows = pd.concat([frame for frame in frames if len(frame)], ignore_index=True) if any(map(len, frames)) else pd.DataFrame()
    if rows.empty:
        return rows
    rows.insert(list(rows.columns).index("metric"), "measure", rows.pop("measure"))
    of_measures = rows[(rows["measure"] != "") & rows["value"].notna()].drop_duplicates(["metric", "measure"])
    for metric in of_measures.loc[of_measures["metric"].duplicated(), "metric"]:
        raise SharedMetricError(metric, of_measures.loc[of_measures["metric"] == metric, "measure"])
    rows["digest"] = rows["digest"].str.partition(" ")[0]  # without the label, see ``records.stored_as``
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
    rows = rows.assign(hyperparameters=hyperparameters(record["parameters"]))
    front = columns(record, names) | {"job": record.get("job", ""), "configuration": configuration(record, named)}
    for i, (name, value) in enumerate(front.items()):
        rows.insert(i, name, value)
    return rows


def hyperparameters(parameters: Mapping[str, Any]) -> str:
    """A method's hyper-parameters as text, in the column of that name."""
    return json.dumps(parameters, sort_keys=True)


def configuration_columns(rows: pd.DataFrame) -> list[str]:
    """The columns that tell a run's configurations apart: data set, model, method, engine, and the settings that vary."""
    return [*(name for name in ID_COLUMNS if name in rows), *setting_columns(rows)]


def setting_columns(rows: pd.DataFrame) -> list[str]:
    """The columns of settings that vary between a run's jobs."""
    return [str(name) for name in rows.columns if name == "benchmark" or str(name).startswith(tuple(f"{of}." for of in SECTIONS))]


def cell_text(value: Any) -> str:
    """A setting's cell as text; a whole number that a column with gaps holds as a float is one still."""
    if isinstance(value, str):
        return value
    if pd.isna(value):
        return "none"
    if isinstance(value, bool | np.bool_):
        return str(value).lower()  # as in names and configurations
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def varies(values: pd.Series[Any]) -> bool:
    """Whether a setting has several values."""
    return len(values.drop_duplicates()) > 1


def pairing(rows: pd.DataFrame) -> pd.Series[str]:
    """What pairs the rows of several configurations: the image's content; where one has it under several names, these, too.

    Rows without the column ``digest`` are paired by the image's name.
    """
    if "digest" not in rows:
        return rows["image"]
    names = rows.groupby(["configuration", "digest"])["image"].transform("nunique")
    several = rows["digest"].isin(rows.loc[names > 1, "digest"])
    return rows["digest"].where(~several, rows["digest"] + " " + rows["image"])


def over_seeds(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with one value for each image of a configuration, its mean over the seeds; the rest as under the first of them."""
    if "seed" not in rows or rows["seed"].nunique() < 2:
        return rows
    keys = [name for name in ("configuration", *configuration_columns(rows), "image", "digest", "metric", "x") if name in rows]
    means = rows.groupby(keys, dropna=False, sort=False)["value"].transform("mean")
    return rows.assign(value=means).drop_duplicates(keys, ignore_index=True)


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per configuration: mean and 95 % interval over images of each metric, and how many attributions had which status.

    Under several seeds an image has the mean of its values, so that the interval remains one over images. ``images``: how many have an
    attribution, ``METRIC_n``: how many have a value of a metric. Images whose computation failed have no values and are counted in
    ``failed``; the others all count, whatever their status.
    """
    lines, wanted = [], metrics.single_numbers(rows)
    by = configuration_columns(rows)
    for values, group in rows.groupby(by, dropna=False, sort=False):
        known = group[group["value"].notna()]
        found = {metric: per_image(known[known["metric"] == metric]) for metric in wanted}
        lines.append(summary_row(dict(zip(by, values, strict=True)), group.assign(image=image_keys(group)), found))
    return typed(pd.DataFrame(lines), setting_columns(rows) if lines else [])


def per_image(rows: pd.DataFrame) -> NDArray[np.float64]:
    """The mean of each image's values, in the order in which the images come first."""
    return means_by_image(image_keys(rows).to_numpy(), rows["value"].to_numpy())


def means_by_image(images: NDArray[Any], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of the values of each image, in the order in which the images come first."""
    return np.asarray(pd.Series(values).groupby(images, sort=False).mean(), float)


def image_keys(rows: pd.DataFrame) -> pd.Series[str]:
    """What tells the images of a configuration apart: their names and contents."""
    return rows["image"] + "\0" + rows["digest"] if "digest" in rows else rows["image"]


def summary_row(named: Mapping[str, Any], attributions: pd.DataFrame, values: Mapping[str, NDArray[np.float64]]) -> dict[str, Any]:
    """A configuration's line of a summary, of the images that did not fail.

    attributions: rows ``image, seed, status``, of which the first of each attribution counts. values: of each metric, one per image
    that has it.
    """
    first = attributions.drop_duplicates([name for name in ("image", "seed") if name in attributions])
    codes, words = pd.factorize(
        first["status"], use_na_sentinel=False
    )  # of few different ones, where text by text takes seconds of many images
    statuses = pd.Series(np.array([str(word).split(":")[0] for word in words], object)[codes])
    fails = (statuses == FAILED).to_numpy()
    there = first["image"][~fails]
    failed = set(first["image"][fails]) - set(there) if fails.any() else set()
    found = {**named, "images": there.nunique(), "failed": len(failed)}
    for metric, of_metric in values.items():
        low, high = bootstrap_interval(of_metric) if len(of_metric) and not metrics.metric_named(metric).batched else (np.nan, np.nan)
        found |= {metric: of_metric.mean() if len(of_metric) else np.nan, f"{metric}_low": float(low), f"{metric}_high": float(high)}
        found[f"{metric}_n"] = len(of_metric)
    counts = ", ".join(f"{count} {status}" for status, count in statuses.value_counts().items())
    return found | {"statuses": counts}


def curves(rows: pd.DataFrame, metric: str = "insertion_accuracy") -> pd.DataFrame:
    """A metric against x: mean and 95 % interval over images, one line per configuration and x."""
    lines = []
    by = configuration_columns(rows)
    for values, group in rows[rows["metric"] == metric].groupby(by, dropna=False, sort=False):
        named = dict(zip(by, values, strict=True)) | {name: group[name].iloc[0] for name in ("configuration",) if name in group}
        lines.append(mean_curve(group, "x").assign(**named))
    return pd.concat(lines, ignore_index=True) if lines else pd.DataFrame()


def mean_curve(rows: pd.DataFrame, x: str) -> pd.DataFrame:
    """``x, mean, low, high, images``: means over images at each x with 95 % bootstrap intervals."""
    table = rows.assign(image=image_keys(rows)).pivot_table(index="image", columns=x, values="value")
    whole = table.dropna()
    low, high = bootstrap_interval(whole.to_numpy() if len(whole) == len(table) else np.empty((0, table.shape[1])))
    if len(whole) != len(table):  # an image is not at every x
        ends = [bootstrap_interval(table[column].dropna().to_numpy()) for column in table.columns]
        low, high = (np.array([float(end[i]) for end in ends]) for i in (0, 1))
    found = {
        "x": table.columns.astype(float),
        "mean": table.mean().to_numpy(),
        "low": low,
        "high": high,
        "images": table.count().to_numpy(),
    }
    return pd.DataFrame(found)


def paired(rows: pd.DataFrame, metric: str, of: str = "method", pairs: Sequence[tuple[str, str]] | None = None) -> pd.DataFrame:
    """Compare the values of column ``of`` two by two on a metric, paired over the images both have (``statistics.compare_family``).

    rows: with everything but ``of`` and the seed held fixed; an image has the mean of its values under several seeds. Images are paired by
    their content (``pairing``). pairs: those that make up the family, left out all of them. A batch's mean has
    neither test nor interval.

    Returns ``a, b, metric, difference, low, high, p, p_holm, effect, n, verdict``. Raises ValueError where one of them has two values for
    an image, since a mean over settings would pass for a measurement.
    """
    table = paired_values(rows, metric, of)
    found = compare_family({str(name): table[name].to_numpy(dtype=float) for name in table.columns}, pairs)
    return comparison_rows(found, metric)


def paired_values(rows: pd.DataFrame, metric: str, of: str) -> pd.DataFrame:
    """The values of a metric, one line per image and one column a value of ``of``, NaN where an image has none; see ``paired``."""
    chosen = rows[(rows["metric"] == metric) & rows["value"].notna()]
    chosen = chosen.assign(**{of: chosen[of].astype(str), "pair": pairing(chosen)})
    seeded = [name for name in ("seed",) if name in chosen]
    if len(twice := chosen[chosen.duplicated([of, "pair", *seeded])]):
        raise ValueError(f"{metric} of {of} {twice[of].iloc[0]} has several values for image {twice['image'].iloc[0]}: hold the rest fixed")
    return chosen.pivot_table(index="pair", columns=of, values="value", sort=False)[list(dict.fromkeys(chosen[of]))]


def comparison_rows(found: Mapping[tuple[str, str], Comparison], metric: str) -> pd.DataFrame:
    """A family of comparisons as rows, see ``paired``."""
    lines = [{"a": a, "b": b, "metric": metric, **asdict(c), "verdict": c.verdict} for (a, b), c in found.items()]
    names = ["a", "b", "metric", "difference", "low", "high", "p", "p_holm", "effect", "n", "verdict"]
    frame = pd.DataFrame(lines, columns=names)
    if metrics.metric_named(metric).batched:
        frame = frame.assign(verdict=None, **dict.fromkeys(("low", "high", "p", "p_holm", "effect"), np.nan))
    return frame
