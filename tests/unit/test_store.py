"""The store keeps what was computed, whole, once."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from results.store.store import Store, canonical, digest

CONFIG = {"method": "m", "seed": 0}


def rows(*images: str, status: str = "ok", value: float = 1.0) -> pd.DataFrame:
    columns = ["image", "digest", "status", "metric", "x", "value"]
    return pd.DataFrame([(image, "d", status, metric, np.nan, value) for image in images for metric in ("a", "b")], columns=columns)


def test_a_key_is_the_canonical_content_of_a_configuration():
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    assert digest({"a": 1}) != digest({"a": 1.5})
    assert canonical({"b": None, "a": "é"}) == '{"a":"\\u00e9","b":null}'
    with pytest.raises(ValueError, match="JSON"):
        digest({"a": float("nan")})


def test_rows_and_arrays_come_back_by_image(tmp_path):
    store = Store(tmp_path)
    maps = np.arange(24.0).reshape(2, 3, 4)
    store.put(CONFIG, rows("x", "y"), {"saliency": maps})
    store.put(CONFIG, rows("z", value=2.0), {"saliency": maps[:1] + 100})
    key = digest(CONFIG)
    assert set(store.index(key)) == {("x", "d"), ("y", "d"), ("z", "d")}
    assert store.rows(key, [("z", "d"), ("x", "d"), ("absent", "d")])["image"].tolist() == ["z", "z", "x", "x"]
    assert np.array_equal(store.arrays(key, ("y", "d"))["saliency"], maps[1])
    assert np.array_equal(store.arrays(key, ("z", "d"))["saliency"], maps[0] + 100)
    assert store.rows("unknown", [("x", "d")]).empty


def test_the_same_images_again_replace_and_overlapping_parts_count_once(tmp_path):
    store = Store(tmp_path)
    store.put(CONFIG, rows("x", "y"))
    store.put(CONFIG, rows("x", "y"))
    store.put(CONFIG, rows("y", "z"))
    assert len(store.rows(digest(CONFIG), [("x", "d"), ("y", "d"), ("z", "d")])) == 6


def test_a_failed_image_is_not_finished_and_gives_way_to_its_success(tmp_path):
    store = Store(tmp_path)
    key = digest(CONFIG)
    store.put(CONFIG, rows("x", status="error: boom"))
    assert store.index(key) == {}
    assert store.rows(key, [("x", "d")])["status"].tolist() == ["error: boom"] * 2
    store.put(CONFIG, rows("x", "y"))
    assert store.rows(key, [("x", "d")])["status"].tolist() == ["ok"] * 2


def test_changed_content_is_another_image(tmp_path):
    store = Store(tmp_path)
    store.put(CONFIG, rows("x"))
    assert store.rows(digest(CONFIG), [("x", "other")]).empty


def test_a_part_that_was_not_finished_is_not_there(tmp_path):
    store = Store(tmp_path)
    store.put(CONFIG, rows("x"))
    folder = tmp_path / digest(CONFIG)
    (folder / ".half.tmp").write_bytes(b"PAR1")
    (folder / "0123.npz").write_bytes(b"no rows yet")
    assert set(store.index(digest(CONFIG))) == {("x", "d")}
    assert not [path for path in folder.iterdir() if path.suffix == ".tmp" and path.name != ".half.tmp"]
