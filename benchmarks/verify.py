"""Compute a random sample of a run again and compare."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import OmegaConf

from benchmarks.configured import make_job
from benchmarks.datasets import ImageSet
from benchmarks.job import image_key
from results.store import Store
from results.tables import records

MEASURED = ("seconds", "peak_mb")  # differ from one time to the next


@dataclass(frozen=True)
class Verdict:
    """One image of one job, computed again.

    difference: the largest of its ``rows`` numbers. reason: why it could not be computed again, or does not match.
    """

    method: str
    model: str
    image: str
    rows: int
    difference: float
    reason: str = ""

    @property
    def matches(self) -> bool:
        """Whether every number is the same, bit for bit."""
        return not self.reason and self.difference == 0


def verify(out: Path, *, sample: int = 5, seed: int = 0) -> list[Verdict]:
    """Compute ``sample`` images of a run's jobs again, in a store of their own, and compare all their rows but the timings.

    Raises ValueError where there is no run.
    """
    jobs = records(out)
    every = [(job, (image, content)) for job in jobs for image, content, _ in job["images"]]
    if not every:
        raise ValueError(f"{out} holds no run: jobs leave their record in {out}/jobs")
    chosen = np.random.default_rng(seed).permutation(len(every))[:sample]
    return [_again(*every[i]) for i in sorted(chosen)]


def _again(record: dict[str, Any], image: tuple[str, str]) -> Verdict:
    named = {"method": record["method"], "model": record["model"], "image": image[0]}
    there = _rows(Store(Path(record["store"])), record["keys"], image)
    if not len(there):
        return Verdict(**named, rows=0, difference=np.nan, reason="it was not computed")
    with tempfile.TemporaryDirectory() as folder:
        config = record["config"] | {"store": folder, "select": {"count": None, "order": "first", "correct_for": None}}
        job = make_job(OmegaConf.create(config))
        found = [photograph for photograph in job.images.photographs if image_key(photograph) == image]
        if not found:
            return Verdict(**named, rows=len(there), difference=np.nan, reason="the image is gone or has changed")
        job = replace(job, images=ImageSet(job.images.name, tuple(found)))
        changed = [name for name, key in record["keys"].items() if job.keys.get(name) != key]
        job.run()
        here = _rows(job.store, job.keys, image)
    both = there.merge(here, on=["metric", "x"], how="outer", suffixes=("_there", "_here"), indicator=True)
    if (both["_merge"] != "both").any():
        return Verdict(**named, rows=len(both), difference=np.nan, reason="other metrics than then")
    difference = (both["value_there"] - both["value_here"]).abs()
    same_gap = both["value_there"].isna() & both["value_here"].isna()
    largest = float(difference.mask(same_gap, 0).fillna(np.inf).max())
    reason = "" if largest == 0 else (f"{', '.join(changed)}: configuration or version changed since" if changed else "the numbers differ")
    return Verdict(**named, rows=len(both), difference=largest, reason=reason)


def _rows(store: Store, keys: dict[str, str], image: tuple[str, str]) -> pd.DataFrame:
    frames = [store.rows(key, [image]) for key in keys.values()]
    rows = pd.concat([frame for frame in frames if len(frame)]) if any(map(len, frames)) else pd.DataFrame(columns=["metric", "x", "value"])
    return rows.loc[~rows["metric"].isin(MEASURED), ["metric", "x", "value"]]
