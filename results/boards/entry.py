"""An entry of a board: a folder with the rows of one method and their manifest, and why it is refused if it is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from results import tables
from results.boards.board import Board
from results.comparability import differing, incomplete
from results.published.manifest import Manifest
from results.records import records
from results.store.store import FAILED, digest

ENTRY, ROWS, VERIFIED = "entry.yaml", "rows.json", "verified.json"
OURS = "this project"  # whose code a method is, where it has one of our versions


@dataclass(frozen=True)
class Entry:
    """A folder: ``entry.yaml`` (board, its version, where the code is), ``rows.json`` and ``rows.parquet``; later ``verified.json``."""

    folder: Path

    @property
    def name(self) -> str:
        """The folder's."""
        return self.folder.name

    @cached_property
    def about(self) -> dict[str, Any]:
        """What ``entry.yaml`` says. Raises ValueError where there is none."""
        if not (self.folder / ENTRY).is_file():
            raise ValueError(f"{self.folder} is no entry: it has no {ENTRY}")
        return dict(yaml.safe_load((self.folder / ENTRY).read_text(encoding="utf-8")))

    @cached_property
    def manifest(self) -> Manifest:
        """Of its rows. Raises ValueError where they are not as published."""
        return Manifest.read(self.folder / ROWS)

    @cached_property
    def record(self) -> dict[str, Any]:
        """Of its job. Raises ValueError where there are several."""
        found = records(self.folder / ROWS)
        if len(found) != 1:
            raise ValueError(f"{self.folder} has {len(found)} configurations: an entry is one")
        return found[0]

    @cached_property
    def rows(self) -> pd.DataFrame:
        """As ``tables.load`` gives them."""
        return tables.load(self.folder / ROWS)

    @property
    def verified(self) -> dict[str, Any] | None:
        """What was computed again of these very rows; None where nothing was."""
        path = self.folder / VERIFIED
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        return found if found.get("sha256") == self.manifest.sha256 else None


def refusals(entry: Entry, board: Board) -> list[str]:
    """Why an entry is not accepted by a board, each reason in a sentence; none where it is."""
    try:
        if (entry.about.get("board"), entry.about.get("board_version")) != (board.name, board.version):
            of = f"{entry.about.get('board')} version {entry.about.get('board_version')}"
            return [f"it is an entry of board {of}, and this is {board.name} version {board.version}"]
        return [reason for check in CHECKS for reason in check(entry, board)]
    except ValueError as error:  # nothing more can be said of rows that cannot be read
        return [str(error)]


def _configuration(entry: Entry, board: Board) -> Iterator[str]:
    """The keys are those of the configurations, and these are of the board's model and measure."""
    configs, keys = entry.record["configs"], entry.record["keys"]
    if changed := [name for name, config in configs.items() if digest(config) != keys.get(name)]:
        yield f"the configuration of {', '.join(changed)} was altered: it has another key"
    if board.measure not in configs:
        yield f"{board.measure} was not measured: run it with board={board.name}"
        return
    if configs[board.measure]["attribution"] != keys["attribution"]:
        yield f"{board.measure} was measured of other attributions"
    shown = {name: configs["attribution"]["model"].get(name) for name in board.model}
    if configs["attribution"]["model"] != configs["prediction"]["model"]:
        yield "the attributions are of another model than the predictions"
    if shown != board.model:
        where = differing(board.model, shown)
        yield f"another model: {'other weights' if where == 'weights_sha256' else f'{where} differs'}"
    if (where := differing(board.definition, configs[board.measure]["benchmark"])) == "function.version":
        versions = [of["function"].get("version") for of in (board.definition, configs[board.measure]["benchmark"])]
        yield f"another version of the measure {board.measure}: the board is of version {versions[0]}, the entry of {versions[1]}"
    elif where:
        yield f"{board.measure} was measured otherwise: {where} differs from the board's"
    if entry.record["configs"]["attribution"]["method"]["function"].get("sources") and not entry.about.get("code"):
        yield f"the method is not of {OURS}: say where its code is, --code URL"


def _images(entry: Entry, board: Board) -> Iterator[str]:
    """The images are the board's, all of them."""
    of_board = set(board.listed)
    known = entry.record["evidence"]
    there = {(image, content, label, known.get((image, content), "")) for image, content, label in entry.record["images"]}
    if missing := [image[0] for image in board.listed if image not in there]:
        yield f"{len(missing)} of the board's {len(of_board)} images are left out or have other contents, such as {missing[0]}"
    if more := sorted(image[0] for image in there - of_board):
        yield f"{len(more)} images are not the board's, such as {more[0]}"


def _rows(entry: Entry, board: Board) -> Iterator[str]:
    """Every image has its rows, those that failed among them, and every number can be one."""
    yield from (f"an image was left out of the rows: {said}" for said in incomplete([entry.record]))
    stated = sum(one["images"] for one in entry.manifest.failures)
    failed = entry.rows[entry.rows["status"].str.startswith(FAILED)].drop_duplicates(["image", "measure"])
    if len(failed) != stated:
        yield f"{len(failed)} results failed, and the manifest states {stated}"
    of = entry.rows[entry.rows["metric"].isin([board.score, *board.also, *filter(None, [board.requires])])]
    if len(wrong := of[(of["value"] < 0) | (of["value"] > 1)]):
        yield f"{wrong['metric'].iloc[0]} of {wrong['image'].iloc[0]} is {wrong['value'].iloc[0]:g}, and a share is from 0 to 1"


def _budget(entry: Entry, board: Board) -> Iterator[str]:
    """No image took more passes than the board allows."""
    if board.budget is None:
        return
    spent = passes(entry)
    if spent.isna().any():
        yield f"its passes are not known, and the board allows {board.budget}"
    elif (spent > board.budget).any():
        most = str(spent.idxmax())
        yield f"another budget: {most} took {spent[most]:.0f} passes, and the board allows {board.budget}"


CHECKS = (_configuration, _images, _rows, _budget)


def passes(entry: Entry) -> pd.Series[float]:
    """Forward and backward passes by image that did not fail; NaN where they are not known."""
    rows = entry.rows[~entry.rows["status"].str.startswith(FAILED)]
    wide = rows[rows["metric"].isin(["queries", "backwards"])].pivot_table(index="image", columns="metric", values="value", dropna=False)
    total: pd.Series[float] = wide["queries"] + wide.get("backwards", 0)
    return total


def scores(entry: Entry, board: Board) -> pd.Series[float]:
    """The score of each of the board's images, in its order; the worst where an image failed or does not have what is required."""
    found = by_image(entry, board.score)
    if board.requires:
        holds = by_image(entry, board.requires).reindex(found.index)
        found = found.where(holds == 1)
    return found.reindex([image for image, *_ in board.listed]).fillna(board.worst)


def by_image(entry: Entry, metric: str) -> pd.Series[float]:
    """A number by image."""
    rows = entry.rows[(entry.rows["metric"] == metric) & entry.rows["x"].isna() & entry.rows["value"].notna()]
    return pd.Series(rows["value"].to_numpy(float), index=rows["image"].to_numpy(), dtype=np.float64)
