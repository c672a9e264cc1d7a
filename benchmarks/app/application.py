"""One job of the application, in a module that the processes of a launcher can import."""

from __future__ import annotations

from omegaconf import DictConfig


def application(cfg: DictConfig) -> None:
    """Run one job of the application."""
    from benchmarks.app.run import run  # only now: help, --cfg and completion do without PyTorch

    run(cfg)
