"""The summary of a run of any size: one configuration in memory at a time, and the numbers of ``tables.summarise``.

A configuration's rows are under keys of its own, so the store is partitioned already; here they are read as columns, without a frame.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from results import metrics
from results.naming import columns, varying
from results.published.manifest import is_published
from results.records import PREDICTED, images_of, records
from results.store.store import FAILED, Store, retried
from results.tables import SharedMetricError, configuration_columns, in_method_order, load, means_by_image, summarise, summary_row, typed

Record = Mapping[str, Any]
NEEDED = ["image", "digest", "status", "metric", "x", "value"]


@dataclass(frozen=True)
class Columns:
    """Rows of one key, each image's from one part, ordered by image.

    place: of the image in the record. status: without its details. metric: index in ``Names``, 0 where it is not one number per image.
    """

    place: NDArray[np.int64]
    status: NDArray[np.object_]
    failed: NDArray[np.bool_]
    metric: NDArray[np.int64]
    value: NDArray[np.float64]

    def take(self, chosen: NDArray[Any]) -> Columns:
        """Some of the rows."""
        return Columns(self.place[chosen], self.status[chosen], self.failed[chosen], self.metric[chosen], self.value[chosen])


@dataclass(frozen=True)
class Images:
    """A job's images. names: what tells them apart. keys: ``image NUL digest`` of each by what was computed, see ``records.images_of``."""

    names: NDArray[np.object_]
    keys: dict[bool, pa.Array]

    @classmethod
    def of(cls, record: Record) -> Images:
        """From a record's list."""
        listed = {name in PREDICTED: ["\0".join(image) for image in images_of(record, name)] for name in ("attribution", "measure")}
        names = np.array(listed[True] or [""], object)[: len(listed[True])]
        return cls(names, {predicted: pa.array(keys, pa.large_string()) for predicted, keys in listed.items()})


def summary(out: Path) -> pd.DataFrame:
    """What ``tables.summarise`` returns of all rows of a run, without having them at once. Raises ValueError where there is no run."""
    if is_published(out):
        return summarise(load(out))
    jobs = records(out)
    names = varying(jobs)
    there = [i for i, record in enumerate(jobs) if _begun(record)]
    if not there:
        return pd.DataFrame()
    heads = [pd.DataFrame({"record": [i]}).assign(**_scalars(columns(jobs[i], names))) for i in there]
    head = in_method_order(pd.concat(heads, ignore_index=True), names)
    by = configuration_columns(head)
    of_groups = [(values, group["record"].tolist()) for values, group in head.groupby(by, dropna=False, sort=False)]
    lists = {_list(record): Images.of(record) for record in {_list(record): record for record in jobs}.values()}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        known = Names()
        found = list(pool.map(lambda group: _read_group([jobs[i] for i in group[1]], lists, known), of_groups))
        others = {metric for _, values in found for metric in values} - set(metrics.CATALOGUE)
        nothing = dict.fromkeys(metrics.in_order(others), np.zeros(0))
        named = [dict(zip(by, values, strict=True)) for values, _ in of_groups]
        lines = pool.map(lambda one, of: summary_row(one, of[0], nothing | of[1]), named, found)
        return typed(pd.DataFrame([of for of in lines if of["statuses"]]), names)


def _list(record: Record) -> tuple[int, int]:
    """What jobs that share a list of images share."""
    return id(record["images"]), record.get("version", 1)


def _scalars(front: Mapping[str, Any]) -> dict[str, Any]:
    return {name: [value] for name, value in front.items()}


def _begun(record: Record) -> bool:
    """Whether there is anything stored of a job."""
    return any(True for key in record["keys"].values() for _ in (Path(record["store"]) / key).glob("*.parquet"))


class Names:
    """The names of metrics by number, which threads give out together; 0 is none."""

    def __init__(self) -> None:
        self.listed = [""]
        self._numbers = {"": 0}
        self._lock = threading.Lock()

    def number(self, name: str) -> int:
        """The number of a name, a new one where it has none."""
        with self._lock:
            if name not in self._numbers:
                self._numbers[name] = len(self.listed)
                self.listed.append(name)
            return self._numbers[name]


