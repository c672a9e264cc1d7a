"""The store: content-addressed, per image, append-only parts that appear whole or not at all.

``<root>/<key>/config.json`` says what the key stands for. Each part is ``<part>.parquet`` (rows) and, where there are arrays,
``<part>.npz``, written first: a part exists once its Parquet file does.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]
ImageKey = tuple[str, str]  # the image's id and the start of its content's SHA-256

FAILED = "error"  # how the status of an image starts that is to be tried again


def digest(config: Mapping[str, Any]) -> str:
    """The key of a configuration: SHA-256 of its canonical JSON, 20 hexadecimal digits."""
    return hashlib.sha256(canonical(config).encode()).hexdigest()[:20]


def canonical(config: Mapping[str, Any]) -> str:
    """JSON with sorted keys and no spaces."""
    return json.dumps(config, sort_keys=True, separators=(",", ":"), allow_nan=False)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file that is there whole or not at all, even after a power cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class Store:
    """Rows and arrays by key and image. Rows have the columns ``image`` and ``digest`` (an ImageKey) and ``status``."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def put(self, config: Mapping[str, Any], rows: pd.DataFrame, arrays: Arrays | None = None) -> Path:
        """Add a part and return its Parquet file. Every array has one entry an image, in the order of first appearance in the rows."""
        folder = self.root / digest(config)
        if not (folder / "config.json").exists():
            write_atomically(folder / "config.json", json.dumps(config, indent=1, sort_keys=True).encode())
        images = list(dict.fromkeys(zip(rows["image"], rows["digest"], strict=True)))
        name = hashlib.sha256(json.dumps(images).encode()).hexdigest()[:16]
        if arrays:
            buffer = io.BytesIO()
            np.savez_compressed(buffer, allow_pickle=False, **arrays)
            write_atomically(folder / f"{name}.npz", buffer.getvalue())
        buffer = io.BytesIO()
        rows.to_parquet(buffer, index=False)
        part = folder / f"{name}.parquet"
        write_atomically(part, buffer.getvalue())
        return part

    def index(self, key: str) -> dict[ImageKey, Path]:
        """The part that holds each finished image; failed ones are not finished."""
        return {image: part for image, (part, failed) in self._index(key).items() if not failed}

    def rows(self, key: str, images: Iterable[ImageKey]) -> pd.DataFrame:
        """The rows of the images that are there, each image's from one part, in the order of ``images``."""
        index = self._index(key)
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
        part = self.index(key)[image]
        return self.part_arrays(part)[image]

    def part_arrays(self, part: Path) -> dict[ImageKey, Arrays]:
        """The arrays of every image of a part."""
        columns = pd.read_parquet(part, columns=["image", "digest"])
        images = list(dict.fromkeys(zip(columns["image"], columns["digest"], strict=True)))
        with np.load(part.with_suffix(".npz"), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        return {image: {name: array[i] for name, array in arrays.items()} for i, image in enumerate(images)}

    def _index(self, key: str) -> dict[ImageKey, tuple[Path, bool]]:
        found: dict[ImageKey, tuple[Path, bool]] = {}
        for part in sorted((self.root / key).glob("*.parquet")):
            table = pq.read_table(part, columns=["image", "digest", "status"]).to_pydict()
            for image, content, status in zip(table["image"], table["digest"], table["status"], strict=True):
                failed = status.startswith(FAILED)
                if (image, content) not in found or (found[image, content][1] and not failed):
                    found[image, content] = (part, failed)
        return found
