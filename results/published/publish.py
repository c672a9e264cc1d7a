"""Publish the rows of finished runs: one Parquet file and its manifest, which tables and figures of documents are made from."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from results.artefacts.likeness import NEEDED_BY
from results.comparability import MEASURED, differing, incomplete
from results.published.manifest import FOLDER, Manifest, computed_by
from results.published.places import portable_command, without_folders
from results.records import PREDICTED, VERSION, identity, images_of, records
from results.status import status, status_text
from results.store.files import write_atomically
from results.store.published import SUFFIX, WITHOUT_KEY, store_of, write_rows
from results.store.store import FAILED, digest
from results.times import finished_times

Records = list[dict[str, Any]]

NAME = re.compile(r"[A-Za-z0-9][\w.-]*")
KEPT: tuple[str, ...] = (
    "dataset",
    "model",
    "method",
    "engine",
    "seed",
    "parameters",
    "keys",
    "configs",
    "model_parameters",
    "weights_sha256",
)
KEPT += ("dataset_sha256", "accuracy", "job", "place")  # of a job's record
SETTINGS = ("method_name", "method", "model", "dataset", "engine", "select", "benchmark", "seed", "models", "pairs")  # of its configuration
AT = ["image", "digest", "metric", "x"]  # what a number is of


def publish(
    runs: Sequence[Path],
    name: str,
    folder: Path = FOLDER,
    *,
    with_failures: bool = False,
    without: Sequence[str] = (),
    choose: Callable[[Records], Records] | None = None,
) -> Manifest:
    """Write ``folder/NAME.parquet`` and ``folder/NAME.json`` from finished runs, in place of what had that name.

    with_failures: publish a run in which images failed, too; they are rows with their status, and the manifest counts them. without:
    metrics whose rows are left out, such as curves of which only the area is shown. choose: which of a run's records to publish, left out
    all of a run that is finished. Raises ValueError for a run that is not finished, for failures that are not stated, for metrics that are
    not there, for runs that disagree about a number, and for what depends on a path of this machine.
    """
    if not NAME.fullmatch(name):
        raise ValueError(f"{name}: give a name of letters, digits, '.', '_' and '-', which begins with a letter or digit")
    every = []
    for run in runs:
        if choose is None:
            check_finished(run, with_failures=with_failures)
        chosen = (choose or list)(records(run))
        if missing := incomplete(chosen):
            raise ValueError(f"{run} is not finished: {missing[0]}")
        every += [(run, record) for record in chosen]
    jobs = distinct(every)
    rows, provenances = collected([record for _, record in every])
    rows = pd.concat([rows, _of_maps(jobs, rows)], ignore_index=True)
    failures, seconds = _failures(jobs, rows), float(rows.loc[rows["metric"] == "seconds", "value"].sum())
    rows = _left(rows, without)
    if failures and not with_failures:
        said = "; ".join(f"{one['method']}: {one['images']} x {one['status']}" for one in failures)
        raise ValueError(f"images failed ({said}): --with-failures publishes them as rows with their status")
    published = [_published(record) for record in jobs]
    if len({identity(record) for record in published}) < len({identity(record) for record in jobs}):
        raise ValueError("two configurations differ in nothing but the folders of files on this machine: give the files different names")
    lists = {digest({"images": entries}): entries for entries in map(_image_list, jobs)}
    buffer = io.BytesIO()
    write_rows(rows.assign(status=rows["status"].map(without_folders)), buffer)
    first, last = _days(jobs)
    manifest = Manifest(
        name=name,
        commands=list(dict.fromkeys(portable_command(record["command"]) for record in jobs)),
        runs=list(dict.fromkeys(record["config"]["name"] for record in jobs)),
        computed_by=[computed_by(one) for one in provenances],
        engines=list(dict.fromkeys(record["engine"] for record in jobs)),
        weights={record["model"]: record.get("weights_sha256") for record in jobs},
        functions=_functions(jobs),
        first=first,
        last=last,
        seconds=round(seconds, 3),
        rows=len(rows),
        sha256=hashlib.sha256(buffer.getvalue()).hexdigest(),
        without=sorted(set(without)),
        failures=failures,
        jobs=published,
        images=lists,
    )
    write_atomically(folder / f"{name}{SUFFIX}", buffer.getvalue())
    manifest.write(folder / f"{name}.json")
    return manifest


def _left(rows: pd.DataFrame, without: Sequence[str]) -> pd.DataFrame:
    """Rows without some metrics. Raises ValueError for one that is not there, and where an image would have no row left of a result."""
    if unknown := sorted(set(without) - set(rows["metric"].dropna())):
        raise ValueError(
            f"there are no rows of {', '.join(unknown)} to leave out: choose {', '.join(sorted(set(rows['metric'].dropna())))}"
        )
    left = rows[~rows["metric"].isin(without)]
    if "queries" in without or len(left.drop_duplicates(["key", *AT[:2]])) < len(rows.drop_duplicates(["key", *AT[:2]])):
        raise ValueError(
            f"without {', '.join(without)} nothing would be left of some results: leave out curves, and keep what says that they are there"
        )
    return left


def check_finished(run: Path, *, with_failures: bool = False) -> None:
    """Raises ValueError for a run that is not finished, or in which something failed."""
    found = status(run)
    if found.left or found.running:
        raise ValueError(f"{run} is not finished ({'; '.join(status_text(found).splitlines()[:2])}): run its command again")
    if (found.failed or found.failures) and not with_failures:
        raise ValueError(
            f"{run}: {'; '.join(status_text(found).splitlines()[:3])}; --with-failures publishes failed images with their status"
        )


def distinct(every: Sequence[tuple[Path, dict[str, Any]]]) -> Records:
    """The records of runs, once where several runs have a configuration. Raises ValueError where two disagree about one."""
    found: dict[str, tuple[Path, dict[str, Any]]] = {}
    for run, record in every:
        if record.get("version", 1) != VERSION or "configs" not in record:
            raise ValueError(f"{run} holds a record of an earlier version of this program, {record['job']}: run its command again")
        other, known = found.setdefault(identity(record), (run, record))
        if known["keys"] != record["keys"]:
            what = next(name for name in {**known["keys"], **record["keys"]} if known["keys"].get(name) != record["keys"].get(name))
            why = differing(known["configs"].get(what), record["configs"].get(what)) or "what was measured"
            raise ValueError(f"{other} and {run} disagree about {record['method']}, {what}: {why} differs; publish one of them")
        if _image_list(known) != _image_list(record):
            raise ValueError(f"{other} and {run} disagree about {record['method']}: they have other images under the same settings")
    return [record for _, record in found.values()]


def collected(jobs: Records) -> tuple[pd.DataFrame, list[str]]:
    """The rows of jobs, ``key, image, digest, status, metric, x, value``, and what computed them, as JSON.

    Raises ValueError where two stores have different numbers for the same key.
    """
    found: dict[str, dict[str, pd.DataFrame]] = {}  # by key and store
    for record in jobs:
        for name, key in record["keys"].items():
            rows, by_store = store_of(record).rows(key, images_of(record, name)), found.setdefault(key, {})
            before = by_store.get(record["store"])
            both = rows if before is None else pd.concat([before, rows], ignore_index=True)
            by_store[record["store"]] = both.drop_duplicates(AT)
    frames, provenances = [], dict[str, None]()
    for key, by_store in found.items():
        whole = pd.concat(by_store.values(), ignore_index=True)
        if whole.empty:  # every image failed before this was measured
            continue
        _check_agreement(key, whole, jobs)
        frames.append(whole.drop_duplicates(AT).assign(key=key))
        provenances |= dict.fromkeys(whole["provenance"])
    return pd.concat(frames, ignore_index=True)[["key", *WITHOUT_KEY]], list(provenances)


def _check_agreement(key: str, rows: pd.DataFrame, jobs: Records) -> None:
    of = rows[~rows["metric"].isin(MEASURED)].fillna({"value": np.inf})  # a number that is missing agrees with a missing one
    several = of.groupby(AT, dropna=False, sort=False)["value"].nunique()
    if len(several := several[several > 1]):
        image, _, metric, _ = several.index[0]
        record = next(record for record in jobs if key in record["keys"].values())
        raise ValueError(f"the runs disagree about {metric} of {record['method']} on image {image}: compute it again in one store")


def _of_maps(jobs: Records, rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of the numbers that only maps tell, such as their likeness under several seeds, of runs that have a table of them."""
    named = dict.fromkeys(name.rpartition(".")[2] for record in jobs for name in record["config"].get("artefacts") or ())
    found = [NEEDED_BY[name].computed(jobs) for name in named if name in NEEDED_BY]
    if not found:
        return rows.iloc[:0]
    keys = {record["job"]: record["keys"]["attribution"] for record in jobs}
    numbers = pd.concat(found, ignore_index=True)
    numbers = numbers.assign(key=numbers["job"].map(keys)).drop_duplicates(["key", *AT])
    statuses = rows[rows["metric"] == "queries"].drop_duplicates(["key", "image", "digest"])[["key", "image", "digest", "status"]]
    return numbers.merge(statuses, on=["key", "image", "digest"], how="inner")[["key", *WITHOUT_KEY]]


