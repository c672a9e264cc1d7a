"""From a Hydra configuration to models, engines, images, methods and jobs."""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.utils import get_method, instantiate
from omegaconf import DictConfig, OmegaConf, open_dict

import benchmarks.resolvers  # noqa: F401 (configurations use them)
from benchmarks import own_folders
from benchmarks.access import LabelView
from benchmarks.at_load import examined
from benchmarks.bad_input import CONFIGURATIONS, cause, choices, suggestion
from benchmarks.command_line import as_given
from benchmarks.datasets import ImageSet, Photograph, UnreadableError, correct_for_all, prepared, select
from benchmarks.engines import Engine
from benchmarks.job import Job
from benchmarks.models import Model
from benchmarks.parameters import check, check_settings
from benchmarks.sources import is_ours
from results.store import Store


def composed(*overrides: str) -> DictConfig:
    """The application's configuration with overrides, inside the application or anywhere else."""
    given = as_given(overrides)
    if GlobalHydra.instance().is_initialized():
        return compose("config", overrides=given)
    with initialize_config_dir(CONFIGURATIONS, version_base="1.3"):
        return compose("config", overrides=given)


def make_job(cfg: DictConfig) -> Job:
    """Instantiate a configuration. Raises ValueError for a value that is out of place."""
    check_settings(cfg)
    for where in ("model", "engine", "dataset"):
        check_node(where, cfg[where])
    model, engine = load(plain(cfg.model), plain(cfg.engine))
    with_model(cfg, model)
    hydra = HydraConfig.get() if HydraConfig.initialized() else None
    choice = hydra.runtime.choices.get("method") if hydra else None
    method_cfg, method_name = chosen_method(cfg, hydra.overrides.task if hydra else [], choice)
    check_node("method", method_cfg)
    for name, benchmark in cfg.benchmark.items():
        check_node(f"benchmark.{name}", benchmark)
    method = instantiate(method_cfg)
    parameters = {name: value for name, value in resolved(method_cfg).items() if not name.startswith("_")}
    if not isinstance(method, partial):
        method = partial(method)
    benchmarks = {name: instantiate(benchmark) for name, benchmark in cfg.benchmark.items()}
    engine_cfg = {name: value for name, value in resolved(cfg.engine).items() if name not in ("_partial_", "device")}
    images = chosen_images(cfg)
    labels = [photograph.label for photograph in images.photographs if photograph.label is not None]
    if labels and not 0 <= min(labels) <= max(labels) < len(model.class_names):
        found = f"labels {min(labels)} to {max(labels)}"
        raise ValueError(
            f"dataset {images.name} has {found}, and model {model.name} {len(model.class_names)} classes: they do not belong together"
        )
    return Job(
        model=model,
        engine=engine,
        engine_identity=engine_cfg,
        images=images,
        method=method,
        method_name=method_name,
        parameters=parameters,
        benchmarks={name: partial(b.func, **resolved_values(b.keywords)) for name, b in benchmarks.items()},
        store=Store(Path(cfg.store)),
        seed=cfg.seed,
        batch_size=cfg.batch_size or engine.batch,
        measure_memory=cfg.measure_memory,
        shard=shard_of(cfg.shard),
        dataset=resolved(cfg.dataset),
        targets={"method": str(method_cfg._target_)} | {str(name): str(benchmark._target_) for name, benchmark in cfg.benchmark.items()},
    )


def check_node(where: str, node: DictConfig) -> None:
    """Check a configured function's keywords, see ``parameters.check``, and those of the configured functions among them."""
    given = {name: value for name, value in resolved(node).items() if not name.startswith("_")}
    nested = [name for name, value in given.items() if isinstance(value, dict) and "_target_" in value]
    unchecked = [*nested, *(name for name, value in given.items() if value == "???")]
    check(f"{where}." if where else "", get_method(node._target_), given, unchecked)
    for name in nested:
        check_node(f"{where}.{name}", node[name])


def with_model(cfg: DictConfig, model: Model) -> DictConfig:
    """State in the configuration what the loaded model knows of itself, for methods to refer to: ``${model.mean}``."""
    found = asdict(model.preprocessing) | {"mean": list(model.preprocessing.mean), "std": list(model.preprocessing.std)}
    with open_dict(cfg):
        cfg.model = {**cfg.model, **found, "gradcam_layer": model.gradcam_layer}
    return cfg


@lru_cache(maxsize=6)
def load(model_json: str, engine_json: str) -> tuple[Model, Engine]:
    """A model and its engine, kept for the next job of a sweep in this process; the engine has been ``examined``, which see for errors."""
    config = json.loads(model_json)
    own = {} if is_ours(str(config["_target_"]).rpartition(".")[0]) else {"_target_": config["_target_"]}
    network = config.get("net", {})
    ours = is_ours(str(network.get("_target_", "")).rpartition(".")[0])  # somebody else's file of weights may hold code
    net = own | {name: value for name, value in network.items() if name != "weights" or not ours}
    model = replace(instantiate(config), net=net)
    return model, examined(model, instantiate(json.loads(engine_json))(model))


