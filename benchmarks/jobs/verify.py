"""Compute a random sample of a run again and compare."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import OmegaConf

from benchmarks.data.sets import ImageSet
from benchmarks.inputs.messages import cause, debugging
from benchmarks.inputs.places import find_from
from benchmarks.jobs.batch import image_key
from benchmarks.jobs.resolve import make_job, resolve
from results.artefacts.likeness import OF_MAPS
from results.comparability import MEASURED, differing
from results.records import images_of, records
from results.store.published import store_of
from results.store.store import ImageKey, Store

UNPUBLISHED: dict[str, Any] = {  # settings that change no number, which published rows are without
    "name": "verified", "batch_size": None, "per_method": None, "variation": None, "scale": "laptop", "shard": None, "objective": None,
    "artefacts": [], "page": False, "measure_memory": False, "tracking": {"enabled": False},
}  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """One image of one job, computed again.

    difference: the largest of its ``rows`` numbers. reason: why it could not be computed again, or does not match. computed: whether
    there is something to compare; without it nothing is said of the numbers.
    """

    method: str
    model: str
    image: str
    rows: int
    difference: float
    reason: str = ""
    computed: bool = True

    @property
    def matches(self) -> bool:
        """Whether every number is the same, bit for bit."""
        return not self.reason and self.difference == 0


def verify(out: Path, *, sample: int = 5, seed: int = 0, data: Path | None = None) -> list[Verdict]:
    """Compute ``sample`` images of a run's jobs again, in a store of their own, and compare all their rows but the timings.

    out: the run's folder, or the manifest of published rows, whose code is imported and run. data: the folder of images that are not
    where they were, as of published rows, which name no folders. Raises ValueError where there is no run, and where none of the images
    can be computed again.
    """
    jobs = records(out)
    every = [(job, i) for job in jobs for i in range(len(job["images"]))]
    if not every:
        raise ValueError(f"{out} holds no run: jobs leave their record in {out}/jobs")
    chosen = np.random.default_rng(seed).permutation(len(every))[:sample]
    verdicts = [_again(_with_data(every[i][0], data), every[i][1]) for i in sorted(chosen)]
    if not any(verdict.computed for verdict in verdicts):
        raise ValueError(f"nothing of {out} can be computed again here: {verdicts[0].method} {verdicts[0].image}: {verdicts[0].reason}")
    return verdicts


def _again(record: dict[str, Any], i: int) -> Verdict:
    image: ImageKey = (record["images"][i][0], record["images"][i][1])
    named = {"method": record["method"], "model": record["model"], "image": image[0]}
    under = {name: images_of(record, name)[i] for name in record["keys"]}
    there = _rows(store_of(record), record["keys"], under)
    if not len(there):
        return Verdict(**named, rows=0, difference=np.nan, reason="it was not computed", computed=False)
    with tempfile.TemporaryDirectory() as folder:
        here = {"store": folder, "select": {"count": None, "order": "first", "correct_for": None}}
        cfg = OmegaConf.create(UNPUBLISHED | {"out": folder} | record["config"] | here)
        try:
            find_from(record.get("folder"), cfg)
            job = make_job(resolve(cfg))
        except Exception as error:  # such as images or weights that have moved, or a package that is not there
            if debugging():
                raise
            return Verdict(**named, rows=len(there), difference=np.nan, reason=cause(error), computed=False)
        found = [photograph for photograph in job.images.photographs if image_key(photograph) == image]
        if not found:
            return Verdict(**named, rows=len(there), difference=np.nan, reason="the image is gone or has changed", computed=False)
        job = replace(job, images=ImageSet(job.images.name, tuple(found)))
        changed = [name for name, key in record["keys"].items() if "configs" in record and job.keys.get(name) != key]
        if changed:  # whatever the numbers of this image are
            now = json.loads(json.dumps(job.configs[changed[0]]))  # as the record is read
            why = f"{', '.join(changed)}: {differing(record['configs'][changed[0]], now)} changed since"
            return Verdict(**named, rows=len(there), difference=np.nan, reason=why)
        job.run()
        again = _rows(job.store, job.keys, {name: job.stored_as(name, image) for name in job.keys})
        again = again[~again["metric"].isin(record.get("without", ()))]
    both = there.merge(again, on=["measure", "metric", "x"], how="outer", suffixes=("_there", "_here"), indicator=True)
    if (both["_merge"] != "both").any():
        return Verdict(**named, rows=len(both), difference=np.nan, reason="other metrics than then")
    statuses = [both[f"status_{side}"].str.partition(":")[0] for side in ("there", "here")]  # a reason can name a place
    if len(other := both[statuses[0] != statuses[1]]):
        said = f"the status was {other['status_there'].iloc[0]}, and is {other['status_here'].iloc[0]}"
        return Verdict(**named, rows=len(both), difference=np.nan, reason=said)
    difference = (both["value_there"] - both["value_here"]).abs()
    same_gap = both["value_there"].isna() & both["value_here"].isna()
    difference = difference.mask(same_gap, 0).fillna(np.inf)
    differ = list(dict.fromkeys(both["metric"][difference > 0]))
    reason = f"other values of {', '.join(differ[:3])}{' and others' if len(differ) > 3 else ''}" if differ else ""
    if differ and set(differ) <= {"queries", "backwards"}:
        reason += ": these are the mean of a batch, unless the method returns the queries of each image, Attribution(queries=...)"
    return Verdict(**named, rows=len(both), difference=float(difference.max()), reason=reason)


def _with_data(record: dict[str, Any], data: Path | None) -> dict[str, Any]:
    """A record whose images, or those that its mosaics are made of, lie in another folder. Raises ValueError where they lie in none."""
    if data is None:
        return record
    dataset = dict(record["config"]["dataset"])
    if "root" in dataset:
        dataset["root"] = str(data)
    elif "root" in (dataset.get("of") or {}):
        dataset["of"] = dataset["of"] | {"root": str(data)}
    else:
        raise ValueError(f"--data {data}: the images of {record['dataset']} are in no folder")
    return record | {"config": record["config"] | {"dataset": dataset}}


def _rows(store: Store, keys: dict[str, str], under: dict[str, ImageKey]) -> pd.DataFrame:
    columns = ["measure", "metric", "x", "value", "status"]
    frames = [store.rows(key, [under[name]]).assign(measure=name) for name, key in keys.items()]
    rows = pd.concat([frame for frame in frames if len(frame)]) if any(map(len, frames)) else pd.DataFrame(columns=columns)
    return rows.loc[~rows["metric"].isin((*MEASURED, *OF_MAPS)), columns]  # of several maps none is of one image alone
