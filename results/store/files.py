"""Files that are there whole or not at all, and what to say of a disk that is full or read-only."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

UMASK = os.umask(0o022)
os.umask(UMASK)


class StoreError(OSError):
    """The store cannot be written: the disk is full, or read-only."""


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Say in a StoreError what to do where a folder has no space or gives no permission."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreError(
                f"no space left in {folder}: free some, or choose another place with store=DIR; nothing stored is lost"
            ) from None
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            raise StoreError(f"{folder} cannot be written ({error.strerror}): choose another place with store=DIR and out=DIR") from None
        if error.errno in (errno.ENOTDIR, errno.EEXIST):
            raise StoreError(f"{folder} cannot be a folder, there is a file: choose another place with store=DIR and out=DIR") from None
        raise


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file that is there whole or not at all, even after a power cut.

    Parameters
    ----------
    path : Path
        The file; its folder is made.
    content : bytes
        All of it.

    Raises
    ------
    StoreError
        Where there is no space or permission.
    """
    with explained(path.parent):
        _write(path, content)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o666 & ~UMASK)  # a temporary file is its owner's alone, a store may be shared
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
