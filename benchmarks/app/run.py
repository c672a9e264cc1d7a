"""Run one configuration."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from benchmarks.app.failures import NothingWorkedError, fail
from benchmarks.app.interruption import Interruption
from benchmarks.app.session import current
from benchmarks.inputs.places import expanded
from benchmarks.jobs.job import Job
from benchmarks.jobs.objective import objective_values, objectives_of
from benchmarks.jobs.record import write_record
from benchmarks.jobs.resolve import make_job, resolve


def run(cfg: DictConfig) -> float | Sequence[float] | None:
    """Compute what the store lacks of a configuration, and return what ``objective`` asks for.

    A failure is recorded, so that the other jobs of a sweep go on, and nothing is returned.
    """
    session, out = current(), Path(expanded(cfg.out))
    hydra = HydraConfig.get() if HydraConfig.initialized() else None
    overrides = list(hydra.overrides.task) if hydra else []
    try:
        config = resolve(cfg, overrides, hydra.runtime.choices.get("method") if hydra else None)
        if config.engine_choice:
            session.console.print(config.engine_choice, highlight=False)
        job = make_job(config)
        write_record(job, config, overrides, session.started)
        shard = [f"shard {cfg.shard}"] if cfg.shard else []
        title = " · ".join([job.method_name, job.model.name, job.images.name, *shard])
        images, pending = len(job.shard_images), len(job.pending())
        session.bar.job(title, images, images - pending)
        if not pending:
            session.say(f"{title}: nothing to compute, all {images} images are in the store")
        else:
            _compute(job, title, images)
        if objectives := objectives_of(config.settings.get("objective")):
            values = objective_values(job, objectives)
            return values[0] if len(values) == 1 else values
    except Exception as error:
        fail(out, error, overrides)
    return None


def _compute(job: Job, title: str, images: int) -> None:
    """Run a job until it is done or interrupted."""
    session = current()
    with Interruption(session.console) as interruption:
        computed = job.run(session.bar.advance, lambda: interruption.asked)
    failed = 0 if interruption.asked else len(job.pending())
    session.say(f"{title}: computed {computed - failed} of {images} images{f', {failed} failed' if failed else ''}")
    if interruption.asked:
        session.say(f"Interrupted: all that was computed is stored. Go on with: python -m benchmarks {shlex.join(sys.argv[1:])}")
        raise KeyboardInterrupt
    if computed and failed == images:
        raise NothingWorkedError(f"{title}: every image failed, see the statuses below")
