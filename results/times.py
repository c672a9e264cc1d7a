"""When images were finished: written down in each part of the store, since the times of files change when they are copied.

The Parquet file's metadata hold it, so that rows and keys are without it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

FINISHED = b"finished"  # [UTC seconds, images] of each batch in the part


def with_times(rows: pa.Table, finished: Sequence[float | None]) -> pa.Table:
    """A part's rows with the times of its images, in UTC seconds and in the order in which the images come first."""
    batches = [(when, len(list(several))) for when, several in groupby(finished)]
    others = {name: value for name, value in (rows.schema.metadata or {}).items() if name != FINISHED}
    return rows.replace_schema_metadata(others | ({FINISHED: json.dumps(batches)} if batches else {}))


def finished_times(part: Path) -> list[float | None]:
    """When each image of a part was finished; empty where it does not say it, as before times were written, or cannot be read.

    Raises FileNotFoundError where there is no such part (any more).
    """
    try:
        batches = json.loads((pq.read_metadata(part).metadata or {}).get(FINISHED, "[]"))
    except pa.ArrowException:
        return []
    return [when for when, several in batches for _ in range(several)]
