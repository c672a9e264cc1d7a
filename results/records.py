"""The records that a run's jobs leave: read here, with the settings that each job had."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from results.moved_modules import with_current_names
from results.published.manifest import is_published, published_records
from results.store.store import ImageKey, digest, write_atomically

VERSION = 2
ID_COLUMNS = ("dataset", "model", "method", "engine")  # columns of every row
HIDDEN_SETTINGS = (
    "model.name",
    "dataset.name",
    "model.rise_masks",
    "engine.device",
    "engine.candidates",
)  # named already, or change no number


PREDICTED = ("prediction", "attribution")  # what does not depend on an image's label

Record = Mapping[str, Any]


class LaterFormError(ValueError):
    """A record that a later version of this program has written."""


class JobRecord(BaseModel):
    """What a job leaves in ``RUN/jobs``. Fields beyond these are kept as they are.

    version: of the form; 1 is what had none. images: ``[id, digest, label]`` of each, or the name of the list of them in ``RUN/images``,
    where the digest of its evidence follows if there is any.
    keys: of its results in the store, by what was computed. configs: the configurations behind the keys. config: the application's.
    place: when its sweep began, and its number there. folder: where the command ran.
    """

    model_config = ConfigDict(extra="allow", protected_namespaces=())

    version: int = 1
    dataset: str
    model: str
    method: str
    engine: str
    seed: int
    parameters: dict[str, Any] = {}
    store: str
    keys: dict[str, str]
    images: list[tuple[str, str, int | None]] | str
    config: dict[str, Any] | None = None
    class_names: list[str] = []

    @classmethod
    def read(cls, path: Path) -> dict[str, Any]:
        """A record's file as plain values. Raises ValueError for one of a later form, and for what is no record."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if isinstance(content, dict) and isinstance(form := content.get("version", 1), int) and form > VERSION:
                raise LaterFormError(f"{path} was written by a later version of this program (records of form {form}): update it")
            cls.model_validate(content)
        except LaterFormError:
            raise
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the file"
            raise ValueError(f"{path} is no record of a job ({where}: {first['msg']}): move it away, or run its command again") from None
        except ValueError as error:
            raise ValueError(f"{path} is no record of a job ({error}): move it away, or run its command again") from None
        return dict(content)

    def write(self, path: Path) -> None:
        """Write the record's file, whole or not at all."""
        write_atomically(path, json.dumps(self.model_dump(exclude_unset=True), indent=1).encode())


def records(out: Path) -> list[dict[str, Any]]:
    """The records of a run in the order of its sweeps, each with the path of its store and its own id, ``job``; of published rows, too.

    Raises ValueError where there is no run, or one that a later version of this program has written.
    """
    out = Path(out).expanduser()
    if is_published(out):
        return published_records(out)
    found = [JobRecord.read(path) | {"job": path.stem} for path in sorted((out / "jobs").glob("*.json"))]
    lists: dict[str, Any] = {}  # jobs on the same images share their list
    evidence: dict[str, Any] = {}
    for record in found:
        record["config"] = with_current_names(record.get("config") or {})
        record["store"] = os.path.normpath(out / record["store"])  # relative to the run, so that both can be elsewhere
        if isinstance(name := record.get("images"), str):
            if name not in lists:
                listed = json.loads((out / "images" / f"{name}.json").read_text())
                lists[name] = [entry[:3] for entry in listed]
                evidence[name] = {(entry[0], entry[1]): entry[3] for entry in listed if len(entry) > 3}
            record["images"], record["evidence"] = lists[name], evidence[name]
    if not found:
        raise ValueError(f"{out} holds no run: jobs leave their record in {out}/jobs")
    found.sort(key=lambda record: record.get("place") or [0, 0])
    newest = {identity(record): record for record in sorted(found, key=lambda record: record.get("started") or 0)}
    found = [record for record in found if newest[identity(record)] is record]  # a job of one name has one record, but for functions moved
    later = [settings(record).items() for record in found if record.get("version", 1) == VERSION]
    return [record for record in found if record.get("version", 1) == VERSION or not _written_again(record, later)]


def _written_again(record: Record, later: Sequence[Any]) -> bool:
    """Whether a job's record of an earlier form stands beside one of this form, which has all its settings and maybe more."""
    own = settings(record).items()
    return any(all(setting in of_job for setting in own) for of_job in later)


def no_run_error(out: Path) -> ValueError:
    """Why a run has no rows."""
    stores = {record["store"] for record in records(out)}
    if gone := [store for store in stores if not Path(store).is_dir()]:
        return ValueError(f"{out} kept its results in {gone[0]}, which is not there: put the store back, or run its command again")
    return ValueError(f"{out} has no results yet: run its command first, or again")


def stored_as(name: str, image: ImageKey, label: int | None, evidence: str = "") -> ImageKey:
    """The key of an image among the results of a measure: its label and evidence are part of it, since a measure may depend on them.

    evidence: the digest of what is known of the image, empty where there is none.
    """
    if name in PREDICTED or (label is None and not evidence):
        return image
    return image[0], " ".join([image[1], "" if label is None else str(label), *([evidence] if evidence else [])])


def images_of(record: Record, name: str) -> list[ImageKey]:
    """The keys of a record's images among one of its results, such as ``attribution``, in the order of the record."""
    if record.get("version", 1) < VERSION:
        return [(image, content) for image, content, _ in record["images"]]
    known = record.get("evidence", {})
    return [stored_as(name, (image, content), label, known.get((image, content), "")) for image, content, label in record["images"]]


def settings(record: Record) -> dict[str, Any]:
    """Every setting of a job that can change a number: under its name on the command line, hyper-parameters as ``param.k``."""
    config = record.get("config") or {}
    found: dict[str, Any] = {name: record.get(name) for name in (*ID_COLUMNS, "seed")}
    found |= _flat({name: config.get(name) or {} for name in ("model", "dataset", "engine", "select", "benchmark")})
    if config.get("benchmark") is not None:
        found["benchmark"] = sorted(config["benchmark"])
    found |= _flat({"param": record.get("parameters") or {}})
    if target := (config.get("method") or {}).get("_target_"):
        found["method._target_"] = target
    return {name: value for name, value in found.items() if name not in HIDDEN_SETTINGS}


def identity(record: Record, but: str = "") -> str:
    """What tells a job from every other one of a run; without the setting ``but``."""
    folder = str(record.get("folder", ""))
    return digest({name: as_json(_located(name, value, folder)) for name, value in settings(record).items() if name != but})


def _located(name: str, value: Any, folder: str) -> Any:
    """A setting; one that names a file or folder as its whole path, so that ``photos`` and ``./photos`` are one."""
    if not isinstance(value, str) or not name.endswith((".root", ".weights", ".maps", ".masks", ".boxes")):
        return value
    path = os.path.abspath(os.path.join(folder, os.path.expanduser(value)))
    return path if os.path.exists(path) else value


def _flat(node: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in node.items():
        if name in ("_partial_", "_convert_", "_recursive_"):
            continue
        if isinstance(value, Mapping) and value:
            found |= _flat(value, f"{before}{name}.")
        elif before:
            found[f"{before}{name}"] = value
    return found


def as_json(value: Any) -> str:
    """A setting as one text, whatever the order of its keys."""
    return json.dumps(value, sort_keys=True)
