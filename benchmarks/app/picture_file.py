"""Which file the picture of ``python -m da`` goes to: never over a photograph, another input, or the picture of another photograph."""

from __future__ import annotations

import os
from collections.abc import Iterable
from itertools import count
from pathlib import Path

from PIL import Image

from benchmarks.inputs.places import writable

SUFFIXES = (".png", ".jpg", ".jpeg", ".pdf", ".svg", ".eps", ".ps", ".tif", ".tiff", ".webp")
SOURCE = "Source"  # in a PNG: the photograph that it explains


def requested_path(out: Path, inputs: Iterable[Path]) -> Path:
    """The file that ``--out`` names; one without a suffix is a PNG. Raises ValueError where that is none to write to."""
    if out.is_dir() or not out.parent.is_dir():
        raise ValueError(f"--out {out}: give a file in a folder that is there, such as picture.png")
    if out.suffix.lower() not in ("", *SUFFIXES):
        raise ValueError(f"--out {out}: {out.suffix} is no kind of picture that can be written; give one of {', '.join(SUFFIXES)}")
    path = out if out.suffix else Path(f"{out}.png")
    if path.is_dir():
        raise ValueError(f"--out {out}: {path} is a folder")
    for given in inputs:
        if is_same_file(path, given):
            raise ValueError(f"--out {out} is {given}, which is read here and would be lost: give another file")
    return _in_a_folder_to_write_to(path)


def default_path(photo: Path, source: Path, kind: str) -> Path:
    """``PHOTO_METHOD.png`` in this folder, with a number where that is another file than the picture of this photograph.

    photo: as it was given; its suffix is part of the name unless it is .png. source: the file. kind: the method, and what else is asked.
    """
    stem = photo.stem if photo.suffix in ("", ".png") else photo.name
    names = (Path(f"{stem}_{kind}{f'_{i}' if i > 1 else ''}.png") for i in count(1))
    return _in_a_folder_to_write_to(
        next(path for path in names if not os.path.lexists(path) or explained_photograph(path) == path_text(source))
    )


def metadata(path: Path, source: Path) -> dict[str, str] | None:
    """What is written into a picture, for ``explains`` to find: of its photograph, where its kind can hold that."""
    return {SOURCE: path_text(source)} if path.suffix.lower() == ".png" else None


def path_text(source: Path) -> str:
    """A photograph's file as text."""
    return os.fsencode(os.path.realpath(source)).decode("utf-8", "backslashreplace")


def explained_photograph(path: Path) -> str | None:
    """The photograph that a picture explains, None for another file."""
    if path.is_symlink():  # it would be written to another place
        return None
    try:
        with Image.open(path) as image:
            return str(image.info[SOURCE])
    except (OSError, ValueError, SyntaxError, KeyError):
        return None


def is_same_file(one: Path, other: Path) -> bool:
    """Whether two paths are one file, also by a link, and where capitals make no difference."""
    paths = [os.path.realpath(path) for path in (one, other)]
    return paths[0].casefold() == paths[1].casefold() or (one.exists() and other.exists() and one.samefile(other))


def _in_a_folder_to_write_to(path: Path) -> Path:
    if not writable(path.parent):
        raise ValueError(f"no picture can be written in {path.parent.resolve()}: give --out FILE in another folder")
    return path
