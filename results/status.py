"""How far a run is, from what is in its folder and the store, while its workers run."""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from results.records import images_of, records
from results.store.store import ImageKey, Store
from results.times import finished_times

PLAN = "plan.json"  # what a sweep is going to do, written in the run's folder when it starts


@dataclass(frozen=True)
class Status:
    """A run's jobs and images. An image counts once per job: with two methods it is two images.

    jobs: of the sweep, begun: those that have left their record. done: images with all their results. running: claimed by a live process.
    failed: stored with an error, to be tried again by the same command. left: neither, those of jobs that have not begun among them.
    images_per_second, queries_per_second: since the command was started last, of all workers together, until now or, where nothing runs,
    until the last image was finished; the queries are the methods', without those of the measures. By the times that the run and the
    store's parts have written down, None where they have none: those of files change when they are copied. seconds_left: at that rate,
    None where nothing runs or nothing is finished yet. failures: ``error`` and ``command`` of each job that failed.
    """

    jobs: int
    begun: int
    done: int
    running: int
    failed: int
    left: int
    images_per_second: float | None
    queries_per_second: float | None
    seconds_left: float | None
    failures: list[dict[str, str]]


def status(out: Path) -> Status:
    """How far a run is. Raises ValueError where there is no run."""
    out, now = Path(out), time.time()
    plan = json.loads((out / PLAN).read_text()) if (out / PLAN).exists() else []
    jobs = records(out) if not plan or any((out / "jobs").glob("*.json")) else []
    begun = {tuple(record.get("overrides", ())) for record in jobs}
    waiting = [job for job in plan if tuple(job["overrides"]) not in begun]
    times = [one["started"] for one in plan or jobs if one.get("started")]
    started = min(times) if times else math.inf
    counts, finished, queries = Counter(left=sum(job["images"] for job in waiting)), list[float](), 0.0
    for record in jobs:
        of_job, in_job, spent = _job(record, started)
        counts += of_job
        finished += in_job
        queries += spent
    seconds = (now if counts["running"] else max(finished, default=now)) - started
    rate = len(finished) / seconds if finished and seconds > 0 else None
    return Status(
        jobs=len(jobs) + len({tuple(job["overrides"]) for job in waiting}),
        begun=len(jobs),
        **{name: counts[name] for name in ("done", "running", "failed", "left")},
        images_per_second=rate,
        queries_per_second=queries / seconds if rate else None,
        seconds_left=(counts["left"] + counts["running"]) / rate if rate and counts["running"] else None,
        failures=list(_failures(out)),
    )


def _job(record: dict[str, Any], since: float) -> tuple[Counter[str], list[float], float]:
    """A job's images by state, when those were finished that were since a time, and the queries of the maps made since then."""
    store, keys = Store(Path(record["store"])), record["keys"]
    images = images_of(record, "attribution")
    states = []
    for name, key in keys.items():
        there = store.states(key)
        under = zip(images, images_of(record, name), strict=True)
        states.append({image: (*there[stored], stored) for image, stored in under if stored in there})
    held = set(store.held(keys["attribution"], images))
    times: dict[Path, dict[ImageKey, float]] = {}
    for part in {part for state in states for part, _, _ in state.values()}:
        with suppress(FileNotFoundError):  # compacted meanwhile, so it is not of the last moments
            known = zip(store.images(part), finished_times(part), strict=False)
            times[part] = {image: when for image, when in known if when is not None}
    counts, finished, recent = Counter[str](), [], dict[Path, set[ImageKey]]()
    for image in images:
        found = [state[image] for state in states if image in state]
        of_image = [times.get(part, {}).get(stored, -math.inf) for part, _, stored in found]
        if len(found) == len(states) and not any(failed for _, failed, _ in found):
            counts["done"] += 1
            if (when := max(of_image)) >= since:
                finished.append(when)
        else:
            counts["running" if image in held else "failed" if any(failed for _, failed, _ in found) else "left"] += 1
        if (of_map := states[list(keys).index("attribution")].get(image)) and times.get(of_map[0], {}).get(image, -math.inf) >= since:
            recent.setdefault(of_map[0], set()).add(image)
    return counts, finished, sum(_queries(part, of) for part, of in recent.items())


def _queries(part: Path, images: set[ImageKey]) -> float:
    """The queries of some of a part's images."""
    try:
        rows = pq.read_table(part, columns=["image", "digest", "value"], filters=pc.field("metric") == "queries").to_pydict()
    except FileNotFoundError:
        return 0.0
    spent = zip(zip(rows["image"], rows["digest"], strict=True), rows["value"], strict=True)
    return float(sum(value for image, value in spent if image in images and value is not None and not math.isnan(value)))


def _failures(out: Path) -> Iterator[dict[str, str]]:
    for path in sorted((out / "failed").glob("*.json")):
        content = json.loads(path.read_text())
        yield {"error": content["error"], "command": content["command"]}


def status_text(found: Status) -> str:
    """A status in a few lines."""
    lines = [
        f"jobs: {found.begun} of {found.jobs} begun, {len(found.failures)} failed",
        f"images: {found.done} done, {found.running} running, {found.failed} failed, {found.left} left",
    ]
    if found.images_per_second is not None and found.queries_per_second is not None:
        rate = f"{found.queries_per_second:.1f} queries/s, {found.images_per_second:.3g} images/s"
        minutes = "" if found.seconds_left is None else f", {found.seconds_left / 60:.0f} min to go"
        lines.append(rate + minutes if found.running else f"nothing is running; the last command did {rate}")
    elif not found.running and found.left:
        lines.append("nothing is running")
    for failure in found.failures:
        lines += [f"failed: {failure['error']}", f"  again: {failure['command']}"]
    return "\n".join(lines)
