"""Workers: processes, here or on other machines, in which a Hydra launcher runs the jobs of a sweep."""

from __future__ import annotations

import os
import socket
import sys
import time
from dataclasses import dataclass, field

from omegaconf import DictConfig


@dataclass(frozen=True)
class Origin:
    """Where a sweep was started; it travels to the workers.

    folder: which relative paths are relative to. command: its ``sys.argv``. process: its host and process id. jobs: how many the sweep has.
    started: when, in seconds since 1970.
    """

    folder: str = field(default_factory=os.getcwd)
    command: list[str] = field(default_factory=lambda: list(sys.argv))
    process: tuple[str, int] = field(default_factory=lambda: (socket.gethostname(), os.getpid()))
    jobs: int = 1
    started: float = field(default_factory=time.time)

    def work_as_started(self, config: DictConfig) -> bool:
        """In a worker, be where the sweep was started and use this worker's share of the threads; returns whether this is a worker."""
        if self.process == (socket.gethostname(), os.getpid()):
            return False
        os.chdir(self.folder)
        sys.argv = list(self.command)
        if count := threads(config, self.jobs):
            import torch
            from threadpoolctl import threadpool_limits

            threadpool_limits(count)
            torch.set_num_threads(count)  # the engines ask for as many
        return True


def threads(config: DictConfig, jobs: int) -> int | None:
    """How many CPU threads a worker may use, None where the launcher (as joblib and Ray do) or the user has said so already."""
    if "OMP_NUM_THREADS" in os.environ:
        return None
    launcher = config.hydra.launcher
    if given := launcher.get("cpus_per_task"):
        return int(given)
    if str(launcher._target_).endswith("LocalLauncher"):  # submitit's, which starts all jobs at once
        return max(1, available_cores() // jobs)
    cores = os.environ.get("SLURM_CPUS_ON_NODE")  # not every cluster binds a job to its cores
    return int(cores) if cores else None


def available_cores() -> int:
    """The cores that this process may use; where the system does not say, all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
