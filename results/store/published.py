"""Rows that are published in one Parquet file, read as a store's: the same keys and images, without arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from results.store.parts import Arrays
from results.store.store import FAILED, ImageKey, Store

SUFFIX = ".parquet"
TEXT = ("key", "image", "digest", "status", "metric")  # with few different values: dictionary-encoded
NUMBERS = ("x", "value")
WITHOUT_KEY = ["image", "digest", "status", "metric", "x", "value"]


class PublishedRows(Store):
    """The rows of a published file; ``root`` is the file.

    Parameters
    ----------
    root : Path
        The Parquet file.
    """

    def _of(self, key: str) -> pd.DataFrame:
        rows = _rows_by_key(self.root, self.root.stat().st_mtime_ns)
        return rows[key] if key in rows else pd.DataFrame(columns=WITHOUT_KEY)

    def _states(self, key: str) -> dict[ImageKey, tuple[Path, bool]]:
        rows = self._of(key)
        failed = rows["status"].str.startswith(FAILED)
        images = zip(rows["image"], rows["digest"], strict=True)
        return {image: (self.root, bool(fails)) for image, fails in zip(images, failed, strict=True)}

    def _rows(self, key: str, images: Sequence[ImageKey]) -> pd.DataFrame:
        rows, place = self._of(key), {image: i for i, image in enumerate(images)}
        places = pd.Series([place.get(image, -1) for image in zip(rows["image"], rows["digest"], strict=True)], dtype="int64")
        order = places[places >= 0].sort_values(kind="stable").index
        return rows.iloc[order].reset_index(drop=True) if len(order) else pd.DataFrame()

    def _arrays_of(self, key: str, images: Sequence[ImageKey]) -> dict[ImageKey, Arrays]:
        if not images:
            return {}
        raise KeyError(f"{self.root} holds numbers, no maps: compute them with the commands of its manifest")


def store_of(record: Mapping[str, Any]) -> Store:
    """Where the results of a job's record are: a store, or a published file."""
    path = Path(str(record["store"]))
    return PublishedRows(path) if path.suffix == SUFFIX else Store(path)


def write_rows(rows: pd.DataFrame, sink: Any) -> None:
    """Write rows ``key, image, digest, status, metric, x, value`` as Parquet: text in dictionaries, compressed, like values together.

    sink: a file, or a buffer.
    """
    ordered = rows.sort_values(["key", "metric", "x"], kind="stable", na_position="first")
    text = pa.dictionary(pa.int32(), pa.string())
    columns: dict[str, Any] = {name: pa.array(ordered[name].astype("category"), text) for name in TEXT}
    columns |= {name: pa.array(ordered[name].astype(float), pa.float64(), from_pandas=True) for name in NUMBERS}
    table = pa.table({name: columns[name] for name in (*TEXT, *NUMBERS)})
    pq.write_table(table, sink, compression="zstd", compression_level=19, row_group_size=len(ordered) or 1)


@lru_cache(maxsize=8)
def _rows_by_key(file: Path, version: int) -> dict[str, pd.DataFrame]:
    """The rows of each key of a file. version: the file's time, so that a file that is written again is read again."""
    rows = pq.read_table(file).to_pandas()
    groups = rows.groupby("key", observed=True, sort=False)
    return {str(key): _plain(group[WITHOUT_KEY]) for key, group in groups}


def _plain(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.astype({name: object for name in WITHOUT_KEY if name in TEXT}).reset_index(drop=True)
