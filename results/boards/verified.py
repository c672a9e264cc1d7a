"""The mark of an entry whose numbers were computed again."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from results.boards.board import Board
from results.boards.entry import VERIFIED, Entry, refusals
from results.published.manifest import computed_by
from results.store.files import write_atomically


def check(folder: Path, boards: Path) -> None:
    """Raises ValueError for an entry that its board, one of a folder, does not accept: nothing of it is worth computing again."""
    entry = Entry(folder)
    board = Board.read(boards / f"{entry.about.get('board')}.yaml")
    if reasons := refusals(entry, board):
        raise ValueError(f"{folder} is refused by {board.name}: {'; '.join(reasons)}")


def state(folder: Path, *, images: int, seed: int, provenance: str) -> None:
    """Mark an entry. images: how many were computed again, and all their numbers were the same. provenance: of this installation."""
    said = {"sha256": Entry(folder).manifest.sha256, "images": images, "seed": seed, "date": datetime.now(UTC).date().isoformat()}
    write_atomically(folder / VERIFIED, json.dumps(said | {"by": computed_by(provenance)}, indent=1).encode() + b"\n")


def withdraw(folder: Path) -> None:
    """Take the mark away of an entry whose numbers turned out to be others."""
    (folder / VERIFIED).unlink(missing_ok=True)
