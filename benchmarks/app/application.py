"""One job of the application, in a module that the processes of a launcher can import."""

from __future__ import annotations

from collections.abc import Sequence

from omegaconf import DictConfig


def application(cfg: DictConfig) -> float | Sequence[float] | None:
    """Run one job of the application, and return what ``objective`` asks for."""
    from benchmarks.app.run import run  # only now: help, --cfg and completion do without PyTorch

    return run(cfg)
