"""Intervals and paired comparisons over images.

A paired test asks which differences are zero and which are equal, and sums in floating point answer both at random in their last digits
(0.15000000000000002 and 0.14999999999999997 are one share). ``differences`` takes that noise out before anything is ranked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from jaxtyping import Float
from scipy.stats import bootstrap, norm, rankdata, wilcoxon

RESAMPLES = 2000
CONFIDENCE = 0.95
LEVEL = 0.05  # below which a corrected p shows a difference; 1 - CONFIDENCE is a little more in floating point
SAME = 1e-9  # of the larger of two values: what they differ by at most where they are the same
NOISE = 1e-12  # of the largest value of all: the same, for values that are nearly zero
MOST_RESAMPLED = 10_000  # images
Z = float(norm.ppf((1 + CONFIDENCE) / 2))


def bootstrap_interval(values: Float[np.ndarray, " n *x"]) -> tuple[Float[np.ndarray, " *x"], Float[np.ndarray, " *x"]]:
    """Percentile bootstrap interval (95 %, 2000 resamples, seeded) of the mean over the first axis, the images.

    A single image has no interval: both ends are NaN, and so they are where a value is not finite. Where all values are the same, up to
    rounding, both ends are their mean. Of more than 10,000 images the mean is as good as normal, and the interval is that of the normal
    distribution, which the resampling would estimate.
    """
    if len(values) < 2:
        nothing = np.full(values.shape[1:], np.nan)
        return nothing, nothing
    known = np.isfinite(values).all(0)
    values = np.where(known, values, 0.0)  # else they would warn
    middle = values.mean(0)
    if len(values) > MOST_RESAMPLED:
        error = values.std(0) / np.sqrt(len(values))
        low, high = middle - Z * error, middle + Z * error
    else:
        of, rng = (values,), np.random.default_rng(0)
        found = bootstrap(of, np.mean, axis=0, n_resamples=RESAMPLES, confidence_level=CONFIDENCE, method="percentile", rng=rng)
        low, high = found.confidence_interval
    constant = np.ptp(values, axis=0) <= NOISE * np.abs(values).max(0)  # the mean of a resample would differ in its last digits
    low, high = (np.where(constant, middle, end) for end in (low, high))
    return np.where(known, low, np.nan), np.where(known, high, np.nan)


def bootstrap_of(
    statistic: Callable[[Float[np.ndarray, "n k"]], Float[np.ndarray, " s"]], values: Float[np.ndarray, "n k"]
) -> Float[np.ndarray, "2 s"]:
    """Percentile bootstrap intervals of any statistics over the images, such as the difference of the medians of two columns."""
    if len(values) < 2:
        return np.full((2, *statistic(values).shape), np.nan)
    rng = np.random.default_rng(0)
    resamples = [statistic(values[rng.integers(len(values), size=len(values))]) for _ in range(RESAMPLES)]
    return np.percentile(resamples, [50 * (1 - CONFIDENCE), 50 * (1 + CONFIDENCE)], axis=0)


@dataclass(frozen=True)
class Comparison:
    """Two configurations on the same images.

    difference: mean of a - b, with its bootstrap interval ``low``, ``high``. p: two-sided Wilcoxon signed-rank test of the differences.
    p_holm: p corrected for the family it was tested in (``compare_family``); p itself where it was the only one. effect: matched-pairs
    rank-biserial correlation, from -1 (a smaller on every image) to 1. n: images in common.
    """

    difference: float
    low: float
    high: float
    p: float
    p_holm: float
    effect: float
    n: int

    @property
    def verdict(self) -> str:
        """``A smaller``, ``B smaller``, or ``no difference shown``, at the 5 % level of the corrected p.

        The test ranks the images and the tables print means. Where a few large differences pull the mean the other way, neither
        direction is claimed.
        """
        if not self.p_holm < LEVEL or self.effect * self.difference <= 0:
            return "no difference shown"
        return "A smaller" if self.effect < 0 else "B smaller"


def compare(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"]) -> Comparison:
    """Compare paired values ``[n]``, one per image; a pair with a value that is not finite is left out.

    No pairs: all NaN. A single pair: no interval, p is 1. No differences: p is 1 and the effect 0. Images without a difference count in
    the mean and its interval, not in the test and the effect (Wilcoxon's treatment of zeros). What is zero and what is tied is decided up
    to rounding, see ``differences``.

    The test is scipy's: of up to 50 differences without ties the exact distribution of the rank sum; of up to 13 with ties every pattern of
    signs, exact as well; beyond, where either would be long and the sum is nearly normal, the normal distribution with its variance
    corrected for ties.
    """
    both = np.isfinite(a) & np.isfinite(b)
    if not both.any():
        return Comparison(np.nan, np.nan, np.nan, np.nan, np.nan, np.nan, 0)
    found = differences(a[both], b[both])
    noise = NOISE * max(np.abs(a[both]).max(), np.abs(b[both]).max())
    mean, low, high = (0.0 if abs(value) <= noise else float(value) for value in (found.mean(), *bootstrap_interval(found)))
    nonzero = found[found != 0]
    p, effect = 1.0, 0.0
    if len(nonzero):
        ranks = rankdata(np.abs(nonzero))
        effect = float((ranks * np.sign(nonzero)).sum() / ranks.sum())
        p = float(wilcoxon(nonzero).pvalue)
    return Comparison(mean, low, high, p, p, effect, len(found))


def differences(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """``a - b`` of finite values without the noise of rounding, so that equal values are tied and no noise is a win.

    Two values are the same, and their difference 0, where it is at most 1e-9 of the larger of them, or 1e-12 of the largest of all. Sizes
    of differences that are as near to one another are one, the least of them. Relative, so that shares, seconds and queries have one rule;
    in steps between neighbours and not on a grid, whose edges would part equal values.
    """
    size = np.maximum(np.abs(a), np.abs(b))
    near = np.maximum(SAME * size, NOISE * size.max(initial=0.0))
    found = a - b
    found[np.abs(found) <= near] = 0.0
    order = np.argsort(np.abs(found), kind="stable")
    order = order[found[order] != 0]
    sizes, near = np.abs(found[order]), near[order]
    first = np.diff(sizes, prepend=-np.inf) > np.minimum(near, np.r_[0.0, near][: len(near)])
    found[order] = np.sign(found[order]) * sizes[first][np.cumsum(first) - 1]
    return found


def compare_family(
    values: Mapping[str, Float[np.ndarray, " n"]], pairs: Sequence[tuple[str, str]] | None = None
) -> dict[tuple[str, str], Comparison]:
    """Compare configurations two by two, each on the images both have, with Holm's correction over all the pairs.

    values: by configuration, one value per image in one common order, NaN where an image has none. pairs: those to compare, fixed before
    looking at the values; left out, every pair in the order given.

    Raises KeyError for a pair that is not there and ValueError for values of different lengths.
    """
    if len({len(of_one) for of_one in values.values()}) > 1:
        raise ValueError(f"paired values differ in length: {', '.join(f'{name} has {len(v)}' for name, v in values.items())}")
    if pairs is None:
        pairs = list(combinations(values, 2))
    found = {(a, b): compare(values[a], values[b]) for a, b in pairs}
    corrected = holm([comparison.p for comparison in found.values()])
    return {pair: replace(found[pair], p_holm=p) for pair, p in zip(found, corrected, strict=True)}


def holm(p: Sequence[float]) -> list[float]:
    """Holm's correction of a family of p-values: family-wise error without assuming independence (Holm, 1979).

    A NaN stays NaN and does not count as a test.
    """
    values = np.asarray(p, dtype=float)
    corrected = np.full(len(values), np.nan)
    known = np.flatnonzero(~np.isnan(values))
    order = known[np.argsort(values[known])]
    corrected[order] = np.minimum(1, np.maximum.accumulate(values[order] * np.arange(len(order), 0, -1)))
    return [float(value) for value in corrected]
