"""What was wrong with the input, in a line or two that say what to do. Imports nothing heavy, for a quick answer."""

from __future__ import annotations

import difflib
import errno
import logging
import os
import re
import traceback
from collections.abc import Iterable, Sequence

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import ConfigCompositionException, HydraException, InstantiationException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, MissingMandatoryValue, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from benchmarks.inputs import own_folders
from benchmarks.inputs.own_folders import CONFIGURATIONS as CONFIGURATIONS
from results.moved_modules import MOVED_MODULES

CLOSED = ("select", "tracking")  # what takes no further keys
_TOLD: set[str] = set()
DEBUG = "DA_DEBUG"  # an environment variable, so that the processes of a launcher know, too

logging.getLogger("hydra.utils").setLevel(logging.CRITICAL)  # it prints what it raises


def choices(group: str) -> list[str]:
    """The configurations of a group, such as ``method``, the user's own among them."""
    return [path.stem for path in own_folders.files(group)]


def debugging() -> bool:
    """Whether tracebacks are wanted."""
    return os.environ.get(DEBUG) == "1"


def cause(error: BaseException, arguments: Sequence[str] = ()) -> str:
    """What went wrong, without Hydra's wrapping. arguments: those of the command line, where they may be at fault."""
    while isinstance(error, InstantiationException) and error.__cause__ is not None:
        error = error.__cause__
    message = _one_line(error) + _moved(error)
    missing = error.full_key if isinstance(error, MissingMandatoryValue) else _found(r"Missing mandatory value: (\S+)", message)
    if missing:
        return f"{missing} is not given: add {missing}=VALUE"
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return _no_such_choice(error.missing_cfg_file, error.options or [])
    if isinstance(error, OverrideParseException):
        return f"{error.override!r} is no key=value ({_first_line(error)}); quote what is special: 'key=\"a b, c\"', 'key=[1,2]'"
    if key := _found(r"Could not override '([^']+)'", message):
        return _no_such_key(key, arguments)
    if argument := _found(r"Ambiguous value for argument '(.+?)' 1\.", message):
        return f"{argument} has several values: -m runs one after the other, [...] makes a list, quotes make one text"
    if scale := _found(r"Interpolation key 'scales\.([^.']*)", message):
        return f"scale={scale}: this experiment has no such scale; choose smoke, laptop or paper"
    if isinstance(error, FileExistsError | NotADirectoryError):
        return f"{error.filename} is a file where a folder is needed: choose another place"
    if isinstance(error, PermissionError) or (isinstance(error, OSError) and error.errno == errno.EROFS):
        return f"{error.filename} cannot be used ({error.strerror}): choose another place, such as out=DIR store=DIR"
    if isinstance(error, OmegaConfBaseException) and error.full_key and error.full_key not in message:
        return f"{error.full_key}: {message}"
    if isinstance(error, HydraException | OmegaConfBaseException | ValueError) or type(error).__name__ == "StoreError":
        return message
    return f"{type(error).__name__}: {message}"


def _moved(error: BaseException | None) -> str:
    """Where a module of ours is now, of which an old name could not be imported."""
    while error is not None and not (isinstance(error, ModuleNotFoundError) and error.name in MOVED_MODULES):
        error = error.__cause__ or error.__context__
    return f"; {error.name} is {MOVED_MODULES[str(error.name)]} now" if isinstance(error, ModuleNotFoundError) else ""


def reason(error: Exception) -> str:
    """An exception as the status of an image; with ``--debug`` its traceback, once for each kind."""
    said = " ".join(f"{type(error).__name__}: {error}".split())
    if debugging() and said not in _TOLD:
        _TOLD.add(said)
        traceback.print_exception(error)
    return said


