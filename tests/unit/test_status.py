"""How far a run is, from its folder and the store."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from results.__main__ import main
from results.status import PLAN, status, status_text
from results.store.compact import compact
from results.store.store import Store, digest, write_part
from results.times import finished_times

KEYS = {name: digest({"kind": name}) for name in ("prediction", "attribution", "mar")}
IMAGES = [[str(i), "d", 0] for i in range(10)]


def put(store: Store, kind: str, *images: int, state: str = "ok", finished: float | None = None, timed: bool = True) -> Path:
    """Results of images, finished now or ``finished`` seconds ago; not timed: as parts were before they had times."""
    value = 100.0 if state == "ok" else np.nan
    rows = [(str(i), "d", state, metric, np.nan, value) for i in images for metric in ("queries", "seconds")]
    part = store.put({"kind": kind}, pd.DataFrame(rows, columns=["image", "digest", "status", "metric", "x", "value"]))
    if finished is not None or not timed:
        write_part(part, pq.read_table(part), finished=[time.time() - (finished or 0.0)] * len(images) if timed else ())
    return part


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A job of ten images that was started 100 seconds ago, and another of seven that has not begun."""
    out = tmp_path / "run"
    (out / "jobs").mkdir(parents=True)
    record = {"dataset": "d", "model": "m", "method": "a", "engine": "e", "seed": 0, "overrides": ["method=a"]}
    record |= {"store": str(tmp_path / "store"), "keys": KEYS, "images": IMAGES}
    (out / "jobs" / "a.json").write_text(json.dumps(record))
    started = {"started": time.time() - 100}
    jobs = [("method=a", 10), ("method=b", 4), ("method=b", 3)]
    (out / PLAN).write_text(json.dumps([{"overrides": [job], "images": images, **started} for job, images in jobs]))
    return out


def test_images_are_counted_by_state_and_the_rest_of_the_time_from_what_was_finished_since_the_start(run, tmp_path):
    store = Store(tmp_path / "store")
    for kind in KEYS:
        put(store, kind, 0, finished=1000)  # by an earlier command
        put(store, kind, 1, 2, 3, 4)
    put(store, "prediction", 5, 6)
    put(store, "attribution", 6)  # it lacks its measure
    put(store, "attribution", 7, state="error: boom")
    with store.claimed(KEYS["attribution"], [("5", "d"), ("1", "d")]):  # the last image of a batch is claimed until the batch ends
        found = status(run)
        assert (found.jobs, found.begun) == (2, 1)
        assert (found.done, found.running, found.failed, found.left) == (5, 1, 1, 3 + 7)
        assert found.images_per_second == pytest.approx(4 / 100, rel=0.05)
        assert found.queries_per_second == pytest.approx(500 / 100, rel=0.05)
        assert found.seconds_left == pytest.approx(11 / (4 / 100), rel=0.05)
        assert "5 done, 1 running, 1 failed, 10 left" in status_text(found)
    assert status(run).running == 0
    assert status(run).seconds_left is None


def test_the_times_of_files_do_not_matter(run, tmp_path):
    """A copy has new ones, all at once: it says what the run said, and not thousands of images a second."""
    store = Store(tmp_path / "store")
    for kind in KEYS:
        put(store, kind, 0, 1, finished=60)
        put(store, kind, 2, 3, finished=20)
    expected = status(run)
    assert expected.images_per_second == pytest.approx(4 / 80, rel=0.01)  # until the last was finished, since nothing runs
    assert expected.queries_per_second == pytest.approx(400 / 80, rel=0.01)
    assert "nothing is running; the last command did " in status_text(expected)
    shutil.copytree(tmp_path / "store", tmp_path / "copy" / "store", copy_function=shutil.copyfile)
    shutil.copytree(run, tmp_path / "copy" / "run", copy_function=shutil.copyfile)
    record = json.loads((run / "jobs" / "a.json").read_text()) | {"store": "../store"}
    (tmp_path / "copy" / "run" / "jobs" / "a.json").write_text(json.dumps(record))
    assert status(tmp_path / "copy" / "run") == expected
    for path in [*run.rglob("*.json"), *(tmp_path / "store").rglob("*")]:
        os.utime(path, (1000, 1000))
    assert status(run) == expected


