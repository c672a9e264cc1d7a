"""Which files below a folder are pictures, and which are left out and why: said once, in a line."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from PIL import Image

LOG = logging.getLogger(__name__)

NO_PICTURES = frozenset({"BUFR", "EPS", "FITS", "GRIB", "HDF5", "IPTC", "MPEG", "WMF"})  # recognised, or opened by other programs, only
OF_SYSTEMS = frozenset(
    {"@eadir", "@recycle", "#recycle", "#snapshot", "__macosx", "$recycle.bin", "system volume information", "lost+found", "thumbs.db"}
)
HIDDEN = "hidden or of the system"
NO_SUFFIX = "not named like a picture that Pillow reads"
LINKS = "links to folders that are in already or hold the link"
BROKEN = "links to nothing"
NO_FILES = "neither files nor folders"
CLOSED = "folders that cannot be opened"
LOOSE = "beside the folders of the classes"
EMPTY = "classes without pictures"
_SAID: set[str] = set()

LeftOut = dict[str, list[str]]  # names, by why


@cache
def suffixes() -> frozenset[str]:
    """Of the files that Pillow decodes by itself, in lower case."""
    Image.init()
    formats = (set(Image.OPEN) | {"MPO"}) - NO_PICTURES  # an MPO file is opened as the JPEG that it begins with
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in formats)


def hidden(name: str) -> bool:
    """Whether a file or folder is one that programs leave beside photographs, such as ``._a.jpg`` and ``@eaDir``."""
    return name.startswith(".") or name.lower() in OF_SYSTEMS


def images_below(root: Path) -> tuple[list[Path], LeftOut]:
    """The pictures below a folder, sorted, and what else is there.

    Links to folders are followed, each real folder once, and by its own path where it has one below ``root``.
    """
    found: list[Path] = []
    left_out: LeftOut = {}
    seen = set[tuple[int, int]]()
    folders, links = [root], list[Path]()

    def leave(why: str, path: Path, mark: str = "") -> None:
        left_out.setdefault(why, []).append(printable(path.relative_to(root)) + mark)

    while folders or links:
        linked = not folders
        folder = links.pop(0) if linked else folders.pop()
        try:
            stat = folder.stat()
            loop = linked and folder.parent.resolve().is_relative_to(folder.resolve())
            if loop or (stat.st_dev, stat.st_ino) in seen:
                leave(LINKS, folder, "/")
                continue
            seen.add((stat.st_dev, stat.st_ino))
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError:
            leave(CLOSED, folder, "/")
            continue
        for entry in entries:
            path, named = folder / entry.name, os.path.splitext(entry.name)[1].lower() in suffixes()
            if path.is_dir():
                if hidden(entry.name):
                    leave(HIDDEN, path, "/")
                else:
                    (links if path.is_symlink() else folders).append(path)
            elif hidden(entry.name):
                if named:
                    leave(HIDDEN, path)
            elif not named:
                leave(NO_SUFFIX if path.exists() else BROKEN, path)
            elif path.is_file() or not path.exists():  # a link to nothing is a picture that cannot be read
                found.append(path)
            else:
                leave(NO_FILES, path)  # a pipe would be waited for without end
        links.sort()
    return sorted(found), left_out


def images_by_class(root: Path) -> tuple[dict[str, list[Path]], LeftOut]:
    """The pictures below each folder in a folder, by that folder's name, and what else is there."""
    found, left_out = images_below(root)
    classes = {name: list[Path]() for name in sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not hidden(entry.name))}
    for path in found:
        first, *rest = path.relative_to(root).parts
        if rest:
            classes[first].append(path)
        else:
            left_out.setdefault(LOOSE, []).append(printable(Path(first)))
    if empty := [printable(Path(name)) + "/" for name, files in classes.items() if not files]:
        left_out[EMPTY] = empty
    return classes, left_out


def summary_of_left_out(left_out: Mapping[str, Sequence[str]]) -> str:
    """What was left out and why, with up to three names each."""
    return ", ".join(
        f"{len(names)} {why} ({', '.join(sorted(names)[:3])}{', ...' if len(names) > 3 else ''})" for why, names in left_out.items()
    )


def report_left_out(root: str, taken: int, left_out: Mapping[str, Sequence[str]]) -> None:
    """Warn of what was left out of a data set, once in a process."""
    line = f"dataset.root={root!r}: {taken} images; left out: {summary_of_left_out(left_out)}"
    if left_out and line not in _SAID:
        _SAID.add(line)
        LOG.warning("%s", line)


def printable(path: Path) -> str:
    r"""A path as text that any file can hold: bytes that are not UTF-8 are written out, as ``\xff``."""
    return os.fsencode(path.as_posix()).decode("utf-8", "backslashreplace")
