"""Command lines in processes of their own that need not import everything anew: forked from a server that has."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import REPOSITORY

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    ["benchmarks.run", "benchmarks.report", "benchmarks.beyond", "benchmarks.insertion", "benchmarks.mar", "captum.attr", "onnxruntime"]
)

QUIET = {"COLUMNS": "120", "DA_DEBUG": "0", "HYDRA_FULL_ERROR": "0"}  # whatever commands of this process left in its environment


@dataclass(frozen=True)
class Said:
    """What a command printed and how it ended."""

    returncode: int
    stdout: str
    stderr: str


def command(module: str, *arguments: str, cwd: Path, timeout: float = 300, **environment: str) -> Said:
    """``python -m module arguments`` in a folder."""
    with tempfile.TemporaryDirectory() as folder:
        process = SERVER.Process(target=_run, args=(module, arguments, cwd, Path(folder), environment))
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            raise TimeoutError(f"python -m {module} {' '.join(arguments)}")
        texts = [(Path(folder) / name).read_text() for name in ("out", "err")]
        return Said(process.exitcode, *texts)


def started(module: str, *arguments: str, cwd: Path, timeout: float = 540, **environment: str) -> Said:
    """The same in a process started from nothing, as users start it. A variable given as nothing is not there."""
    told = os.environ | QUIET | {"PYTHONPATH": str(REPOSITORY)} | environment
    told = {name: value for name, value in told.items() if value}
    done = subprocess.run([sys.executable, "-m", module, *arguments], cwd=cwd, env=told, capture_output=True, text=True, timeout=timeout)
    return Said(done.returncode, done.stdout, done.stderr)


def _run(module: str, arguments: tuple[str, ...], cwd: Path, folder: Path, environment: dict[str, str]) -> None:
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT), number)
    os.environ.update(QUIET | environment)
    os.chdir(cwd)
    sys.path[:0] = [str(cwd), *environment.get("PYTHONPATH", "").split(os.pathsep), str(REPOSITORY)]
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
