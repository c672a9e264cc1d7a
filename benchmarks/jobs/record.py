"""Leave a job's record in its run's folder: its configuration, the keys of its results, its images."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from benchmarks.jobs.job import Job
from benchmarks.jobs.resolve import ResolvedConfig
from benchmarks.jobs.selection import accuracies
from benchmarks.keys.provenance import provenance
from results.records import VERSION, JobRecord, identity
from results.store.files import write_atomically
from results.store.store import digest


def write_record(job: Job, config: ResolvedConfig, overrides: Sequence[str], started: float) -> None:
    """Write ``jobs/<identity>.json``. overrides: the job's command line. started: when its sweep was."""
    out, store = config.out, str(config["store"])
    images = [[*key, photograph.label, *filter(None, [job.evidence[key]])] for key, photograph in job.contents.items()]
    listed = out / "images" / f"{digest({'images': images})}.json"  # once for all jobs on these images
    if not listed.exists():
        write_atomically(listed, json.dumps(images).encode())
    content: dict[str, Any] = {
        "version": VERSION,
        "dataset": job.images.name,
        "model": job.model.name,
        "method": job.method_name,
        "engine": job.engine_name,
        "seed": job.seed,
        "parameters": dict(job.parameters),
        "store": store if Path(store).is_absolute() else os.path.relpath(store, out),
        "keys": job.keys,
        "configs": job.configs,
        "images": listed.stem,
        "config": dict(config.settings) | {"shard": None},  # the shards of a job share its record
        "class_names": list(job.model.class_names),
        "model_parameters": job.model.parameters,
        "weights_sha256": job.model.weights_sha256,
        "dataset_sha256": digest({"images": sorted(map(list, job.contents))}),
        "accuracy": accuracies(config["dataset"], config["select"], config["seed"], config.judges, config.engine_json, job.images),
        "provenance": json.loads(provenance()),
        "started": time.time(),
        "command": [sys.executable, *sys.argv],
        "folder": os.getcwd(),
        "overrides": of_all_shards(overrides),
    }
    path = out / "jobs" / f"{identity(content, but='select.count')}-{config['select'].get('count') or 'all'}.json"
    content["place"] = place(path, started)
    JobRecord(**content).write(path)
    for other in path.parent.glob(f"{path.stem.partition('-')[0]}-*.json"):  # the same job on more or fewer images, of another command
        with suppress(FileNotFoundError):  # another shard has done so
            if other != path and json.loads(other.read_text())["place"][0] != started:
                other.unlink(missing_ok=True)


def place(path: Path, started: float) -> list[float]:
    """When the sweep of a job began and which of its jobs it is, so that lines come in the order of the sweep; of shards, the first."""
    hydra = cast(DictConfig | None, HydraConfig.instance().cfg)
    number = OmegaConf.select(hydra, "hydra.job.num") if hydra is not None else None
    here = [started, number or 0]
    before = json.loads(path.read_text())["place"] if path.exists() else here
    return min(here, before) if before[0] == here[0] else here


def of_all_shards(overrides: Iterable[str]) -> list[str]:
    """What the shards of a job have in common of their command lines."""
    return sorted(override for override in overrides if not override.startswith(("shard=", "hydra.", "hydra/")))
