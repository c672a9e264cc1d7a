"""Configurations of the user's own, before the shipped ones: ``--config-dir`` and ``hydra.searchpath``."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf

from benchmarks.inputs.places import expanded

HERE = Path(__file__).resolve().parents[1]  # by its place: a user's own folder may have the same name
CONFIGURATIONS = str(next(path for path in (HERE / "conf", HERE.parent / "conf") if path.is_dir()))  # inside the package once it is built
SHOWN = 5  # files that a note names
_OWN: list[str] = []  # of this process, in the order in which they are searched


class OwnFirst(SearchPathPlugin):
    """Hydra searches the folders of a command line last; with this, first, wherever a configuration is composed."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Put the user's folders before all others."""
        for folder in reversed(_OWN):
            search_path.prepend("own", folder)


def set_search_path(config_dir: str | None, searchpath: Sequence[str] = (), config_name: str = "config") -> list[str]:
    """Take a command line's folders for this process, in place of those before, and return what is to be said of them.

    searchpath: folders or ``pkg://`` packages. config_name: the main configuration; one of the user's own may name folders, too.
    Raises ValueError for a folder that is not there.
    """
    Plugins.instance().register(OwnFirst)
    given = [f"file://{expanded(config_dir)}"] if config_dir is not None else []
    _OWN[:] = [_whole(path) for path in [*given, *searchpath]]
    main = next((file for folder in [*folders(), Path(CONFIGURATIONS)] if (file := folder / f"{config_name}.yaml").is_file()), None)
    more = OmegaConf.select(OmegaConf.load(main), "hydra.searchpath") if main is not None and not searchpath else None
    _OWN.extend(_whole(str(path)) for path in more or ())
    return notes_on_own_files()


def folders() -> list[Path]:
    """The user's folders, in the order in which they are searched."""
    found = []
    for path in _OWN:
        if not path.startswith("pkg://"):
            found.append(Path(path.removeprefix("file://")))
        elif (spec := find_spec(path.removeprefix("pkg://").replace("/", "."))) and spec.submodule_search_locations:
            found.append(Path(next(iter(spec.submodule_search_locations))))
    return found


def files(group: str) -> list[Path]:
    """The configurations of a group, such as ``method``; of those with one name the one that is used."""
    searched = [Path(CONFIGURATIONS), *reversed(folders())]
    found = {path.stem: path for folder in searched for path in (folder / group).glob("*.yaml")}
    return [found[name] for name in sorted(found)]


def notes_on_own_files() -> list[str]:
    """Which files of the user are used in place of shipped ones, and which are not read."""
    said = []
    for folder in folders():
        own = sorted(path.relative_to(folder) for path in folder.rglob("*.y*ml"))
        instead = [
            path for path in own if (there := Path(CONFIGURATIONS, path)).is_file() and there.read_bytes() != (folder / path).read_bytes()
        ]
        unread = [path for path in own if path.suffix == ".yml"]
        if instead and folder.resolve() != Path(CONFIGURATIONS):
            said.append(f"note: {_some(instead)} of {folder} in place of the shipped {'one' if len(instead) == 1 else 'ones'}")
        if unread:
            said.append(f"note: {_some(unread)} of {folder} not read: a configuration's name ends in .yaml")
    return said


def _some(paths: Sequence[Path]) -> str:
    shown = ", ".join(path.as_posix() for path in paths[:SHOWN])
    return f"{shown} and {len(paths) - SHOWN} more" if len(paths) > SHOWN else shown


def _whole(path: str) -> str:
    if "://" in path and not path.startswith("file://"):
        return path
    folder = Path(expanded(path.removeprefix("file://"))).absolute()
    if not folder.is_dir():
        raise ValueError(f"the folder of configurations '{folder}' not found: give one that is there, as --config-dir DIR")
    return f"file://{folder}"
