"""Command lines: in this process; in one that need not import everything anew, forked from a server that has; or from nothing."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from benchmarks.inputs import own_folders
from tests.conftest import REPOSITORY

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    [
        "benchmarks.app.run",
        "benchmarks.app.report",
        "results.artefacts.evaluation",
        "benchmarks.measures.insertion",
        "benchmarks.measures.mar",
        "captum.attr",
        "onnxruntime",
    ]
)

QUIET = {"COLUMNS": "120", "DA_DEBUG": "0", "HYDRA_FULL_ERROR": "0"}  # whatever commands of this process left in its environment


class Said(NamedTuple):
    """How a command ended and what it printed."""

    returncode: int
    stdout: str
    stderr: str


def called(module: str, *arguments: str, cwd: Path) -> Said:
    """``python -m module arguments`` in a folder, in this process: the fastest where nothing is computed or little."""
    code: int | str | None = 0
    streams = [io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2)]
    with (
        mock.patch.object(sys, "argv", [module, *arguments]),
        mock.patch.object(sys, "path", [*sys.path]),
        mock.patch.dict(os.environ, QUIET),
        contextlib.chdir(cwd),
        contextlib.redirect_stdout(streams[0]),
        contextlib.redirect_stderr(streams[1]),
    ):
        try:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        except SystemExit as ended:
            code = ended.code
        except Exception:
            traceback.print_exc()
            code = 1
        finally:
            own_folders.set_search_path(None)
    out, err = (stream.buffer.getvalue().decode("utf-8", "surrogateescape") for stream in streams)
    return Said(int(code or 0), out, err)


def command(module: str, *arguments: str, cwd: Path, timeout: float = 300, **environment: str) -> Said:
    """The same in a process of its own, with what this one has imported before any test."""
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
    """The same in one that is started from nothing, as users start it. A variable given as nothing is not there."""
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
