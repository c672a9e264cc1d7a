"""A measure of one's own: how rough a map is."""

import numpy as np
import pandas as pd


def total_variation(model, images, targets, labels, attribution, *, rngs, power=1):
    """Mean absolute difference of neighbouring pixels, to a power, of each map scaled to [0, 1]."""
    rows = []
    for i, saliency in enumerate(attribution.saliency):
        low, high = saliency.min(), saliency.max()
        scaled = (saliency - low) / (high - low).clamp_min(1e-12)
        rough = (scaled.diff(dim=0).abs() ** power).mean() + (scaled.diff(dim=1).abs() ** power).mean()
        rows.append((i, "total_variation", np.nan, float(rough)))
    return pd.DataFrame(rows, columns=["image", "metric", "x", "value"])
