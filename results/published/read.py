"""Published rows for a table or figure: those of the jobs that it is of, and what is to be said of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from results import tables
from results.naming import configuration, naming_columns, value_text
from results.published.manifest import Manifest
from results.records import records, settings

Records = list[dict[str, Any]]

VERSIONS = Path("benchmarks") / "keys" / "versions.json"


@dataclass(frozen=True)
class Rows:
    """Some of the published rows.

    frame: as ``tables.load`` gives them; records: of their jobs; manifest: of all; part: which images of the run's order, if not all.
    """

    frame: pd.DataFrame
    records: Records
    manifest: Manifest
    part: str = ""

    @property
    def images(self) -> int:
        """How many different images there are."""
        return len(self.frame[["image", "digest"]].drop_duplicates())


def read_rows(path: Path, where: Mapping[str, str] | None = None, part: str = "") -> Rows:
    """The published rows of the jobs whose settings are ``where`` says, such as ``{"method": "da_pos,rise", "param.k": "4"}``.

    part: ``293-500``, the 293rd to the 500th image in the order of each job's selection; left out, all.
    Raises ValueError for rows that are not there or not as published, for a setting that no job has, and for a value that none has.
    """
    jobs, manifest = _read(Path(path), path.stat().st_mtime_ns if path.exists() else 0)
    chosen = list(jobs)
    for name, values in (where or {}).items():
        wanted, there = values.split(","), {value_text(settings(job)[name]) for job in jobs if name in settings(job)}
        if not there:
            raise ValueError(f"{path}: no job has a setting {name}")
        if unknown := [value for value in wanted if value not in there]:
            raise ValueError(f"{path}: no job has {name}={','.join(unknown)}; choose {', '.join(sorted(there))}")
        chosen = [job for job in chosen if name in settings(job) and value_text(settings(job)[name]) in wanted]
    if not chosen:
        raise ValueError(f"{path}: no job is {' '.join(f'{name}={value}' for name, value in (where or {}).items())}")
    if part:
        chosen = [record | {"images": _part(record["images"], part, path)} for record in chosen]
        if all(record["images"] == chosen[0]["images"] for record in chosen):  # however many more each job has
            chosen = [record | {"config": record["config"] | {"select": {}}} for record in chosen]
    return Rows(tables.load(path, chosen), chosen, manifest, part)


def _part(images: list[Any], part: str, path: Path) -> list[Any]:
    found = re.fullmatch(r"(\d+)-(\d+)", part)
    first, last = map(int, found.groups()) if found else (0, 0)
    if not 1 <= first <= last <= len(images):
        raise ValueError(f"{path}: images={part}: give the first and the last, such as 1-{len(images)}, of the {len(images)} of each job")
    return images[first - 1 : last]


@lru_cache(maxsize=64)
def _read(path: Path, version: int) -> tuple[Records, Manifest]:
    """The records and the manifest of published rows. version: the file's time, so that what is written again is read again."""
    if not path.is_file():
        raise ValueError(f"{path} is not there: publish a run, python -m results publish runs/NAME --as {path.stem}")
    return records(path), Manifest.read(path)


def names_of(rows: Rows) -> dict[str, str]:
    """The configurations by job, named by what differs between these jobs besides the seed."""
    names = [name for name in naming_columns(rows.records) if not name.endswith("seed")]
    return {record["job"]: configuration(record, names) for record in rows.records}


def named(rows: Rows) -> pd.DataFrame:
    """The rows with one value for each image of a configuration, whose name is in the column ``configuration``.

    Raises ValueError where data sets or models are several: a mean over them is of none.
    """
    for what in ("dataset", "model"):
        if len(several := list(dict.fromkeys(record[what] for record in rows.records))) > 1:
            raise ValueError(f"{rows.manifest.name} has several values of {what}: choose one of {what}={', '.join(several)}")
    names = names_of(rows)
    return tables.over_seeds(rows.frame.assign(configuration=rows.frame["job"].map(names)))


