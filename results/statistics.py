"""Intervals over images."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.stats import bootstrap

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
