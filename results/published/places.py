"""What of a run is of one machine alone, and so is not published: paths, and where outputs went."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SHARED = "DA_SHARED"  # names the folder of data that are in no repository
FOLDERS = re.compile(r"(?<![\w.$/~])~?/(?:[^\s/'\":,;()]+/)*(?=[^\s/'\":,;()])")
WHERE = ("out=", "store=", "shard=", "shards=", "batch_size=", "tracking", "hydra", "page=")  # of a command: changes no number


def without_folders(value: Any) -> Any:
    """A value without the folders of whole paths in its texts: ``/data/photos/a.jpg`` is ``a.jpg``."""
    if isinstance(value, str):
        return FOLDERS.sub("", value)
    if isinstance(value, Mapping):
        return {name: without_folders(one) for name, one in value.items()}
    return [without_folders(one) for one in value] if isinstance(value, list | tuple) else value


def portable_command(command: Sequence[str]) -> str:
    """The command that computed a run, as anybody would type it at the root of the repository.

    command: the interpreter, the program and its arguments. What says only where outputs go is left out, and a path in the folder that
    ``DA_SHARED`` names is written by that variable. Raises ValueError for any other whole path, which no other machine has.
    """
    words = ["python", "-m", "benchmarks"]
    shared = os.path.abspath(folder) if (folder := os.environ.get(SHARED)) else None
    for argument in command[2:]:
        if argument.lstrip("+~").startswith(WHERE):
            continue
        if shared is not None:
            argument = argument.replace(f"{shared}/", f"${SHARED}/").replace(f"{Path(shared).resolve()}/", f"${SHARED}/")
        if found := FOLDERS.search(argument):
            raise ValueError(
                f"{argument} names {found[0]}, which is on this machine alone: run the command with a path relative to the working folder, "
                f"or name a folder that holds the data in the environment variable {SHARED}"
            )
        words.append(argument)
    return shlex.join(words)


def arguments_of(command: str) -> list[str]:
    """The arguments of a published command on this machine. Raises ValueError where it needs ``DA_SHARED`` and there is none."""
    words = shlex.split(command)[3:]
    if any(f"${SHARED}/" in word for word in words) and not os.environ.get(SHARED):
        raise ValueError(f"{command} needs data that are in no repository: name their folder in the environment variable {SHARED}")
    return [word.replace(f"${SHARED}/", f"{os.environ.get(SHARED, '')}/") for word in words]
