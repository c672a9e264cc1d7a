"""The application: run configurations, plan sweeps before they start, report when they end."""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
import traceback
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from rich.text import Text

from benchmarks import plan
from benchmarks.auto import settle
from benchmarks.bad_input import cause, debugging
from benchmarks.command_line import alone
from benchmarks.configured import (
    accuracies,
    chosen_images,
    chosen_method,
    composed,
    load,
    make_job,
    plain,
    resolved,
    shard_of,
    with_model,
)
from benchmarks.interruption import Interruption
from benchmarks.job import Job
from benchmarks.places import expanded, settle_places
from benchmarks.progress import Bar
from benchmarks.provenance import provenance
from benchmarks.workers import Origin
from results.export import WIDTH
from results.records import VERSION, identity
from results.status import PLAN
from results.store import digest, write_atomically

STDERR = Console(stderr=True, markup=False)  # commands and names hold square brackets
BAR = Bar(STDERR)
FAILED_UNWRITTEN: list[dict[str, Any]] = []  # failures of this process that could not be recorded


def run(cfg: DictConfig) -> None:
    """Run one configuration: compute what the store lacks. A failure is recorded, so that the other jobs of a sweep go on."""
    out = Path(expanded(cfg.out))
    try:
        settle_places(cfg)
        if chosen := settle(cfg):
            STDERR.print(chosen, highlight=False)
        job = make_job(cfg)
        record(job, cfg, out)
        title = " · ".join([job.method_name, job.model.name, job.images.name, *([f"shard {cfg.shard}"] if cfg.shard else [])])
        images, left = len(job.mine), len(job.left())
        BAR.job(title, images, images - left)
        if not left:
            STDERR.print(f"{title}: nothing to compute, all {images} images are in the store", highlight=False, soft_wrap=True)
            return
        with Interruption(STDERR) as interruption:
            computed = job.run(BAR.advance, lambda: interruption.asked)
        failed = 0 if interruption.asked else len(job.left())
        said = f"computed {computed - failed} of {images} images{f', {failed} failed' if failed else ''}"
        STDERR.print(f"{title}: {said}", highlight=False, soft_wrap=True)
        if interruption.asked:
            command = "python -m benchmarks " + " ".join(map(shlex.quote, sys.argv[1:]))
            STDERR.print(f"Interrupted: all that was computed is stored. Go on with: {command}", highlight=False, soft_wrap=True)
            raise KeyboardInterrupt
        if computed and failed == images:
            raise NothingWorkedError(f"{title}: every image failed, see the statuses below")
    except Exception as error:
        fail(out, error, list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else [])


class NothingWorkedError(Exception):
    """A job that went through and has nothing to show for it but statuses."""


def fail(out: Path, error: Exception, overrides: list[str] | None) -> None:
    """Say what went wrong in a line or two, and leave it for the end of a sweep; in a worker, raises OSError where it cannot be left.

    overrides: those of the job, None for what is not of one job.
    """
    message = cause(error)
    command = shlex.join(["python", "-m", "benchmarks", *(alone(overrides, sys.argv[1:]) if overrides is not None else sys.argv[1:])])
    content = {"error": message, "command": command, "traceback": traceback.format_exc(), "rows": isinstance(error, NothingWorkedError)}
    try:
        write_atomically(out / "failed" / f"{digest({'command': command})}.json", json.dumps(content, indent=1).encode())
    except OSError:  # the disk is full or read-only, which may be the very failure
        FAILED_UNWRITTEN.append(content)
        if Report.away:  # then it has to be heard where the sweep was started
            raise
    if debugging():
        STDERR.print(content["traceback"], highlight=False, markup=False, soft_wrap=True)
    STDERR.print(Text.assemble(("error:", "red"), f" {message}"), soft_wrap=True)


def forget(out: Path) -> None:
    """Delete what the last command left of its failures and its plan."""
    for path in [*(out / "failed").glob("*.json"), out / PLAN]:
        path.unlink(missing_ok=True)


def failures(out: Path) -> list[dict[str, Any]]:
    """The jobs that failed since the run began."""
    return [*(json.loads(path.read_text()) for path in sorted((out / "failed").glob("*.json"))), *FAILED_UNWRITTEN]