def _failures(jobs: Records, rows: pd.DataFrame) -> list[dict[str, Any]]:
    """How many images failed, by method and status; an image that failed for several measures counts for each."""
    found = []
    for record in jobs:
        of = rows[rows["key"].isin(record["keys"].values()) & rows["status"].str.startswith(FAILED)]
        of = of[of["image"].isin([image for image, *_ in record["images"]])].drop_duplicates(["key", "image", "status"])
        for text, count in of["status"].value_counts().items():
            found.append({"method": record["method"], "model": record["model"], "status": without_folders(text), "images": int(count)})
    return found


def _published(record: Mapping[str, Any]) -> dict[str, Any]:
    """A job's record without what is of this machine."""
    kept = {name: record[name] for name in KEPT if name in record}
    config = {name: record["config"][name] for name in SETTINGS if name in record["config"]}
    images = digest({"images": _image_list(record)})
    return without_folders(kept | {"version": VERSION, "config": config, "images": images}) | {"keys": record["keys"]}


def _image_list(record: Mapping[str, Any]) -> list[list[Any]]:
    known = record.get("evidence", {})
    return [[image, content, label, *filter(None, [known.get((image, content))])] for image, content, label in record["images"]]


def _functions(jobs: Records) -> dict[str, list[str]]:
    """Name and version, or hash of sources, of each method and measure."""
    found: dict[str, list[str]] = {}
    for record in jobs:
        for what, config in record["configs"].items():
            if what == "prediction":
                continue
            function = config["method" if what in PREDICTED else "benchmark"]["function"]
            said = " ".join([function["name"], *(f"{name} {function[name]}" for name in ("version", "sources") if name in function)])
            several = found.setdefault(record["method"] if what in PREDICTED else what, [])
            several += [said] if said not in several else []
    return found


def _days(jobs: Records) -> tuple[str | None, str | None]:
    """The days on which the first and the last image were finished."""
    times = list(_times(jobs))
    return (_day(min(times)), _day(max(times))) if times else (None, None)


def _times(jobs: Records) -> Iterator[float]:
    known: dict[Path, list[float | None]] = {}
    for record in jobs:
        store = store_of(record)
        for name, key in record["keys"].items():
            states, wanted = store.states(key), set(images_of(record, name))
            for part in {part for part, _ in states.values()}:
                times = known.setdefault(part, finished_times(part))
                of_part = zip(store.images(part), times, strict=False)
                yield from (when for image, when in of_part if image in wanted and when is not None)


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()
