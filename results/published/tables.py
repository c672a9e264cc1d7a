"""The tables of documents: functions from published rows to text in rows and columns.

Each takes ``Rows`` and keywords, which are texts as they stand in the marker. ``TABLES`` is the list of them; another is a function more.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from results import metrics as catalogue
from results import tables
from results.export import NOTHING, interval, number
from results.published.read import Rows, named, names_of
from results.records import settings
from results.statistics import Comparison, bootstrap_interval, bootstrap_of, compare, holm

CERTIFIED = ("region_minimal", "certified")  # what says that a region is certified: a measure of anybody's, or the method itself
BUDGETS = ("budget", "masks", "samples", "iterations")  # hyper-parameters that say how many passes a method may take
COSTS = ("queries", "backwards")


def methods(rows: Rows, *, metrics: str = "mar,mar_holds", apart: str = "") -> pd.DataFrame:
    """A line per configuration: passes, each measure with its interval, how many images have a certificate, how many there are.

    apart: ``model``, ``dataset`` or both with a comma, each of whose values has its own lines.
    """
    lines = []
    for where, some in _apart(rows, apart):
        for name, group in _groups(named(some)):
            line: dict[str, Any] = where | {"method": name, "passes": passes(group)}
            line |= _measured(rows.frame, group, metrics.split(","))
            certified = next((of for metric in CERTIFIED if len(of := values(group, metric))), None)
            line["certified"] = NOTHING if certified is None else f"{int(certified.sum())} of {len(certified)}"
            lines.append(line | {"n": _count(group)})
    table = pd.DataFrame(lines)
    return table if (table["certified"] != NOTHING).any() else table.drop(columns="certified")


def quantiles(rows: Rows, *, metric: str = "mar", at: str = "0.1,0.25,0.5,0.75,0.9,0.95,1") -> pd.DataFrame:
    """A line per configuration: the quantiles of a number over images."""
    frame, shares = named(rows), [float(share) if re.fullmatch(r"0|1|0?\.\d+", share) else np.nan for share in at.split(",")]
    if np.isnan(shares).any():
        raise ValueError(f"at={at}: give shares from 0 to 1, such as 0.25,0.5,0.75")
    _check_metric(frame, metric)
    lines = []
    for name, group in _groups(frame):
        of = values(group, metric)
        found = [number(one) for one in np.quantile(of, shares)] if len(of) else [NOTHING] * len(shares)
        lines.append({"method": name} | dict(zip(at.split(","), found, strict=True)) | {"n": len(of)})
    return pd.DataFrame(lines)


def measures(rows: Rows, *, metrics: str = "") -> pd.DataFrame:
    """Method by measure, means with intervals; left out, all measures that rank methods."""
    frame = named(rows)
    chosen = metrics.split(",") if metrics else [
        name for name in catalogue.single_numbers(frame) if not (one := catalogue.metric_named(name)).cost and not one.by_request
    ]  # fmt: skip
    chosen = [name for name in chosen if metrics or len(values(frame, name))]
    lines = [{"method": name} | _measured(frame, group, chosen) | {"n": _count(group)} for name, group in _groups(frame)]
    return pd.DataFrame(lines)


def paired(rows: Rows, *, reference: str, metric: str = "mar_holds", show: str = "difference", apart: str = "") -> pd.DataFrame:
    """Each configuration against one, on the images that both have: difference or ratio of means, p corrected by Holm over the table.

    reference: the configuration, by its name in the table. show: ``difference``, or ``ratio`` of the means. apart: as of ``methods``.
    """
    if show not in ("difference", "ratio"):
        raise ValueError(f"show={show}: choose difference or ratio")
    lines, compared = list[dict[str, Any]](), list[Comparison]()
    for where, some in _apart(rows, apart):
        wide = tables.paired_values(named(some), metric, "configuration")
        if reference not in wide:
            known = ", ".join(map(str, wide.columns))
            raise ValueError(f"reference={reference}: no configuration of that name has {metric}; choose {known}")
        for name in (str(name) for name in wide if name != reference):
            both = wide[[name, reference]].dropna().to_numpy(dtype=float)
            compared.append(compare(both[:, 0], both[:, 1]))
            lines.append(
                where
                | {
                    "method": name,
                    f"mean {metric}": number(both[:, 0].mean()) if len(both) else NOTHING,
                    f"of {reference}": number(both[:, 1].mean()) if len(both) else NOTHING,
                    show: _difference(compared[-1]) if show == "difference" else _ratio(both),
                }
            )
    for line, found, p in zip(lines, compared, holm([found.p for found in compared]), strict=True):
        line["p (Holm)"] = NOTHING if np.isnan(p) else f"{p:.2g}"
        line |= {"effect": f"{found.effect:z.2f}", "n": found.n}
        verdict = replace(found, p_holm=p).verdict
        line["verdict"] = {"A smaller": f"{line['method']} smaller", "B smaller": f"{reference} smaller"}.get(verdict, verdict)
    return pd.DataFrame(lines)


def _apart(rows: Rows, apart: str) -> list[tuple[dict[str, Any], Rows]]:
    """The rows of each model, data set, or pair of them; of ``""`` all."""
    names = [name for name in apart.split(",") if name]
    if wrong := [name for name in names if name not in ("model", "dataset")]:
        raise ValueError(f"apart={wrong[0]}: choose model, dataset or model,dataset")
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for record in rows.records:
        groups.setdefault(tuple(str(record[name]) for name in names), []).append(record)
    found = []
    for of, chosen in groups.items():
        jobs = {record["job"] for record in chosen}
        frame = rows.frame[rows.frame["job"].isin(jobs)]
        found.append((dict(zip(names, of, strict=True)), replace(rows, frame=frame, records=chosen)))
    return found


def budgets(rows: Rows, *, metric: str = "mar_holds") -> pd.DataFrame:
    """Method by budget: a measure with its interval. A method that has no budget has one value, and the passes that it took."""
    frame = named(rows)
    names = names_of(rows)
    of_job = {names[record["job"]]: (str(record["method"]), _budget(settings(record))) for record in rows.records}
    lines: dict[str, dict[Any, str]] = {}
    for name, group in _groups(frame):
        method, budget = of_job[name]
        cells = lines.setdefault(method, {})
        if budget in cells:
            raise ValueError(f"{method} has several configurations of budget {budget or 'none'}: choose one, such as by param.k=4")
        text = _interval(values(group, metric))
        cells[budget] = text if budget else f"{text} at {passes(group)}"
    columns = sorted({budget for cells in lines.values() for budget in cells if budget})
    table = [{"method": method} | {str(budget): cells.get(budget, NOTHING) for budget in columns} for method, cells in lines.items()]
    free = {method: cells[0] for method, cells in lines.items() if 0 in cells}
    if free:
        table = [line | {"no budget": free.get(line["method"], NOTHING)} for line in table]
    return pd.DataFrame(table)


Table = Callable[..., pd.DataFrame]
TABLES: dict[str, Table] = {"methods": methods, "paired": paired, "budgets": budgets, "measures": measures, "quantiles": quantiles}


def values(group: pd.DataFrame, metric: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The values of a number, one per image that has it."""
    return tables.per_image(group[(group["metric"] == metric) & group["x"].isna() & group["value"].notna()])


