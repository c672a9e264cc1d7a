"""Where files are read and written: home folders, a run's folder beside its store, and a cache that can be written."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

PATHS = ["out", "store", "dataset.root", "dataset.of.root", "dataset.of.of.root", "dataset.masks", "dataset.boxes"]
PATHS += ["model.weights", "model.net.weights", "model.net.checkpoint"]
PATHS += ["method.maps", "method.masks", "method.start_from.maps", "method.start_from.masks"]


def expanded(path: str | os.PathLike[str]) -> str:
    """A path with ``~`` and ``~user`` as the folders they stand for. Raises ValueError for a user who is not there."""
    if not isinstance(path, str | os.PathLike):
        raise ValueError(f"{path!r} is no path: put it in quotes where it is written")
    found = os.path.expanduser(path)
    if os.fspath(found).startswith("~"):
        raise ValueError(f"{path}: {Path(path).parts[0]} is no user's home here; a folder of that name is ./{path}")
    return os.fspath(found)


def check_name(name: object) -> str:
    """A run's name. Raises ValueError for one that is no text, or that names no folder of its own in ``runs``."""
    if not isinstance(name, str):
        raise ValueError(f"name={name}: not text where it is written, so that other characters may have been meant: put it in quotes")
    if not name.strip() or name in (".", "..", "store") or "/" in name or any(ord(character) < 32 for character in name):
        raise ValueError(f"name={name!r}: a run's name is a folder of its own in runs/, and no path; for another place give out=DIR")
    return name


def run_folder(cwd: str, out: str, store: str) -> str:
    """A run's folder, absolute. Raises ValueError where it is the store, or in it: both are written by other rules."""
    found, kept = (os.path.abspath(os.path.join(cwd, expanded(path))) for path in (out, store))
    if os.path.realpath(found) == os.path.realpath(kept) or Path(os.path.realpath(kept)) in Path(os.path.realpath(found)).parents:
        raise ValueError(f"out={out} is in the store, {store}: choose another out=DIR or store=DIR")
    return found


def expand_paths(cfg: DictConfig) -> None:
    """Put whole paths in place of ``~``, wherever a configuration names files, also in the files of configurations themselves."""
    for node, name, value in _paths(cfg):
        if value.startswith("~"):
            node[name] = expanded(value)


def _paths(cfg: DictConfig) -> Iterator[tuple[DictConfig, str, str]]:
    """The paths that a configuration names itself, each with its node and its name there."""
    for key in PATHS:
        parent, _, name = key.rpartition(".")
        node = OmegaConf.select(cfg, parent) if parent else cfg
        if (
            not isinstance(node, DictConfig)
            or name not in node
            or OmegaConf.is_missing(node, name)
            or OmegaConf.is_interpolation(node, name)
        ):
            continue
        if isinstance(value := node.get(name), str):
            yield node, name, value


def find_from(folder: str | None, cfg: DictConfig) -> None:
    """Let what a configuration names be found from another working folder: files and modules of the folder where it was run."""
    if folder is None or not os.path.isdir(folder) or os.path.samefile(folder, os.curdir):
        return
    for node, name, value in _paths(cfg):
        if not os.path.isabs(value) and os.path.exists(there := os.path.join(folder, value)):
            node[name] = there
    if folder not in sys.path:
        sys.path.append(folder)


def writable(folder: Path, home: Path | None = None) -> bool:
    """Whether a file can be made in a folder, which is made where it is not there, unless that goes for ``home``, too."""
    try:
        if home is not None and not home.is_dir():
            return False
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def ensure_cache() -> str:
    """See that caches can be written, if need be in a temporary folder that goes with this process; returns what is to be said."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    home = Path(os.path.expanduser("~"))
    folder = Path(given) if os.path.isabs(given) else home / ".cache"  # the standard ignores a relative one
    if not (os.path.isabs(folder) and writable(folder / "dynamic-ablation", None if os.path.isabs(given) else home)):
        folder = Path(tempfile.mkdtemp(prefix="dynamic-ablation-"))
        atexit.register(_remove, folder, os.getpid())
        said = f"note: no cache can be written in {given or home}: a temporary one is used; XDG_CACHE_HOME=DIR names a lasting one"
    else:
        said = ""
    os.environ["XDG_CACHE_HOME"] = str(folder)
    settings = os.environ.get("XDG_CONFIG_HOME")
    if not writable(Path(settings or home / ".config", "matplotlib"), None if settings else home):
        os.environ.setdefault("MPLCONFIGDIR", str(folder / "matplotlib"))  # or it warns in lines of its own
    return said


def any_file_names() -> None:
    """Let names of files that are not UTF-8 be printed as they are."""
    with suppress(AttributeError, OSError):  # such as a stream that a test has put there
        sys.stdout.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]


def _remove(folder: Path, process: int) -> None:
    if os.getpid() == process:  # not in a worker that was forked
        shutil.rmtree(folder, ignore_errors=True)
