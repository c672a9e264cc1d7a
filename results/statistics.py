"""Intervals and paired comparisons over images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.stats import bootstrap, rankdata, wilcoxon

RESAMPLES = 2000
CONFIDENCE = 0.95


def bootstrap_interval(values: Float[np.ndarray, "n *x"]) -> tuple[Float[np.ndarray, "*x"], Float[np.ndarray, "*x"]]:
    """Percentile bootstrap interval (95 %, 2000 resamples, seeded) of the mean over the first axis, the images.

    A single image has no interval: both ends are NaN.
    """
    if len(values) < 2:
        nothing = np.full(values.shape[1:], np.nan)
        return nothing, nothing
    interval = bootstrap(
        (values,), np.mean, axis=0, n_resamples=RESAMPLES, confidence_level=CONFIDENCE, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    return np.asarray(interval.low), np.asarray(interval.high)


@dataclass(frozen=True)
class Comparison:
    """Two configurations on the same images.

    difference: mean of a - b, with its interval. p: two-sided Wilcoxon signed-rank test, Holm-corrected by ``holm`` if it was one of a
    family. effect: matched-pairs rank-biserial correlation, from -1 (a smaller everywhere) to 1. n: images in common.
    """

    difference: float
    low: float
    high: float
    p: float
    effect: float
    n: int

    @property
    def verdict(self) -> str:
        """``a smaller``, ``b smaller``, or ``no difference shown`` at the 5 % level."""
        if not self.p < 1 - CONFIDENCE:
            return "no difference shown"
        return "a smaller" if self.effect < 0 else "b smaller"


def compare(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"]) -> Comparison:
    """Compare paired values image by image; pairs with a NaN are left out.

    Without pairs everything is NaN; without differences p is 1 and the effect 0.
    """
    both = np.isfinite(a) & np.isfinite(b)
    differences = (a - b)[both]
    if not len(differences):
        return Comparison(np.nan, np.nan, np.nan, np.nan, np.nan, 0)
    low, high = bootstrap_interval(differences)
    nonzero = differences[differences != 0]
    if not len(nonzero):
        return Comparison(0.0, float(low), float(high), 1.0, 0.0, len(differences))
    ranks = rankdata(np.abs(nonzero))
    effect = float((ranks * np.sign(nonzero)).sum() / ranks.sum())
    p = float(wilcoxon(nonzero).pvalue)
    return Comparison(float(differences.mean()), float(low), float(high), p, effect, len(differences))


def holm(p: Sequence[float]) -> list[float]:
    """Holm's correction of a family of p-values: family-wise error without assuming independence (Holm, 1979). NaN stays NaN."""
    values = np.asarray(p, dtype=float)
    corrected = np.full(len(values), np.nan)
    known = np.flatnonzero(~np.isnan(values))
    order = known[np.argsort(values[known])]
    corrected[order] = np.minimum(1, np.maximum.accumulate(values[order] * np.arange(len(order), 0, -1)))
    return [float(value) for value in corrected]
