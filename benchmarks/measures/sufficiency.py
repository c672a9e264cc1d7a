"""How much of an image suffices, by several meanings of sufficient and of absent, for any ranking of the pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from benchmarks.measures.fills import fill_names
from da.fill import Fill, baseline_image, composite
from da.passes import passes
from da.ranking import importance_rank, prefix_shares
from da.types import Attribution, Images, Rngs, ScoreModel, Targets

__version__ = "1"

CRITERIA = ("top1", "share", "threshold")


@passes(lambda fills, points, **_: (1 + len(fills) * points, 0))
def sufficient_shares(
    model: ScoreModel,
    images: Images,
    targets: Targets,
    labels: Sequence[int | None],
    attribution: Attribution,
    *,
    rngs: Rngs,
    criteria: Mapping[str, float | None],
    fills: Sequence[Fill],
    smallest: float,
    points: int,
) -> pd.DataFrame:
    """The share of top-ranked pixels from which on the rest can be replaced, for every criterion and fill.

    Shares are tried at ``points``, geometric from ``smallest`` to 1: one forward pass a share and fill, and one for the whole image.

    Parameters
    ----------
    model : ScoreModel
        Probabilities of images, see ``da.score_model``.
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
    criteria : mapping of str to float or None
        ``top1`` (the class is still the predicted one), ``share`` (it has at least this share of the whole image's probability),
        ``threshold`` (at least this probability).
    fills : sequence of str or three floats
        What replaces the rest, see ``da.fill.baseline_image``.
    smallest : float
        The smallest share of the pixels that is tried, between 0 and 1.
    points : int
        Shares that are tried, from 2.

    Returns
    -------
    pandas.DataFrame
        Rows ``image, metric, x, value``, metric ``mar_CRITERION_FILL``. An image whose whole does not meet a threshold has no value for it.

    Raises
    ------
    ValueError
        For an unknown criterion or fill, no fills or two of one name, and a parameter out of range.
    """
    if unknown := [name for name in criteria if name not in CRITERIA]:
        raise ValueError(f"benchmark.sufficiency.criteria has {unknown[0]}: choose of {', '.join(CRITERIA)}")
    names = fill_names(fills, "benchmark.sufficiency.fills")
    shares = prefix_shares(smallest, points)
    blanks = [baseline_image(images, fill, "benchmark.sufficiency.fills") for fill in fills]
    rank = importance_rank(attribution.saliency, rngs)
    whole = model(images).gather(1, targets[:, None])[:, 0]
    rows = []
    for name, blank in zip(names, blanks, strict=True):
        scores = torch.stack([model(composite(images, blank, rank < round(s * rank[0].numel()))) for s in shares], 1)
        of_class = scores.gather(2, targets[:, None, None].expand(-1, len(shares), 1))[..., 0]
        for criterion, level in criteria.items():
            if criterion == "top1":
                holds = scores.argmax(2) == targets[:, None]
            else:
                holds = of_class >= float(level or 0) * (whole[:, None] if criterion == "share" else 1)
            for i, held in enumerate(holds.cpu().numpy()):
                if criterion == "threshold" and float(whole[i]) < float(level or 0):
                    continue
                held[-1] = True  # the whole image is enough
                rows.append((i, f"mar_{criterion}_{name}", np.nan, shares[_from_there_on(held)]))
    return pd.DataFrame(rows, columns=["image", "metric", "x", "value"])


def _from_there_on(held: NDArray[np.bool_]) -> int:
    return int(np.flatnonzero(~held).max(initial=-1)) + 1