def suggestion(word: str, known: Iterable[str]) -> str:
    """``" (did you mean da_pos?)"``, or nothing."""
    near = difflib.get_close_matches(word, [other for other in known if other != word], n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def _no_such_choice(file: str, options: Sequence[str]) -> str:
    group, _, name = file.rpartition("/")
    known = sorted(set(options) or choices(group))
    if not group or not known:
        return f"there is no configuration {file}"
    return f"{group}={name}: no such {group}{suggestion(name, known)}; choose from {', '.join(known)}"


def _no_such_key(key: str, arguments: Sequence[str]) -> str:
    group, _, name = key.rpartition(".")
    if key.startswith("benchmark.") and (said := _no_such_measure(key, arguments)):
        return said
    there = _composed(arguments)
    found = (OmegaConf.select(there, group) if group else there) if there is not None else None
    public = [str(known) for known in found if not str(known).startswith("_")] if isinstance(found, DictConfig) else []
    if key.startswith("hydra.") or key == "hydra":
        listed = f"; {group} has {', '.join(public)}" if public else ""
        return f"there is no key {key}{suggestion(name, public)}{listed}"
    params = OmegaConf.select(there, "hydra.sweeper.params") if there is not None else None
    sweeps = [*arguments, *(f"{swept}={values}" for swept, values in (params or {}).items())]
    if group == "method" and any(re.match(r"method=.*,", argument) for argument in sweeps):
        return f"there is no key {key} in every method; for one method of a sweep: per_method={{NAME: {{{name}: VALUE}}}}"
    keys_of = {path.stem: list(OmegaConf.load(path)) for path in own_folders.files(group)}
    owners = [choice for choice, keys in keys_of.items() if name in keys]
    if owners and not public:
        return f"there is no key {key} unless {group} is one of {', '.join(owners)}: give {group}=NAME, too"
    known = [one for one in public if group or one != "hydra"]
    listed = f"; {group} has {', '.join(public)}" if group and public else "; --help lists all"
    more = "" if group in CLOSED else f". A new key is added with +{key}=VALUE"
    return f"there is no key {key}{suggestion(name, known)}{listed}{more}"


def _no_such_measure(key: str, arguments: Sequence[str]) -> str:
    """Of a key of a measure that is not chosen, or not there; nothing where only the key is wrong."""
    name = key.split(".")[1]
    given = [argument.split("=", 1)[1].strip("[]") for argument in arguments if argument.startswith("benchmark=")]
    chosen = [one.strip() for one in (given[-1] if given else "insertion,mar").split(",") if one.strip()]
    if name in chosen:
        return ""
    if name not in choices("benchmark"):
        return f"{key}: there is no measure {name}{suggestion(name, choices('benchmark'))}; choose from {', '.join(choices('benchmark'))}"
    return f"{key}: the measure {name} is not chosen: give benchmark=[{','.join([*chosen, name])}], too"


def _composed(arguments: Sequence[str]) -> DictConfig | None:
    """The configuration of what a command line chooses, Hydra's own included; None where it cannot be composed."""
    try:
        GlobalHydra.instance().clear()
        chosen = [given for given in arguments if re.fullmatch(r"[\w/]+=[\w]+", given) and choices(given.split("=")[0])]
        with initialize_config_dir(CONFIGURATIONS, version_base="1.3"):
            return compose("config", overrides=chosen, return_hydra_config=True)
    except Exception:  # only the suggestion is lost
        return None


def _found(pattern: str, message: str) -> str | None:
    match = re.search(pattern, message)
    return match[1] if match else None


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip() and not line.startswith("Error parsing override")), "")


def _one_line(error: BaseException) -> str:
    """The message and, of a composition error, its cause's; without OmegaConf's own names of nodes."""
    texts = [str(error)]
    if isinstance(error, ConfigCompositionException) and error.__cause__ is not None:
        texts.append(str(error.__cause__))
    lines = [line.strip() for text in texts for line in text.splitlines()]
    return " ".join(line for line in lines if line and not line.startswith(("full_key:", "object_type=", "reference_type=")))
