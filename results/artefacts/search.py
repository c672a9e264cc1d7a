"""What a search found: does it beat the default on images that it was not tuned on? And Optuna's own plots of the study."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd

from results import tables
from results.artefacts.parts import Records, Run
from results.export import interval, number, table
from results.figures.matplotlib import save
from results.metrics import metric_named
from results.statistics import bootstrap_interval

FOUND = "search.json"  # what the search left in the run's folder
NAME = "search"  # of the study
BETTER = {("A smaller", "smaller"): "found", ("A smaller", "larger"): "default", ("B smaller", "smaller"): "default"}
BETTER |= {("B smaller", "larger"): "found"}


def search(run: Run) -> Iterator[Path]:
    """A line for each configuration found and objective, against the default, on the images held back; importance, coordinates, front.

    Parameters
    ----------
    run : Run
        A search's run, see ``results.artefacts.parts.Run``.

    Yields
    ------
    Path
        Of each file that it writes.

    Raises
    ------
    ValueError
        For a run that is no search.
    """
    if not (path := run.out / FOUND).exists():
        raise ValueError(f"{run.out} holds no search: run it with hydra/sweeper=optuna")
    found = json.loads(path.read_text(encoding="utf-8"))
    default = name_of(run.records, run.rows, found["default"])
    lines = []
    for best in found["best"]:
        if (name := name_of(run.records, run.rows, best["overrides"])) is not None and default is not None:
            lines += [line(run.rows, name, default, objective, best) for objective in found["objectives"]]
    if lines:
        metrics = ", ".join(objective["name"] for objective in found["objectives"])
        caption = (
            f"What the search for {metrics} found against the default, on the images held back: means with 95 % bootstrap intervals; "
            "found - default with paired Wilcoxon tests, corrected by Holm. Nothing is reported on the images that it was tuned on."
        )
        yield from table(pd.DataFrame(lines), run.stem("search"), caption)
    yield from drawn(run, found)


def name_of(records: Records, rows: pd.DataFrame, overrides: list[str]) -> str | None:
    """The configuration of the job of a command line, None where it has no rows."""
    wanted = sorted(one for one in overrides if not one.startswith(("shard=", "hydra.", "hydra/")))
    for record in records:
        names = rows.loc[rows["job"] == record["job"], "configuration"]
        if record["overrides"] == wanted and len(names):
            return str(names.iloc[0])
    return None


def line(rows: pd.DataFrame, name: str, default: str, objective: Mapping[str, Any], best: Mapping[str, Any]) -> dict[str, Any]:
    """One objective of one configuration against the default."""
    metric = metric_named(objective["metric"])
    shown = {"found": ", ".join(f"{key.removeprefix('method.')}={value}" for key, value in best["given"].items()), "measure": metric.title}
    if name == default:
        return shown | {
            "mean": "–",
            "mean, default": "–",
            "found - default": "–",
            "p (Holm)": "–",
            "images": 0,
            "verdict": "is the default",
        }
    compared = tables.paired(rows[rows["configuration"].isin((name, default))], metric.name, "configuration", [(name, default)]).iloc[0]
    p = compared["p_holm"]
    words = {"found": "found is better", "default": "default is better", None: "no difference shown"}
    return shown | {
        "mean": mean(rows, name, metric.name),
        "mean, default": mean(rows, default, metric.name),
        "found - default": interval(compared["difference"], compared["low"], compared["high"], ends=3),
        "p (Holm)": "–" if pd.isna(p) else f"{p:.2g}",
        "images": int(compared["n"]),
        "verdict": "not tested" if compared["verdict"] is None else words[BETTER.get((compared["verdict"], objective["better"]))],
    }


def mean(rows: pd.DataFrame, configuration: str, metric: str) -> str:
    """A mean with its interval."""
    of_metric = rows[(rows["configuration"] == configuration) & (rows["metric"] == metric) & rows["x"].isna()]
    values = of_metric["value"].dropna().to_numpy()
    if metric_named(metric).batched or not len(values):
        return number(values.mean()) if len(values) else "–"
    low, high = bootstrap_interval(values)
    return interval(values.mean(), float(low), float(high), ends=3)


def drawn(run: Run, found: Mapping[str, Any]) -> Iterator[Path]:
    """Optuna's plots of the study: of the trials, on the images that they were tuned on."""
    try:
        import optuna
        from optuna.visualization import matplotlib as plots
    except ImportError:  # the table is made without it
        return
    from matplotlib import pyplot as plt
    from sqlalchemy import URL

    url = URL.create("sqlite", database=str(run.out.absolute() / found["study"])).render_as_string()
    study = optuna.load_study(study_name=NAME, storage=url)
    kinds: dict[str, Callable[[], Any]] = {}
    for i, objective in enumerate(found["objectives"]):
        target = {"target": partial(value_of, i), "target_name": f"{objective['name']} (tuning images)"}
        kinds[f"search_importance_{objective['metric']}"] = partial(plots.plot_param_importances, study, **target)
        kinds[f"search_parallel_{objective['metric']}"] = partial(plots.plot_parallel_coordinate, study, **target)
    if len(found["objectives"]) > 1:
        names = [f"{objective['name']} (tuning images)" for objective in found["objectives"]]
        kinds["search_front"] = partial(plots.plot_pareto_front, study, target_names=names)
    for name, plot in kinds.items():
        with mpl.rc_context(), warnings.catch_warnings():  # they change the style of the whole process
            warnings.simplefilter("ignore")
            before = set(plt.get_fignums())
            try:
                figure = plot().figure
            except (ValueError, RuntimeError):  # too few trials, or a value that never changed
                continue
            finally:
                for number_ in set(plt.get_fignums()) - before:
                    opened = plt.figure(number_)
                    plt.close(opened)
            figure.set_size_inches(8, 4.5)
            figure.set_layout_engine("constrained")
            yield from save(figure, run.figure(name))


def value_of(i: int, trial: Any) -> float:
    """One of a trial's numbers."""
    values: list[float] = trial.values  # noqa: PD011 (of a trial, not of a frame)
    return values[i]
