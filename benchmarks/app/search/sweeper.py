"""``hydra/sweeper=optuna``: a sweep that searches, over Optuna's ask and tell.

Hydra's own plugin for Optuna runs all its trials anew when it is started again on a study that was killed, and holds Optuna back.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import ExitStack
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

from benchmarks.app.failures import forget
from benchmarks.app.search.space import Space
from benchmarks.app.session import current
from benchmarks.inputs.compose import composed
from benchmarks.inputs.messages import cause
from benchmarks.inputs.places import expanded

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

    from benchmarks.jobs.objective import Number, Objective
    from benchmarks.jobs.resolve import ResolvedConfig

TRIALS = "trials"  # the folder of the trials' own records, below the run's
FOUND = "search.json"  # what was found, for the report
TUNED, HELD_BACK = "select.part=tune", "select.part=held_back"
SEARCHABLE = re.compile(r"\+*(method(@[\w.]+)?|variation|per_method)($|\.)")  # what leaves the images and measures as they are


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
        try:
            import optuna  # noqa: F401
        except ImportError:
            raise HydraException("hydra/sweeper=optuna needs Optuna: pip install 'dynamic-ablation[optuna]'") from None
        from benchmarks.app.search import study as studies  # only now: Optuna and SQLAlchemy

        with ExitStack() as stack:
            try:
                space, objectives, out = self._asked(arguments)
                distributions = space.distributions()
                stack.enter_context(studies.alone(out))
                study = studies.opened(out, objectives, self._set_up(space, objectives, out))
            except HydraException:
                raise
            except Exception as error:  # Hydra's own kind says that nothing has begun
                raise HydraException(cause(error)) from error
            for folder in (out, out / TRIALS):
                forget(folder)
            there = len(studies.finished(study))
            what = f"{max(0, self.trials - there)} of {self.trials} trials for {', '.join(one.name for one in objectives)}"
            current().say(f"Search: {what}, the study is {out / studies.FILE}")
            if there < self.trials:
                default = self._default(space, objectives, out)
            while (there := len(studies.finished(study))) < self.trials:
                self._trials(study, space, distributions, objectives, default, out, there)
            best = studies.best_trials(study, self.best)
            if not best:
                raise ValueError(f"every trial failed; the first says why: {first_failure(out / TRIALS)}")
            return [self.launch(self._finals(space, objectives, best, out))]

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
        for key in space.searched:
            if not SEARCHABLE.match(key):
                raise ValueError(f"{key} cannot be searched: only the method and its hyper-parameters, on images that stay the same")
        if cfg.shard or cfg.select.get("part"):
            raise ValueError("hydra/sweeper=optuna divides the images itself: leave out shard and select.part")
        return space, objectives, Path(expanded(cfg.out))

    def _set_up(self, space: Space, objectives: list[Objective], out: Path) -> dict[str, Any]:
        """What a study is of: what was asked, and the photographs, network and settings that it stands for today.

        Raises ValueError where the default itself cannot run, or the run's folder holds jobs that are not of a search.
        """
        from benchmarks.jobs.resolve import make_job
        from results.store.store import digest

        tuned, held_back = (make_job(settled(self.job(space, {}, part))) for part in (TUNED, HELD_BACK))
        for path in (out / "jobs").glob("*.json"):
            if (json.loads(path.read_text(encoding="utf-8")).get("config") or {}).get("select", {}).get("part") != "held_back":
                raise ValueError(f"{out} holds jobs that are not of a search, and would be reported beside it: choose another name=")
        images = {"tune": sorted(map(list, tuned.contents)), "held_back": sorted(map(list, held_back.contents))}
        return {
            "objective": [f"{one.name}, {one.better} is better" for one in objectives],
            "space": space.text(),
            "command line": sorted(space.fixed),
            "choice of photographs": digest(images),
            **{f"{name}, by its configuration, files or code": key for name, key in tuned.keys.items()},
        }

    def _default(self, space: Space, objectives: list[Objective], out: Path) -> list[Number]:
        """The numbers of the default on the images to tune on. Raises ValueError where it has none: what fails here fails every trial."""
        (returned,) = self.launch([self.job(space, {}, TUNED, quoted("out", out / TRIALS))])
        if (values := numbers(returned, len(objectives))) is None:
            raise ValueError(f"the default failed on the images to tune on, so nothing is searched: {first_failure(out / TRIALS)}")
        said = [f"{one.name} {value:.4g} of {len(value.images)} images" for one, value in zip(objectives, values, strict=True)]
        current().say(f"The default: {', '.join(said)}")
        return values

    def _finals(self, space: Space, objectives: list[Objective], best: list[FrozenTrial], out: Path) -> list[list[str]]:
        """The jobs on the images held back: the default, and each that was found and is another; leaves word of them for the report."""
        from benchmarks.app.search import study as studies
        from results.store.files import write_atomically

        finals = dict[str, list[str]]()  # by settings: one job has one record, whatever its command line

        def final(given: dict[str, str]) -> list[str]:
            job = self.job(space, given, HELD_BACK, "objective=null")
            config = settled(job)
            return finals.setdefault(json.dumps([config.method_name, config.method], sort_keys=True), job)

        default = final({})
        trials = [
            {"trial": trial.number, "given": given, "values": trial.values, "overrides": final(given)}
            for trial in best
            for given in (trial.user_attrs[studies.GIVEN],)
        ]
        named = [{"metric": one.metric, "name": one.name, "statistic": one.statistic, "better": one.better} for one in objectives]
        found = {"objectives": named, "study": studies.FILE, "default": default, "best": trials}
        write_atomically(out / FOUND, json.dumps(found, indent=1).encode())
        if (sweep := current().sweep) is not None:
            sweep[0].runs[out] = [{}] * len(finals)  # what is reported on
        current().say(f"On the images held back: the default, and {len(finals) - 1} found")
        return list(finals.values())

    def _trials(
        self,
        study: Study,
        space: Space,
        distributions: dict[str, Any],
        objectives: list[Objective],
        default: list[Number],
        out: Path,
        there: int,
    ) -> None:
        """Run the next trials and tell the study."""
        from benchmarks.app.search import study as studies

        count = min(self.concurrent, self.trials - there)
        batch = studies.ask(study, distributions, seed=self.seed, startup=self.startup, count=count)
        jobs = [self.job(space, given, TUNED, quoted("out", out / TRIALS)) for _, given in batch]
        for i, ((trial, given), returned) in enumerate(zip(batch, self.launch(jobs), strict=True)):
            values = numbers(returned, len(objectives))
            said = [f"{one.name} {value:.4g}" for one, value in zip(objectives, values, strict=True)] if values else ["failed"]
            if values and [value.images for value in values] != [value.images for value in default]:
                counts = [f"{len(value.images)} where the default has {len(of.images)}" for value, of in zip(values, default, strict=True)]
                values, said = None, [*said, f"failed: of other images than the default ({', '.join(counts)})"]
            studies.tell(study, trial, values)
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


def settled(arguments: list[str]) -> ResolvedConfig:
    """A job's configuration with nothing left open. Raises what is wrong with it."""
    from benchmarks.jobs.resolve import resolve

    choices = [argument.split("=", 1)[1] for argument in arguments if argument.startswith("method=")]
    return resolve(composed(*arguments), arguments, choices[-1] if choices else "da_pos")


def numbers(returned: JobReturn, count: int) -> list[Number] | None:
    """What a job returned, None where it failed: it has said why."""
    try:
        value = returned.return_value
    except Exception:
        return None
    values = value if isinstance(value, list) else [value]
    return values if len(values) == count and None not in values else None


def first_failure(out: Path) -> str:
    """What the first trial that failed said."""
    failed = sorted((out / "failed").glob("*.json"), key=lambda path: path.stat().st_mtime)
    return str(json.loads(failed[0].read_text(encoding="utf-8"))["error"]) if failed else "nothing was said"
