"""A sweep through a Ray cluster, of which a worker is killed in the middle: ``pytest -m ray``, with the extra ray."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.app.test_cluster import assert_same, rows
from tests.commands import started
from tests.conftest import REPOSITORY
from tests.slurm.test_slurm import TABLE2, begun

RAY = [sys.executable, "-m", "ray.scripts.scripts"]
PORT = 26379
LAUNCHER = ["hydra/launcher=ray", f"hydra.launcher.ray.init.address=127.0.0.1:{PORT}", "+hydra.launcher.ray.init.object_store_memory=null"]
LAUNCHER += ["+hydra.launcher.ray.remote.num_cpus=1"]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(REPOSITORY), "COLUMNS": "120", "RAY_USAGE_STATS_ENABLED": "0"}


@pytest.fixture
def ray_cluster(tmp_path: Path) -> Iterator[None]:
    """A cluster started somewhere else than the sweep; it ends with its head, which ``--block`` keeps in front."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    env = {name: value for name, value in ENVIRONMENT.items() if name != "OMP_NUM_THREADS"}
    options = ["--head", f"--port={PORT}", "--num-cpus=2", "--include-dashboard=false", "--disable-usage-stats", "--block"]
    with (tmp_path / "ray.log").open("w") as log:
        head = subprocess.Popen([*RAY, "start", *options], cwd=elsewhere, env=env, stdout=log, stderr=log, start_new_session=True)
    until = time.monotonic() + 120
    while subprocess.run([*RAY, "status", f"--address=127.0.0.1:{PORT}"], env=env, capture_output=True).returncode:
        assert head.poll() is None and time.monotonic() < until, (tmp_path / "ray.log").read_text()  # noqa: PT018
        time.sleep(1)
    yield
    head.terminate()
    head.wait(timeout=60)
    assert not list(elsewhere.iterdir())  # a worker writes where the sweep was started, not where Ray was


@pytest.mark.ray
@pytest.mark.timeout(1800)
def test_a_worker_killed_in_the_middle_leaves_the_same_rows(ray_cluster: None, tmp_path: Path) -> None:
    local, cluster = tmp_path / "local", tmp_path / "cluster"
    local.mkdir()
    cluster.mkdir()
    command = [sys.executable, "-m", *TABLE2, *LAUNCHER]
    sweep = subprocess.Popen(command, cwd=cluster, env=ENVIRONMENT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    _, pid = begun(cluster)
    os.kill(pid, signal.SIGKILL)
    out, err = sweep.communicate(timeout=1200)
    assert sweep.returncode == 0, err  # Ray has started the job again
    assert out.count("Tables: ") == 1
    again = started(*TABLE2, cwd=cluster)
    assert "nothing to compute" in again.stderr
    alone = started(*TABLE2, cwd=local, OMP_NUM_THREADS="1")
    assert alone.returncode == 0, alone.stderr
    assert_same(rows(cluster), rows(local))
    print(f"worker {pid} was killed; {len(rows(local))} rows are the same")
