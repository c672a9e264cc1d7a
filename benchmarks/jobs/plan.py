"""What a sweep is going to do, before it does it: jobs, images, passes, and the time they should take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.utils import get_object
from rich.box import SIMPLE_HEAD
from rich.table import Table

from benchmarks.engines.loading import load
from benchmarks.jobs.resolve import ResolvedConfig, shard_of


@dataclass(frozen=True)
class JobCost:
    """One job. passes: forward passes per image, gradients: those with a backward pass; None where the method is not known."""

    model: str
    engine: str
    images: int
    passes: int | None
    backward_passes: int | None


def job_cost(model: str, engine: str, images: int, method: Mapping[str, Any], benchmarks: Sequence[Mapping[str, Any]]) -> JobCost:
    """The passes of a job's configuration, by what its functions declare (``da.passes``); one more is for the prediction."""
    try:
        forward, backward = zip(*(_declared(node) for node in (method, *benchmarks)), strict=True)
    except Exception:  # nothing is declared, or it depends on the image; of a configuration that is wrong the job will say so
        return JobCost(model, engine, images, None, None)
    return JobCost(model, engine, images, 1 + sum(forward), sum(backward))


def _declared(node: Mapping[str, Any]) -> tuple[int, int]:
    function = get_object(str(node["_target_"]))
    own = function.passes(**{name: value for name, value in node.items() if not name.startswith("_")})
    every = [own, *(_declared(value) for value in node.values() if isinstance(value, Mapping) and "_target_" in value)]
    forward, backward = zip(*every, strict=True)
    return int(sum(forward)), int(sum(backward))


def planned(config: ResolvedConfig) -> JobCost:
    """What a job is going to do."""
    model, _ = load(config.model_json, config.engine_json)
    engine = str(config["engine"]["_target_"]).rsplit(".", 1)[-1].removesuffix("_engine")
    return job_cost(model.name, engine, image_count(config), config.method, list((config["benchmark"] or {}).values()))


def image_count(config: ResolvedConfig) -> int:
    """The images of a job's shard."""
    part, parts = shard_of(config["shard"])
    count = None if config["select"].get("part") else config["select"]["count"]
    return len(range(count or len(config.images()))[part::parts])


def table(jobs: Sequence[JobCost], cost: Mapping[tuple[str, str], tuple[float, float]]) -> Table:
    """The plan for people. cost: ``seconds_a_pass`` by model and engine."""
    shown = Table(title="Plan", title_justify="left", box=SIMPLE_HEAD)
    for title in ("model", "engine", "jobs", "images", "forward passes", "with backward", "ms a pass", "expected"):
        shown.add_column(title, justify="left" if title in ("model", "engine") else "right", no_wrap=True)
    total = 0.0
    for key in dict.fromkeys((job.model, job.engine) for job in jobs):
        here = [job for job in jobs if (job.model, job.engine) == key]
        known = [job for job in here if job.passes is not None and job.backward_passes is not None]
        forward = sum(job.images * (job.passes or 0) for job in known)
        backward = sum(job.images * (job.backward_passes or 0) for job in known)
        seconds = forward * cost[key][0] + backward * cost[key][1]
        total += seconds
        more = f" + {len(here) - len(known)} unknown" if len(known) < len(here) else ""
        images = max(job.images for job in here)
        cells = (
            str(len(here)),
            str(images),
            f"{forward:,}{more}",
            f"{backward:,}",
            f"{1000 * cost[key][0]:.1f}",
            duration(seconds) if known else "–",
        )
        shown.add_row(*key, *cells)
    shown.caption = f"Expected in all: {duration(total)} less what is in the store already, if nothing else keeps this machine busy"
    shown.caption_justify = "left"
    return shown


def duration(seconds: float) -> str:
    """``42 s``, ``5 min``, ``3.2 h``, ``4.1 days``."""
    for limit, unit, name in ((90, 1, "s"), (5400, 60, "min")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds / 3600:.1f} h" if seconds < 172800 else f"{seconds / 86400:.1f} days"
