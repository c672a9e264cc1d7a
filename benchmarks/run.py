"""From a Hydra configuration to jobs, and from finished jobs to tables and figures."""

from __future__ import annotations

import json
import shlex
import signal
import sys
import threading
import traceback
from dataclasses import asdict
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from hydra import compose
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import InstantiationException
from hydra.experimental.callback import Callback
from hydra.utils import instantiate
from omegaconf import DictConfig, ListConfig, MissingMandatoryValue, OmegaConf, open_dict
from rich.console import Console

from benchmarks import plan, report
from benchmarks.access import LabelView
from benchmarks.datasets import ImageSet, Photograph, UnreadableError, correct_for_all, prepared, select
from benchmarks.engines import Engine
from benchmarks.job import Job, provenance
from benchmarks.models import Model
from benchmarks.progress import Bar
from results.store import Store, StoreError, digest, write_atomically

STDERR = Console(stderr=True)
BAR = Bar(STDERR)
FAILED_UNWRITTEN: list[dict[str, str]] = []  # failures of this process that could not be recorded


def join(values: ListConfig) -> str:
    """``${join:${models}}``: a list as choices of a sweep."""
    return ",".join(map(str, values))


def axes(points: int, *names: str) -> str:
    """``${axes:21,alpha_step,fc}``: choices of ``variation`` that sweep each hyper-parameter alone over 0 to 1."""
    return ",".join(f"{{{name}: {value:.6g}}}" for name in names for value in np.linspace(0, 1, points))


OmegaConf.register_new_resolver("join", join, replace=True)
OmegaConf.register_new_resolver("axes", axes, replace=True)


def run(cfg: DictConfig) -> None:
    """Run one configuration: compute what the store lacks. A failure is recorded, so that the other jobs of a sweep go on."""
    out = Path(cfg.out)
    try:
        job = make_job(cfg)
        record(job, cfg, out)
        title = f"{job.method_name} · {job.model.name} · {job.images.name}"
        left = len(job.left())
        BAR.job(title, len(job.images), len(job.images) - left)
        if not left:
            STDERR.print(f"{title}: nothing to compute, all {len(job.images)} images are in the store", highlight=False)
            return
        with Interruption() as interruption:
            computed = job.run(BAR.advance, lambda: interruption.asked)
        STDERR.print(f"{title}: computed {computed} of {len(job.images)} images", highlight=False)
        if interruption.asked:
            command = "python -m benchmarks " + " ".join(map(shlex.quote, sys.argv[1:]))
            STDERR.print(f"Interrupted: all that was computed is stored. Go on with: {command}", highlight=False, soft_wrap=True)
            raise KeyboardInterrupt
    except Exception as error:
        fail(out, error, list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else [])


class Interruption:
    """While it lasts, the first Ctrl-C asks for an end after the batch in flight; a second one ends at once."""

    asked = False

    def __enter__(self) -> Interruption:
        self.before = signal.getsignal(signal.SIGINT)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self.before)

    def _ask(self, *_: object) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        STDERR.print("Finishing the batch in flight; Ctrl-C again ends at once and loses it.", highlight=False)


def shard_of(text: str | None) -> tuple[int, int]:
    """``1/4``, the first of four shards, as ``(0, 4)``; None is all. Raises ValueError for anything else."""
    if text is None:
        return 0, 1
    part, _, parts = str(text).partition("/")
    if not (part.isdigit() and parts.isdigit() and 1 <= int(part) <= int(parts)):
        raise ValueError(f"shard={text!r}: give i/n, such as 1/4 to 4/4")
    return int(part) - 1, int(parts)


