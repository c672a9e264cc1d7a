"""The summary of a large run is that of its rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import bootstrap

from benchmarks.tools.store_scale import synthetic
from results.statistics import MOST_RESAMPLED, bootstrap_interval
from results.store.compact import compact
from results.store.store import Store, digest
from results.summary import summary
from results.tables import load, summarise, summary_row

OK = "ok"


class Written:
    """A run and its store, written by hand."""

    def __init__(self, root: Path) -> None:
        self.out, self.store = root / "run", Store(root / "store")
        (self.out / "jobs").mkdir(parents=True)

    def job(self, name: str, images: int = 6, **changes: Any) -> None:
        record = {"dataset": "d", "model": "m", "method": "a", "engine": "torch-fp32", "seed": 0, "parameters": {}} | changes
        keys = {kind: digest({"kind": kind, "of": name}) for kind in ("prediction", "attribution", "mar")}
        of = [[f"{i}", "d", i] for i in range(images)]
        (self.out / "jobs" / f"{name}.json").write_text(json.dumps(record | {"store": str(self.store.root), "keys": keys, "images": of}))

    def put(self, name: str, kind: str, *images: int, status: str = OK, **metrics: float) -> None:
        rows = [
            (f"{i}", "d", status, metric, np.nan, value + (0 if metric == "prediction" else i / 7))
            for i in images
            for metric, value in metrics.items()
        ]
        frame = pd.DataFrame(rows, columns=["image", "digest", "status", "metric", "x", "value"])
        self.store.put({"kind": kind, "of": name}, frame.assign(provenance="p"))


@pytest.fixture
def written(tmp_path: Path) -> Written:
    run = Written(tmp_path)
    for name, changes in {
        "1": {"method": "zeta", "parameters": {"k": 1, "fill": [0, 0]}},
        "2": {"method": "da_pos", "parameters": {"k": 4, "fill": "mean"}},
        "3": {"method": "da_pos", "parameters": {"k": None, "fill": "mean"}},
        "4": {"method": "da_pos", "parameters": {"k": 4, "fill": "mean"}, "seed": 1, "images": 7},
        "5": {"method": "random", "parameters": {}},
        "6": {"method": "never", "parameters": {"k": 9}},
    }.items():
        run.job(name, **changes)
        if name == "6":
            continue
        run.put(name, "prediction", 0, 1, 2, 3, prediction=3.0, confidence=0.5)
        run.put(name, "prediction", 4, status="error: unreadable: x", prediction=np.nan)
        run.put(name, "attribution", 3, 1, queries=10.0, seconds=0.25)  # in an order of its own
        run.put(name, "attribution", 2, status="error: boom: twice", queries=np.nan)
        run.put(name, "attribution", 0, 3, status="no region", queries=12.0, seconds=0.5)  # 3 is there twice
        run.put(name, "mar", 0, 1, mar=0.25, mar_first=float(name), something=1.0)
        run.put(name, "mar", 3, status="error: of the measure", mar=np.nan)
        run.put(name, "mar", 9, mar=100.0)  # not of this run
    run.put("5", "attribution", 2, queries=11.0)  # tried again
    return run


def test_it_equals_the_summary_of_all_rows(written):
    expected = summarise(load(written.out))
    assert set(expected["method"]) == {"da_pos", "zeta", "random"}
    assert expected["statuses"].str.contains("no region").all()
    pd.testing.assert_frame_equal(summary(written.out), expected)
    for key in (path.name for path in written.store.root.iterdir()):
        compact(Store(written.store.root), key)
    pd.testing.assert_frame_equal(summary(written.out), expected)


def test_a_part_that_cannot_be_read_is_left_out(written):
    part = next((written.store.root / digest({"kind": "mar", "of": "1"})).glob("*.parquet"))
    part.write_bytes(b"nothing")
    found = summary(written.out)
    pd.testing.assert_frame_equal(found, summarise(load(written.out)))


def test_a_run_without_results_and_no_run(tmp_path):
    run = Written(tmp_path)
    run.job("1")
    assert summary(run.out).empty
    with pytest.raises(ValueError, match="holds no run"):
        summary(tmp_path / "nothing")


def test_the_synthetic_run_of_the_plan_is_a_run(tmp_path):
    synthetic(tmp_path, images=30, methods=2, settings=3)
    found = summary(tmp_path / "run")
    assert len(found) == 6
    assert (found["images"] == 30).all()
    pd.testing.assert_frame_equal(found, summarise(load(tmp_path / "run")))


def test_of_many_images_the_normal_interval_is_the_one_that_resampling_estimates():
    values = np.random.default_rng(0).exponential(size=MOST_RESAMPLED + 1)
    low, high = bootstrap_interval(values)
    resampled = bootstrap((values,), np.mean, n_resamples=2000, method="percentile", batch=100, rng=np.random.default_rng(0))
    width = high - low
    assert abs(low - resampled.confidence_interval.low) < 0.05 * width
    assert abs(high - resampled.confidence_interval.high) < 0.05 * width
    columns = np.stack([values, values + 1], 1)
    assert np.allclose(bootstrap_interval(columns)[0], [low, low + 1])


def test_images_without_a_status_have_not_failed():
    statuses = pd.DataFrame({"image": ["a", "b", "c"], "seed": 0, "status": [OK, None, "error: boom"]})
    line = summary_row({}, statuses, {})
    assert (line["images"], line["failed"], line["statuses"]) == (2, 1, "1 ok, 1 nan, 1 error")
