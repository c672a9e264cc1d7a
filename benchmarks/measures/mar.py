"""Minimum Attribution Ratio: how small a part of the image still has its class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from benchmarks.measures.insertion import keeps_class
from da.fill import Fill
from da.passes import passes
from da.ranking import importance_rank, prefix_shares
from da.types import Attribution, Images, LabelModel, Rngs, Targets

__version__ = "1"


@passes(lambda points=32, **_: (points, 0))
def minimum_attribution_ratio(
    model: LabelModel,
    images: Images,
    targets: Targets,
    labels: Sequence[int | None],
    attribution: Attribution,
    *,
    rngs: Rngs,
    smallest: float = 0.002,
    points: int = 32,
    fill: Fill = "black",
) -> pd.DataFrame:
    """MAR of the final mask where a method has one, and of every method's ranking, so that all compare on one measure.

    A ranking's prefixes are tried at ``points`` shares, geometric from ``smallest`` to 1: one forward pass each.

    Parameters
    ----------
    model : LabelModel
        Predicted classes of images, see ``da.label_model``.
    images : Tensor [n, 3, h, w] in [0, 1]
        The images that were explained, not normalised.
    targets : Tensor [n]
        The class explained of each image.
    labels : sequence of int or None
        Not used.
    attribution : Attribution
        What the method said of the images.
    rngs : sequence of numpy.random.Generator
        One generator per image, by which ties are broken.
    smallest : float
        The smallest share of the pixels that is tried, between 0 and 1.
    points : int
        Shares that are tried, from 2.
    fill : str or three floats
        What replaces ablated pixels, see ``da.fill.baseline_image``.

    Returns
    -------
    pandas.DataFrame
        Rows ``image, metric, x, value`` with fractions of the image's pixels: ``mar`` (the mask's), ``mar_first`` (the smallest tried
        share whose top pixels alone have the image's class) and ``mar_holds`` (the smallest from which on they always do).

    Raises
    ------
    ValueError
        For a parameter out of range.

    References
    ----------
    An, Lai and Han, AAAI 2022, "Minimum Attribution Ratio".
    """
    shares = prefix_shares(smallest, points)
    rank = importance_rank(attribution.saliency, rngs)
    holds = torch.stack([answer == targets for _, answer in keeps_class(model, images, rank, shares, fill)], 1).cpu().numpy()
    holds[:, -1] = True  # the whole image has its own class
    rows = []
    for i, held in enumerate(holds):
        last_lost = int(np.flatnonzero(~held).max(initial=-1))
        rows.append((i, "mar_first", np.nan, shares[int(np.argmax(held))]))
        rows.append((i, "mar_holds", np.nan, shares[last_lost + 1]))
        if attribution.kept is not None:
            rows.append((i, "mar", np.nan, float(attribution.kept[i].double().mean())))
    return pd.DataFrame(rows, columns=["image", "metric", "x", "value"])
