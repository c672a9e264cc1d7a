"""What tells the jobs of a run apart: the settings in which they differ, as columns and as names."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from results.records import ID_COLUMNS, Record, as_json, settings

SECTIONS = ("param", "method", "model", "dataset", "engine", "select", "benchmark")  # other settings: a column where jobs differ in it
SOURCES = ("seed", "model", "dataset", "engine", "select", "param", "method", "benchmark")  # what a setting may only repeat, first to last
ABSENT = object()
TARGET = "_target_"  # the function of a configured part, such as the method that another one starts from


class Varying(str):
    """The name of a setting that differs between jobs.

    owners: the methods, models, data sets, engines or measures among whose jobs it differs, so that only these jobs are named by it.
    exact: its values must be told apart as JSON tells them: ``1`` from ``"1"`` or ``1.0``, ``null`` from the word.
    """

    owners: frozenset[Any]
    exact: bool

    def __new__(cls, name: str, owners: Iterable[Any], exact: bool) -> Varying:
        """A name that knows both."""
        of = super().__new__(cls, name)
        of.owners, of.exact = frozenset(owners), exact
        return of

    def __getnewargs__(self) -> tuple[str, frozenset[Any], bool]:  # type: ignore[override]
        """What a copy is made of, in this process or another."""
        return str(self), self.owners, self.exact


def varying(jobs: Sequence[Record], *, seeds: bool = True) -> list[str]:
    """The settings that differ between jobs, besides ``NAMED`` and the seed, in the order of the configuration.

    A hyper-parameter that a job lacks differs from any value that another job of its method has. One that only repeats another setting,
    as ``fill: ${model.mean}`` does, is not among them. seeds: with those hyper-parameters that are seeds by their name.
    """
    every = [settings(job) for job in jobs]
    seen = [{name: as_json(value) for name, value in of_job.items()} for of_job in every]
    names = dict.fromkeys(name for of_job in seen for name in of_job if name not in (*ID_COLUMNS, "seed"))
    found = list[str]()
    for name in sorted(names, key=lambda name: SECTIONS.index(_section(name))):
        if not seeds and name.endswith("seed"):
            continue
        values: dict[Any, set[Any]] = {}
        for of_job, plain in zip(seen, every, strict=True):
            if (owner := _owner(name, plain)) is not None:
                values.setdefault(owner, set()).add(of_job.get(name, ABSENT))
        owners = [owner for owner, several in values.items() if len(several) > 1]
        if owners and not _repeated(name, seen, values):
            given = [of_job[name] for of_job in every if name in of_job]
            found.append(Varying(name, owners, exact=len({_loosely(value) for value in given}) != len(set(map(as_json, given)))))
    return found


def columns(record: Record, names: Sequence[str]) -> dict[str, Any]:
    """What the columns that tell configurations apart hold in a job's rows: ``NAMED``, the seed, and the settings ``names``."""
    of_job = settings(record)
    found = {str(name): _plain(of_job.get(name), absent=name not in of_job) for name in (*ID_COLUMNS, "seed", *names)}
    return found | {str(name): as_json(of_job[name]) for name in names if isinstance(name, Varying) and name.exact and name in of_job}


def configuration(record: Record, names: Sequence[str]) -> str:
    """A job's configuration in words: the method, and those of ``names`` that the job has with their values, ``da_pos k=4``.

    Of the names that ``varying`` gives, those that differ between jobs of its method, model, data set, engine or measure.
    """
    of_job = settings(record)
    own = [name for name in names if name in of_job and (not isinstance(name, Varying) or _owner(name, of_job) in name.owners)]
    words = {name: as_json(of_job[name]) if isinstance(name, Varying) and name.exact else value_text(of_job[name]) for name in own}
    said = [f"{name.removeprefix('param.').removesuffix(f'.{TARGET}')}={value}" for name, value in words.items() if name != "method"]
    return " ".join([str(of_job["method"]), *said])


def naming_columns(jobs: Sequence[Record], *, seeds: bool = False) -> list[str]:
    """The settings to name jobs by: those of ``NAMED`` that differ, and ``varying``; the seed on request."""
    named = [name for name in ID_COLUMNS if name != "method" and len({str(job[name]) for job in jobs}) > 1]
    return [*named, *varying(jobs), *(["seed"] if seeds and len({job["seed"] for job in jobs}) > 1 else [])]


def value_text(value: Any) -> str:
    """A setting as a word."""
    return value if isinstance(value, str) else json.dumps(value)


def _section(name: str) -> str:
    return name.partition(".")[0]


def _owner(name: str, of_job: Mapping[str, Any]) -> Any:
    """Among which jobs a setting can differ: those with the same model, data set, engine or method; None for a job it does not concern.

    One of a configured part: those with the same function there.
    """
    section, part = _section(name), name.rpartition(".")[0]
    if section == "param" and part != section and not name.endswith(f".{TARGET}"):
        return of_job.get("method"), of_job.get(f"{part}.{TARGET}")
    if section == "benchmark" and name != "benchmark":
        measure = name.split(".")[1]
        return measure if any(other.startswith(f"benchmark.{measure}.") for other in of_job) else None
    return of_job.get({"param": "method", "method": "method", "select": "dataset"}.get(section, section)) if section != "benchmark" else ""


def _repeated(name: str, seen: Sequence[Mapping[str, str]], values: Mapping[Any, set[Any]]) -> bool:
    """Whether a setting only repeats another, such as one that an interpolation refers to."""
    if any(ABSENT in several for several in values.values()):
        return False
    having = [of_job for of_job in seen if name in of_job]
    for other in having[0]:
        section, mine = _section(other), _section(name)
        if other == name or (section in ID_COLUMNS and "." not in other) or section not in SOURCES:
            continue
        same = SOURCES.index(section) < SOURCES.index(mine) or (
            section == mine and other.count(".") < name.count(".") and other.rpartition(".")[2] == name.rpartition(".")[2]
        )
        if other == "seed" and not name.endswith("seed"):
            continue
        by_name = name.rpartition(".")[2] == other.rpartition(".")[2] or other == "seed"
        telling = all(of_job[name][0] in '["' for of_job in having)  # numbers are equal by chance
        if same and (by_name or telling) and all(of_job.get(other) == of_job[name] for of_job in having):
            return True
    return False


def _plain(value: Any, *, absent: bool = False) -> Any:
    """A setting as a cell: a list as JSON and ``null`` as the word, so that an empty cell is a setting that the job does not have."""
    return None if absent else "null" if value is None else json.dumps(value) if isinstance(value, list | dict) else value


def _loosely(value: Any) -> str:
    """A setting as a table may show it, where kinds can be mixed up."""
    if isinstance(value, bool | int | float):
        return f"{float(value):.15g}"
    cell = str(_plain(value))
    try:
        return f"{float(cell):.15g}"
    except ValueError:
        return cell
