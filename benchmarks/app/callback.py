"""Hydra's callback: plans a sweep before its first job, reports after the last.

What needs PyTorch is imported when there is something to plan: Hydra makes the callback even to say that a name is not there.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.text import Text

from benchmarks.app.failures import fail, failures, forget
from benchmarks.app.process import prepare
from benchmarks.app.session import current
from benchmarks.app.workers import Origin
from benchmarks.inputs.compose import composed
from benchmarks.inputs.messages import cause
from benchmarks.inputs.places import expanded

if TYPE_CHECKING:
    from benchmarks.jobs.resolve import ResolvedConfig


class Report(Callback):
    """After the last job: tables and figures, and what failed."""

    def __init__(self) -> None:
        self.origin = Origin()
        self.runs: dict[Path, list[dict[str, Any]]] = {}  # of a sweep: what is expected in which run's folder
        self.names: dict[Path, str] = {}  # theirs

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """In a worker, work as the process that started the sweep would."""
        session = current()
        session.started = self.origin.started
        if self.origin.work_as_started(config):
            session.is_worker = True
            session.bar.silence()
            prepare()

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Forget the failures of the last time."""
        forget(Path(expanded(config.out)))

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Say what the sweep is going to do."""
        session = current()
        session.sweep = (self, config)
        if is_search(config):
            self._expect_search(config)
            return
        everyone = arguments_of(config)
        self.origin = Origin(jobs=len(everyone))
        given = list[tuple[list[str], DictConfig | None]]()
        for arguments in everyone:
            try:
                given.append((arguments, composed(*arguments)))
            except Exception:
                if not config.hydra.sweeper.get("max_batch_size") and not composes(config, arguments):
                    return  # Hydra says why, before it runs any job
                given.append((arguments, None))
        self._plan(config, given)

    def _expect_search(self, config: DictConfig) -> None:
        """Of a sweep that searches, only the jobs on the images held back are reported on; which these are is not known yet."""
        self.origin = Origin(jobs=config.hydra.sweeper.concurrent)
        self.runs[Path(expanded(config.out))] = []

    def _plan(self, config: DictConfig, given: list[tuple[list[str], DictConfig | None]]) -> None:
        """Resolve all jobs, say which cannot run, and print the plan of the others. given: arguments and configuration of each."""
        from benchmarks.jobs import plan  # only now, with PyTorch
        from benchmarks.jobs.record import of_all_shards
        from benchmarks.jobs.resolve import resolve
        from results.status import PLAN
        from results.store.files import write_atomically

        jobs: list[ResolvedConfig] = []
        wrong = dict[str, int]()
        for arguments, cfg in given:
            out, expected = Path(expanded(config.out)), {"overrides": of_all_shards(arguments), "images": 0, "started": time.time()}
            try:
                if cfg is not None:
                    out = Path(expanded(cfg.out))
                    self.names[out] = cfg.name
                    expected["images"] = cfg.select.count or 0  # as far as it is known of a job that cannot be resolved
                    choice = [argument.split("=", 1)[1] for argument in arguments if argument.startswith("method=")]
                    job = resolve(cfg, arguments, choice[-1] if choice else "da_pos")
                    expected["images"] = plan.image_count(job)
                    jobs.append(job)
            except Exception as error:  # the job will fail by it, and be listed at the end, with its command
                wrong[cause(error)] = wrong.get(cause(error), 0) + 1
            self.runs.setdefault(out, []).append(expected)
        for out, left in self.runs.items():
            forget(out)
            with suppress(OSError):  # the jobs will say so
                write_atomically(out / PLAN, json.dumps(left, indent=1).encode())
        for reason, count in wrong.items():
            current().error(reason, f"{count} of {len(given)} jobs cannot run: ")
        if jobs:
            self._show(jobs)

    def _show(self, jobs: list[ResolvedConfig]) -> None:
        """Print the plan of a sweep, with the time that it will take."""
        from benchmarks.engines.loading import load
        from benchmarks.engines.rate import seconds_a_pass
        from benchmarks.jobs import plan
        from results.export import LINE_WIDTH

        session, work, cost = current(), [plan.planned(job) for job in jobs], dict[tuple[str, str], tuple[float, float]]()
        session.bar.expect(sum(job.images for job in work))
        for job, of_job in zip(jobs, work, strict=True):
            if (key := (of_job.model, of_job.engine)) not in cost:
                model, engine = load(job.model_json, job.engine_json)
                cost[key] = seconds_a_pass(engine, model.preprocessing.size)
        wide = session.console if session.console.is_terminal else Console(stderr=True, width=LINE_WIDTH, markup=False)
        wide.print(plan.table(work, cost))

    def on_run_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Write tables and figures of a run that succeeded."""
        session, out = current(), Path(expanded(config.out))
        session.bar.stop()
        session.runs = (out,)
        if all(failure["rows"] for failure in failures(out)):
            self._report(out, config)

    def _report(self, out: Path, config: Any) -> None:
        from benchmarks.app import report  # only now: what draws takes a second to import

        try:
            report.write(out, config)
        except Exception as error:  # Hydra would make a warning of it
            fail(out, error, None)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Write tables and figures of what succeeded, and list what failed."""
        session = current()
        session.sweep = None
        session.bar.stop()
        session.runs = tuple(self.runs)
        for out, jobs in self.runs.items():
            failed = failures(out)
            worked = sum(not failure["rows"] for failure in failed) < len(jobs)  # else, what lies there is of another command
            if worked and any((out / "jobs").glob("*.json")):
                self._report(out, OmegaConf.merge(config, {"name": self.names.get(out, config.name)}))
            commands = dict[str, list[str]]()
            for failure in failed:
                commands.setdefault(failure["error"], []).append(failure["command"])
            for error, again in commands.items():
                said = "".join([f" {error}", *(f"\n  again: {command}" for command in again)])
                session.console.print(Text.assemble(("failed:", "red"), said), soft_wrap=True)


def is_search(config: DictConfig) -> bool:
    """Whether a sweep is a search."""
    return str(config.hydra.sweeper._target_).endswith(".OptunaSweeper")


def composes(config: DictConfig, arguments: list[str]) -> bool:
    """Whether Hydra itself can compose a job of a sweep."""
    try:
        GlobalHydra.instance().config_loader().load_sweep_config(config, arguments)
    except Exception:
        return False
    return True


def arguments_of(config: DictConfig) -> list[list[str]]:
    """The overrides of each job of a sweep, as the sweeper will make them."""
    given = [f"{key}={value}" for key, value in (config.hydra.sweeper.get("params") or {}).items()]
    overrides = OverridesParser.create().parse_overrides([*given, *config.hydra.overrides.task])
    return [arguments for batch in BasicSweeper.split_arguments(overrides, None) for arguments in batch]
