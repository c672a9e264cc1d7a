"""The paper's insertion game: accuracy when only the most important share of the pixels is kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from da.fill import Fill, baseline_image, composite
from da.passes import passes
from da.ranking import importance_rank
from da.types import Attribution, Images, LabelModel, Rngs, Targets

__version__ = "1"


def keeps_class(
    model: LabelModel, images: Images, rank: Int[Tensor, "n h w"], shares: Sequence[float], fill: Fill
) -> Iterator[tuple[float, Int[Tensor, " n"]]]:
    """For each share of the pixels kept, the most important first, the classes the model then gives."""
    blank = baseline_image(images, fill)
    for share in shares:
        kept: Bool[Tensor, "n h w"] = rank < round(share * rank[0].numel())
        yield share, model(composite(images, blank, kept))


@passes(lambda shares, **_: (len(shares), 0))
def insertion_game(
    model: LabelModel,
    images: Images,
    targets: Targets,
    labels: Sequence[int | None],
    attribution: Attribution,
    *,
    rngs: Rngs,
    shares: Sequence[float],
    fill: Fill = "black",
) -> pd.DataFrame:
    """Keep the top share of each image's pixels, replace the rest by ``fill``, and ask the model again.

    One forward pass a share and image.

    Parameters
    ----------
    model : LabelModel
        Predicted classes of images, see ``da.label_model``.
    images : Tensor [n, 3, h, w] in [0, 1]
        The images that were explained, not normalised.
    targets : Tensor [n]
        The class explained of each image.
    labels : sequence of int or None
        The true class of each image, None where it is not known.
    attribution : Attribution
        What the method said of the images.
    rngs : sequence of numpy.random.Generator
        One generator per image, by which ties are broken.
    shares : sequence of float
        Kept fractions of the pixels, rising, from 0 to 1.
    fill : str or three floats
        What replaces ablated pixels, see ``da.fill.baseline_image``.

    Returns
    -------
    pandas.DataFrame
        Rows ``image, metric, x, value``: ``insertion_accuracy`` (1 where the class is the label; left out without a label),
        ``insertion_consistency`` (1 where it is the class of the whole image), each at every share ``x``, and the areas under the two
        curves by the trapezium rule over the range of shares, ``insertion_auc`` and ``insertion_consistency_auc``.

    Raises
    ------
    ValueError
        For shares that do not rise, or are out of range.

    References
    ----------
    An, Lai and Han, AAAI 2022, "Quantitative Evaluation".
    """
    if list(shares) != sorted(set(shares)) or not shares or shares[0] < 0 or shares[-1] > 1:
        raise ValueError(f"benchmark.insertion.shares={list(shares)}: give rising fractions from 0 to 1")
    rank = importance_rank(attribution.saliency, rngs)
    classes = torch.stack([answer for _, answer in keeps_class(model, images, rank, shares, fill)], 1).cpu().numpy()
    rows = []
    for i, answers in enumerate(classes):
        truths = {"insertion_accuracy": labels[i], "insertion_consistency": int(targets[i])}
        for (metric, truth), area in zip(truths.items(), ("insertion_auc", "insertion_consistency_auc"), strict=True):
            if truth is not None:
                right = (answers == truth).astype(float)
                rows += [(i, metric, x, value) for x, value in zip(shares, right, strict=True)]
                rows.append((i, area, np.nan, np.trapezoid(right, shares) / (shares[-1] - shares[0]) if len(shares) > 1 else right[0]))
    return pd.DataFrame(rows, columns=["image", "metric", "x", "value"])
