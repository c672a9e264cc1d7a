"""An entry of a board: a folder with the rows of one method and their manifest, and why it is refused if it is."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
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
from results.records import PREDICTED, records
from results.store.store import FAILED, digest

ENTRY, ROWS, VERIFIED = "entry.yaml", "rows.json", "verified.json"
OURS = "this project"  # whose code a method is, where it has one of our versions
PASSES = ("queries", "backwards")
URL = re.compile(r"https?://[^\s()<>|`]+")


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
        try:
            found = yaml.safe_load((self.folder / ENTRY).read_text(encoding="utf-8"))
        except yaml.YAMLError as error:
            raise ValueError(f"{self.folder / ENTRY} cannot be read: {' '.join(str(error).split())}") from None
        if not isinstance(found, dict) or set(found) != {"board", "board_version", "code"}:
            raise ValueError(f"{self.folder / ENTRY} is not what submit writes: board, board_version and code")
        return found

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
    def reads_maps(self) -> bool:
        """Whether its maps were made elsewhere, and its passes are what is said of them: of this project's ``precomputed``."""
        method = self.record["configs"]["attribution"]["method"]
        return "maps" in method and not method["function"].get("sources")

    @property
    def needs_code(self) -> bool:
        """Whether nobody can compute it from this project alone: the method, or the maps that it reads, are somebody's."""
        return self.reads_maps or bool(self.record["configs"]["attribution"]["method"]["function"].get("sources"))

    @property
    def verified(self) -> dict[str, Any] | None:
        """What was computed again of these very rows; None where nothing was. Raises ValueError where ``verify`` did not write it."""
        path = self.folder / VERIFIED
        if not path.is_file():
            return None
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            date.fromisoformat(found["date"])
            if type(found["images"]) is not int or not 1 <= found["images"] <= len(self.record["images"]):
                raise ValueError(f"{found['images']} images of {len(self.record['images'])}")
        except (TypeError, KeyError, ValueError) as error:
            raise ValueError(f"{path} is not what verify --mark writes: {' '.join(str(error).split())}") from None
        return found if found.get("sha256") == self.manifest.sha256 else None


def refusals(entry: Entry, board: Board) -> list[str]:
    """Why an entry is not accepted by a board, each reason in a sentence; none where it is."""
    reasons: list[str] = []
    try:
        if (entry.about["board"], entry.about["board_version"]) != (board.name, board.version):
            of = f"{entry.about['board']} version {entry.about['board_version']!r}"
            return [f"it is an entry of board {of}, and this is {board.name} version {board.version!r}"]
        if links := [path.name for path in (entry.folder, *sorted(entry.folder.iterdir())) if path.is_symlink()]:
            return [f"{links[0]} is a link: an entry's files are its own"]
        for check in CHECKS:
            reasons += check(entry, board)
    except ValueError as error:  # nothing more can be said of rows that cannot be read
        reasons.append(str(error))
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        reasons.append(f"{ROWS} is not what submit writes ({type(error).__name__}: {error})")
    return reasons


def _configuration(entry: Entry, board: Board) -> Iterator[str]:
    """The keys are those of the configurations, and these are of the board's model and measure."""
    configs, keys = entry.record["configs"], entry.record["keys"]
    if more := sorted(set(keys) - {*PREDICTED, board.measure}):
        yield f"it has results that the board does not look at: {', '.join(more)}"
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
    seeds = {entry.record["seed"], *(config["seed"] for config in configs.values() if "seed" in config)}
    if seeds != {board.seed}:
        yield f"another seed than the board's, {board.seed}: {', '.join(map(str, sorted(seeds - {board.seed})))}"
    for config in configs.values():
        if where := differing(board.engine, {name: config["engine"].get(name) for name in board.engine}) if "engine" in config else "":
            yield f"another engine: {where} differs from the board's"
            break
    code = entry.about["code"]
    if entry.needs_code and not code:
        yield f"the method, or the maps that it reads, are not of {OURS}: say where they are, --code URL"
    if code is not None and not URL.fullmatch(str(code)):
        yield f"code is {code!r}, and should be a URL"


