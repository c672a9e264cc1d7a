"""The store: content-addressed, per image, append-only parts that appear whole or not at all.

``<root>/<key>/config.json`` says what the key stands for. Each part is ``<part>.parquet`` (rows) and, where there are arrays,
``<part>.npz``, written first: a part exists once its Parquet file does.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from results.store import claims
from results.store.claims import ImageKey as ImageKey
from results.store.files import StoreError as StoreError
from results.store.files import write_atomically as write_atomically
from results.times import with_times

LOG = logging.getLogger(__name__)

Arrays = dict[str, NDArray[Any]]

T = TypeVar("T")
COLUMNS = ("image", "digest", "status")
FAILED = "error"  # how the status of an image starts that is to be tried again


def digest(config: Mapping[str, Any]) -> str:
    """The key of a configuration: SHA-256 of its canonical JSON, 20 hexadecimal digits."""
    return hashlib.sha256(canonical(config).encode()).hexdigest()[:20]


def canonical(config: Mapping[str, Any]) -> str:
    """JSON with sorted keys and no spaces."""
    return json.dumps(config, sort_keys=True, separators=(",", ":"), allow_nan=False)


class Store:
    """Rows and arrays by key and image. Rows have the columns ``image`` and ``digest`` (an ImageKey) and ``status``."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self._read: dict[tuple[Path, int], dict[ImageKey, bool]] = {}  # parts read, by path and time: images, and whether they failed

    def put(self, config: Mapping[str, Any], rows: pd.DataFrame, arrays: Arrays | None = None) -> Path:
        """Add a part and return its Parquet file. Every array has one entry an image, in the order of first appearance in the rows."""
        folder = self.root / digest(config)
        if not (folder / "config.json").exists():
            write_atomically(folder / "config.json", json.dumps(config, indent=1, sort_keys=True).encode())
        images = list(dict.fromkeys(zip(rows["image"], rows["digest"], strict=True)))
        name = hashlib.sha256(json.dumps(images).encode()).hexdigest()[:16]
        table = pa.Table.from_pandas(rows, preserve_index=False)
        return write_part(folder / f"{name}.parquet", table, arrays, finished=[time.time()] * len(images))

    def index(self, key: str) -> dict[ImageKey, Path]:
        """The part that holds each finished image; failed ones are not finished."""
        return {image: part for image, (part, failed) in self.states(key).items() if not failed}

    def rows(self, key: str, images: Iterable[ImageKey]) -> pd.DataFrame:
        """The rows of the images that are there, each image's from one part, in the order of ``images``."""
        images = list(images)
        return retried(lambda: self._rows(key, images))

    def _rows(self, key: str, images: Sequence[ImageKey]) -> pd.DataFrame:
        index = self.states(key)
        wanted = [image for image in images if image in index]
        frames = []
        for part in dict.fromkeys(index[image][0] for image in wanted):
            rows = pd.read_parquet(part)
            here = pd.MultiIndex.from_frame(rows[["image", "digest"]])
            frames.append(rows[here.isin([image for image in wanted if index[image][0] == part])])
        if not frames:
            return pd.DataFrame()
        place = {image: i for i, image in enumerate(wanted)}
        rows = pd.concat(frames, ignore_index=True)
        order = np.argsort([place[image] for image in zip(rows["image"], rows["digest"], strict=True)], kind="stable")
        return rows.iloc[order].reset_index(drop=True)

    def arrays(self, key: str, image: ImageKey) -> Arrays:
        """One image's arrays. Raises KeyError where there are none."""
        return self.arrays_of(key, [image])[image]

    def arrays_of(self, key: str, images: Sequence[ImageKey]) -> dict[ImageKey, Arrays]:
        """The arrays of images. Raises KeyError where one has none."""
        return retried(lambda: self._arrays_of(key, images))

    def _arrays_of(self, key: str, images: Sequence[ImageKey]) -> dict[ImageKey, Arrays]:
        index, found = self.index(key), dict[ImageKey, Arrays]()
        for part in dict.fromkeys(index[image] for image in images):
            found |= self._part_arrays(part)
        return {image: found[image] for image in images}

    def _part_arrays(self, part: Path) -> dict[ImageKey, Arrays]:
        """The arrays of every image of a part."""
        columns = pd.read_parquet(part, columns=["image", "digest"])
        images = list(dict.fromkeys(zip(columns["image"], columns["digest"], strict=True)))
        with np.load(part.with_suffix(".npz"), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        return {image: {name: array[i] for name, array in arrays.items()} for i, image in enumerate(images)}

    def states(self, key: str) -> dict[ImageKey, tuple[Path, bool]]:
        """The part that holds each image, and whether the image failed."""
        return retried(lambda: self._states(key))

    def held(self, key: str, images: Iterable[ImageKey]) -> list[ImageKey]:
        """Those of the images that a live process has claimed."""
        return claims.held(self.root / key / "claims", images)

    def claimed(self, key: str, images: Sequence[ImageKey]) -> AbstractContextManager[list[ImageKey]]:
        """Hold a claim on those of the images that no other live process holds, see ``claims.claimed``."""
        return claims.claimed(self.root / key / "claims", images)

    def _states(self, key: str) -> dict[ImageKey, tuple[Path, bool]]:
        found: dict[ImageKey, tuple[Path, bool]] = {}
        for part in sorted((self.root / key).glob("*.parquet")):
            for image, failed in self.images(part).items():
                if image not in found or (found[image][1] and not failed):
                    found[image] = (part, failed)
        return found

    def images(self, part: Path) -> dict[ImageKey, bool]:
        """The images of a part and whether they failed; a part that cannot be read is set aside, and its images count as not there.

        Raises FileNotFoundError where there is no such part (any more).
        """
        try:
            version = (part, part.stat().st_mtime_ns)
            if version not in self._read:
                table = pq.read_table(part, columns=list(COLUMNS)).to_pydict()
                rows = zip(*(table[name] for name in COLUMNS), strict=True)
                self._read[version] = {(image, content): status.startswith(FAILED) for image, content, status in rows}
            return self._read[version]
        except FileNotFoundError:
            raise
        except (pa.ArrowException, OSError, KeyError, AttributeError) as error:
            if isinstance(error, OSError) and error.errno:  # the disk or the network, not the file's content
                raise
            aside = part.with_suffix(".parquet.unreadable")
            try:
                part.replace(aside)
            except OSError:
                aside = part
            LOG.warning(
                "%s cannot be read (%s): it is left out, and its images will be computed again", aside, " ".join(str(error).split())[:120]
            )
            return {}


def write_part(part: Path, rows: pa.Table, arrays: Arrays | None = None, *, finished: Sequence[float | None] = ()) -> Path:
    """Write a part's arrays and then its rows, with which it exists. finished: when each of its images was, in UTC seconds."""
    buffer = io.BytesIO()
    if arrays:
        np.savez_compressed(buffer, allow_pickle=False, **arrays)
        write_atomically(part.with_suffix(".npz"), buffer.getvalue())
    buffer = io.BytesIO()
    pq.write_table(with_times(rows, finished), buffer)
    write_atomically(part, buffer.getvalue())
    return part


def unpacked(bits: NDArray[np.uint8], size: Sequence[int]) -> NDArray[np.bool_]:
    """A stored mask as booleans ``[h, w]``."""
    h, w = size
    return np.unpackbits(bits, count=h * w).reshape(h, w).astype(bool)


def retried(read: Callable[[], T]) -> T:
    """What ``read`` returns; once more where a part has been compacted since it looked: its images are in another now."""
    for _ in range(20):
        with suppress(FileNotFoundError):
            return read()
        time.sleep(0.05)
    return read()
