"""Intervals and paired comparisons."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import wilcoxon

from results.statistics import bootstrap_interval, compare, compare_family, differences, holm
from results.tables import paired


def test_a_paired_comparison():
    rng = np.random.default_rng(0)
    b = rng.normal(size=40)
    a = b - 0.3 + 0.1 * rng.normal(size=40)
    found = compare(a, b)
    assert found.low < found.difference < found.high < 0
    assert found.difference == pytest.approx((a - b).mean())
    assert found.p == pytest.approx(wilcoxon(a, b).pvalue)
    assert found.effect < -0.9
    assert found.verdict == "A smaller"
    assert compare(b, a).verdict == "B smaller"
    assert compare(a, rng.permutation(a)).verdict == "no difference shown"


def test_the_effect_is_the_rank_biserial_correlation():
    assert compare(np.array([1.0, 2.0, 3.0, 0.0]), np.array([0.0, 0.0, 0.0, 4.0])).effect == pytest.approx((1 + 2 + 3 - 4) / 10)
    assert compare(np.array([1.0, 2.0]), np.array([0.0, 0.0])).effect == 1


def test_exact_values_worked_out_by_hand():
    """Six images, all smaller by distinct amounts: 2 of the 64 sign patterns are as extreme."""
    b = np.arange(6.0)
    found = compare(b - np.arange(1, 7), b)
    assert found.p == found.p_holm == pytest.approx(2 / 64)
    assert (found.difference, found.effect, found.n) == (-3.5, -1, 6)
    assert compare(b[:5] - np.arange(1, 6), b[:5]).verdict == "no difference shown"


def test_no_direction_is_claimed_where_ranks_and_means_disagree():
    differences = np.r_[-np.linspace(0.01, 0.02, 30), np.full(3, 5.0)]
    found = compare(differences, np.zeros(33))
    assert found.p < 0.01
    assert found.effect < 0 < found.difference
    assert found.verdict == "no difference shown"


def test_degenerate_comparisons():
    assert compare(np.array([2.0]), np.array([1.0])).p == 1
    assert compare(np.array([]), np.array([])).n == 0
    constant = compare(np.full(7, 2.0), np.ones(7))
    assert (constant.low, constant.difference, constant.high, constant.effect) == (1, 1, 1, 1)
    assert compare(np.array([np.inf, 1.0]), np.array([np.inf, 0.0])).n == 1
    same = compare(np.ones(5), np.ones(5))
    assert (same.difference, same.p, same.effect, same.verdict) == (0, 1, 0, "no difference shown")
    some = compare(np.array([1.0, np.nan, 3.0]), np.array([0.0, 1.0, np.nan]))
    assert some.n == 1
    assert np.isnan(some.low)
    none = compare(np.array([np.nan]), np.array([1.0]))
    assert (none.n, none.verdict) == (0, "no difference shown")


def test_rounding_makes_no_winner_and_breaks_no_tie():
    """The insertion areas of gradient and random on the seven photographs, as they came out of the sums."""
    gradient = np.array([0.24500000000000002, 0.19, 0.395, 0.34500000000000003, 0.15000000000000002, 0.48, 0.515])
    random = gradient - np.array([0.10000000000000003, 0.0, 0.20000000000000007, -0.09999999999999998, 5.6e-17, 0.0, 0.30000000000000004])
    found = compare(gradient, random)
    assert (found.p, found.effect, found.n) == (pytest.approx(0.375), pytest.approx(0.70), 7)
    assert differences(gradient, random).tolist() == pytest.approx([0.1, 0, 0.2, -0.1, 0, 0, 0.3])
    assert len(set(np.abs(differences(gradient, random)))) == 4  # 0, .1, .2, .3: the two .1 are tied
    one = compare(np.array([0.15000000000000002]), np.array([0.14999999999999997]))
    assert (one.difference, one.p, one.effect, one.verdict) == (0, 1, 0, "no difference shown")


def test_many_differences_of_rounding_alone_are_none():
    """Sums of the same numbers in another order: all "differ" one way, and a test of twelve would be significant."""
    a, b = np.full(12, 0.1 + 0.2), np.full(12, 0.3)
    found = compare(a, b)
    assert a[0] != b[0]
    assert (found.difference, found.low, found.high, found.p, found.effect) == (0, 0, 0, 1, 0)
    near_zero = compare(np.r_[np.full(10, 1e-17), 0.5], np.r_[np.zeros(10), 0.5])  # zeros that a sum has missed
    assert (near_zero.difference, near_zero.p, near_zero.effect) == (0, 1, 0)


@pytest.mark.parametrize("scale", [1e-12, 1e-3, 1.0, 24.0, 5000.0, 1e9])
def test_the_rule_is_relative_so_that_units_do_not_matter(scale):
    rng = np.random.default_rng(3)
    b = rng.integers(1, 20, 30) / 7
    a = b + rng.integers(-3, 5, 30) / 7
    exact, scaled = compare(a, b), compare(a * scale, b * scale)
    ranked = wilcoxon(np.round((a - b)[np.abs(a - b) > 1e-9], 9))
    assert exact.p == scaled.p == pytest.approx(ranked.pvalue)
    assert exact.effect == scaled.effect
    assert scaled.difference == pytest.approx(exact.difference * scale)


def test_equal_sizes_tie_wherever_they_lie():
    """On a grid of nine decimals 1 / 1024, a pixel of 32 x 32, would lie on an edge and tie or not by its last digit."""
    pixel = 1 / 1024
    a = np.array([pixel, np.nextafter(pixel, 0), np.nextafter(pixel, 1), 0.5])
    assert len(set(np.round(a, 9))) == 3
    assert len(set(differences(a, np.zeros(4)))) == 2


def test_one_huge_value_does_not_make_the_others_equal():
    b = np.r_[1.0, 2.0, 3.0, 1e8]
    assert np.count_nonzero(differences(b + np.r_[0.01, -0.02, 0.03, 0.0], b)) == 3
    assert compare(b + np.r_[0.01, 0.02, 0.03, 0.0], b).effect == 1


def test_means_that_cancel_claim_no_direction():
    b = np.full(12, 0.5)
    a = b + np.r_[0.1, 0.2, -0.3, 0.1, 0.2, -0.3, 0.1, 0.2, -0.3, 0.1, 0.2, -0.3]
    found = compare(a, b)
    assert found.difference == 0
    assert found.verdict == "no difference shown"


def test_which_wilcoxon_test_it_is():
    """Exact without ties up to 50 differences, exact with ties up to 13, with zeros left out; beyond, the normal approximation."""
    signs = np.r_[-1, np.ones(12)]
    tied = np.full(13, 0.1) * signs
    assert compare(0.5 + tied, np.full(13, 0.5)).p == pytest.approx(2 * (1 + 13) / 2**13)
    zeros = np.r_[np.arange(1, 7) / 10, np.zeros(60)]
    assert compare(zeros, np.zeros(66)).p == pytest.approx(2 / 64)
    distinct = np.arange(1, 51) / 100
    assert compare(distinct, np.zeros(50)).p == pytest.approx(2 / 2**50)
    assert compare(np.full(20, 0.1), np.zeros(20)).p == pytest.approx(wilcoxon(np.full(20, 0.1), method="asymptotic").pvalue)
    assert compare(np.arange(1, 52) / 100, np.zeros(51)).p == pytest.approx(wilcoxon(np.arange(1, 52), method="asymptotic").pvalue)


def test_few_images():
    two = compare(np.array([0.2, 0.3]), np.array([0.1, 0.1]))
    assert (two.p, two.effect, two.n) == (0.5, 1, 2)
    assert two.low <= two.difference <= two.high
    tied = compare(np.array([0.2, 0.3]), np.array([0.1, 0.4]))
    assert (tied.difference, tied.p, tied.effect) == (0, 1, 0)
    infinite = compare(np.array([np.inf, 1.0, 2.0]), np.array([0.0, -np.inf, 1.0]))
    assert (infinite.n, infinite.difference, infinite.p) == (1, 1, 1)


def test_the_interval_of_a_constant_is_the_constant():
    for value in (0.1, 0.3, 1 / 3, 501.0):
        values = np.full(7, value)
        low, high = bootstrap_interval(values)
        assert low == high == values.mean()
    low, high = bootstrap_interval(np.column_stack([np.full(7, 0.1), np.arange(7.0), np.r_[np.nan, np.ones(6)], np.r_[np.inf, np.ones(6)]]))
    assert low[0] == high[0] == pytest.approx(0.1)
    assert low[1] < 3 < high[1]
    assert np.isnan([low[2:], high[2:]]).all()


def test_equal_p_values_stay_equal_under_holm():
    assert holm([0.01, 0.01, 0.01]) == pytest.approx([0.03] * 3)
    assert holm([0.02, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])


def test_a_p_of_five_percent_is_no_difference():
    found = compare(np.arange(1.0, 8), np.zeros(7))
    assert replace(found, p_holm=0.05).verdict == "no difference shown"
    assert replace(found, p_holm=0.0499).verdict == "B smaller"


def test_holm():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []
    assert np.isnan(holm([np.nan, 0.01])[0])
    assert holm([np.nan, 0.01])[1] == pytest.approx(0.01)


def test_a_family_is_paired_on_common_images_and_corrected_once():
    rng = np.random.default_rng(1)
    base = rng.normal(size=30)
    values = {"a": base, "b": base + 0.5 + 0.1 * rng.normal(size=30), "c": base + 0.02 * rng.normal(size=30)}
    values["c"][:10] = np.nan
    found = compare_family(values)
    assert list(found) == [("a", "b"), ("a", "c"), ("b", "c")]
    assert [comparison.n for comparison in found.values()] == [30, 20, 20]
    assert [c.p for c in found.values()] == [compare(values[a], values[b]).p for a, b in found]
    assert [c.p_holm for c in found.values()] == holm([c.p for c in found.values()])
    assert [c.verdict for c in found.values()] == ["A smaller", "no difference shown", "B smaller"]
    only = compare_family(values, [("b", "a")])
    assert only["b", "a"].p_holm == found["a", "b"].p
    with pytest.raises(ValueError, match="a has 30, b has 2"):
        compare_family({"a": base, "b": base[:2]})


def test_the_correction_decides_the_verdict():
    rng = np.random.default_rng(2)
    a = rng.normal(size=40)
    b = a + 0.35 + rng.normal(size=40)
    assert 0.005 < compare(a, b).p < 0.05
    values = {"a": a, "b": b} | {f"c{i}": rng.normal(size=40) for i in range(6)}
    assert compare(a, b).verdict == "A smaller"
    assert compare_family(values)["a", "b"].verdict == "no difference shown"


def test_rows_are_paired_by_image():
    frame = pd.DataFrame(
        [
            {"method": method, "image": str(i), "metric": "mar", "value": np.nan if (method, i) == ("y", 3) else i + offset * (1 + i)}
            for method, offset in (("y", 0.0), ("x", 0.5))
            for i in range(9)
        ]
    ).sample(frac=1, random_state=0)
    line = paired(frame, "mar", pairs=[("y", "x")]).iloc[0]
    assert (line["n"], line["verdict"], line["effect"]) == (8, "A smaller", -1)
    assert line["difference"] == pytest.approx(-0.5 * np.mean([1 + i for i in range(9) if i != 3]))
    assert paired(frame, "absent").empty
    with pytest.raises(ValueError, match="several values for image"):
        paired(pd.concat([frame, frame]), "mar")
