"""What a reader must know before believing a difference between two sets of jobs: what else is not the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from results import tables
from results.naming import columns, configuration, naming_columns, value_text
from results.records import PREDICTED, images_of, settings
from results.store.published import store_of
from results.store.store import FAILED, digest

SECTIONS = {"model": "model.", "dataset": "dataset.", "engine": "engine.", "method": "param."}  # what a setting belongs to
MEASURED = ("seconds", "peak_mb")  # metrics that differ from one time to the next
BY_CONTENT = ("model.weights", "model.net.weights", "dataset.root", "param.mask_seed")  # told by hashes, by the images, by the seed

Records = list[dict[str, Any]]
Said = dict[str, set[str]]  # the values of settings by their names


@dataclass(frozen=True)
class Side:
    """One side of a comparison. folder: the run's; rows: as ``tables.load`` gives them."""

    folder: Path
    records: Records
    rows: pd.DataFrame


def comparison_warnings(a: Side, b: Side) -> Iterator[str]:
    """What a reader must know before believing a difference."""
    pairs = [dict(zip(rows["pair"], rows["image"], strict=True)) for rows in _paired(a, b)]
    for only, which in ((pairs[0].keys() - pairs[1].keys(), "A"), (pairs[1].keys() - pairs[0].keys(), "B")):
        if only:
            yield f"{len(only)} images are only in {which} and not compared"
    contents = [{(image, content) for record in side.records for image, content, _ in record["images"]} for side in (a, b)]
    names = {image for image, _ in contents[0]} & {image for image, _ in contents[1]}
    if other := names - {image for image, _ in contents[0] & contents[1]}:
        yield f"{len(other)} images bear the same name and have different contents: images are paired by content"
    if renamed := [image for pair, image in pairs[0].items() if pairs[1].get(pair, image) != image]:
        yield f"{len(renamed)} images have other names in B, such as {renamed[0]}: they are paired by content"
    labels = [dict(zip(rows["pair"], rows["label"].map(str), strict=True)) for rows in _paired(a, b)]
    if relabelled := [pair for pair in labels[0].keys() & labels[1].keys() if labels[0][pair] != labels[1][pair]]:
        yield f"{len(relabelled)} images have other labels in B: what is measured by labels is of other classes"
    yield from (f"{which}: {said}" for side, which in ((a, "A"), (b, "B")) for said in incomplete(side.records))
    for side, which in ((a, "A"), (b, "B")):
        statuses = side.rows.drop_duplicates(["job", "image", "digest"])["status"].str.partition(":")[0].value_counts()
        seeds = len({record["seed"] for record in side.records})
        if said := ", ".join(f"{count} {status}" for status, count in statuses.items() if status != "ok"):
            yield (
                f"statuses in {which}: {said}"
                + (f", under {seeds} seeds together" if seeds > 1 else "")
                + ("; images that failed are not compared" if FAILED in statuses else "")
            )
    yield from _differing(a, b)


def _paired(a: Side, b: Side) -> list[pd.DataFrame]:
    both = pd.concat([side.rows.assign(side=i) for i, side in enumerate((a, b))], ignore_index=True)
    both = both.assign(pair=tables.pairing(both)).drop_duplicates(["side", "pair"])
    return [both[both["side"] == i] for i in (0, 1)]


def _differing(a: Side, b: Side) -> Iterator[str]:
    """What is not the same of the models, data, engines, seeds, methods and measures that both sides name."""
    for name in ("engine", "seed"):
        found = [sorted({str(record[name]) for record in side.records}) for side in (a, b)]
        if found[0] != found[1]:
            yield f"{name} differs: A {', '.join(found[0])}; B {', '.join(found[1])}"
    fills = [{value_text(record["parameters"]["fill"]) for record in side.records if "fill" in record["parameters"]} for side in (a, b)]
    if all(fills) and fills[0] != fills[1]:
        yield f"what the methods fill with differs: A {_or(fills[0])}; B {_or(fills[1])}"
    for model, (left, right) in _by("model", lambda record: {"": str(record.get("weights_sha256"))}, a, b):
        if left != right:
            yield f"the weights of {model} differ"
    for owner, section in SECTIONS.items():
        for name, (left, right) in _by(owner, partial(_section, section=section), a, b):
            yield from (f"{name}: {said}" for said in _settings(left, right))
    for method, (left, right) in _by("method", lambda record: {"": _version(record, "attribution", "method")}, a, b):
        if left != right and "" not in (*left[""], *right[""]):
            yield f"{method}: its version or source differs, A {_or(left[''])}; B {_or(right[''])}"
    for measure in sorted({name for record in [*a.records, *b.records] for name in record["config"].get("benchmark") or {}}):
        given = [{_measure(record, measure) for record in side.records} - {""} for side in (a, b)]
        if all(given) and given[0] != given[1]:
            yield f"benchmark.{measure} has other settings in B: its numbers measure other things"
        versions = [{_version(record, measure, "benchmark") for record in side.records} - {""} for side in (a, b)]
        if all(versions) and versions[0] != versions[1]:
            yield f"benchmark.{measure}: its version or source differs, A {_or(versions[0])}; B {_or(versions[1])}"


