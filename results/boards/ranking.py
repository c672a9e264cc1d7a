"""A board's entries in order: scores and ranks with intervals, and whether they were computed again."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.stats import rankdata

from results.boards.board import ENTRIES, FOLDER, Board
from results.boards.entry import ROWS, Entry, by_image, passes, refusals, scores
from results.export import NOTHING, interval, to_markdown
from results.metrics import metric_named
from results.published.read import current_versions, outdated
from results.statistics import bootstrap_interval, bootstrap_of
from results.store.store import FAILED


def entries_of(board: Board, root: Path) -> list[Entry]:
    """The entries of a board, in the order of their names. Raises ValueError for one that is not accepted, or has the rows of another."""
    found = [Entry(path) for path in sorted((root / ENTRIES / board.name).glob("[!.]*")) if path.is_dir()]
    rows = dict[str, str]()
    for entry in found:
        if reasons := refusals(entry, board):
            raise ValueError(f"{entry.folder.relative_to(root)} is refused: {'; '.join(reasons)}")
        if (other := rows.setdefault(entry.manifest.sha256, entry.name)) != entry.name:
            raise ValueError(f"{entry.folder.relative_to(root)} is refused: it has the rows of {other}")
    return found


def ranked(board: Board, entries: list[Entry]) -> pd.DataFrame:
    """A line per entry, the best first: ``entry, mean, low, high, rank, rank_low, rank_high`` and the entry's position in ``entries``.

    Ranks count from 1, and equal means share the best of theirs. Intervals are 95 % bootstraps over images, which all entries share.
    """
    wide = np.column_stack([scores(entry, board).to_numpy(float) for entry in entries])
    sign = 1 if board.better == "smaller" else -1

    def ranks(of: Float[np.ndarray, "images entries"]) -> Float[np.ndarray, " entries"]:
        return np.asarray(rankdata((sign * of.mean(0)).round(12), method="min"), float)  # equal up to rounding is equal

    low, high = bootstrap_interval(wide)
    rank_low, rank_high = bootstrap_of(ranks, wide)
    found = {"entry": [entry.name for entry in entries], "mean": wide.mean(0), "low": low, "high": high, "rank": ranks(wide)}
    frame = pd.DataFrame(found | {"rank_low": rank_low, "rank_high": rank_high, "place": range(len(entries))})
    return frame.sort_values(["rank", "entry"], kind="stable", ignore_index=True)


def table(board: Board, entries: list[Entry], current: Mapping[str, str]) -> pd.DataFrame:
    """A board's entries as text. current: versions of functions now; an entry of an earlier one is said to be."""
    lines = []
    for line in ranked(board, entries).to_dict("records"):
        entry = entries[line["place"]]
        spent, verified = passes(entry), entry.verified
        shown: dict[str, Any] = {
            "rank": rank_text(line),
            "entry": entry.name,
            "score": interval(line["mean"], line["low"], line["high"], ends=3),
        }
        for metric in board.also:
            values = by_image(entry, metric, board.measure)
            shown[_heading(metric)] = f"{values.mean():.3f}" if len(values) else NOTHING
        stated = " (stated)" if entry.reads_maps else ""  # not counted here
        shown["passes"] = NOTHING if not len(spent) or spent.isna().any() else f"{spent.mean():.0f}{stated}"
        shown["failed"] = entry.rows.loc[entry.rows["status"].str.startswith(FAILED), "image"].nunique()
        shown["code"] = entry.about["code"] or "ours"
        shown["numbers"] = f"verified on {verified['images']} images, {verified['date']}" if verified else "claimed"
        if old := outdated(entry.manifest, [entry.record["method"]], current):
            shown["numbers"] += f"; of an earlier version: {'; '.join(old)}"
        lines.append(shown)
    frame = pd.DataFrame(lines)
    return frame if frame["failed"].any() else frame.drop(columns="failed")


def section(name: str, root: Path, page: Path) -> str:
    """What belongs between a board's markers on a page, as Markdown. Raises ValueError for a board that is not there."""
    board = Board.read(root / FOLDER / f"{name}.yaml")
    entries = entries_of(board, root)
    function = board.definition["function"]
    link = Path(os.path.relpath(root / ENTRIES / name, page.parent)).as_posix()
    facts = [
        f"Board `{name}`, version {board.version}",
        f"{len(board.listed)} images of `{board.images}`",
        f"model {board.model['name']}",
        f"measure {function['name']} {function['version']}",
        f"score {_named(board.score)}, {board.better} is better",
        f"at most {board.budget} passes per image" if board.budget else "passes are free",
        *([f"an image whose {_named(board.requires)} is not 1 counts as {board.worst:g}"] if board.requires else []),
    ]
    said = f"{board.task}\n\n{'; '.join(facts)}.\n"
    if not entries:
        return f"{said}\nNo entries yet.\n"
    rows = ", ".join(f"[{entry.name}]({link}/{entry.name}/{ROWS})" for entry in entries)
    return f"{said}\n{to_markdown(table(board, entries, current_versions(root)))}\nRows and commands: {rows}.\n"


def rank_text(line: Mapping[Hashable, Any]) -> str:
    """A rank with its interval, of a line of ``ranked``."""
    return f"{line['rank']:.0f} [{line['rank_low']:.0f}, {line['rank_high']:.0f}]"


def _named(metric: str) -> str:
    """A number with the title under which a table has it."""
    heading = _heading(metric)
    return f"`{metric}`" if heading == metric else f"`{metric}` ({heading})"


def _heading(metric: str) -> str:
    known = metric_named(metric)
    return known.title if known.title != known.name else metric
