"""From a Hydra configuration to a job: everything that is open is decided here, once."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, open_dict

from benchmarks.data.photographs import ImageSet
from benchmarks.engines.auto import fastest_engine
from benchmarks.engines.loading import load
from benchmarks.inputs import own_folders
from benchmarks.inputs.compose import as_json, resolved, resolved_values
from benchmarks.inputs.messages import choices, suggestion
from benchmarks.inputs.parameters import MEASURE, METHOD, check, check_contract, check_settings, find_function, takes_evidence
from benchmarks.inputs.places import expand_paths
from benchmarks.jobs.batch import evidence_digest
from benchmarks.jobs.job import Job
from benchmarks.jobs.objective import objectives_of
from benchmarks.jobs.selection import judges_of, selected_images
from benchmarks.jobs.trial import check_by_trial
from benchmarks.models.classifier import Model
from results.moved_modules import with_current_names
from results.store.store import Store


@dataclass(frozen=True)
class ResolvedConfig:
    """A configuration in which nothing is open: paths are whole, the engine is chosen, the model's facts are known, values are checked.

    settings: all of it as plain Python, the model's facts and the method's hyper-parameters in their places, for the job's record.
    method: the chosen method's node; method_name: what it is called in results. model_json, engine_json: what ``load`` takes.
    judges: JSON of the models that must classify an image correctly, by name. engine_choice: what is to be said of ``engine=auto``.
    out: the run's folder.
    """

    settings: Mapping[str, Any]
    method: Mapping[str, Any]
    method_name: str
    model_json: str
    engine_json: str
    judges: Mapping[str, str]
    engine_choice: str
    out: Path

    def __getitem__(self, name: str) -> Any:
        """One of the settings."""
        return self.settings[name]

    @property
    def parameters(self) -> dict[str, Any]:
        """The method's hyper-parameters."""
        return {name: value for name, value in self.method.items() if not name.startswith("_")}

    def images(self) -> ImageSet:
        """The selected images."""
        return selected_images(self["dataset"], self["select"], self["seed"], self.judges, self.engine_json)


def resolve(given: DictConfig, overrides: Sequence[str] = (), choice: str | None = None) -> ResolvedConfig:
    """Decide what a configuration leaves open, and check it; the given one stays as it is.

    overrides: of the command line that it is of. choice: the chosen file of ``conf/method``, where it is known. Raises ValueError for a
    value that is out of place, and what loading the model raises.
    """
    check_settings(given)
    cfg = copy.deepcopy(given)
    OmegaConf.set_struct(cfg, False)
    for group in ("model", "engine", "dataset", "method", "benchmark"):
        _rename(cfg, group)
    expand_paths(cfg)
    for group in ("model", "engine", "dataset"):
        check_given(group, cfg[group])
    cfg.engine, said = fastest_engine(cfg.engine, cfg.model)
    for where in ("model", "engine", "dataset"):
        check_node(where, cfg[where])
    model_json, engine_json = as_json(cfg.model), as_json(cfg.engine)
    model, _ = load(model_json, engine_json)
    state_model(cfg, model)
    method, name = chosen_method(cfg, overrides, choice)
    check_given("method", method)
    method = as_function("method", method, METHOD)
    cfg.method = method  # with what is given by per_method: a measure may refer to it, and to what the model states
    check_given("benchmark", cfg.benchmark)
    for measure, node in (cfg.benchmark or {}).items():
        if measure == "_target_" or not isinstance(node, DictConfig) or "_target_" not in node:
            raise ValueError(
                f"benchmark.{measure} is not a measure: a file conf/benchmark/NAME.yaml begins with the line '# @package benchmark.NAME', "
                "and has a _target_"
            )
        cfg.benchmark[measure] = as_function(f"benchmark.{measure}", node, MEASURE)
    chosen, settings = resolved(method), resolved(cfg)
    for rule in ("part", "skip"):  # as jobs were recorded before there were these
        if not settings["select"].get(rule):
            settings["select"].pop(rule, None)
    objectives_of(settings.get("objective"))
    # What tells methods of a sweep apart is in the method now, and the shards of a job share its record.
    settings |= {"method": chosen, "method_name": name, "per_method": None, "variation": None}
    for where, node in {"method": chosen, **{f"benchmark.{name}": node for name, node in (settings["benchmark"] or {}).items()}}.items():
        check_by_trial(where, node, model_json, engine_json)
    judges = judges_of(settings["select"], model_json)
    return ResolvedConfig(settings, chosen, name, model_json, engine_json, judges, said, Path(str(cfg.out)))


