"""``python -m da``: explain one photograph. The command is the application's; the package ``da`` imports nothing of it."""

import sys
from collections.abc import Sequence

from benchmarks.app.process import prepare


def main(arguments: Sequence[str]) -> int:
    """Run a command line and return its exit code."""
    prepare()
    from benchmarks.app import explain  # which imports PyTorch in time: the process is prepared for it now

    return explain.main(arguments)


def script() -> int:
    """The command ``da-explain``."""
    prepare()
    from benchmarks.app import explain

    return explain.script()


if __name__ == "__main__":
    sys.exit(script())
