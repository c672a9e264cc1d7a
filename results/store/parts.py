"""A part of the store: rows in a Parquet file and, written before it, arrays beside it."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from results.store.files import write_atomically
from results.times import with_times

Arrays = dict[str, NDArray[Any]]

T = TypeVar("T")


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
