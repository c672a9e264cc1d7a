"""Intervals and paired comparisons over images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from jaxtyping import Float
from scipy.stats import bootstrap, norm, rankdata, wilcoxon

RESAMPLES = 2000
CONFIDENCE = 0.95
MOST_RESAMPLED = 10_000  # images
Z = float(norm.ppf((1 + CONFIDENCE) / 2))


def bootstrap_interval(values: Float[np.ndarray, " n *x"]) -> tuple[Float[np.ndarray, " *x"], Float[np.ndarray, " *x"]]:
    """Percentile bootstrap interval (95 %, 2000 resamples, seeded) of the mean over the first axis, the images.

    A single image has no interval: both ends are NaN. Of more than 10,000 images the mean is as good as normal, and the interval is that of
    the normal distribution, which the resampling would estimate.
    """
    if len(values) < 2:
        nothing = np.full(values.shape[1:], np.nan)
        return nothing, nothing
    if len(values) > MOST_RESAMPLED:
        middle, error = values.mean(0), values.std(0) / np.sqrt(len(values))
        return np.asarray(middle - Z * error), np.asarray(middle + Z * error)
    interval = bootstrap(
        (values,), np.mean, axis=0, n_resamples=RESAMPLES, confidence_level=CONFIDENCE, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    return np.asarray(interval.low), np.asarray(interval.high)


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
        if not self.p_holm < 1 - CONFIDENCE or self.effect * self.difference <= 0:
            return "no difference shown"
        return "A smaller" if self.effect < 0 else "B smaller"


def compare(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"]) -> Comparison:
    """Compare paired values ``[n]``, one an image; a pair with a value that is not finite is left out.

    No pairs: all NaN. A single pair: no interval, p is 1. No differences: p is 1 and the effect 0. Images without a difference count in
    the mean and its interval, not in the test and the effect (Wilcoxon's treatment of zeros).
    """
    both = np.isfinite(a) & np.isfinite(b)
    differences = a[both] - b[both]
    if not len(differences):
        return Comparison(np.nan, np.nan, np.nan, np.nan, np.nan, np.nan, 0)
    low, high = bootstrap_interval(differences)
    nonzero = differences[differences != 0]
    p, effect = 1.0, 0.0
    if len(nonzero):
        ranks = rankdata(np.abs(nonzero))
        effect = float((ranks * np.sign(nonzero)).sum() / ranks.sum())
        p = float(wilcoxon(nonzero).pvalue)
    return Comparison(float(differences.mean()), float(low), float(high), p, p, effect, len(differences))


def compare_family(
    values: Mapping[str, Float[np.ndarray, " n"]], pairs: Sequence[tuple[str, str]] | None = None
) -> dict[tuple[str, str], Comparison]:
    """Compare configurations two by two, each on the images both have, with Holm's correction over all the pairs.

    values: by configuration, one value an image in one common order, NaN where an image has none. pairs: those to compare, fixed before
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