def current_versions(root: Path) -> dict[str, str]:
    """The versions of this project's functions now, by their names. root: of the repository; nothing is known where it has no sources."""
    path = root / VERSIONS
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return {name: str(of["version"]) for name, of in found.items()}


def outdated(manifest: Manifest, names: Iterable[str], current: Mapping[str, str]) -> list[str]:
    """Which methods and measures have another version now than when rows were computed: ``da_minimal 11, now 12``."""
    found = []
    for name in dict.fromkeys(names):
        for said in manifest.functions.get(name, []):
            function, _, version = said.partition(" version ")
            if version and function in current and current[function] != version:
                found.append(f"{name} {version}, now {current[function]}")
    return found


def provenance_line(rows: Rows, link: str, current: Mapping[str, str]) -> str:
    """What a reader must know of the numbers, as Markdown: images, model, engine, fill, versions, when, how long, on what.

    link: of the manifest, from the page. current: versions of functions now; where a method or measure has risen since, that is said.
    """
    found, jobs = rows.manifest, rows.records
    fills = {value_text(record["parameters"]["fill"]) for record in jobs if "fill" in record["parameters"]}
    measures = {name: of for record in jobs for name, of in (record["config"].get("benchmark") or {}).items()}
    fills |= {value_text(of["fill"]) for of in measures.values() if "fill" in of}
    functions = list(dict.fromkeys([*(record["method"] for record in jobs), *measures]))
    versions = [f"{name} {_version(found.functions[name])}" for name in functions]
    facts = [
        f"n = {rows.images} images of {_listed(record['dataset'] for record in jobs)}{f', {rows.part} of the order' if rows.part else ''}",
        f"model {_listed(record['model'] for record in jobs)}",
        f"engine {_listed(record['engine'] for record in jobs)}",
        *([f"fill {', '.join(sorted(fills))}"] if fills else []),
        f"seed {_listed(str(record['seed']) for record in jobs)}",
        f"versions: {', '.join(versions)}",
        *_computed_by(found),
        f"{found.last if found.first == found.last else f'{found.first} to {found.last}'}",
        f"{_hours(found.seconds)} of the methods in all, on {_machines(found)}",
    ]
    failed = sum(one["images"] for one in found.failures)
    facts += [f"{failed} images failed, see the manifest"] if failed else []
    if old := outdated(found, functions, current):
        facts.append(f"**of earlier versions: {'; '.join(old)}**")
    return f"{'; '.join(fact for fact in facts if fact)}. Rows and commands: [{found.name}]({link})."


def _version(several: list[str]) -> str:
    """Of ``reduction version 1, search 13`` the ``1 (search 13)``; of sources that are nobody's version, that they are changed."""
    said = {one.partition(" version ")[2].replace(" sources ", ", changed sources ") or "of its own sources" for one in several}
    return " or ".join(f"{version} ({rest})" if rest else version for version, _, rest in (one.partition(", ") for one in sorted(said)))


def _computed_by(found: Manifest) -> list[str]:
    torch = sorted({str(one["torch"]) for one in found.computed_by if "torch" in one})
    revisions = list(
        dict.fromkeys(
            f"{one['git'][:10] or 'unknown'}{' with changes that are not in it' if one['clean'] is False else ''}"
            for one in found.computed_by
        )
    )
    changed = sum("changes" in one for one in revisions)
    several = f"{len(revisions)} revisions{f' ({changed} with changes that are not in them)' if changed else ''}"
    return [f"torch {', '.join(torch)}", f"revision {', '.join(revisions)}" if len(revisions) < 3 else several]


def _machines(found: Manifest) -> str:
    said = []
    for one in found.computed_by:
        cores = [f"{one['cores']} cores"] if "cores" in one else []
        threads = [f"{one['threads']} thread{'s' if one['threads'] != 1 else ''}"] if "threads" in one else []
        said.append(", ".join([one.get("processor", "an unknown processor"), *cores, *threads]))
    return " and ".join(dict.fromkeys(said))


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{seconds / 60:.1f} minutes"


def _listed(values: Any) -> str:
    return ", ".join(dict.fromkeys(values))
