"""What a search found: does it beat the default on images that it was not tuned on? And Optuna's own plots of the study."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from results import tables
from results.artefacts.parts import Run, file_suffix
from results.export import NOTHING, interval, table
from results.figures.matplotlib import save
from results.metrics import metric_named
from results.statistics import Comparison, bootstrap_interval, bootstrap_of, compare, holm

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
    objectives, default = found["objectives"], job_of(run, found["default"])
    asked = [(best, objective, job_of(run, best["overrides"])) for best in found["best"] for objective in objectives]
    values = [paired_with(run.rows, job, default, objective["metric"]) for _, objective, job in asked]
    tests = [None if of is None else compared(of, objective) for of, (_, objective, _) in zip(values, asked, strict=True)]
    corrected = holm([np.nan if test is None else test.p for test in tests])
    lines = []
    for (best, objective, job), of, test, p in zip(asked, values, tests, corrected, strict=True):
        reason = "not computed" if default is None or job is None else "is the default" if job == default else "no image in common"
        lines.append(line(best, objective, of, None if test is None else replace(test, p_holm=p), reason))
    caption = (
        f"What the search for {', '.join(objective['name'] for objective in objectives)} found against the default, on the images held "
        "back, with 95 % bootstrap intervals; found - default with paired Wilcoxon tests, corrected by Holm over all lines; one of them is "
        "called better where the test shows it and the difference that is printed points the same way. No line of this table is of images "
        "that it was tuned on; the figures of the trials are."
    )
    yield from table(pd.DataFrame(lines), run.stem("search"), caption)
    yield from drawn(run, found)


def job_of(run: Run, overrides: list[str]) -> str | None:
    """The job of a command line, None where it has no rows."""
    wanted = sorted(one for one in overrides if not one.startswith(("shard=", "hydra.", "hydra/")))
    jobs = [str(record["job"]) for record in run.records if record["overrides"] == wanted]
    return next((job for job in jobs if (run.rows["job"] == job).any()), None)


def paired_with(rows: pd.DataFrame, job: str | None, default: str | None, metric: str) -> NDArray[np.float64] | None:
    """The values of two jobs on the images that have both, ``[n, 2]``; None where there is nothing to compare."""
    if job is None or default is None or job == default:
        return None
    values = tables.paired_values(rows[rows["job"].isin((job, default))], metric, "job")
    both = values.reindex(columns=[job, default]).dropna()
    return both.to_numpy(dtype=float) if len(both) else None


def statistic_of(objective: Mapping[str, Any]) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """What was searched for, of values ``[n, 2]``."""
    statistic = objective["statistic"]
    if statistic in ("mean", "median"):
        return partial(getattr(np, statistic), axis=0)
    return lambda values: np.percentile(values, float(statistic[1:]), axis=0)


def compared(values: NDArray[np.float64], objective: Mapping[str, Any]) -> Comparison:
    """Two configurations by the statistic that was searched for, with a paired bootstrap interval of its difference."""
    test = compare(values[:, 0], values[:, 1])
    if metric_named(objective["metric"]).batched:  # means of batches: neither interval nor test
        return replace(test, low=np.nan, high=np.nan, p=np.nan, p_holm=np.nan)
    if objective["statistic"] == "mean":
        return test
    statistic = statistic_of(objective)
    (difference,) = -np.diff(statistic(values))
    low, high = bootstrap_of(lambda drawn: -np.diff(statistic(drawn)), values)
    return replace(test, difference=float(difference), low=float(low[0]), high=float(high[0]))


def line(
    best: Mapping[str, Any], objective: Mapping[str, Any], values: NDArray[np.float64] | None, test: Comparison | None, reason: str
) -> dict[str, Any]:
    """One objective of one configuration against the default. reason: why there is no test, where there is none."""
    metric, statistic = metric_named(objective["metric"]), objective["statistic"]
    settings = ", ".join(f"{key.removeprefix('method.')}={value}" for key, value in best["given"].items())
    shown = {"found": settings, "measure": metric.title if statistic == "mean" else f"{metric.title}, {statistic}"}
    if values is None or test is None:
        return shown | dict.fromkeys(("value", "default", "found - default", "p (Holm)"), NOTHING) | {"images": 0, "verdict": reason}
    sides = statistic_of(objective)(values)
    if metric.batched:
        low = high = np.full(2, np.nan)
    else:
        low, high = bootstrap_interval(values) if statistic == "mean" else bootstrap_of(statistic_of(objective), values)
    words = {"found": "found is better", "default": "default is better", None: "no difference shown"}
    return shown | {
        "value": interval(sides[0], low[0], high[0], ends=3),
        "default": interval(sides[1], low[1], high[1], ends=3),
        "found - default": interval(test.difference, test.low, test.high, ends=3),
        "p (Holm)": NOTHING if pd.isna(test.p_holm) else f"{test.p_holm:.2g}",
        "images": len(values),
        "verdict": "not tested" if metric.batched else words[BETTER.get((test.verdict, objective["better"]))],
    }


def drawn(run: Run, found: Mapping[str, Any]) -> Iterator[Path]:
    """Optuna's plots of the study: of the trials, on the images that they were tuned on. What it cannot draw is a line of text."""
    try:
        from matplotlib import pyplot as plt

        kinds = plots_of(run, found)
    except ImportError:  # the table is made without Optuna
        return
    except Exception as error:  # the table is the result, and stays
        print(f"Note: no figures of the study {run.out / found['study']}: {type(error).__name__}: {error}")
        return
    for name, plot in kinds.items():
        with mpl.rc_context(), warnings.catch_warnings():  # they change the style of the whole process
            warnings.simplefilter("ignore")
            before = set(plt.get_fignums())
            try:
                figure = plot().figure
                figure.set_size_inches(8, 4.5)
                figure.set_layout_engine("tight")  # Matplotlib's constrained one divides by zero for parallel coordinates
                yield from list(save(figure, run.figure(name)))
            except Exception as error:  # such as of too few trials
                print(f"Note: no figure {name}: {type(error).__name__}: {error}")
            finally:
                for opened in set(plt.get_fignums()) - before:
                    plt.close(opened)


def plots_of(run: Run, found: Mapping[str, Any]) -> dict[str, Callable[[], Any]]:
    """What draws each figure, of the keys that were tried with several values: the others have no axis."""
    import optuna
    from optuna.visualization import matplotlib as plots
    from sqlalchemy import URL

    url = URL.create("sqlite", database=str(run.out.absolute() / found["study"])).render_as_string()
    study = optuna.load_study(study_name=NAME, storage=url)
    ended = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    names = sorted({key for trial in ended for key in trial.params})
    keys = [key for key in names if len({str(trial.params.get(key)) for trial in ended}) > 1]
    kinds: dict[str, Callable[[], Any]] = {}
    for i, objective in enumerate(found["objectives"] if keys else ()):
        target = {"params": keys, "target": partial(value_of, i), "target_name": f"{objective['name']} (tuning images)"}
        name = file_suffix([objective["name"]])
        kinds[f"search_importance_{name}"] = partial(plots.plot_param_importances, study, **target)
        kinds[f"search_parallel_{name}"] = partial(plots.plot_parallel_coordinate, study, **target)
    if len(found["objectives"]) > 1:
        titles = [f"{objective['name']} (tuning images)" for objective in found["objectives"]]
        kinds["search_front"] = partial(plots.plot_pareto_front, study, target_names=titles)
    return kinds


def value_of(i: int, trial: Any) -> float:
    """One of a trial's numbers."""
    values: list[float] = trial.values  # noqa: PD011 (of a trial, not of a frame)
    return values[i]
