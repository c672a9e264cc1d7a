"""Make entries of a board from a run, each checked as everybody's is."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from results.boards.board import Board
from results.boards.entry import ENTRY, ROWS, Entry, refusals
from results.naming import configuration, naming_columns
from results.published.publish import NAME, publish
from results.records import PREDICTED, records
from results.store.files import write_atomically

Records = list[dict[str, Any]]


def submit(
    run: Path, board: Board, folder: Path, *, methods: Sequence[str] = (), entry: str = "", code: str = "", replace: bool = False
) -> list[Entry]:
    """Make an entry of a board in ``folder/BOARD`` of each method of a run, all of them or none.

    methods: some of them. entry: a name for the only one. code: where the code of those methods is, or the maps, that are not this
    project's. replace: put it in the place of an entry of that name with other rows; one with the same rows stays as it is. Raises
    ValueError, with every reason, where the board does not accept one, and where there is another entry of that name.
    """
    jobs = records(run)
    known = list(dict.fromkeys(str(job["method"]) for job in jobs))
    if unknown := [method for method in methods if method not in known]:
        raise ValueError(f"{run} has no method {', '.join(unknown)}: choose {', '.join(known)}")
    chosen = list(methods) or known
    if wrong := [method for method in chosen if not entry and not NAME.fullmatch(method)]:
        raise ValueError(f"{wrong[0]} names no entry: give one of letters, digits, '_' and '-' with --as")
    if entry and (len(chosen) > 1 or not NAME.fullmatch(entry)):
        raise ValueError(
            f"--as {entry} names one entry: choose one of the methods with --methods, and a name of letters, digits, '_' and '-'"
        )
    of_method = {method: [job for job in jobs if job["method"] == method] for method in chosen}
    for method, several in of_method.items():
        if len(several) > 1:
            told = naming_columns(several, seeds=True)
            said = "; ".join(configuration(job, told) for job in several)
            raise ValueError(
                f"{method} has {len(several)} configurations in {run} ({said}): an entry is one, leave one in a run of its own"
            )
    made, refused = [], []
    with tempfile.TemporaryDirectory() as temporary:
        for method, (job,) in of_method.items():
            new = Entry(Path(temporary) / (entry or method))
            reasons = _written(new, run, job["job"], board, code)
            made.append(new)
            refused += [f"{new.name}: {reason}" for reason in reasons]
        if refused:
            raise ValueError(f"refused by {board.name}: {'; '.join(refused)}")
        places = {folder / board.name / new.name: new for new in made}
        if there := [place.name for place, new in places.items() if place.exists() and not replace and not _same(place, new)]:
            raise ValueError(
                f"{folder / board.name} has {', '.join(there)} with other rows: choose the methods that are yours with --methods, or give "
                "an entry a name of its own with --as; --replace puts it in the other's place"
            )
        return [_moved(new, place) for place, new in places.items()]


def _written(new: Entry, run: Path, job: str, board: Board, code: str) -> list[str]:
    """Write an entry's files, and return why they are refused."""
    try:
        publish([run], ROWS.partition(".")[0], new.folder, with_failures=True, choose=lambda jobs: _of_board(jobs, job, board))
    except ValueError as error:
        return [str(error)]
    about = {"board": board.name, "board_version": board.version, "code": (code or None) if new.needs_code else None}
    write_atomically(new.folder / ENTRY, yaml.safe_dump(about, sort_keys=False).encode())
    return refusals(new, board)


def _of_board(jobs: Records, job: str, board: Board) -> Records:
    """One of the records, without the results that the board does not look at. Raises ValueError where its measure is not there."""
    record = next(record for record in jobs if record["job"] == job)
    if board.measure not in record["keys"]:
        raise ValueError(f"{board.measure} was not measured: run it with board={board.name}")
    kept = (*PREDICTED, board.measure)
    config = record["config"] | {"benchmark": {board.measure: record["config"]["benchmark"][board.measure]}}
    return [record | {"config": config} | {of: {name: record[of][name] for name in kept} for of in ("keys", "configs")}]


def _same(there: Path, new: Entry) -> bool:
    """Whether an entry that is there has the same rows."""
    try:
        return Entry(there).manifest.sha256 == new.manifest.sha256
    except (ValueError, OSError):  # it is broken
        return False


def _moved(new: Entry, folder: Path) -> Entry:
    """Put an entry in its place; what was computed again of an entry with other rows is no longer said of this one."""
    if folder.exists() and not _same(folder, new):
        shutil.rmtree(folder)
    shutil.copytree(new.folder, folder, dirs_exist_ok=True)
    return Entry(folder)
