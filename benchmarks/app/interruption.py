"""An end that is asked for by Ctrl-C, and that waits for what is being computed."""

from __future__ import annotations

import signal
import threading

from rich.console import Console


class Interruption:
    """While it lasts, the first Ctrl-C asks for an end after the batch in flight; a second one ends at once."""

    asked = False

    def __init__(self, console: Console) -> None:
        self.console = console

    def __enter__(self) -> Interruption:
        self.before = signal.getsignal(signal.SIGINT)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self.before)

    def _ask(self, *_: object) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        self.console.print("Finishing the batch in flight; Ctrl-C again ends at once and loses it.", highlight=False)
