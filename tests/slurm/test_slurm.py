"""A sweep through a real Slurm, of which a job is requeued in the middle: ``pytest -m slurm``, as root, with slurm-wlm and munge."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.app.test_cluster import assert_same, rows
from tests.commands import started
from tests.conftest import REPOSITORY

CLUSTER = REPOSITORY / "tests" / "slurm" / "cluster.sh"
TABLE2 = ["benchmarks", "experiment=table2", "scale=smoke", "select.count=4", "method.iterations=100", "batch_size=1"]
TABLE2 += ["benchmark.mar.points=4", "page=false", "name=run"]
SLURM = ["hydra/launcher=submitit_slurm", "hydra.launcher.cpus_per_task=1", "hydra.launcher.timeout_min=30"]
WAIT = 400.0  # seconds for a job to have begun


@pytest.fixture
def slurm(tmp_path: Path) -> Iterator[dict[str, str]]:
    folder = tmp_path / "slurm"
    subprocess.run([CLUSTER, "start", folder], check=True, timeout=120)
    yield {"SLURM_CONF": str(folder / "slurm.conf")}
    subprocess.run([CLUSTER, "stop", folder], check=True, timeout=120)


def begun(folder: Path) -> tuple[dict[str, str], int]:
    """The environment and the id of a process that has stored an image or two and, by its claim, is at work on the next."""
    until = time.monotonic() + WAIT
    while time.monotonic() < until:
        for record in [json.loads(path.read_text()) for path in (folder / "runs/run/jobs").glob("*.json")]:
            stored = len(list((folder / "runs/store" / record["keys"]["mar"]).glob("*.parquet")))
            for claim in (folder / "runs/store" / record["keys"]["attribution"] / "claims").glob("*"):
                with contextlib.suppress(FileNotFoundError, IndexError):  # it has gone on to another image
                    process = int(claim.read_text().split()[1])
                    entries = Path(f"/proc/{process}/environ").read_text().split("\0")
                    if 1 <= stored <= 2:
                        return dict(entry.split("=", 1) for entry in entries if "=" in entry), process
        time.sleep(0.2)
    raise TimeoutError("no job has begun")


@pytest.mark.slurm
@pytest.mark.timeout(1800)
def test_a_job_requeued_in_the_middle_leaves_the_same_rows(slurm: dict[str, str], tmp_path: Path) -> None:
    local, cluster = tmp_path / "local", tmp_path / "cluster"
    local.mkdir()
    cluster.mkdir()
    env = os.environ | slurm | {"PYTHONPATH": str(REPOSITORY), "COLUMNS": "120"}
    sweep = subprocess.Popen(
        [sys.executable, "-m", *TABLE2, *SLURM], cwd=cluster, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    environ, _ = begun(cluster)
    job = f"{environ['SLURM_ARRAY_JOB_ID']}_{environ['SLURM_ARRAY_TASK_ID']}"
    subprocess.run(["scontrol", "requeue", job], env=env, check=True)
    status = json.loads(started("results", "status", "runs/run", "--json", cwd=cluster).stdout)
    assert status["jobs"] == 4
    assert sum(status[name] for name in ("done", "running", "left")) == 16
    assert 0 < status["done"] < 16
    out, err = sweep.communicate(timeout=1200)
    assert sweep.returncode == 0, err
    assert out.count("Tables: ") == 1
    shown = subprocess.run(["scontrol", "show", "job", environ["SLURM_JOB_ID"]], env=env, capture_output=True, text=True, check=True).stdout
    assert "Restarts=1" in shown
    said = (cluster / f"runs/run/.submitit/{job}/{job}_0_log.err").read_text()
    computed = int(said.split(": computed ")[1].split()[0])
    assert 0 < computed < 4, said  # what was stored before the requeue was not computed again
    alone = started(*TABLE2, cwd=local, OMP_NUM_THREADS="1")
    assert alone.returncode == 0, alone.stderr
    assert_same(rows(cluster), rows(local))
    print(f"status in the middle: {status}")
    print(f"job {job} was requeued and computed the last {computed} of 4 images; {len(rows(local))} rows are the same")
