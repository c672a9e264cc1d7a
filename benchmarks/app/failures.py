"""Jobs that failed: said at once, and kept in the run's folder for the end of a sweep."""

from __future__ import annotations

import json
import shlex
import sys
import traceback
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException
from rich.text import Text

from benchmarks.app.session import Session, current
from benchmarks.inputs.command_line import of_single_job
from benchmarks.inputs.messages import cause, debugging
from results.store.files import write_atomically


class NothingWorkedError(Exception):
    """A job that went through and has nothing to show for it but statuses."""


def fail(out: Path, error: Exception, overrides: list[str] | None) -> None:
    """Say what went wrong in a line or two, and leave it for the end of a sweep; in a worker, raises OSError where it cannot be left.

    overrides: those of the job, None for what is not of one job.
    """
    from results.store.store import digest  # only now: it imports pandas

    session, message = current(), cause(error)
    command = shlex.join(
        ["python", "-m", "benchmarks", *(of_single_job(overrides, sys.argv[1:]) if overrides is not None else sys.argv[1:])]
    )
    content: dict[str, Any] = {
        "error": message,
        "command": command,
        "traceback": traceback.format_exc(),
        "rows": isinstance(error, NothingWorkedError),
    }
    try:
        write_atomically(out / "failed" / f"{digest({'command': command})}.json", json.dumps(content, indent=1).encode())
    except OSError:  # the disk is full or read-only, which may be the very failure
        session.unwritten.append(content)
        if session.is_worker:  # then it has to be heard where the sweep was started
            raise
    if debugging():
        session.say(content["traceback"])
    session.error(message)


def forget(out: Path) -> None:
    """Delete what the last command left of its failures and its plan."""
    from results.status import PLAN

    for path in [*(out / "failed").glob("*.json"), out / PLAN]:
        path.unlink(missing_ok=True)


def failures(out: Path) -> list[dict[str, Any]]:
    """The jobs that failed since the run began."""
    return [*(json.loads(path.read_text()) for path in sorted((out / "failed").glob("*.json"))), *current().unwritten]


def any_failed(session: Session) -> bool:
    """Whether a job of a session failed."""
    return bool(session.unwritten) or any(failures(out) for out in session.runs)


def reported_broken_sweep(session: Session, error: Exception) -> bool:
    """Where a sweep's launcher ended by an error, such as a worker that was killed: report on what there is, and say how to go on."""
    if not session.sweep or isinstance(error, HydraException | OmegaConfBaseException):
        return False
    (callback, config), command = session.sweep, shlex.join(sys.argv[1:])
    callback.on_multirun_end(config)
    said = f" the sweep did not end well: {cause(error)}\n  go on with: python -m benchmarks {command}"
    session.console.print(Text.assemble(("error:", "red"), said), soft_wrap=True)
    return True
