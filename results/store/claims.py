"""Claims: which process computes which image, so that work is done once."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from results.store.files import explained

ImageKey = tuple[str, str]  # the image's id and the start of its content's SHA-256

LEASE = 60.0  # seconds after which a claim without a sign of life is over


def held(folder: Path, images: Iterable[ImageKey]) -> list[ImageKey]:
    """Those of the images that a live process has claimed."""
    live = set()
    for path in folder.glob("*"):
        try:
            if not _over(path, path.read_text()):
                live.add(path.name)
        except FileNotFoundError:
            continue
    return [image for image in images if _claim_name(image) in live] if live else []


@contextmanager
def claimed(folder: Path, images: Sequence[ImageKey]) -> Iterator[list[ImageKey]]:
    """Hold a claim on those of the images that no other live process holds, so that work is done once.

    A claim is a file whose time is renewed while its holder lives; it is over when its process is gone or it is ``LEASE`` seconds old.
    """
    with explained(folder.parent):
        folder.mkdir(parents=True, exist_ok=True)
    held = {image: path for image in images if _claim(path := folder / _claim_name(image))}
    over = threading.Event()

    def renew() -> None:
        while not over.wait(LEASE / 4):
            for path in held.values():
                path.touch()

    threading.Thread(target=renew, daemon=True).start()
    try:
        yield list(held)
    finally:
        over.set()
        for path in held.values():
            path.unlink(missing_ok=True)


def _claim_name(image: ImageKey) -> str:
    return hashlib.sha256(json.dumps(image).encode()).hexdigest()[:16]


def _over(path: Path, holder: str) -> bool:
    """Whether the holder of a claim is gone, or has given no sign of life for too long."""
    return _gone(holder) or time.time() - path.stat().st_mtime >= LEASE


def _claim(path: Path) -> bool:
    """Claim a file, taking over from a process that is gone."""
    mine = f"{socket.gethostname()} {os.getpid()}"
    for _ in range(2):
        try:
            with path.open("x") as file:
                file.write(mine)
            return True
        except FileExistsError:
            try:
                holder = path.read_text()
                if not _over(path, holder):
                    return False
                path.rename(aside := path.with_name(f"{path.name}.{os.getpid()}"))
                renewed = aside.read_text() != holder  # by another process, since it was read
                aside.rename(path) if renewed else aside.unlink()
                if renewed:
                    return False
            except FileNotFoundError:
                continue
    return False


def _gone(holder: str) -> bool:
    """Whether a claim's process, written as ``host pid``, ran on this machine and does so no more."""
    host, _, process = holder.partition(" ")
    return host == socket.gethostname() and Path("/proc/self").exists() and not Path(f"/proc/{process}").exists()
