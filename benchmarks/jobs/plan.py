"""What a sweep is going to do, before it does it: jobs, images, passes, and the time they should take."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from benchmarks.engines.loading import load
from benchmarks.jobs.resolve import ResolvedConfig, shard_of

Parameters = Mapping[str, Any]


def _walk(iterations: int, speculate: int, **_: Any) -> tuple[int, int]:
    if speculate > 1:
        raise TypeError("how many answers are thrown away depends on the image")
    return iterations + 1, 0


# Forward passes, and forward passes that are followed by a backward pass, of one image: docs/methods.md.
ATTRIBUTION: dict[str, Callable[[Parameters], tuple[int, int]]] = {
    "dynamic_ablation": lambda p: _walk(**p),
    "minimal_region": lambda p: (p["budget"], 0),
    "minimal_region_by_score": lambda p: (p["budget"], 0),
    "rise": lambda p: (p["masks"], 0),
    "extremal_perturbation": lambda p: (
        len(p["areas"]),
        p["iterations"] * len(p["areas"]) * (2 if p["variant"] == "dual" else 1),
    ),
    "gradient": lambda p: (0, 1),
    "guided_backprop": lambda p: (0, 1),
    "gradcam": lambda p: (0, 1),
    "integrated_gradients": lambda p: (0, p["steps"]),
    "smoothgrad": lambda p: (0, p["samples"]),
    "kernel_shap": lambda p: (p["samples"], 0),
    "random_map": lambda p: (0, 0),
    "centre_disc": lambda p: (0, 0),
    "sobel_edges": lambda p: (0, 0),
}
MEASURE: dict[str, Callable[[Parameters], int]] = {
    "insertion_game": lambda p: len(p["shares"]),
    "minimum_attribution_ratio": lambda p: p["points"],
    "sufficient_shares": lambda p: 1 + len(p["fills"]) * p["points"],
    "grid_pointing": lambda p: p["cells"] ** 2,
    "rise_metrics": lambda p: 2 * (1 + -(-(224**2) // p["step"])),
}


@dataclass(frozen=True)
class Work:
    """One job. passes: forward passes an image, gradients: those with a backward pass; None where the method is not known."""

    model: str
    engine: str
    images: int
    passes: int | None
    gradients: int | None


def work(model: str, engine: str, images: int, method: Mapping[str, Any], benchmarks: Sequence[Mapping[str, Any]]) -> Work:
    """The passes of a job's configuration."""
    name = str(method["_target_"]).rsplit(".", 1)[-1]
    measured = [MEASURE.get(str(benchmark["_target_"]).rsplit(".", 1)[-1]) for benchmark in benchmarks]
    if name not in ATTRIBUTION or None in measured:
        return Work(model, engine, images, None, None)
    try:
        passes, gradients = ATTRIBUTION[name](method)
        passes += 1 + sum(of(benchmark) for of, benchmark in zip(measured, benchmarks, strict=True) if of)
    except (KeyError, TypeError):  # a hyper-parameter is missing or not a number; the job will say so
        return Work(model, engine, images, None, None)
    return Work(model, engine, images, passes, gradients)


def planned(config: ResolvedConfig) -> Work:
    """What a job is going to do."""
    model, _ = load(config.model_json, config.engine_json)
    engine = str(config["engine"]["_target_"]).rsplit(".", 1)[-1].removesuffix("_engine")
    return work(model.name, engine, image_count(config), config.method, list((config["benchmark"] or {}).values()))


def image_count(config: ResolvedConfig) -> int:
    """The images of a job's shard."""
    part, parts = shard_of(config["shard"])
    return len(range(config["select"]["count"] or len(config.images()))[part::parts])


def table(jobs: Sequence[Work], cost: Mapping[tuple[str, str], tuple[float, float]]) -> Table:
    """The plan for people. cost: ``seconds_a_pass`` by model and engine."""
    shown = Table(title="Plan", title_justify="left", box=SIMPLE_HEAD)
    for title in ("model", "engine", "jobs", "images", "forward passes", "with backward", "ms a pass", "expected"):
        shown.add_column(title, justify="left" if title in ("model", "engine") else "right", no_wrap=True)
    total = 0.0
    for key in dict.fromkeys((job.model, job.engine) for job in jobs):
        here = [job for job in jobs if (job.model, job.engine) == key]
        known = [job for job in here if job.passes is not None and job.gradients is not None]
        forward = sum(job.images * (job.passes or 0) for job in known)
        backward = sum(job.images * (job.gradients or 0) for job in known)
        seconds = forward * cost[key][0] + backward * cost[key][1]
        total += seconds
        more = f" + {len(here) - len(known)} unknown" if len(known) < len(here) else ""
        images = max(job.images for job in here)
        cells = (str(len(here)), str(images), f"{forward:,}{more}", f"{backward:,}", f"{1000 * cost[key][0]:.1f}", duration(seconds))
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
