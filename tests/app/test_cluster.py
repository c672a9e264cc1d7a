"""Sweeps whose jobs run in other processes: the rows are those of one process, and failures come back to where it was started."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from pathlib import Path

import joblib
import pandas as pd
import pytest
from omegaconf import OmegaConf

from benchmarks.app import report
from benchmarks.app.workers import threads
from results.summary import summary
from results.tables import load, summarise
from tests.commands import Said, command, started
from tests.conftest import REPOSITORY

SWEEP = ["benchmarks", "-m", "select.count=2", "benchmark.mar.points=3", "batch_size=1", "page=false", "name=run"]
FAILING = "per_method={da_pos: {k: many}}"
DYING = "per_method={centre: {_target_: doomed.doomed}}"
DOOMED = """
import os, signal

def doomed(model, images, targets, *, rngs):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def rows(folder: Path) -> pd.DataFrame:
    frame = pd.read_parquet(folder / "runs" / "run" / "rows.parquet")
    return frame[frame["metric"] != "seconds"].reset_index(drop=True)


def assert_same(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(*(frame.drop(columns="provenance") for frame in (found, expected)))


@pytest.fixture(scope="module")
def sequential(tmp_path_factory) -> pd.DataFrame:
    folder = tmp_path_factory.mktemp("sequential")
    said = command(*SWEEP, "method=sobel,random", cwd=folder)
    assert said.returncode == 0, said.stderr
    return rows(folder)


@pytest.fixture(scope="module")
def in_two(tmp_path_factory) -> tuple[Path, Said]:
    """A sweep on two workers, of which one job fails."""
    folder = tmp_path_factory.mktemp("joblib")
    launcher = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    return folder, started(*SWEEP, "method=da_pos,sobel,random", FAILING, *launcher, cwd=folder, OMP_NUM_THREADS="")


@pytest.mark.slow
def test_joblib_computes_the_same_on_its_share_of_the_threads(in_two, sequential):
    folder, said = in_two
    found = rows(folder)
    assert_same(found, sequential)
    share = max(1, joblib.cpu_count() // 2)
    assert {json.loads(text)["threads"] for text in found["provenance"]} == {share}
    records = [json.loads(path.read_text()) for path in (folder / "runs/run/jobs").iterdir()]
    assert all(record["command"][2:4] == SWEEP[1:3] for record in records)  # the sweep's, not the worker's
    assert said.stderr.count(": computed 2 of 2 images") == 2


def test_workers_divide_the_threads_unless_they_were_told(monkeypatch):
    def of(launcher: str, jobs: int, cpus: int | None = None) -> int | None:
        return threads(OmegaConf.create({"hydra": {"launcher": {"_target_": f"plugin.{launcher}", "cpus_per_task": cpus}}}), jobs)

    cores = len(os.sched_getaffinity(0))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("SLURM_CPUS_ON_NODE", raising=False)
    assert [of("LocalLauncher", 1), of("LocalLauncher", cores), of("LocalLauncher", 10 * cores)] == [cores, 1, 1]
    assert of("SlurmLauncher", 4, cpus=3) == 3
    assert of("SlurmLauncher", 4) is None
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "5")
    assert of("SlurmLauncher", 4) == 5
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert of("SlurmLauncher", 4, cpus=3) is None


@pytest.mark.slow
def test_a_job_that_fails_in_a_worker_is_listed_and_stops_no_other(in_two):
    _, said = in_two
    assert said.returncode == 1
    (listed,) = [line for line in said.stderr.splitlines() if line.startswith("failed: ")]
    assert "method.k" in listed
    (again,) = [line for line in said.stderr.splitlines() if line.startswith("  again: ")]
    assert "python -m benchmarks" in again
    assert "method=da_pos" in again
    assert said.stdout.count("Tables: ") == 1


@pytest.mark.slow
def test_the_summary_is_that_of_all_rows_together(in_two):
    folder, _ = in_two
    with contextlib.chdir(folder):
        pd.testing.assert_frame_equal(summary(Path("runs/run")), summarise(load(Path("runs/run"))))


@pytest.mark.slow
def test_of_a_run_too_large_for_one_table_there_is_the_summary(in_two, tmp_path, monkeypatch, capsys):
    folder, _ = in_two
    monkeypatch.setattr(report, "MOST_RESULTS", 3)
    shutil.copytree(folder / "runs", tmp_path / "runs")
    (tmp_path / "runs/run/rows.parquet").unlink()
    expected = (tmp_path / "runs/run/summary.csv").read_text()
    (tmp_path / "runs/run/summary.csv").unlink()
    with contextlib.chdir(tmp_path):
        report.write(Path("runs/run"), OmegaConf.create({}))
    assert (tmp_path / "runs/run/summary.csv").read_text() == expected
    assert not (tmp_path / "runs/run/rows.parquet").exists()
    assert "4 results" in capsys.readouterr().out


@pytest.mark.slow
def test_status_tells_what_is_left_after_the_failure(in_two):
    folder, _ = in_two
    said = command("results", "status", "runs/run", "--json", cwd=folder)
    assert said.returncode == 1, said.stderr
    found = json.loads(said.stdout)
    assert (found["jobs"], found["begun"]) == (3, 2)
    assert (found["done"], found["running"], found["failed"], found["left"]) == (4, 0, 0, 2)  # those of the third
    assert found["images_per_second"] > 0
    assert found["seconds_left"] is None
    assert "method=da_pos" in found["failures"][0]["command"]


@pytest.mark.slow
def test_a_worker_that_is_killed_leaves_the_others_results_and_a_report(tmp_path, sequential):
    (tmp_path / "doomed.py").write_text(DOOMED)
    said = command(*SWEEP, "method=sobel,centre", DYING, "hydra/launcher=submitit_local", cwd=tmp_path, PYTHONPATH=str(REPOSITORY))
    assert said.returncode == 1, said.stderr
    assert_same(rows(tmp_path), sequential[sequential["method"] == "sobel"].reset_index(drop=True))
    assert said.stdout.count("Tables: ") == 1
    assert "the sweep did not end well" in said.stderr
    assert "go on with: python -m benchmarks -m select.count=2" in said.stderr
