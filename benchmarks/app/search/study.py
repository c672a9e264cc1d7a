"""A study in a run's folder: opened or gone on with, and asked for trials whose number alone decides how they are drawn."""

from __future__ import annotations

import fcntl
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.app.search.space import written
from benchmarks.jobs.objective import Objective

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial

FILE = "study.db"
NAME = "search"
ASKED, ERROR, GIVEN = "asked", "error", "given"  # what we note in a study, and in its trials


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Let no other process of this machine search in a run's folder. Raises ValueError where one does."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "search.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"another command searches in {folder}: wait for it, or choose another name=") from None
        yield


def opened(folder: Path, objectives: Sequence[Objective], asked: Mapping[str, Any]) -> Study:
    """A run's study; of one that was interrupted, the trial in flight counts as failed and is the next to be run.

    asked: what the study is of. Raises ValueError where that of the folder is of something else.
    """
    import optuna
    from optuna.trial import TrialState

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    directions = ["minimize" if one.better == "smaller" else "maximize" for one in objectives]
    study = optuna.create_study(
        storage=storage_url(folder), study_name=NAME, directions=directions, pruner=optuna.pruners.NopPruner(), load_if_exists=True
    )  # of one that is there, its own directions hold
    if [direction.name.lower() for direction in study.directions] != directions:
        raise ValueError(f"{folder / FILE} is a search with another objective: choose another name=, or delete it")
    told = json.dumps(asked, sort_keys=True)
    if (before := study.user_attrs.get(ASKED)) not in (None, told):
        then = json.loads(before)
        differs = next((name for name in [*asked, *then] if then.get(name) != asked.get(name)), "")
        raise ValueError(f"{folder / FILE} is a search with another {differs}: choose another name=, or delete it")
    study.set_user_attr(ASKED, told)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
        if trial.params:
            study.enqueue_trial(trial.params, skip_if_exists=False)
    return study


def storage_url(folder: Path) -> str:
    """Where a run's study is kept."""
    from sqlalchemy import URL

    return URL.create("sqlite", database=str(folder.absolute() / FILE)).render_as_string()


def finished(study: Study) -> list[FrozenTrial]:
    """The trials that came to an end: with a number, or an error of their own."""
    from optuna.trial import TrialState

    ended = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.FAIL))
    return [trial for trial in ended if trial.state == TrialState.COMPLETE or ERROR in trial.user_attrs]


def ask(study: Study, space: Mapping[str, BaseDistribution], *, seed: int, startup: int, count: int) -> list[tuple[Trial, dict[str, str]]]:
    """The next trials, each with the overrides of its searched keys.

    The stream of each is decided by how many trials were finished before it, so that a study that was interrupted goes on as if it had not
    been.
    """
    from optuna.samplers import TPESampler

    before, found = len(finished(study)), []
    for i in range(count):
        stream = int(np.random.SeedSequence([seed, before + i]).generate_state(1)[0])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is experimental, or will be
            study.sampler = TPESampler(seed=stream, n_startup_trials=startup)
            trial = study.ask(dict(space))
        given = {key: written(trial.params[key]) for key in space}
        trial.set_user_attr(GIVEN, given)
        found.append((trial, given))
    return found


def tell(study: Study, trial: Trial, values: Sequence[float] | None) -> None:
    """End a trial by its numbers, or by the error that it had."""
    from optuna.trial import TrialState

    if values is None:
        trial.set_user_attr(ERROR, True)
        study.tell(trial, state=TrialState.FAIL)
    else:
        study.tell(trial, values)


def best_trials(study: Study, most: int) -> list[FrozenTrial]:
    """The best trial; of several objectives at most so many of the Pareto front, spread along the first of them, without repetitions."""
    front = {json.dumps(trial.user_attrs[GIVEN]): trial for trial in sorted(study.best_trials, key=lambda trial: trial.values)}
    trials = list(front.values())
    if len(study.directions) == 1:
        return trials[:1]
    chosen = np.unique(np.linspace(0, len(trials) - 1, min(most, len(trials))).astype(int))
    return [trials[i] for i in chosen]