def make_job(config: ResolvedConfig) -> Job:
    """The job of a configuration. Raises ValueError where the images are of other classes than the model's."""
    model, engine = load(config.model_json, config.engine_json)
    method = instantiate(config.method)
    if not isinstance(method, partial):
        method = partial(method)
    benchmarks = {name: instantiate(node) for name, node in (config["benchmark"] or {}).items()}
    images = config.images()
    labels = [photograph.label for photograph in images.photographs if photograph.label is not None]
    if labels and not 0 <= min(labels) <= max(labels) < len(model.class_names):
        found = f"labels {min(labels)} to {max(labels)}"
        raise ValueError(
            f"dataset {images.name} has {found}, and model {model.name} {len(model.class_names)} classes: they do not belong together"
        )
    for name in (name for name, benchmark in benchmarks.items() if takes_evidence(benchmark)):
        if not any(map(evidence_digest, images.photographs)):
            raise ValueError(
                f"benchmark.{name} compares with known evidence, and {images.name} has none: choose dataset=planted, or give "
                "dataset.masks=DIR or dataset.boxes=DIR"
            )
    nodes = {"method": config.method, **(config["benchmark"] or {})}
    return Job(
        model=model,
        engine=engine,
        engine_identity={name: value for name, value in config["engine"].items() if name not in ("_partial_", "device")},
        images=images,
        method=method,
        method_name=config.method_name,
        parameters=config.parameters,
        benchmarks={name: partial(b.func, **resolved_values(b.keywords)) for name, b in benchmarks.items()},
        store=Store(Path(config["store"])),
        seed=config["seed"],
        batch_size=config["batch_size"] or engine.batch,
        measure_memory=config["measure_memory"],
        shard=shard_of(config["shard"]),
        dataset=config["dataset"],
        targets={name: str(node["_target_"]) for name, node in nodes.items()},
    )


def _rename(cfg: DictConfig, group: str) -> None:
    """Put the current names of functions in place of those that they had before; interpolations stay."""
    node = cfg.get(group)
    if isinstance(node, DictConfig) and not OmegaConf.is_missing(cfg, group):
        cfg[group] = with_current_names(OmegaConf.to_container(node))


def check_given(where: str, node: DictConfig | None) -> None:
    """Raises ValueError for a value that must be given and is not, in this part of a configuration."""
    for key in sorted(OmegaConf.missing_keys(node or {})):
        name = f"{where}.{key.removeprefix(f'{where}.')}"
        raise ValueError(f"{name} is not given: add {name}=VALUE")


def check_node(where: str, node: DictConfig) -> None:
    """Check a configured function's keywords, see ``parameters.check``, and those of the configured functions among them."""
    given = {name: value for name, value in resolved(node).items() if not name.startswith("_")}
    nested = [name for name, value in given.items() if isinstance(value, dict) and "_target_" in value]
    unchecked = [*nested, *(name for name, value in given.items() if value == "???")]
    check(f"{where}." if where else "", find_function(str(node._target_)), given, unchecked)
    for name in nested:
        check_node(f"{where}.{name}", node[name])


def as_function(where: str, node: DictConfig, first: Sequence[str]) -> DictConfig:
    """A method's or measure's configuration, checked; one of a plain function as that of a function that waits for its arguments.

    first: the arguments that it is called with.
    """
    check_node(where, node)
    function = find_function(str(node._target_))
    if "_partial_" not in node and inspect.isfunction(function):
        needed = [one for one in inspect.signature(function).parameters.values() if one.default is one.empty]
        if any(one.name not in node for one in needed if one.kind is not one.VAR_KEYWORD):
            with open_dict(node):
                node["_partial_"] = True
    if node.get("_partial_") and inspect.isfunction(function):
        check_contract(where, function, first)
    return node


def state_model(cfg: DictConfig, model: Model) -> None:
    """State in the configuration what the loaded model knows of itself, for methods to refer to: ``${model.mean}``."""
    found = asdict(model.preprocessing) | {"mean": list(model.preprocessing.mean), "std": list(model.preprocessing.std)}
    with open_dict(cfg):
        cfg.model = {**cfg.model, **found, "gradcam_layer": model.gradcam_layer}


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
        parameters = inspect.signature(find_function(node._target_)).parameters.values()
        if not any(one.kind is one.VAR_KEYWORD for one in parameters):
            return frozenset(one.name for one in parameters)
    return frozenset()


def shard_of(text: object) -> tuple[int, int]:
    """``1/4``, the first of four shards, as ``(0, 4)``; None is all. Raises ValueError for anything else."""
    if text is None:
        return 0, 1
    part, _, parts = str(text).partition("/")
    if not (part.isdigit() and parts.isdigit() and 1 <= int(part) <= int(parts)):
        raise ValueError(f"shard={text!r}: give i/n, such as 1/4 to 4/4")
    return int(part) - 1, int(parts)