def _read_group(
    group: Sequence[Record], lists: Mapping[tuple[int, int], Images], known: Names
) -> tuple[pd.DataFrame, dict[str, NDArray[np.float64]]]:
    """What a configuration's line is of, from the jobs that share it, such as those of several seeds."""
    attributions, several = list[pd.DataFrame](), len(group) > 1
    values: dict[str, list[NDArray[np.float64]]] = {}
    of_values: dict[str, list[NDArray[np.object_]]] = {}  # their images, where an image can have several
    for record in group:
        store, of_job = Store(Path(record["store"])), lists[_list(record)]
        seen, owners = np.zeros(len(of_job.names), bool), dict[str, str]()
        for name, key in record["keys"].items():
            rows = read(store, key, of_job.keys[name in PREDICTED], known)
            if name == "prediction":  # of these, only failures are results
                rows = rows.take(rows.failed)
            first = np.flatnonzero(np.diff(rows.place, prepend=-1))
            first = first[~seen[rows.place[first]]]
            seen[rows.place[first]] = True
            of = {"image": of_job.names[rows.place[first]], "status": rows.status[first]}
            attributions.append(pd.DataFrame(of).assign(seed=record["seed"]))
            there = ~np.isnan(rows.value)
            for number in np.unique(rows.metric[there]).tolist():
                metric = known.listed[number]
                if metric and name not in PREDICTED and owners.setdefault(metric, name) != name:
                    raise SharedMetricError(metric, (owners[metric], name))
                if not metric or (name in PREDICTED and metric not in metrics.CATALOGUE):  # a curve, or a number of the method's own
                    continue
                of_metric = (rows.metric == number) & there
                values.setdefault(metric, []).append(rows.value[of_metric])
                of_values.setdefault(metric, []).append(of_job.names[rows.place[of_metric]] if several else np.zeros(0, object))
    whole = {metric: np.concatenate(found) for metric, found in values.items()}
    if several:
        whole = {metric: means_by_image(np.concatenate(of_values[metric]), found) for metric, found in whole.items()}
    return pd.concat(attributions, ignore_index=True), whole


def read(store: Store, key: str, images: pa.Array, known: Names) -> Columns:
    """The rows of a key's images that are there. images: ``image NUL digest`` of each."""
    return retried(lambda: _read(store, key, images, known))


def _read(store: Store, key: str, images: pa.Array, known: Names) -> Columns:
    parts = [_part(store, part, images, known) for part in sorted((store.root / key).glob("*.parquet"))]
    owner, failing = np.full(len(images), -1), np.zeros(len(images), bool)  # the part of each image: the first that did not fail
    for i, rows in enumerate(parts):
        here = np.zeros(len(images), bool)
        failed = np.zeros(len(images), bool)
        here[rows.place], failed[rows.place] = True, rows.failed
        taken = here & ((owner < 0) | (failing & ~failed))
        owner[taken], failing[taken] = i, failed[taken]
    parts = [rows if (mine := owner[rows.place] == i).all() else rows.take(mine) for i, rows in enumerate(parts)]
    names = ("place", "status", "failed", "metric", "value")
    if not parts:
        return Columns(np.zeros(0, np.int64), np.zeros(0, object), np.zeros(0, bool), np.zeros(0, np.int64), np.zeros(0))
    whole = Columns(*(np.concatenate([getattr(rows, name) for rows in parts]) for name in names))
    return whole if (np.diff(whole.place) >= 0).all() else whole.take(np.argsort(whole.place, kind="stable"))


def _part(store: Store, part: Path, images: pa.Array, names: Names) -> Columns:
    """A part's rows of the images that are asked for; none of a part that cannot be read, which the store sets aside."""
    try:
        table = pq.read_table(part, columns=NEEDED, read_dictionary=["status", "metric"])
    except (pa.ArrowException, OSError):
        store.images(part)
        table = pa.table({name: pa.array([], pa.float64() if name in ("x", "value") else pa.string()) for name in NEEDED})
    text = [table[name].cast(pa.large_string()) for name in ("image", "digest")]
    place = pc.index_in(pc.binary_join_element_wise(*text, pa.scalar("\0", pa.large_string())), images).combine_chunks()
    known = place.is_valid().to_numpy(zero_copy_only=False)
    status, of_status = _words(table["status"])
    metric, of_metric = _words(table["metric"])
    numbers = np.array([names.number(name) for name in metric] or [0])
    single = np.isnan(table["x"].to_numpy().astype(float))
    failing = np.array([word.startswith(FAILED) for word in status] or [False])
    return Columns(
        place.fill_null(0).to_numpy(zero_copy_only=False)[known].astype(np.int64),
        np.array([word.split(":")[0] for word in status] or [""], object)[of_status[known]],
        failing[of_status[known]],
        np.where(single[known], numbers[of_metric[known]], 0),
        table["value"].to_numpy()[known],
    )


def _words(column: pa.ChunkedArray) -> tuple[list[str], NDArray[np.int64]]:
    """The different words of a column, and which one is in each row."""
    coded = column.combine_chunks()
    coded = coded if pa.types.is_dictionary(coded.type) else coded.dictionary_encode()
    return coded.dictionary.to_pylist(), coded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
