"""How far a run is, from its folder and the store."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from results.__main__ import main
from results.status import PLAN, described, status
from results.store import Store, digest

KEYS = {name: digest({"kind": name}) for name in ("prediction", "attribution", "mar")}
IMAGES = [[str(i), "d", 0] for i in range(10)]


def put(store: Store, kind: str, *images: int, state: str = "ok") -> Path:
    value = 100.0 if state == "ok" else np.nan
    rows = [(str(i), "d", state, metric, np.nan, value) for i in images for metric in ("queries", "seconds")]
    return store.put({"kind": kind}, pd.DataFrame(rows, columns=["image", "digest", "status", "metric", "x", "value"]))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A job of ten images that was started 100 seconds ago, and another of seven that has not begun."""
    out = tmp_path / "run"
    (out / "jobs").mkdir(parents=True)
    record = {"store": str(tmp_path / "store"), "keys": KEYS, "images": IMAGES, "overrides": ["method=a"]}
    (out / "jobs" / "a.json").write_text(json.dumps(record))
    plan = [{"overrides": ["method=a"], "images": 10}, {"overrides": ["method=b"], "images": 4}, {"overrides": ["method=b"], "images": 3}]
    (out / PLAN).write_text(json.dumps(plan))
    started = time.time() - 100
    os.utime(out / PLAN, (started, started))
    return out


def test_images_are_counted_by_state_and_the_rest_of_the_time_from_what_was_finished_since_the_start(run, tmp_path):
    store = Store(tmp_path / "store")
    for kind in KEYS:
        before = put(store, kind, 0)
        os.utime(before, (1000, 1000))
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
        assert "5 done, 1 running, 1 failed, 10 left" in described(found)
    assert status(run).running == 0
    assert status(run).seconds_left is None


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