def failed() -> bool:
    """Whether a job of this process failed."""
    return any(failures(out) for out in Report.outs)


def lost(error: Exception) -> bool:
    """Whether a sweep's launcher ended by an error, such as a worker that was killed; then what there is has been reported."""
    if not Report.sweep or isinstance(error, HydraException | OmegaConfBaseException):
        return False
    (report, config), command = Report.sweep, " ".join(map(shlex.quote, sys.argv[1:]))
    report.on_multirun_end(config)
    said = f" the sweep did not end well: {cause(error)}\n  go on with: python -m benchmarks {command}"
    STDERR.print(Text.assemble(("error:", "red"), said), soft_wrap=True)
    return True


def record(job: Job, cfg: DictConfig, out: Path) -> None:
    """Leave the job's record in the run's folder: its configuration, the keys of its results, its images."""
    config = resolved(cfg)
    config["method"] = {name: value for name, value in config["method"].items() if name.startswith("_")} | dict(job.parameters)
    config |= {"method_name": job.method_name, "per_method": None, "variation": None}  # they are in the method now
    config["shard"] = None  # the shards of a job share its record
    images = [[*key, photograph.label] for key, photograph in job.contents.items()]
    listed = out / "images" / f"{digest({'images': images})}.json"  # once for all jobs on these images
    if not listed.exists():
        write_atomically(listed, json.dumps(images).encode())
    content: dict[str, Any] = {
        "version": VERSION,
        "dataset": job.images.name,
        "model": job.model.name,
        "method": job.method_name,
        "engine": job.engine_name,
        "seed": job.seed,
        "parameters": dict(job.parameters),
        "store": cfg.store if Path(cfg.store).is_absolute() else os.path.relpath(cfg.store, out),
        "keys": job.keys,
        "configs": job.configs,
        "images": listed.stem,
        "config": config,
        "class_names": list(job.model.class_names),
        "model_parameters": job.model.parameters,
        "weights_sha256": job.model.weights_sha256,
        "dataset_sha256": digest({"images": sorted(map(list, job.contents))}),
        "accuracy": accuracies(cfg, job.images),
        "provenance": json.loads(provenance()),
        "started": time.time(),
        "command": [sys.executable, *sys.argv],
        "folder": os.getcwd(),
        "overrides": whole(HydraConfig.get().overrides.task if HydraConfig.initialized() else []),
    }
    path = out / "jobs" / f"{identity(content, but='select.count')}-{config['select'].get('count') or 'all'}.json"
    content["place"] = place(path)
    write_atomically(path, json.dumps(content, indent=1).encode())
    for other in path.parent.glob(f"{path.stem.partition('-')[0]}-*.json"):  # the same job on more or fewer images, of another command
        with suppress(FileNotFoundError):  # another shard has done so
            if other != path and json.loads(other.read_text())["place"][0] != Report.started:
                other.unlink(missing_ok=True)


def place(path: Path) -> list[float]:
    """When the sweep of a job began and which of its jobs it is, so that lines come in the order of the sweep; of shards, the first."""
    hydra = cast(DictConfig | None, HydraConfig.instance().cfg)
    number = OmegaConf.select(hydra, "hydra.job.num") if hydra is not None else None
    here = [Report.started, number or 0]
    before = json.loads(path.read_text())["place"] if path.exists() else here
    return min(here, before) if before[0] == here[0] else here


def whole(overrides: Iterable[str]) -> list[str]:
    """What the shards of a job have in common of their command lines."""
    return sorted(override for override in overrides if not override.startswith(("shard=", "hydra.", "hydra/")))


def arguments_of(config: DictConfig) -> list[list[str]]:
    """The overrides of each job of a sweep, as the sweeper will make them."""
    given = [f"{key}={value}" for key, value in (config.hydra.sweeper.get("params") or {}).items()]
    overrides = OverridesParser.create().parse_overrides([*given, *config.hydra.overrides.task])
    return [arguments for batch in BasicSweeper.split_arguments(overrides, None) for arguments in batch]


