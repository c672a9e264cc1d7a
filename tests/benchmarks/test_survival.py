"""Kills, company, damage, full disks, interruptions, shards: the rows stay those of an undisturbed run."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.app.main import expand_shards
from benchmarks.jobs.resolve import shard_of
from results.store import store as stores
from results.store.claims import LEASE
from results.store.store import Store, StoreError, write_atomically
from tests.commands import command
from tests.conftest import REPOSITORY

RUN = ["benchmarks", "-m", "method=da_pos,rise", "per_method={da_pos: {iterations: 40}, rise: {masks: 40}}"]
RUN += ["batch_size=2", "benchmark.mar.points=4", "name=run", "engine=onnxruntime"]
KILLS = int(os.environ.get("DA_KILLS", "3"))


def start(cwd: Path, *more: str) -> subprocess.Popen[str]:
    env = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    arguments = [sys.executable, "-m", *RUN, *more]
    return subprocess.Popen(
        arguments, cwd=cwd, env=env, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, start_new_session=True
    )


def rows(folder: Path, name: str = "run") -> pd.DataFrame:
    frame = pd.read_parquet(folder / "runs" / name / "rows.parquet").drop(columns=["provenance"])
    frame = frame[frame["metric"] != "seconds"]
    return frame.sort_values(["method", "image", "metric", "x"], ignore_index=True)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> pd.DataFrame:
    folder = tmp_path_factory.mktemp("undisturbed")
    said = command(*RUN, cwd=folder)
    assert said.returncode == 0, said.stderr
    return rows(folder)


def claims(folder: Path, process: subprocess.Popen[str]) -> int:
    """How many images a process holds."""
    found = 0
    for path in (folder / "runs" / "store").glob("*/claims/*"):
        with contextlib.suppress(FileNotFoundError):
            found += path.read_text().endswith(f" {process.pid}")
    return found


@pytest.mark.slow
@pytest.mark.timeout(300 + 120 * KILLS)
def test_killed_and_restarted_it_ends_with_the_same_rows(undisturbed, tmp_path):
    """At random moments: of its start, of its work, of writing its tables. When it gets to its end, it begins anew elsewhere."""
    draw, kills, stored, folder = random.Random(0), 0, set(), tmp_path / "0"
    while kills < KILLS:
        folder.mkdir(exist_ok=True)
        process, begun = start(folder), time.monotonic()
        if draw.random() < 0.1:
            time.sleep(draw.uniform(0, 3))
        else:
            while process.poll() is None and not claims(folder, process) and time.monotonic() < begun + 120:
                time.sleep(0.01)
            time.sleep(draw.expovariate(1 / 5))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            kills += 1
        process.communicate()
        assert claims(folder, process) <= 2  # a batch: all that can be lost
        before, stored = stored, {path.relative_to(folder) for path in folder.rglob("*.parquet")}
        assert before <= stored  # nothing once stored is gone
        if process.returncode != -signal.SIGKILL:
            assert process.returncode == 0
            pd.testing.assert_frame_equal(rows(folder), undisturbed)
            stored, folder = set(), tmp_path / str(kills)
    folder.mkdir(exist_ok=True)
    said = command(*RUN, cwd=folder)
    assert said.returncode == 0, said.stderr
    pd.testing.assert_frame_equal(rows(folder), undisturbed)
    assert not list((folder / "runs" / "store").rglob("claims/*"))


@pytest.mark.slow
def test_two_processes_share_the_work(undisturbed, tmp_path):
    both = [start(tmp_path), start(tmp_path)]
    said = [process.communicate(timeout=300)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    pd.testing.assert_frame_equal(rows(tmp_path), undisturbed)
    computed = [int(line.split(": computed ")[1].split()[0]) for text in said for line in text.splitlines() if ": computed " in line]
    assert sum(computed) == 14  # seven images, two methods, none twice


@pytest.mark.slow
def test_shards_together_are_the_whole(undisturbed, tmp_path):
    said = command(*[argument for argument in RUN if argument != "-m"], "shards=2", cwd=tmp_path)
    assert said.returncode == 0, said.stderr
    computed = sorted(line.split(": computed ")[1] for line in said.stderr.splitlines() if ": computed " in line)
    assert computed == ["3 of 3 images"] * 2 + ["4 of 4 images"] * 2
    pd.testing.assert_frame_equal(rows(tmp_path), undisturbed)
    again = command("results", "verify", "runs/run", "--sample", "4", cwd=tmp_path)
    assert again.returncode == 0, again.stdout


@pytest.mark.slow
def test_ctrl_c_stores_the_batch_in_flight_and_says_how_to_go_on(tmp_path):
    process = start(tmp_path, "per_method={da_pos: {iterations: 300}}")
    deadline = time.monotonic() + 120
    while not list((tmp_path / "runs").rglob("claims/*")) and time.monotonic() < deadline:
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGINT)
    said = process.communicate(timeout=200)[1]
    assert process.returncode == 130
    assert "Finishing the batch in flight" in said
    assert "computed 2 of 7 images" in said
    assert "Go on with: python -m benchmarks -m" in said
    assert not list((tmp_path / "runs" / "store").rglob("claims/*"))


def frame(*images: str) -> pd.DataFrame:
    return pd.DataFrame(
        [(image, "d", "ok", "m", np.nan, 1.0) for image in images], columns=["image", "digest", "status", "metric", "x", "value"]
    )


@pytest.mark.slow
def test_a_damaged_or_foreign_part_is_set_aside_and_the_rest_is_read(tmp_path, caplog, monkeypatch):
    store = Store(tmp_path)
    parts = [store.put({"a": 1}, frame(name)) for name in ("one", "two", "three")]
    key = parts[0].parent.name
    parts[0].write_bytes(parts[0].read_bytes()[:-20])
    pd.DataFrame({"something": [1]}).to_parquet(parts[1])
    assert set(Store(tmp_path).index(key)) == {("three", "d")}
    assert len(list(parts[0].parent.glob("*.unreadable"))) == 2
    assert "will be computed again" in caplog.text
    monkeypatch.setattr(stores.pq, "read_table", lambda *_, **__: (_ for _ in ()).throw(OSError(24, "Too many open files")))
    with pytest.raises(OSError, match="Too many open files"):  # no fault of the part's
        Store(tmp_path).index(key)
    assert parts[2].exists()
    monkeypatch.undo()
    store.put({"a": 1}, frame("one"))
    assert set(store.index(key)) == {("one", "d"), ("three", "d")}


def test_claims_are_held_by_one_and_end_with_their_holder(tmp_path, monkeypatch):
    store, images = Store(tmp_path), [("a", "d"), ("b", "d")]
    with store.claimed("k", images) as mine:
        assert mine == images
        with Store(tmp_path).claimed("k", [*images, ("c", "d")]) as others:
            assert others == [("c", "d")]
        claim = next((tmp_path / "k" / "claims").iterdir())
        claim.write_text(f"{socket.gethostname()} 999999999")  # its process is gone
        with Store(tmp_path).claimed("k", images) as taken:
            assert len(taken) == 1
    (tmp_path / "k" / "claims" / claim.name).write_text("elsewhere 1")
    with store.claimed("k", images) as mine:
        assert len(mine) == 1  # another machine's, and young
    old = time.time() - 2 * LEASE
    os.utime(tmp_path / "k" / "claims" / claim.name, (old, old))
    with store.claimed("k", images) as mine:
        assert len(mine) == 2
    threads, held = [], []

    def claim_all() -> None:
        with Store(tmp_path).claimed("race", [(str(i), "d") for i in range(20)]) as mine:
            held.extend(mine)
            time.sleep(0.5)

    threads = [threading.Thread(target=claim_all) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(held) == len(set(held)) == 20


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 256 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], capture_output=True
    )
    if not mounted or mounted.returncode:
        pytest.skip("no permission to mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.slow
def test_a_full_disk_and_a_read_only_store_are_one_clear_error(small_disk, tmp_path):
    store = Store(small_disk)
    store.put({"a": 1}, frame("one"))
    with pytest.raises(StoreError, match=r"no space left .* choose another place with store="):
        write_atomically(small_disk / "big", bytes(500_000))
    assert set(store.index(stores.digest({"a": 1}))) == {("one", "d")}
    assert not list(small_disk.glob(".*.tmp"))
    said = command("benchmarks", "method=random", "select.count=3", f"store={small_disk}/s", "name=full", cwd=tmp_path)
    assert said.returncode == 1
    assert "no space left in" in said.stderr
    assert "Traceback" not in said.stderr
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(StoreError, match=r"cannot be written .Read-only file system."):
        store.put({"a": 1}, frame("two"))
    assert set(Store(small_disk).index(stores.digest({"a": 1}))) == {("one", "d")}


def test_shards_are_named():
    assert (shard_of(None), shard_of("1/4"), shard_of("4/4")) == ((0, 1), (0, 4), (3, 4))
    for wrong in ("0/4", "5/4", "a", "1/", "3"):
        with pytest.raises(ValueError, match="shard="):
            shard_of(wrong)
    assert expand_shards(["method=rise", "shards=2"]) == ["-m", "method=rise", "shard=1/2,2/2"]
    assert expand_shards(["method=rise"]) == ["method=rise"]
    with pytest.raises(ValueError, match="shards="):
        expand_shards(["shards=none"])
