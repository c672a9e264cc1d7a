"""The paper's insertion game: accuracy when only the most important share of the pixels is kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from da.fill import Fill, filled, masked
from da.types import Attribution, Images, LabelModel, Rngs, Saliency, Targets

__version__ = "1"


def importance_rank(saliency: Saliency, rngs: Rngs) -> Int[Tensor, "n h w"]:
    """The place of each pixel, 0 for the most important; ties are broken by each image's own random permutation.

    Raster order would favour a corner, and maps that sum superpixel masks tie nearly everywhere.
    """
    ranks = []
    for values, rng in zip(saliency.flatten(1).cpu().float().numpy(), rngs, strict=True):
        shuffled = rng.permutation(values.size)
        rank = np.empty(values.size, np.int32)
        rank[shuffled[falling_order(values[shuffled])]] = np.arange(values.size)
        ranks.append(rank)
    return torch.from_numpy(np.stack(ranks)).view(saliency.shape).to(saliency.device)


def falling_order(values: Float[np.ndarray, " p"]) -> NDArray[np.int64]:
    """A stable order of finite 32-bit floats, the largest first: what a stable argsort of ``-values`` gives, in half its time.

    The bits of a float, read as an integer, are in the order of its magnitude; with the place below them no two keys are equal.
    """
    bits = (-values).view(np.int32).astype(np.int64)
    keys = np.where(bits < 0, -(bits & 0x7FFFFFFF), bits) << 32 | np.arange(values.size)
    keys.sort()
    return keys & 0xFFFFFFFF


def keeps_class(
    model: LabelModel, images: Images, rank: Int[Tensor, "n h w"], shares: Sequence[float], fill: Fill
) -> Iterator[tuple[float, Int[Tensor, " n"]]]:
    """For each share of the pixels kept, the most important first, the classes the model then gives."""
    blank = filled(images, fill)
    for share in shares:
        kept: Bool[Tensor, "n h w"] = rank < round(share * rank[0].numel())
        yield share, model(masked(images, blank, kept))


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

    AAAI 2022, "Quantitative Evaluation". shares: kept fractions of the pixels, rising. One forward pass a share and image.

    Returns rows ``image, metric, x, value``: ``insertion_accuracy`` (1 where the class is the label; left out without a label),
    ``insertion_consistency`` (1 where it is the class of the whole image), each at every share ``x``, and the areas under the two
    curves by the trapezium rule over the range of shares, ``insertion_auc`` and ``insertion_consistency_auc``.
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
