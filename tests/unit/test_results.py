"""Intervals, summaries and figures."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from results.figures.matplotlib import grid_of_pictures, heat_map, insertion_curves
from results.statistics import bootstrap_interval
from results.tables import curves, load, summarise


def test_the_interval_covers_the_mean_and_narrows():
    rng = np.random.default_rng(0)
    low, high = bootstrap_interval(rng.normal(3, 1, 50))
    wide = high - low
    assert low < 3 < high
    low, high = bootstrap_interval(rng.normal(3, 1, 5000))
    assert high - low < wide / 5
    assert np.isnan(bootstrap_interval(np.array([1.0]))).all()
    low, high = bootstrap_interval(rng.normal(size=(20, 3)))
    assert low.shape == high.shape == (3,)


def frame() -> pd.DataFrame:
    rows = []
    for method, offset in (("a", 0.0), ("b", 0.2)):
        for i in range(10):
            status = "error: x" if (method, i) == ("b", 9) else "ok"
            common = {"dataset": "d", "model": "m", "method": method, "image": str(i), "status": status}
            rows.append({**common, "metric": "mar", "x": np.nan, "value": np.nan if status != "ok" else 0.1 + offset + i / 100})
            shares = (0.0, 0.5, 1.0) if status == "ok" else ()
            rows += [{**common, "metric": "insertion_accuracy", "x": x, "value": float(i / 10 < x)} for x in shares]
    return pd.DataFrame(rows)


def test_a_summary_counts_statuses_and_averages_what_there_is():
    summary = summarise(frame()).set_index("method")
    assert summary.loc["a", "mar"] == pytest.approx(0.145)
    assert summary.loc["b", "mar"] == pytest.approx(0.34)
    assert summary.loc["a", "mar_low"] < 0.145 < summary.loc["a", "mar_high"]
    assert summary["statuses"].to_dict() == {"a": "10 ok", "b": "9 ok, 1 error"}
    assert summary["images"].tolist() == [10, 9]  # those in the means


def test_seeds_are_no_further_images():
    one = frame()
    once = summarise(one).drop(columns="statuses")
    again = summarise(pd.concat([one.assign(seed=seed) for seed in range(5)]))
    pd.testing.assert_frame_equal(again.drop(columns="statuses"), once)
    assert again["statuses"].tolist() == ["50 ok", "45 ok, 5 error"]


def test_curves_are_means_over_images_with_bands():
    found = curves(frame())
    assert found[found["method"] == "a"]["mean"].tolist() == [0.0, 0.5, 1.0]
    assert (found["low"] <= found["mean"]).all()
    assert found[found["method"] == "b"]["images"].tolist() == [9] * 3
    ax = insertion_curves(found, Figure().subplots())
    assert [line.get_label() for line in ax.get_lines()] == ["a", "b"]


def test_heat_maps_are_pictures():
    image = np.full((4, 4, 3), 0.5, dtype=np.float32)
    saliency = np.arange(16.0).reshape(4, 4)
    colours = heat_map(image, saliency)
    assert colours.shape == (4, 4, 3)
    assert colours[3, 3, 0] > colours[3, 3, 2]
    assert colours[0, 0, 0] < colours[3, 3, 0]
    assert np.ptp(heat_map(image, np.zeros((4, 4))).reshape(-1, 3), axis=0).max() == 0
    assert len(grid_of_pictures([[image, colours], [image]], [["a", "b"]]).axes) == 4


def test_no_run_is_said(tmp_path):
    with pytest.raises(ValueError, match="holds no run"):
        load(tmp_path)
