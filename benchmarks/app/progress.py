"""One progress bar over the jobs of a process."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


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