def planned(cfg: DictConfig, arguments: list[str]) -> plan.Work:
    """What a job is going to do. cfg: its configuration, of those overrides."""
    settle_places(cfg)
    settle(cfg)
    choice = [argument.split("=", 1)[1] for argument in arguments if argument.startswith("method=")]
    model, _ = load(plain(cfg.model), plain(cfg.engine))
    method, _ = chosen_method(with_model(cfg, model), arguments, choice[-1] if choice else "da_pos")
    benchmarks = [resolved(benchmark) for benchmark in cfg.benchmark.values()] if cfg.benchmark else []
    part, parts = shard_of(cfg.shard)
    count = len(range(cfg.select.count or len(chosen_images(cfg)))[part::parts])
    engine_name = str(cfg.engine._target_).rsplit(".", 1)[-1].removesuffix("_engine")
    return plan.work(model.name, engine_name, count, resolved(method), benchmarks)


class Report(Callback):
    """After the last job: tables and figures, and what failed."""

    outs: tuple[Path, ...] = ()  # of the runs that this process has reported on: a name can be swept, too
    started = 0.0  # when this process's sweep, or its only job, was started
    away = False  # whether this process is a worker, whose jobs another process reports on
    sweep: tuple[Report, DictConfig] | None = None  # that this process has started and that has not ended

    def __init__(self) -> None:
        self.origin = Origin()
        self.runs: dict[Path, list[dict[str, Any]]] = {}  # of a sweep: what is expected in which run's folder
        self.names: dict[Path, str] = {}  # theirs

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """In a worker, work as the process that started the sweep would."""
        Report.started = self.origin.started
        if self.origin.settle_in(config):
            Report.away = True
            BAR.silence()

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Forget the failures of the last time."""
        forget(Path(expanded(config.out)))

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Say what the sweep is going to do."""
        Report.sweep = (self, config)
        everyone, jobs = arguments_of(config), []
        self.origin = Origin(jobs=len(everyone))
        for arguments in everyone:
            out, left = Path(expanded(config.out)), {"overrides": whole(arguments), "images": 0, "started": time.time()}
            with suppress(Exception):  # the job that cannot be composed will say why
                cfg = composed(*arguments)
                out = Path(expanded(cfg.out))
                self.names[out] = cfg.name
                jobs.append((planned(cfg, arguments), cfg))
                left["images"] = jobs[-1][0].images
            self.runs.setdefault(out, []).append(left)
        for out, expected in self.runs.items():
            forget(out)
            with suppress(OSError):  # the jobs will say so
                write_atomically(out / PLAN, json.dumps(expected, indent=1).encode())
        if not jobs:
            return
        BAR.expect(sum(job.images for job, _ in jobs))
        cost = {}
        for job, cfg in jobs:
            key = (job.model, job.engine)
            if key not in cost:
                model, engine = load(plain(cfg.model), plain(cfg.engine))
                cost[key] = plan.seconds_a_pass(engine, model.preprocessing.size)
        wide = STDERR if STDERR.is_terminal else Console(stderr=True, width=WIDTH, markup=False)
        wide.print(plan.table([job for job, _ in jobs], cost))

    def on_run_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Write tables and figures of a run that succeeded."""
        BAR.stop()
        out = Path(expanded(config.out))
        Report.outs = (out,)
        if all(failure["rows"] for failure in failures(out)):
            self._report(out, config)

    def _report(self, out: Path, config: Any) -> None:
        from benchmarks import report  # only now: what draws takes a second to import

        try:
            report.write(out, config)
        except Exception as error:  # Hydra would make a warning of it
            fail(out, error, None)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Write tables and figures of what succeeded, and list what failed."""
        Report.sweep = None
        BAR.stop()
        Report.outs = tuple(self.runs)
        for out, jobs in self.runs.items():
            failed = failures(out)
            worked = sum(not failure["rows"] for failure in failed) < len(jobs)  # else, what lies there is of another command
            if worked and any((out / "jobs").glob("*.json")):
                self._report(out, OmegaConf.merge(config, {"name": self.names.get(out, config.name)}))
            for failure in failed:
                said = f" {failure['error']}\n  again: {failure['command']}"
                STDERR.print(Text.assemble(("failed:", "red"), said), soft_wrap=True)