def test_compaction_keeps_when_each_image_was_finished(run, tmp_path):
    store = Store(tmp_path / "store")
    for kind in KEYS:
        put(store, kind, 0, 1, finished=1000)
        put(store, kind, 2, finished=50, timed=False)
        put(store, kind, 3, 4, finished=50)
        put(store, kind, 5, finished=20)
    expected = status(run)
    assert expected.images_per_second == pytest.approx(3 / 80, rel=0.01)
    for key in KEYS.values():
        assert compact(store, key).after == 1
    assert status(run) == expected
    (part,) = (tmp_path / "store" / KEYS["mar"]).glob("*.parquet")
    assert len(finished_times(part)) == 6
    assert finished_times(part).count(None) == 1
    put(store, "mar", 6)
    assert compact(store, KEYS["mar"]).after == 1  # merged again
    assert len([when for (part,) in [(tmp_path / "store" / KEYS["mar"]).glob("*.parquet")] for when in finished_times(part) if when]) == 6


def test_without_recorded_times_there_is_no_rate(run, tmp_path):
    store = Store(tmp_path / "store")
    for kind in KEYS:
        put(store, kind, 0, 1, timed=False)  # a store from before
    with store.claimed(KEYS["attribution"], [("5", "d")]):
        found = status(run)
        assert (found.done, found.images_per_second, found.queries_per_second, found.seconds_left) == (2, None, None, None)
    for kind in KEYS:
        put(store, kind, 2)
    assert status(run).images_per_second == pytest.approx(1 / 100, rel=0.05)
    plan = json.loads((run / PLAN).read_text())
    (run / PLAN).write_text(json.dumps([{"overrides": job["overrides"], "images": job["images"]} for job in plan]))  # a run from before
    assert status(run).images_per_second is None
    assert "queries/s" not in status_text(status(run))


def test_a_single_job_says_itself_when_it_was_started(run, tmp_path):
    (run / PLAN).unlink()
    store = Store(tmp_path / "store")
    for kind in KEYS:
        put(store, kind, 0, 1)
    assert status(run).images_per_second is None
    record = json.loads((run / "jobs" / "a.json").read_text())
    (run / "jobs" / "a.json").write_text(json.dumps(record | {"started": time.time() - 50}))
    assert status(run).images_per_second == pytest.approx(2 / 50, rel=0.05)


def test_times_are_in_no_row_and_no_key(tmp_path):
    store = Store(tmp_path)
    part = put(store, "mar", 0, 1)
    before = pd.read_parquet(part)
    write_part(part, pq.read_table(part), finished=[1.5, None])
    assert finished_times(part) == [1.5, None]
    pd.testing.assert_frame_equal(pd.read_parquet(part), before)
    assert list(before.columns) == ["image", "digest", "status", "metric", "x", "value"]


def test_a_claim_whose_process_is_gone_runs_no_more(run, tmp_path):
    store = Store(tmp_path / "store")
    with store.claimed(KEYS["attribution"], [("5", "d")]):
        (claim,) = (tmp_path / "store" / KEYS["attribution"] / "claims").iterdir()
        claim.write_text(f"{os.uname().nodename} 999999999")
        assert status(run).running == 0


def test_the_command_prints_it_and_ends_with_1_where_something_failed(run, tmp_path, capsys):
    assert main(["status", str(run)]) == 0
    assert "jobs: 1 of 2 begun, 0 failed" in capsys.readouterr().out
    (run / "failed").mkdir()
    (run / "failed" / "x.json").write_text(json.dumps({"error": "boom", "command": "python -m benchmarks method=c"}))
    assert main(["status", str(run), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["failures"][0]["error"] == "boom"
    assert main(["status", str(tmp_path / "nothing")]) == 2
    assert "there is no run" in capsys.readouterr().err