def _images(entry: Entry, board: Board) -> Iterator[str]:
    """The images are the board's, all of them."""
    of_board = set(board.listed)
    known = entry.record["evidence"]
    names = [image for image, *_ in entry.record["images"]]
    if len(set(names)) < len(names):
        yield f"images are listed more than once, such as {next(name for name in names if names.count(name) > 1)}"
    there = {(image, content, label, known.get((image, content), "")) for image, content, label in entry.record["images"]}
    if missing := [image[0] for image in board.listed if image not in there]:
        yield f"{len(missing)} of the board's {len(of_board)} images are left out or have other contents, such as {missing[0]}"
    if more := sorted(image[0] for image in there - of_board):
        yield f"{len(more)} images are not the board's, such as {more[0]}"


def _rows(entry: Entry, board: Board) -> Iterator[str]:
    """Every image has its rows, those that failed among them, each number once, and every number can be one."""
    yield from (f"an image was left out of the rows: {said}" for said in incomplete([entry.record]))
    rows = entry.rows
    failed = rows["status"].str.startswith(FAILED)
    stated = sum(one["images"] for one in entry.manifest.failures)
    if (found := len(rows[failed].drop_duplicates(["image", "measure"]))) != stated:
        yield f"{found} results failed, and the manifest states {stated}"
    if len(numbers := rows[failed & rows["value"].notna()]):
        yield f"{numbers['image'].iloc[0]} failed, and has a number of {numbers['metric'].iloc[0]}"
    if len(twice := rows[rows.duplicated(["image", "measure", "metric", "x"])]):
        yield f"{twice['image'].iloc[0]} has several values of {twice['metric'].iloc[0]}"
    measured = rows[(rows["measure"] == board.measure) & rows["value"].notna()]
    broken = set(rows.loc[rows["status"].str.startswith(FAILED) & (rows["measure"] == ""), "image"])
    if both := sorted(broken & set(measured["image"])):
        yield f"{both[0]} failed, and has numbers of {board.measure}"
    wanted = {"": PASSES, board.measure: {board.score, *board.also, *filter(None, [board.requires])}}
    for measure, metrics in wanted.items():
        of = rows[~failed & (rows["measure"] == measure)]
        for metric in sorted(metrics):
            there = set(of.loc[(of["metric"] == metric) & of["x"].isna(), "image"])
            if lacking := sorted((set(of["image"]) | set(measured["image"])) - there):
                yield f"{len(lacking)} images have no row of {metric}, such as {lacking[0]}"
    of = rows[rows["metric"].isin(wanted[board.measure]) & (rows["measure"] == board.measure)]
    if len(wrong := of[(of["value"] < 0) | (of["value"] > 1)]):
        yield f"{wrong['metric'].iloc[0]} of {wrong['image'].iloc[0]} is {wrong['value'].iloc[0]:g}, and a share is from 0 to 1"
    of = rows[rows["metric"].isin(PASSES)]
    if len(wrong := of[(of["value"] < 0) | np.isinf(of["value"])]):
        yield f"{wrong['metric'].iloc[0]} of {wrong['image'].iloc[0]} is {wrong['value'].iloc[0]:g}, and passes are counted from 0"


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
    rows = entry.rows[~entry.rows["status"].str.startswith(FAILED) & (entry.rows["measure"] == "")]
    wide = rows[rows["metric"].isin(PASSES)].pivot_table(index="image", columns="metric", values="value", dropna=False)
    total: pd.Series[float] = wide.reindex(columns=PASSES).sum(axis=1, skipna=False)
    return total


def scores(entry: Entry, board: Board) -> pd.Series[float]:
    """The score of each of the board's images, in its order; the worst where an image failed or does not have what is required."""
    found = by_image(entry, board.score, board.measure)
    if board.requires:
        holds = by_image(entry, board.requires, board.measure).reindex(found.index)
        found = found.where(holds == 1)
    return found.reindex([image for image, *_ in board.listed]).fillna(board.worst)


def by_image(entry: Entry, metric: str, measure: str = "") -> pd.Series[float]:
    """A number by image that did not fail. measure: whose it is, of the attribution itself where left out."""
    rows = entry.rows[(entry.rows["metric"] == metric) & (entry.rows["measure"] == measure) & entry.rows["x"].isna()]
    rows = rows[rows["value"].notna() & ~rows["status"].str.startswith(FAILED)]
    return pd.Series(rows["value"].to_numpy(float), index=rows["image"].to_numpy(), dtype=np.float64)
