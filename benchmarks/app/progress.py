"""One progress bar over the jobs of a process, in a terminal or a notebook."""

from __future__ import annotations

import time
from typing import Any, Protocol, runtime_checkable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@runtime_checkable
class Progressing(Protocol):
    """What is told how far the jobs are."""

    def expect(self, images: int) -> None:
        """Announce the images of all jobs together."""

    def job(self, title: str, images: int, done: int) -> None:
        """Begin a job of which so many images are in the store already."""

    def advance(self, images: int, queries: int) -> None:
        """Count finished images and spent queries."""

    def stop(self) -> None:
        """Leave the terminal to others."""

    def silence(self) -> None:
        """Draw nothing: this process is one of several on one terminal."""


def bar(console: Console) -> Progressing:
    """The one that fits where the process runs."""
    return NotebookBar() if console.is_jupyter else Bar(console)


class Bar:
    """Images done of all jobs, images/s, queries/s and the time left; silent where the console is no terminal."""

    def __init__(self, console: Console) -> None:
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )
        self.progress = Progress(*columns, console=console, disable=not console.is_terminal)
        self.task = self.progress.add_task("", total=0, rate="")
        self.expected = False

    def expect(self, images: int) -> None:
        """Announce the images of all jobs together."""
        self.progress.update(self.task, total=images)
        self.expected = True

    def job(self, title: str, images: int, done: int) -> None:
        """Begin a job of which so many images are in the store already."""
        if not self.progress.live.is_started:
            self.start = time.monotonic()
            self.computed = self.queries = 0
            self.progress.start()
        total = (self.progress.tasks[0].total or 0) + (0 if self.expected else images)
        self.progress.update(self.task, description=title, total=total, advance=done)

    def advance(self, images: int, queries: int) -> None:
        """Count finished images and spent queries."""
        self.computed += images
        self.queries += queries
        elapsed = max(time.monotonic() - self.start, 1e-9)
        rate = f"{self.computed / elapsed:.2f} images/s, {self.queries / elapsed:.0f} queries/s"
        self.progress.update(self.task, advance=images, rate=rate)

    def stop(self) -> None:
        """Leave the terminal to others."""
        self.progress.stop()

    def silence(self) -> None:
        """Draw nothing: this process is one of several on one terminal."""
        self.progress.disable = True


class NotebookBar:
    """The same below a notebook's cell, by tqdm."""

    def __init__(self) -> None:
        self.total = self.queries = 0
        self.expected = self.silent = False
        self.shown: Any = None

    def expect(self, images: int) -> None:
        """Announce the images of all jobs together."""
        self.total, self.expected = images, True

    def job(self, title: str, images: int, done: int) -> None:
        """Begin a job of which so many images are in the store already."""
        from tqdm.auto import tqdm  # only in a notebook

        self.total += 0 if self.expected else images
        if self.shown is None:
            self.shown = tqdm(total=self.total, unit="image", disable=self.silent)
        self.shown.total = self.total
        self.shown.set_description(title, refresh=False)
        self.shown.update(done)

    def advance(self, images: int, queries: int) -> None:
        """Count finished images and spent queries."""
        self.queries += queries
        self.shown.set_postfix_str(f"{self.queries} queries", refresh=False)
        self.shown.update(images)

    def stop(self) -> None:
        """Leave the cell as it is."""
        if self.shown is not None:
            self.shown.close()

    def silence(self) -> None:
        """Draw nothing: this process is one of several."""
        self.silent = True
