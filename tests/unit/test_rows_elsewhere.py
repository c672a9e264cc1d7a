"""Rows are read by other programs than pandas."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from results.export import to_parquet

PLAIN = {pa.large_string(), pa.string(), pa.int64(), pa.float64(), pa.bool_()}


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Rows with what varies in every way that a hyper-parameter can."""
    n = 6
    frame = pd.DataFrame(
        {
            "method": pd.Categorical(["a"] * 3 + ["=b"] * 3),
            "image": [f"é {i}" for i in range(n)],
            "seed": range(n),
            "label": pd.array([1, None, 3, 4, 5, 6], dtype="Int64"),
            "value": [0.25, np.nan, 0.5, 1.0, 2.0, 3.0],
            "param.k": pd.Series([1, None, 3, 4, 5, 6], dtype=object),
            "param.alpha": pd.Series([1, 0.5, None, 1, 1, 1], dtype=object),
            "param.sp_num": pd.Series([50, "pixels", None, 50, 50, 50], dtype=object),
            "param.areas": pd.Series([[0.1, 0.2], None, [0.1], [0.1], [0.1], [0.1]], dtype=object),
            "param.jitter": pd.Series([True, None, False, True, True, True], dtype=object),
            "param.mixed": pd.Series([True, 1, None, "x", 2.5, None], dtype=object),
            "param.none": pd.Series([None] * n, dtype=object),
        }
    )
    to_parquet(frame, tmp_path / "rows.parquet")
    return tmp_path / "rows.parquet"


def test_types_are_plain(rows):
    schema = pq.read_schema(rows)
    types = {field.name: field.type for field in schema}
    assert set(types.values()) <= PLAIN
    assert types["param.k"] == types["label"] == types["seed"] == pa.int64()
    assert types["value"] == types["param.alpha"] == pa.float64()
    assert types["param.jitter"] == pa.bool_()
    assert not any(field.metadata for field in schema)  # no extension types
    table = pq.read_table(rows).to_pydict()
    assert table["param.k"] == [1, None, 3, 4, 5, 6]
    assert table["value"] == [0.25, None, 0.5, 1.0, 2.0, 3.0]  # null, which a mean leaves out as it would not leave out NaN
    assert table["param.sp_num"] == ["50", "pixels", None, "50", "50", "50"]
    assert table["param.areas"][:3] == ["[0.1, 0.2]", None, "[0.1]"]
    assert table["param.mixed"] == ["True", "1", None, "x", "2.5", None]
    assert table["param.none"] == [None] * 6
    assert table["method"][3] == "=b"  # the apostrophe is for spreadsheets alone


def test_empty_rows_are_a_file(tmp_path):
    to_parquet(pd.DataFrame({"image": pd.Series([], dtype=object), "value": pd.Series([], dtype=float)}), tmp_path / "a.parquet")
    assert pq.read_table(tmp_path / "a.parquet").column_names == ["image", "value"]


def test_duckdb_reads_rows(rows):
    duckdb = pytest.importorskip("duckdb")
    found = duckdb.sql(
        f"""select method, avg(value), count(value), max("param.k") from '{rows}' group by method order by method"""
    ).fetchall()
    assert found == [("=b", 2.0, 3, 6), ("a", 0.375, 2, 3)]


def test_polars_reads_rows(rows):
    polars = pytest.importorskip("polars")
    frame = polars.read_parquet(rows)
    assert frame["param.k"].dtype == polars.Int64
    found = frame.group_by("method").agg(polars.col("value").mean(), polars.col("value").count().alias("n")).sort("method")
    assert found.rows() == [("=b", 2.0, 3), ("a", 0.375, 2)]
