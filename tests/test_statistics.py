"""Intervals, paired comparisons, and the paper's numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import wilcoxon

from results.paper import beside, published
from results.statistics import compare, holm


def test_a_paired_comparison():
    rng = np.random.default_rng(0)
    b = rng.normal(size=40)
    a = b - 0.3 + 0.1 * rng.normal(size=40)
    found = compare(a, b)
    assert found.low < found.difference < found.high < 0
    assert found.difference == pytest.approx((a - b).mean())
    assert found.p == pytest.approx(wilcoxon(a, b).pvalue)
    assert found.effect < -0.9
    assert found.verdict == "a smaller"
    assert compare(b, a).verdict == "b smaller"
    assert compare(a, rng.permutation(a)).verdict == "no difference shown"


def test_the_effect_is_the_rank_biserial_correlation():
    assert compare(np.array([1.0, 2.0, 3.0, 0.0]), np.array([0.0, 0.0, 0.0, 4.0])).effect == pytest.approx((1 + 2 + 3 - 4) / 10)
    assert compare(np.array([1.0, 2.0]), np.array([0.0, 0.0])).effect == 1


def test_degenerate_comparisons():
    same = compare(np.ones(5), np.ones(5))
    assert (same.difference, same.p, same.effect, same.verdict) == (0, 1, 0, "no difference shown")
    some = compare(np.array([1.0, np.nan, 3.0]), np.array([0.0, 1.0, np.nan]))
    assert some.n == 1
    assert np.isnan(some.low)
    none = compare(np.array([np.nan]), np.array([1.0]))
    assert (none.n, none.verdict) == (0, "no difference shown")


def test_holm():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []
    assert np.isnan(holm([np.nan, 0.01])[0])
    assert holm([np.nan, 0.01])[1] == pytest.approx(0.01)


def test_the_papers_numbers_are_all_there():
    frame = published()
    assert frame.groupby("source").size().to_dict() == {"Table 1": 5, "Table 2": 50, "Complexity evaluation": 6, "Fig. 5": 2}
    cell = frame.query("source == 'Table 2' and k == 4 and sp_num == '500'").set_index("metric")["value"]
    assert cell.to_dict() == {"mar": 0.094, "seconds": 23.80}
    pixels = frame.query("sp_num == 'pixels' and metric == 'seconds'")["value"]
    assert pixels.tolist() == [1301.21, 1309.48, 1586.11, 1614.29, 2723.76]
    assert frame[frame["source"] == "Table 1"].set_index("model")["value"]["resnet50"] == 0.035


def test_ours_stand_beside_the_papers_with_the_setup():
    ours = pd.DataFrame(
        [
            {"model": "resnet50", "metric": "mar", "value": 0.05, "low": 0.04, "high": 0.06, "dataset": "demo", "n": 7},
            {"model": "efficientnet_lite0", "metric": "mar", "value": 0.1, "low": 0.0, "high": 0.2, "dataset": "demo", "n": 7},
        ]
    )
    table = beside(ours, "Table 1", ["model"]).set_index("model")
    assert len(table) == 6
    assert table.loc["resnet50", ["paper", "ours"]].tolist() == [0.035, 0.05]
    assert table.loc["resnet50", "setup"] == "dataset: paper imagenet, ours demo; n: paper 500, ours 7"
    assert pd.isna(table.loc["alexnet", "ours"])
    assert pd.isna(table.loc["efficientnet_lite0", "paper"])
