"""``hydra/sweeper=optuna``: a sweep that searches, over Optuna's ask and tell.

Hydra's own plugin for Optuna runs all its trials anew when it is started again on a study that was killed, and holds Optuna back.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import Quote, QuotedString
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from benchmarks.app.search.space import Space
from benchmarks.app.session import current
from benchmarks.inputs.compose import composed
from benchmarks.inputs.places import expanded

if TYPE_CHECKING:
    from optuna.study import Study

    from benchmarks.jobs.objective import Objective

TRIALS = "trials"  # the folder of the trials' own records, below the run's
FOUND = "search.json"  # what was found, for the report
TUNED, HELD_BACK = "select.part=tune", "select.part=held_back"


TARGET = "hydra_plugins.dynamic_ablation.OptunaSweeper"


def register() -> None:
    """Make the sweeper known to Hydra, which takes them by names in ``hydra_plugins`` alone, and imports what is really there always."""
    Plugins.instance().register(OptunaSweeper)
    Plugins.instance().class_name_to_class[TARGET] = OptunaSweeper


class OptunaSweeper(Sweeper):
    """Runs trials on one half of the images, and then the default and the best found on the other half."""

    def __init__(self, trials: int, concurrent: int, startup: int, best: int, seed: int, params: Any = None) -> None:
        for name, value in {"trials": trials, "concurrent": concurrent, "startup": startup, "best": best}.items():
            if value < 1:
                raise ValueError(f"hydra.sweeper.{name}={value}: give at least 1")
        self.trials, self.concurrent, self.startup, self.best, self.seed = trials, concurrent, startup, best, seed
        self.params = {str(key): value for key, value in (params or {}).items()}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra gives a sweeper, and make the launcher."""
        self.config, self.hydra_context, self.jobs = config, hydra_context, 0
        self.launcher: Launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Search, and run what was found on the images that were held back."""
        from benchmarks.app.search import study as studies  # only now: Optuna and SQLAlchemy

        try:
            space, objectives, out = self._asked(arguments)
            distributions = space.distributions()
            asked = {"objective": [one.name for one in objectives], "space": space.text(), "command line": sorted(space.fixed)}
            with studies.alone(out):
                study = studies.opened(out, objectives, asked)
        except ValueError as error:  # Hydra's own kind, which says that nothing has begun
            raise HydraException(str(error)) from error
        with studies.alone(out):
            there = len(studies.finished(study))
            what = f"{max(0, self.trials - there)} of {self.trials} trials for {', '.join(one.name for one in objectives)}"
            current().say(f"Search: {what}, the study is {out / studies.FILE}")
            while (there := len(studies.finished(study))) < self.trials:
                self._trials(study, space, distributions, objectives, out, there)
            best = studies.best_trials(study, self.best)
            if not best:
                raise ValueError(f"every trial failed; the first says why: {first_failure(out / TRIALS)}")
            given = [trial.user_attrs[studies.GIVEN] for trial in best]
            finals = [self.job(space, {}, HELD_BACK), *(self.job(space, one, HELD_BACK) for one in given)]
            trials = [
                {"trial": trial.number, "given": one, "values": trial.values, "overrides": overrides}
                for trial, one, overrides in zip(best, given, finals[1:], strict=True)
            ]
            named = [{"metric": one.metric, "name": one.name, "better": one.better} for one in objectives]
            found = {"objectives": named, "study": studies.FILE, "default": finals[0], "best": trials}
            (out / FOUND).write_text(json.dumps(found, indent=1), encoding="utf-8")
            current().say(f"On the images held back: the default, and {len(best)} found")
            return [self.launch(list(dict.fromkeys(map(tuple, finals))))]

    def _asked(self, arguments: list[str]) -> tuple[Space, list[Objective], Path]:
        """What is to be searched, for what, and where. Raises ValueError where that is not said."""
        from benchmarks.jobs.objective import objectives_of

        space = Space.of(self.params, arguments)
        cfg = composed(*space.fixed)
        objectives = objectives_of(cfg.objective)
        if not objectives:
            raise ValueError("hydra/sweeper=optuna needs to know what to search for: add objective=mar, or another measure")
        if not space.searched:
            raise ValueError("hydra/sweeper=optuna has nothing to search: give such as 'method.k=range(1,9)' 'method.fc=interval(0.8,1)'")
        if cfg.shard or cfg.select.get("part"):
            raise ValueError("hydra/sweeper=optuna divides the images itself: leave out shard and select.part")
        return space, objectives, Path(expanded(cfg.out))

    def _trials(
        self, study: Study, space: Space, distributions: dict[str, Any], objectives: list[Objective], out: Path, there: int
    ) -> None:
        """Run the next trials and tell the study."""
        from benchmarks.app.search import study as studies

        count = min(self.concurrent, self.trials - there)
        batch = studies.ask(study, distributions, seed=self.seed, startup=self.startup, count=count)
        jobs = [self.job(space, given, TUNED, quoted("out", out / TRIALS)) for _, given in batch]
        for i, ((trial, given), returned) in enumerate(zip(batch, self.launch(jobs), strict=True)):
            values = numbers(returned, len(objectives))
            studies.tell(study, trial, values)
            said = [f"{one.name} {value:.4g}" for one, value in zip(objectives, values, strict=True)] if values else ["failed"]
            settings = ", ".join(f"{key}={value}" for key, value in given.items())
            current().say(f"Trial {there + i + 1} of {self.trials}: {settings}: {', '.join(said)}")

    def job(self, space: Space, given: dict[str, str], *more: str) -> list[str]:
        """The overrides of one job."""
        keys = {one.partition("=")[0] for one in more}
        fixed = [one for one in space.fixed if one.partition("=")[0] not in keys]
        return [*fixed, *(f"{key}={value}" for key, value in given.items()), *more]

    def launch(self, jobs: Sequence[Sequence[str]]) -> Sequence[JobReturn]:
        """Run jobs by the launcher."""
        self.validate_batch_is_legal(jobs)
        returned = self.launcher.launch(jobs, initial_job_idx=self.jobs)
        self.jobs += len(jobs)
        return returned


def quoted(key: str, path: Path) -> str:
    """An override whose value is a path, whatever is in it."""
    return f"{key}={QuotedString(str(path), Quote.double).with_quotes()}"


def numbers(returned: JobReturn, count: int) -> list[float] | None:
    """What a job returned, None where it failed: it has said why."""
    try:
        value = returned.return_value
    except Exception:
        return None
    values = value if isinstance(value, list) else [value]
    return [float(one) for one in values] if len(values) == count and None not in values else None


def first_failure(out: Path) -> str:
    """What the first trial that failed said."""
    failed = sorted((out / "failed").glob("*.json"), key=lambda path: path.stat().st_mtime)
    return str(json.loads(failed[0].read_text(encoding="utf-8"))["error"]) if failed else "nothing was said"