def passes(group: pd.DataFrame) -> str:
    """The mean forward and backward passes of an image; a dash where they are not known."""
    spent = [of.mean() for cost in COSTS if len(of := values(group, cost))]
    return f"{sum(spent):.0f}" if spent else NOTHING


def _groups(frame: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    return [(str(name), group) for name, group in frame.groupby("configuration", sort=False)]


def _measured(frame: pd.DataFrame, group: pd.DataFrame, metrics: Sequence[str]) -> dict[str, str]:
    """Measures of a configuration under their headings. Raises ValueError for one that no configuration has."""
    found = {}
    for metric in metrics:
        _check_metric(frame, metric)
        known, of = catalogue.metric_named(metric), values(group, metric)
        fewer = f" ({len(of)})" if 0 < len(of) < _count(group) else ""
        found[known.heading or known.title] = _interval(of, batched=known.batched) + fewer
    return found


def _check_metric(frame: pd.DataFrame, metric: str) -> None:
    if not len(values(frame, metric)):
        known = sorted(set(frame.loc[frame["x"].isna(), "metric"].dropna()))
        raise ValueError(f"metrics={metric}: the rows have no such number; choose {', '.join(known)}")


def _count(group: pd.DataFrame) -> int:
    """The images that did not fail."""
    known = group[group["value"].notna()]
    return int(tables.image_keys(known).nunique())


def _interval(of: np.ndarray[Any, np.dtype[np.float64]], *, batched: bool = False) -> str:
    if not len(of):
        return NOTHING
    low, high = (np.nan, np.nan) if batched else map(float, bootstrap_interval(of))
    return interval(of.mean(), low, high)


def _difference(found: Comparison) -> str:
    return interval(found.difference, found.low, found.high, ends=3)


def _ratio(both: np.ndarray[Any, np.dtype[np.float64]]) -> str:
    """The ratio of two means with its bootstrap interval over images; without one where the second mean of a resample is zero."""
    if not len(both) or both[:, 1].mean() == 0:
        return NOTHING
    low, high = bootstrap_of(_ratio_of_means, both)
    return interval(float(_ratio_of_means(both)[0]), float(low[0]), float(high[0]), 2, 2)


def _ratio_of_means(both: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    a, b = both.mean(0)
    return np.array([a / b if b else np.nan])


def _budget(of_job: dict[str, Any]) -> int:
    """The passes that a configuration may take, 0 where nothing says so; a walk of n - 1 steps takes n."""
    for name in BUDGETS:
        if isinstance(value := of_job.get(f"param.{name}"), int):
            return value + 1 if name == "iterations" else value
    return 0
