"""What one command of ``python -m benchmarks`` does, from its start to its report."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from benchmarks.app.progress import Progressing, bar


@dataclass
class Session:
    """The state of a command, or of a worker in which a launcher runs its jobs.

    started: when the sweep, or its only job, was started, in seconds since 1970. is_worker: whether another process reports on the jobs of
    this one. runs: the folders of the runs that it reports on; a name can be swept, too. unwritten: failures that could not be recorded.
    sweep: what reports on a sweep that goes on, with its configuration. errors: what has been said of why jobs fail.
    """

    started: float = 0.0
    is_worker: bool = False
    runs: tuple[Path, ...] = ()
    unwritten: list[dict[str, Any]] = field(default_factory=list)
    sweep: tuple[Any, Any] | None = None
    errors: set[str] = field(default_factory=set)

    @cached_property
    def console(self) -> Console:
        """Standard error: commands and names hold square brackets, so no markup."""
        return Console(stderr=True, markup=False)

    @cached_property
    def bar(self) -> Progressing:
        """The progress of all jobs of this process."""
        return bar(self.console)

    def error(self, message: str, before: str = "") -> None:
        """Print why a job fails, once in this process, however many fail by it. before: words before it."""
        if message not in self.errors:
            self.errors.add(message)
            self.console.print(Text.assemble(("error:", "red"), f" {before}{message}"), soft_wrap=True)

    def say(self, text: str) -> None:
        """Print a line that is not wrapped."""
        self.console.print(text, highlight=False, soft_wrap=True)


_CURRENT = [Session()]  # Hydra makes the callback and calls the application: they have nothing else in common


def begin() -> Session:
    """Begin a command in this process."""
    _CURRENT[0] = Session()
    return _CURRENT[0]


def current() -> Session:
    """The session of this process."""
    return _CURRENT[0]
