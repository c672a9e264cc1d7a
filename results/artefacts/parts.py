"""A finished run and its parts: what a table or figure is made of, so that none is a mean over models, data sets or engines."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from results.naming import columns, configuration, naming_columns, value_text
from results.store.published import store_of
from results.store.store import Arrays, ImageKey, digest

Records = list[dict[str, Any]]

MOST_PICTURES = 16  # images drawn of a run


@dataclass(frozen=True)
class ExplainedImage:
    """One image of a job.

    Attributes
    ----------
    key : ImageKey
        The image.
    image : ndarray [h, w, 3] in [0, 1]
        As the model sees it.
    arrays : dict of str to ndarray
        Of the attribution.
    words : str
        The class and its probability.
    status : str
        Of the attribution.
    """

    key: ImageKey
    image: NDArray[np.float32]
    arrays: Arrays
    words: str
    status: str


@dataclass(frozen=True)
class StoredAttribution:
    """What the store has of one image of a job. status: of the attribution."""

    key: ImageKey
    arrays: Arrays
    status: str


def stored_attributions(record: dict[str, Any]) -> Iterator[StoredAttribution]:
    """The attributions of a job, without the photographs that they are of; each part of the store is read once."""
    store, key = store_of(record), record["keys"]["attribution"]
    index = store.index(key)
    images = [(image, content) for image, content, _ in record["images"] if (image, content) in index]
    if not images:
        return
    rows, arrays = store.rows(key, images), store.arrays_of(key, images)
    statuses = dict(zip(zip(rows["image"], rows["digest"], strict=True), rows["status"], strict=True))
    yield from (StoredAttribution(image, arrays[image], statuses[image]) for image in images)


@runtime_checkable
class ImageReader(Protocol):
    """What reads the first images of a job that have an attribution."""

    def __call__(self, record: dict[str, Any], most: int = MOST_PICTURES) -> Iterator[ExplainedImage]:
        """Read them, the photographs from the data set, the attributions from the store."""
        ...


@dataclass(frozen=True)
class Run:
    """A finished run, or a part of it.

    Attributes
    ----------
    out : Path
        The run's folder.
    rows : pandas.DataFrame
        Of all its jobs.
    records : list of dict
        One per job.
    settings : dict
        The application's configuration, such as ``models`` and ``pairs`` of Table 1.
    part : str
        What tells the names of its files from those of the other parts.
    pictures : Pictures
        Reads the first ``most`` photographs and attributions of a job.
    """

    out: Path
    rows: pd.DataFrame
    records: Records
    settings: dict[str, Any]
    part: str = ""
    pictures: ImageReader = lambda record, most=MOST_PICTURES: iter(())

    def stem(self, name: str) -> Path:
        """Where a table goes, without its suffix."""
        return self.out / f"{name}{self.part}"

    def figure(self, name: str) -> Path:
        """Where a figure goes, without its suffix."""
        return self.out / "figures" / f"{name}{self.part}"


Artefact = Callable[[Run], Iterator[Path]]


def for_each_part(*axes: str) -> Callable[[Artefact], Artefact]:
    """Make an artefact of each part of a run whose jobs differ in ``axes`` (and the seed) alone: a mean over models is of no model.

    axes: columns, such as ``model`` or ``param.k``; ``param`` stands for all hyper-parameters.
    """

    def of_parts(artefact: Artefact) -> Artefact:
        @wraps(artefact)
        def made(run: Run) -> Iterator[Path]:
            for part in parts(run, axes):
                yield from artefact(part)

        return made

    return of_parts


def file_suffix(values: Iterable[Any], most: int = 80) -> str:
    """Settings as a part of a file's name."""
    name = "_".join(re.sub(r"[^\w.-]+", "-", value_text(value)).strip("-") for value in values)
    return name if len(name) <= most else f"{name[:most]}-{digest({'': name})[:6]}"


def parts(run: Run, axes: Sequence[str], unnamed: Sequence[str] = ()) -> Iterator[Run]:
    """The parts of a run whose jobs differ in ``axes`` and the seed alone, configurations named by what differs within a part.

    unnamed: what need not be in the name of a part.
    """
    apart = [name for name in naming_columns(run.records) if name not in axes and not (name.startswith("param.") and "param" in axes)]
    apart += ["method"] if "method" not in axes and len({record["method"] for record in run.records}) > 1 else []
    found: dict[str, Records] = {}
    for record in run.records:
        of_job = columns(record, apart)
        found.setdefault(json.dumps([of_job[name] for name in apart]), []).append(record)
    settings = {told: dict(zip(apart, json.loads(told), strict=True)) for told in found}
    shown = {
        told: file_suffix(value for name, value in of.items() if value is not None and name not in unnamed) for told, of in settings.items()
    }
    whole = [(shown[told], *(of.get(name) for name in unnamed)) for told, of in settings.items()]
    for (told, records), here in zip(found.items(), whole, strict=True):
        names = naming_columns(records)
        name_of = {record["job"]: configuration(record, names) for record in records}
        rows = run.rows[run.rows["job"].isin(name_of)]
        if len(rows):
            part = shown[told] if whole.count(here) == 1 else f"{shown[told]}-{digest({'': told})[:6]}"  # such as of x/y and x-y
            rows = rows.assign(configuration=rows["job"].map(name_of))
            yield replace(run, rows=rows, records=records, part=f"{run.part}_{part}" if part and len(found) > 1 else run.part)


def run_title(record: dict[str, Any]) -> str:
    """The model and the data set of a job, for titles."""
    return f"{record['model']}, {record['dataset']}"


def image_count_text(images: Iterable[int]) -> str:
    """``7 images``, or ``3 to 7 images`` where not all lines are of as many."""
    least, most = min(counts := list(images)), max(counts)
    return f"{most} images" if least == most else f"{least} to {most} images"