def chosen_method(cfg: DictConfig, overrides: Sequence[str], choice: str | None) -> tuple[DictConfig, str]:
    """The method's configuration and name. A ``_target_`` given by hand does not inherit the replaced method's hyper-parameters.

    overrides: those of the command line. choice: the chosen file of ``conf/method``, where it is known.
    """
    method = cfg.method
    target = str(method._target_).rsplit(".", 1)[-1]
    given = [override.lstrip("+").split("=", 1)[0] for override in overrides]
    name = cfg.method_name or choice or target
    if "method._target_" in given:
        name = cfg.method_name or target
        keep = {key.removeprefix("method.").split(".")[0] for key in given if key.startswith("method.")} | {"_target_", "_partial_"}
        method = OmegaConf.masked_copy(method, [key for key in method if key in keep])
    elif not cfg.method_name:  # names that are given by hand may be those of the sweep's other jobs
        hydra = GlobalHydra.instance()
        known = {name, *(hydra.config_loader().get_group_options("method") if hydra.is_initialized() else choices("method"))}
        for other in set(cfg.per_method or {}) - known:
            raise ValueError(
                f"per_method={{{other}: ...}}: no such method{suggestion(str(other), known)}; choose from {', '.join(sorted(known))}"
            )
        for other in set(cfg.per_method or {}) - {name}:  # those of this one are checked with its other parameters
            changed = cfg.per_method[other] or {}
            takes = frozenset() if "_target_" in changed else parameters_of(str(other))
            for key in set(changed) - takes if takes else ():
                raise ValueError(f"per_method={{{other}: {{{key}: ...}}}}: {other} has no such parameter{suggestion(str(key), takes)}")
    OmegaConf.set_struct(method, False)  # a name that the method does not have is found when its parameters are checked
    chosen = OmegaConf.merge(method, (cfg.per_method or {}).get(name, {}), cfg.variation or {})
    chosen._set_parent(cfg)
    assert isinstance(chosen, DictConfig)
    return chosen, name


@lru_cache(maxsize=100)
def parameters_of(method: str) -> frozenset[str]:
    """What a method of ``conf/method`` can be given; nothing where that cannot be known here."""
    with suppress(Exception):  # such as a module that is not there; it is not to be run
        node = next(OmegaConf.load(path) for path in own_folders.files("method") if path.stem == method)
        parameters = inspect.signature(get_method(node._target_)).parameters.values()
        if not any(one.kind is one.VAR_KEYWORD for one in parameters):
            return frozenset(one.name for one in parameters)
    return frozenset()


def chosen_images(cfg: DictConfig) -> ImageSet:
    """The data set's selected images."""
    images: ImageSet = instantiate(cfg.dataset)
    rule = cfg.select
    if not rule.correct_for:
        return select(images, n=rule.count, order=rule.order, seed=cfg.seed)
    shuffled = select(images, n=None, order=rule.order, seed=cfg.seed)
    classifiers = []
    for name in rule.correct_for:
        try:
            other = judge(cfg, name)
        except HydraException as error:
            raise ValueError(f"select.correct_for: {cause(error)}") from None
        classifiers.append(partial(classify_of, plain(other), plain(cfg.engine)))
    return correct_for_all(shuffled, classifiers, n=rule.count)


def judge(cfg: DictConfig, name: str) -> DictConfig:
    """The configuration of one of ``select.correct_for``: a name of ``conf/model``, or ``model``, the job's own."""
    found: DictConfig = (cfg if name == "model" else composed(f"model={name}")).model
    return found


def accuracies(cfg: DictConfig, chosen: ImageSet) -> dict[str, float]:
    """Accuracy of the models that an image had to please, over the images looked at to find the chosen ones, and how many these were."""
    if not cfg.select.correct_for:
        return {}
    every = select(instantiate(cfg.dataset), n=None, order=cfg.select.order, seed=cfg.seed).photographs
    looked = [photograph for photograph in every[: every.index(chosen.photographs[-1]) + 1] if photograph.label is not None]
    found: dict[str, float] = {"images": len(looked)}
    for name in cfg.select.correct_for:
        other, engine = plain(judge(cfg, name)), plain(cfg.engine)
        found[name] = sum(classify_of(other, engine, photograph) == photograph.label for photograph in looked) / len(looked)
    return found


def classify_of(model_json: str, engine_json: str, photograph: Photograph) -> int | None:
    """The class a model gives to a photograph, None where it cannot be read."""
    try:
        return classify(model_json, engine_json, photograph, f"{photograph!r} {photograph.digest()}")
    except UnreadableError:
        return None


@lru_cache(maxsize=100_000)
def classify(model_json: str, engine_json: str, photograph: Photograph, source: str = "") -> int | None:
    """The class a model gives to a photograph, None where it cannot be read; remembered, ``source`` telling equal names apart."""
    model, engine = load(model_json, engine_json)
    try:
        pixels = prepared(photograph, photograph.digest()[:16], model.preprocessing)
    except UnreadableError:
        return None
    return int(LabelView(engine)(pixels[None].to(engine.device)))


def shard_of(text: object) -> tuple[int, int]:
    """``1/4``, the first of four shards, as ``(0, 4)``; None is all. Raises ValueError for anything else."""
    if text is None:
        return 0, 1
    part, _, parts = str(text).partition("/")
    if not (part.isdigit() and parts.isdigit() and 1 <= int(part) <= int(parts)):
        raise ValueError(f"shard={text!r}: give i/n, such as 1/4 to 4/4")
    return int(part) - 1, int(parts)


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