def expand_shards(arguments: list[str]) -> list[str]:
    """``shards=4`` as the sweep it stands for. Raises ValueError where it is no number."""
    found = [argument for argument in arguments if argument.startswith("shards=")]
    if not found:
        return arguments
    count = found[-1].removeprefix("shards=")
    if not count.isdigit() or int(count) < 1:
        raise ValueError(f"shards={count!r}: give how many, at least 1")
    sweep = "shard=" + ",".join(f"{i + 1}/{count}" for i in range(int(count)))
    return ["-m", *(argument for argument in arguments if argument not in ("-m", "--multirun") and argument not in found), sweep]


def fail(out: Path, error: Exception, overrides: list[str]) -> None:
    """Say what went wrong in a line or two, and leave it for the end of a sweep."""
    message = cause(error)
    command = "python -m benchmarks " + " ".join(overrides)
    content = {"error": message, "command": command, "traceback": traceback.format_exc()}
    try:
        write_atomically(out / "failed" / f"{digest({'command': command})}.json", json.dumps(content, indent=1).encode())
    except OSError:  # the disk is full or read-only, which may be the very failure
        FAILED_UNWRITTEN.append(content)
    STDERR.print(f"[red]error:[/red] {message}", highlight=False)


def cause(error: Exception) -> str:
    """What went wrong, without Hydra's wrapping."""
    while isinstance(error, InstantiationException) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    if isinstance(error, MissingMandatoryValue):
        return f"{error.full_key} is not given: add {error.full_key}=VALUE"
    return str(error) if isinstance(error, ValueError | StoreError) else f"{type(error).__name__}: {error}"


def failures(out: Path) -> list[dict[str, str]]:
    """The jobs that failed since the run began."""
    return [*(json.loads(path.read_text()) for path in sorted((out / "failed").glob("*.json"))), *FAILED_UNWRITTEN]


def make_job(cfg: DictConfig) -> Job:
    """Instantiate a configuration."""
    model, engine = load(plain(cfg.model), plain(cfg.engine))
    with_model(cfg, model)
    method_cfg, method_name = chosen_method(cfg)
    method = instantiate(method_cfg)
    parameters = {name: value for name, value in resolved(method_cfg).items() if not name.startswith("_")}
    if not isinstance(method, partial):
        method = partial(method)
    benchmarks = {name: instantiate(benchmark) for name, benchmark in cfg.benchmark.items()}
    engine_cfg = {name: value for name, value in resolved(cfg.engine).items() if name not in ("_partial_", "device")}
    return Job(
        model=model,
        engine=engine,
        engine_identity=engine_cfg,
        images=chosen_images(cfg),
        method=method,
        method_name=method_name,
        parameters=parameters,
        benchmarks={name: partial(b.func, **resolved_values(b.keywords)) for name, b in benchmarks.items()},
        store=Store(Path(cfg.store)),
        seed=cfg.seed,
        batch_size=cfg.batch_size or engine.batch,
        measure_memory=cfg.measure_memory,
        shard=shard_of(cfg.shard),
    )


def with_model(cfg: DictConfig, model: Model) -> DictConfig:
    """State in the configuration what the loaded model knows of itself, for methods to refer to: ``${model.mean}``."""
    found = asdict(model.preprocessing) | {"mean": list(model.preprocessing.mean), "std": list(model.preprocessing.std)}
    with open_dict(cfg):
        cfg.model = {**cfg.model, **found, "gradcam_layer": model.gradcam_layer}
    return cfg


@lru_cache(maxsize=6)
def load(model_json: str, engine_json: str) -> tuple[Model, Engine]:
    """A model and its engine, kept for the next job of a sweep in this process."""
    model = instantiate(json.loads(model_json))
    return model, instantiate(json.loads(engine_json))(model)