def _by(owner: str, of: Callable[[Mapping[str, Any]], dict[str, str]], a: Side, b: Side) -> Iterator[tuple[str, tuple[Said, Said]]]:
    """What records say, by their model, data set, engine or method; of those that both sides have."""
    sides = []
    for side in (a, b):
        found: dict[str, Said] = {}
        for record in side.records:
            of_owner = found.setdefault(str(record[owner]), {})
            for name, value in of(record).items():
                of_owner.setdefault(name, set()).add(value)
        sides.append(found)
    yield from ((name, (sides[0][name], sides[1][name])) for name in sides[0] if name in sides[1])


def _section(record: Mapping[str, Any], section: str) -> dict[str, str]:
    return {name: value_text(value) for name, value in settings(record).items() if name.startswith(section) and name not in BY_CONTENT}


def _settings(left: Said, right: Said) -> Iterator[str]:
    for name in {**left, **right}:
        values = [side.get(name, {"not given"}) for side in (left, right)]
        if values[0] != values[1]:
            yield f"{name.removeprefix('param.')} is {_or(values[0])} in A and {_or(values[1])} in B"


def _version(record: Mapping[str, Any], name: str, what: str) -> str:
    """The identity of a method's or measure's function, from what the keys of the results were made of; empty where it is not known."""
    function = ((record.get("configs") or {}).get(name) or {}).get(what, {}).get("function", {})
    return " ".join(f"{key} {function[key]}" for key in ("version", "sources") if key in function)


def _measure(record: Mapping[str, Any], name: str) -> str:
    found = (record["config"].get("benchmark") or {}).get(name)
    return json.dumps(found, sort_keys=True) if found is not None else ""


def _or(values: set[str], most: int = 4) -> str:
    several = sorted(values)
    return " or ".join(several[:most]) + (" …" if len(several) > most else "")


def differing(then: Any, now: Any, where: str = "") -> str:
    """The first place where two configurations behind a key differ, such as ``method.function.version``."""
    if isinstance(then, dict) and isinstance(now, dict):
        for name in dict.fromkeys([*now, *then]):
            if found := differing(then.get(name), now.get(name), f"{where}.{name}" if where else name):
                return found
        return ""
    return where if then != now else ""


def run_warnings(jobs: Sequence[Mapping[str, Any]]) -> list[str]:
    """What a reader of a run's numbers must know: jobs on other images than others, and results that are not in the store."""
    notes = []
    seen: dict[tuple[str, ...], dict[str, list[str]]] = {}
    names = naming_columns(jobs, seeds=True)
    for record in jobs:
        chosen = columns(record, [name for name in names if name.startswith("dataset.")])  # told apart by it
        group = tuple(str(value) for name, value in chosen.items() if name not in ("method", "engine", "seed"))
        seen.setdefault(group, {}).setdefault(digest({"": sorted(map(str, record["images"]))}), []).append(configuration(record, names))
    for kinds in seen.values():
        if len(kinds) > 1:
            told = "; ".join(_few(list(dict.fromkeys(several))) for several in kinds.values())
            notes.append(f"jobs of this run have other images than others ({told}): compare them only where they agree")
    return [*notes, *incomplete(jobs)]


def incomplete(jobs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Which results of a run's jobs are not in the store: not computed yet, or deleted since."""
    names, notes = naming_columns(jobs, seeds=True), dict[str, list[str]]()
    for record in jobs:
        store, images = store_of(record), images_of(record, "attribution")
        states = {name: store.states(key) for name, key in record["keys"].items()}
        broken = {image for name in PREDICTED for image, (_, failed) in states.get(name, {}).items() if failed}
        for name, there in states.items():
            lacking = [key not in there and image not in broken for key, image in zip(images_of(record, name), images, strict=True)]
            if any(lacking):
                notes.setdefault(f"{sum(lacking)} of {len(images)} images lack {name}", []).append(configuration(record, names))
    return [f"{_few(of)}: {said}; it is not in the store, and the same command computes it" for said, of in notes.items()]


def _few(names: Sequence[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
