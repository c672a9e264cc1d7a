"""The Hydra application: ``python -m benchmarks --help``."""

from __future__ import annotations

import sys

import hydra
from omegaconf import DictConfig

from benchmarks.run import Report, expand_shards, failures, run


@hydra.main(version_base="1.3", config_path="pkg://conf", config_name="config")
def main(cfg: DictConfig) -> None:
    """Run one job of the application."""
    run(cfg)


if __name__ == "__main__":
    try:
        sys.argv[1:] = expand_shards(sys.argv[1:])
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except ValueError as error:
        sys.exit(f"error: {error}")
    sys.exit(1 if Report.out and failures(Report.out) else 0)
