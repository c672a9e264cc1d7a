"""Compaction changes files and no answer: beside readers and writers, and killed at any moment."""

from __future__ import annotations

import json
import os
import random
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from results.__main__ import main
from results.store.compact import STALE, compact
from results.store.store import Store, digest
from tests.commands import SERVER

CONFIG = {"method": "m"}
KEY = digest(CONFIG)
KILLS = int(os.environ.get("DA_KILLS", "5"))


def part(store: Store, *images: int, status: str = "ok", value: float = 0.0) -> Path:
    rows = [(f"é {i}", "d", status, metric, np.nan, value + i) for i in images for metric in ("queries", "seconds")]
    frame = pd.DataFrame(rows, columns=["image", "digest", "status", "metric", "x", "value"])
    arrays = {"saliency": np.stack([np.full((8, 8), i, np.float32) for i in images]), "kept": np.array([[i] for i in images])}
    return store.put(CONFIG, frame, None if status.startswith("error") else arrays)


def keys(n: int) -> list[tuple[str, str]]:
    return [(f"é {i}", "d") for i in range(n)]


def answers(root: Path, n: int) -> tuple[pd.DataFrame, list[np.ndarray]]:
    store = Store(root)
    images = [key for key in keys(n) if key in store.index(KEY)]
    return store.rows(KEY, keys(n)), [store.arrays_of(KEY, images)[image]["saliency"] for image in images]


def assert_same(found: tuple[pd.DataFrame, list[np.ndarray]], expected: tuple[pd.DataFrame, list[np.ndarray]]) -> None:
    pd.testing.assert_frame_equal(found[0], expected[0])
    assert len(found[1]) == len(expected[1])
    assert all(np.array_equal(a, b) for a, b in zip(found[1], expected[1], strict=True))


def test_one_part_remains_that_answers_as_the_many_did(tmp_path):
    store = Store(tmp_path)
    for i in range(0, 20, 2):
        part(store, i, i + 1)
    part(store, 3, 4, 5)  # overlaps
    part(store, 20, status="error: boom")
    expected = answers(tmp_path, 21)
    found = compact(Store(tmp_path), KEY)
    assert (found.before, found.after, found.images) == (12, 2, 20)
    assert_same(answers(tmp_path, 21), expected)
    assert len(list((tmp_path / KEY).glob("*.npz"))) == 1
    part(store, 20)  # the failed one succeeds
    part(store, 21)
    assert compact(store, KEY).after == 1
    assert len(answers(tmp_path, 22)[1]) == 22
    assert compact(store, KEY).images == 0  # nothing left to do


def test_large_parts_stay_and_small_ones_become_as_large(tmp_path):
    store = Store(tmp_path)
    for i in range(40):
        part(store, i)
    expected = answers(tmp_path, 40)
    assert 3 < compact(store, KEY, size=10 * 400).after < 20
    assert_same(answers(tmp_path, 40), expected)


def test_a_damaged_part_and_what_is_not_alike_stay_apart(tmp_path, caplog):
    store = Store(tmp_path)
    part(store, 0, 1)
    part(store, 2)
    damaged = part(store, 3)
    damaged.with_suffix(".npz").write_bytes(b"nothing")
    without = pd.DataFrame([("é 4", "d", "ok", "queries", np.nan, 4.0)], columns=["image", "digest", "status", "metric", "x", "value"])
    store.put(CONFIG, without)
    assert compact(store, KEY).after == 3
    assert damaged.exists()
    assert "left as it is" in caplog.text
    assert len(store.index(KEY)) == 5


@pytest.mark.slow
def test_readers_and_writers_go_on(tmp_path):
    store, written, over, errors = Store(tmp_path), [0], threading.Event(), []
    part(store, 0)

    def write() -> None:
        for i in range(1, 150):
            part(Store(tmp_path), i)
            written[0] = i
        over.set()

    def read() -> None:
        reader = Store(tmp_path)
        try:
            while not over.is_set():
                so_far = written[0] + 1
                rows = reader.rows(KEY, keys(so_far))
                assert rows["image"].tolist() == [image for image, _ in keys(so_far) for _ in range(2)]
                assert reader.arrays(KEY, keys(so_far)[-1])["saliency"][0, 0] == so_far - 1
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=write), threading.Thread(target=read), threading.Thread(target=read)]
    for thread in threads:
        thread.start()
    rounds = 0
    while not over.is_set():
        rounds += compact(Store(tmp_path), KEY, size=8000).images > 0
    for thread in threads:
        thread.join()
    assert not errors
    assert rounds > 1
    assert len(answers(tmp_path, 150)[1]) == 150


def compact_all(root: Path) -> None:
    compact(Store(root), KEY, size=4000)


@pytest.mark.slow
def test_killed_at_any_moment_nothing_is_lost_and_nothing_is_there_twice(tmp_path):
    original = Store(tmp_path / "original")
    for i in range(60):
        part(original, i)
    expected, draw, between = answers(tmp_path / "original", 60), random.Random(0), 0
    for attempt in range(KILLS):
        root = tmp_path / str(attempt)
        shutil.copytree(tmp_path / "original", root)
        process = SERVER.Process(target=compact_all, args=(root,))
        process.start()
        until = time.monotonic() + 60
        while not list(root.rglob("claims/*")) and time.monotonic() < until:
            time.sleep(0.001)
        time.sleep(draw.uniform(0, 0.25))
        process.kill()
        process.join()
        between += 6 < len(list((root / KEY).glob("*.parquet"))) < 60 or bool(list(root.rglob("claims/*")))
        assert_same(answers(root, 60), expected)
        assert compact(Store(root), KEY, size=4000).after < 15
        assert_same(answers(root, 60), expected)
    assert between


def test_what_killed_writers_left_goes_after_a_day(tmp_path):
    store = Store(tmp_path)
    part(store, 0)
    old = time.time() - 2 * STALE
    for name, age in (("a.npz", old), (".b.tmp", old), ("c.npz", None), (".d.tmp", None)):
        (tmp_path / KEY / name).write_bytes(b"")
        if age:
            os.utime(tmp_path / KEY / name, (age, age))
    compact(store, KEY)
    left = {path.name for path in (tmp_path / KEY).iterdir() if path.suffix in (".npz", ".tmp")}
    assert left - {next((tmp_path / KEY).glob("*.parquet")).with_suffix(".npz").name} == {"c.npz", ".d.tmp"}


def test_the_command_takes_a_store_or_keys(tmp_path, capsys):
    store = Store(tmp_path)
    part(store, 0)
    part(store, 1)
    store.put({"method": "other"}, pd.DataFrame([("a", "d", "ok")], columns=["image", "digest", "status"]))
    assert main(["compact", str(tmp_path / KEY), "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert told == {"key": KEY, "before": 2, "after": 1, "images": 2}
    assert main(["compact", str(tmp_path)]) == 0
    assert "2 keys: 2 parts before, 2 now" in capsys.readouterr().out
    assert main(["compact", str(tmp_path / "nothing")]) == 2
    assert "is no store" in capsys.readouterr().err
    with pytest.raises(ValueError, match="has no key"):
        compact(store, "0" * 20)
