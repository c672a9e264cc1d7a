"""Merge the many small parts of a key into few large ones, beside readers and writers, and whatever moment it is killed at.

A large part is written whole before the first of the small ones goes, and until they have gone the index takes each image from one
part. Only parts go whose every image is finished: should a writer replace such a part meanwhile, its images are in the large one, and
the key decides their numbers.
"""

from __future__ import annotations

import logging
import math
import secrets
import time
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from results.store.files import explained
from results.store.store import Arrays, ImageKey, Store, write_part
from results.times import finished_times

LOG = logging.getLogger(__name__)

SIZE = 64 * 2**20  # bytes of arrays and rows in a large part, as they are in memory
STALE = 86400.0  # seconds after which what an interrupted writer left is removed
LOCK: ImageKey = ("compaction", "")  # claimed, so that one process compacts a key


@dataclass(frozen=True)
class Compacted:
    """What became of a key's parts. before, after: how many there were and are; images: in the parts that were merged."""

    key: str
    before: int
    after: int
    images: int


def compact(store: Store, key: str, *, size: int = SIZE) -> Compacted:
    """Merge the parts of a key into parts of about ``size`` bytes. A key that another process is compacting stays as it is.

    Raises ValueError where the store has no such key, StoreError where there is no space or permission.
    """
    folder = store.root / key
    if not folder.is_dir():
        raise ValueError(f"{store.root} has no key {key}")
    before, images = len(list(folder.glob("*.parquet"))), 0
    with store.claimed(key, [LOCK]) as mine:
        if mine:
            for parts in _batches(store, key, size):
                with suppress(FileNotFoundError):  # another process went on with what this one had claimed before it was suspended
                    images += _merge(folder, parts)
            with explained(folder):
                _sweep(folder)
    return Compacted(key, before, len(list(folder.glob("*.parquet"))), images)


def _batches(store: Store, key: str, size: int) -> Iterator[dict[Path, set[ImageKey]]]:
    """Parts to merge into one, with those of their images that count in them; alike in their arrays, and of ``size`` together."""
    states = store.states(key)
    counting: dict[Path, set[ImageKey]] = {}
    for image, (part, failed) in states.items():
        if not failed:
            counting.setdefault(part, set()).add(image)
    groups: dict[object, tuple[dict[Path, set[ImageKey]], int]] = {}
    for part in sorted((store.root / key).glob("*.parquet")):
        try:
            inside = set(store.images(part))
            kind, bytes_ = _measured(part)
        except FileNotFoundError:  # set aside by another process
            continue
        except (zipfile.BadZipFile, ValueError) as error:
            LOG.warning("%s cannot be read (%s): it is left as it is", part.with_suffix(".npz"), error)
            continue
        if not inside or any(image not in states or states[image][1] for image in inside):
            continue  # not readable, too new, or with an image that failed and may be tried again at any moment
        if bytes_ >= size // 2 and inside == counting.get(part):
            continue  # large already
        chosen, together = groups.get(kind, ({}, 0))
        chosen[part] = counting.get(part, set())
        together += bytes_
        if together >= size:
            yield chosen
            chosen, together = {}, 0
        groups[kind] = (chosen, together)
    yield from (chosen for chosen, _ in groups.values() if len(chosen) > 1)


def _measured(part: Path) -> tuple[object, int]:
    """What a part's arrays are like, an image, and the bytes in memory of its arrays, by their headers, and of its rows."""
    kind, metadata = [], pq.read_metadata(part)
    bytes_ = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
    with suppress(FileNotFoundError), zipfile.ZipFile(part.with_suffix(".npz")) as archive:
        for name in sorted(archive.namelist()):
            with archive.open(name) as file:
                np.lib.format.read_magic(file)
                shape, _, dtype = np.lib.format.read_array_header_1_0(file)
            kind.append((name, str(dtype), shape[1:]))
            bytes_ += math.prod(shape) * dtype.itemsize
    return tuple(kind), bytes_


def _merge(folder: Path, parts: dict[Path, set[ImageKey]]) -> int:
    """Write what counts of the parts as one part, remove them, and return the number of images."""
    tables, arrays, times = [], list[Arrays](), list[float | None]()
    for part, images in parts.items():
        table = pq.read_table(part)
        keys = list(zip(table["image"].to_pylist(), table["digest"].to_pylist(), strict=True))
        tables.append(table.filter(pa.array([key in images for key in keys])))
        inside = list(dict.fromkeys(keys))
        chosen = [i for i, key in enumerate(inside) if key in images]
        arrays.append({name: array[chosen] for name, array in _arrays(part).items()})
        finished = finished_times(part) or [None] * len(inside)
        times += [finished[i] for i in chosen]
    merged: Arrays = {name: np.concatenate([one[name] for one in arrays]) for name in arrays[0]}
    rows = pa.concat_tables(tables, promote_options="default")
    write_part(folder / f"{secrets.token_hex(8)}.parquet", rows, merged, finished=times)  # a name that no other part has, nor will
    with explained(folder):
        for part in parts:
            part.unlink(missing_ok=True)
            part.with_suffix(".npz").unlink(missing_ok=True)
    return len(times)


def _arrays(part: Path) -> Arrays:
    try:
        with np.load(part.with_suffix(".npz"), allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError:
        return {}


def _sweep(folder: Path) -> None:
    """Remove what was left by writers that were killed: temporary files, and arrays without rows."""
    for path in [*folder.glob(".*.tmp"), *(path for path in folder.glob("*.npz") if not path.with_suffix(".parquet").exists())]:
        with suppress(FileNotFoundError):  # its writer is alive and has just finished
            if time.time() - path.stat().st_mtime > STALE:
                path.unlink()


def keys_of(paths: Iterable[Path]) -> Iterator[tuple[Store, str]]:
    """The keys that paths stand for: of a whole store, or single ones ``STORE/KEY``. Raises ValueError for another path."""
    for path in paths:
        if (path / "config.json").exists():
            yield Store(path.parent), path.name
        elif found := sorted(config.parent.name for config in path.glob("*/config.json")):
            yield from ((Store(path), key) for key in found)
        else:
            raise ValueError(f"{path} is no store and no key of one: give a folder such as runs/store, or runs/store/KEY")