def chosen_method(cfg: DictConfig) -> tuple[DictConfig, str]:
    """The method's configuration and name. A ``_target_`` given by hand does not inherit the replaced method's hyper-parameters."""
    name, method = cfg.method_name, cfg.method
    if HydraConfig.initialized():
        hydra = HydraConfig.get()
        given = [override.lstrip("+").split("=", 1)[0] for override in hydra.overrides.task]
        name = name or str(hydra.runtime.choices.get("method"))
        if "method._target_" in given:
            name = cfg.method_name or str(method._target_).rsplit(".", 1)[-1]
            keep = {key.removeprefix("method.").split(".")[0] for key in given if key.startswith("method.")} | {"_target_", "_partial_"}
            method = OmegaConf.masked_copy(method, [key for key in method if key in keep])
    name = name or str(method._target_).rsplit(".", 1)[-1]
    chosen = OmegaConf.merge(method, (cfg.per_method or {}).get(name, {}), cfg.variation or {})
    chosen._set_parent(cfg)
    assert isinstance(chosen, DictConfig)
    return chosen, name


def chosen_images(cfg: DictConfig) -> ImageSet:
    """The data set's selected images."""
    images: ImageSet = instantiate(cfg.dataset)
    rule = cfg.select
    if not rule.correct_for:
        return select(images, n=rule.count, order=rule.order, seed=cfg.seed)
    shuffled = select(images, n=None, order=rule.order, seed=cfg.seed)
    classifiers = []
    for name in rule.correct_for:
        other = compose("config", overrides=[f"model={name}"])
        classifiers.append(partial(classify_of, plain(other.model), plain(cfg.engine)))
    return correct_for_all(shuffled, classifiers, n=rule.count)


def accuracies(cfg: DictConfig, chosen: ImageSet) -> dict[str, float]:
    """Accuracy of the models that an image had to please, over the images looked at to find the chosen ones, and how many these were."""
    if not cfg.select.correct_for:
        return {}
    every = select(instantiate(cfg.dataset), n=None, order=cfg.select.order, seed=cfg.seed).photographs
    looked = [photograph for photograph in every[: every.index(chosen.photographs[-1]) + 1] if photograph.label is not None]
    found: dict[str, float] = {"images": len(looked)}
    for name in cfg.select.correct_for:
        other, engine = plain(compose("config", overrides=[f"model={name}"]).model), plain(cfg.engine)
        found[name] = sum(classify_of(other, engine, photograph) == photograph.label for photograph in looked) / len(looked)
    return found


def classify_of(model_json: str, engine_json: str, photograph: Photograph) -> int | None:
    """The class a model gives to a photograph, None where it cannot be read."""
    return classify(model_json, engine_json, photograph, repr(photograph.source))


@lru_cache(maxsize=100_000)
def classify(model_json: str, engine_json: str, photograph: Photograph, source: str = "") -> int | None:
    """The class a model gives to a photograph, None where it cannot be read; remembered, ``source`` telling equal names apart."""
    model, engine = load(model_json, engine_json)
    try:
        pixels = prepared(photograph, photograph.digest()[:16], model.preprocessing)
    except UnreadableError:
        return None
    return int(LabelView(engine)(pixels[None].to(engine.device)))


def record(job: Job, cfg: DictConfig, out: Path) -> None:
    """Leave the job's record in the run's folder: its configuration, the keys of its results, its images."""
    named = {
        "dataset": job.images.name,
        "model": job.model.name,
        "method": job.method_name,
        "engine": job.engine_name,
        "seed": job.seed,
        "parameters": dict(job.parameters),
    }
    config = resolved(cfg)
    config["method"] = {name: value for name, value in config["method"].items() if name.startswith("_")} | dict(job.parameters)
    config |= {"method_name": job.method_name, "per_method": None, "variation": None}  # they are in the method now
    config["shard"] = None  # the shards of a job share its record
    content = {
        **named,
        "store": cfg.store,
        "keys": job.keys,
        "images": [[*key, photograph.label] for key, photograph in job.contents.items()],
        "config": config,
        "class_names": list(job.model.class_names),
        "model_parameters": job.model.parameters,
        "weights_sha256": job.model.weights_sha256,
        "dataset_sha256": digest({"images": sorted(map(list, job.contents))}),
        "accuracy": accuracies(cfg, job.images),
        "provenance": json.loads(provenance()),
        "command": [sys.executable, *sys.argv],
    }
    write_atomically(out / "jobs" / f"{digest(named)}.json", json.dumps(content, indent=1).encode())


