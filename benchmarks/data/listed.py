"""Images of a published list: found by file name in a folder of yours, and taken only with the contents that the list states."""

from __future__ import annotations

import csv
from pathlib import Path

from benchmarks.data.folders import images_below
from benchmarks.data.photographs import ImageSet, Photograph
from benchmarks.inputs.own_folders import CONFIGURATIONS

__version__ = "1"

LISTS = Path("board") / "images"  # of the shipped lists, in the folder of configurations


def listed(root: str, *, files: str) -> ImageSet:
    """The images of a list, in its order, from the files below a folder, whatever the folders inside it are called.

    Parameters
    ----------
    root : str
        A folder with the files.
    files : str
        A list of ``conf/board/images`` by its name, or a CSV file of your own: the columns ``id`` (a file's name), ``digest`` (the first
        16 hexadecimal digits of the SHA-256 of its content) and ``label`` (a class index, or nothing).

    Returns
    -------
    ImageSet
        With the labels of the list, named as it is.

    Raises
    ------
    ValueError
        For a folder or list that is not there, a file that is missing, and one with another content.
    """
    path = Path(files) if Path(files).is_file() else Path(CONFIGURATIONS) / LISTS / files
    if not path.is_file():
        raise ValueError(f"dataset.files={files!r}: no such list: give one of conf/board/images by its name, or a CSV file")
    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise ValueError(f"dataset.root={root!r} is not a folder")
    there = {found.name: found for found in images_below(folder)[0]}
    with path.open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    if missing := [line["id"] for line in lines if line["id"] not in there]:
        raise ValueError(
            f"dataset.root={root!r}: {len(missing)} of the {len(lines)} files of {path.name} are missing, such as {missing[0]}"
        )
    photographs = [Photograph(line["id"], _label(line["label"]), there[line["id"]]) for line in lines]
    if other := [one.id for one, line in zip(photographs, lines, strict=True) if not one.digest().startswith(line["digest"])]:
        raise ValueError(f"dataset.root={root!r}: {len(other)} files have other contents than {path.name} states, such as {other[0]}")
    return ImageSet(path.stem, tuple(photographs))


def _label(text: str) -> int | None:
    return int(text) if text else None