def resolved(cfg: DictConfig) -> dict[str, Any]:
    """A configuration as plain Python, interpolations resolved."""
    found: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
    return found


def resolved_values(keywords: dict[str, Any]) -> dict[str, Any]:
    """Keyword arguments with OmegaConf lists made plain."""
    return {name: OmegaConf.to_object(value) if OmegaConf.is_config(value) else value for name, value in keywords.items()}


def plain(cfg: DictConfig) -> str:
    """A configuration as JSON, to be a cache's key."""
    return json.dumps(resolved(cfg), sort_keys=True)


def planned(config: DictConfig) -> list[tuple[plan.Work, DictConfig]]:
    """The jobs of a sweep, as the sweeper will make them, with their configurations."""
    given = [f"{key}={value}" for key, value in (config.hydra.sweeper.get("params") or {}).items()]
    overrides = OverridesParser.create().parse_overrides([*given, *config.hydra.overrides.task])
    jobs = []
    for batch in BasicSweeper.split_arguments(overrides, None):
        for arguments in batch:
            cfg = compose("config", overrides=list(arguments))
            choice = [argument.split("=", 1)[1] for argument in arguments if argument.startswith("method=")]
            name = cfg.method_name or (choice[-1] if choice else "da_pos")
            model, _ = load(plain(cfg.model), plain(cfg.engine))
            with_model(cfg, model)
            method = OmegaConf.merge(cfg.method, (cfg.per_method or {}).get(name, {}), cfg.variation or {})
            assert isinstance(method, DictConfig)
            method._set_parent(cfg)
            benchmarks = [resolved(benchmark) for benchmark in cfg.benchmark.values()] if cfg.benchmark else []
            count = cfg.select.count or len(chosen_images(cfg))
            engine_name = str(cfg.engine._target_).rsplit(".", 1)[-1].removesuffix("_engine")
            jobs.append((plan.work(model.name, engine_name, count, resolved(method), benchmarks), cfg))
    return jobs


class Report(Callback):
    """After the last job: tables and figures, and what failed."""

    out: Path | None = None  # of the run that this process has reported on

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Forget the failures of the last time."""
        for path in (Path(config.out) / "failed").glob("*.json"):
            path.unlink()

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Say what the sweep is going to do."""
        self.on_run_start(config)
        try:
            jobs = planned(config)
        except Exception:  # the job that cannot be composed will say why
            return
        BAR.expect(sum(job.images for job, _ in jobs))
        cost = {}
        for job, cfg in jobs:
            key = (job.model, job.engine)
            if key not in cost:
                model, engine = load(plain(cfg.model), plain(cfg.engine))
                cost[key] = plan.seconds_a_pass(engine, model.preprocessing.size)
        wide = STDERR if STDERR.is_terminal else Console(stderr=True, width=120)
        wide.print(plan.table([job for job, _ in jobs], cost))

    def on_run_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Write tables and figures of a run that succeeded."""
        BAR.stop()
        Report.out = Path(config.out)
        if not failures(Report.out):
            self._report(config)

    def _report(self, config: DictConfig) -> None:
        try:
            report.write(Path(config.out), config)
        except Exception as error:  # Hydra would make a warning of it
            fail(Path(config.out), error, list(config.hydra.overrides.task))

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Write tables and figures of what succeeded, and list what failed."""
        BAR.stop()
        Report.out = Path(config.out)
        if any((Report.out / "jobs").glob("*.json")):
            self._report(config)
        for failure in failures(Report.out):
            STDERR.print(f"[red]failed:[/red] {failure['error']}\n  again: {failure['command']}", highlight=False, soft_wrap=True)
