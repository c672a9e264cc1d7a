"""Whether a map's sums over random subsets of pixels go with what removing them does to the score."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from benchmarks.measures.fills import Removal
from benchmarks.measures.maps import class_scores, curve_each, explained_class, one_number_each, signed
from da.fill import Fill
from da.passes import passes
from da.types import Attribution, Images, Rngs, ScoreModel, Targets

__version__ = "2"

SUBSET_AREA = 224**2  # pixels of the image that ``size`` counts pixels of
SUMS_EQUAL, SCORES_EQUAL = 1e-12, 4 * torch.finfo(torch.float32).eps  # of the largest: what differs by less is rounding


@passes(lambda draws, **_: (1 + draws, 0))
def faithfulness_correlation(
    model: ScoreModel,
    images: Images,
    targets: Targets,
    labels: Sequence[int | None],
    attribution: Attribution,
    *,
    rngs: Rngs,
    size: int,
    draws: int,
    fill: Fill,
    sign: str,
    target: str,
) -> pd.DataFrame:
    """Pearson's correlation of the map's sum over a random subset of pixels and the probability that is lost without them.

    One forward pass for the whole image and one a subset.

    Parameters
    ----------
    model : ScoreModel
        Probabilities of images, see ``da.score_model``.
    images : Tensor [n, 3, h, w] in [0, 1]
        The images that were explained, not normalised.
    targets : Tensor [n]
        The class explained of each image.
    labels : sequence of int or None
        The true class of each image, None where it is not known.
    attribution : Attribution
        What the method said of the images.
    rngs : sequence of numpy.random.Generator
        One generator per image, by which subsets and noise are drawn.
    size : int
        Pixels of a subset in a 224 x 224 image, from 1 and fewer than it has, in proportion in other sizes.
    draws : int
        Subsets an image, from 2.
    fill : str or three floats
        What replaces removed pixels, see ``da.fill.baseline_image``; ``"road"`` imputes them.
    sign : {"positive", "absolute", "signed"}
        The values of the map that count.
    target : {"predicted", "label"}
        The class whose probability it is.

    Returns
    -------
    pandas.DataFrame
        Rows ``image, metric, x, value`` with the metric ``faithfulness_correlation``, from -1 to 1: NaN where the map's sums do not
        vary, or the probabilities by no more than 5e-7 of the largest, the whole image's among them,
        which is rounding in single precision.

    Raises
    ------
    ValueError
        For a parameter out of range, and an image without a label where that is the target.

    References
    ----------
    Bhatt, Weller and Moura, IJCAI 2020.
    """
    if not 1 <= size < SUBSET_AREA or draws < 2:
        raise ValueError(f"benchmark.faithfulness: size={size} must be from 1 and below {SUBSET_AREA}, draws={draws} at least 2")
    classes = explained_class(targets, labels, target, "benchmark.faithfulness")
    values = signed(attribution.saliency, sign, "benchmark.faithfulness.sign")
    removal = Removal(images, fill, rngs, "benchmark.faithfulness.fill")
    whole = class_scores(model, classes, iter([images]))
    found = _correlation(model, classes, values, removal, whole, max(1, round(size * values[0].numel() / SUBSET_AREA)), draws, rngs)
    return one_number_each({"faithfulness_correlation": found}, attribution.saliency)


@passes(lambda shares, draws, **_: (1 + len(shares) * draws, 0))
def sensitivity_n(
    model: ScoreModel,
    images: Images,
    targets: Targets,
    labels: Sequence[int | None],
    attribution: Attribution,
    *,
    rngs: Rngs,
    shares: Sequence[float],
    draws: int,
    fill: Fill,
    sign: str,
    target: str,
) -> pd.DataFrame:
    """Sensitivity-n: ``faithfulness_correlation`` at several sizes of the subsets.

    One forward pass for the whole image and one a share and subset.

    Parameters
    ----------
    model : ScoreModel
        Probabilities of images, see ``da.score_model``.
    images : Tensor [n, 3, h, w] in [0, 1]
        The images that were explained, not normalised.
    targets : Tensor [n]
        The class explained of each image.
    labels : sequence of int or None
        The true class of each image, None where it is not known.
    attribution : Attribution
        What the method said of the images.
    rngs : sequence of numpy.random.Generator
        One generator per image, by which subsets and noise are drawn.
    shares : sequence of float
        Sizes of the subsets as fractions of the pixels, rising, between 0 and 1.
    draws : int
        Subsets an image and share, from 2.
    fill : str or three floats
        What replaces removed pixels, see ``da.fill.baseline_image``; ``"road"`` imputes them.
    sign : {"positive", "absolute", "signed"}
        The values of the map that count.
    target : {"predicted", "label"}
        The class whose probability it is.

    Returns
    -------
    pandas.DataFrame
        Rows ``image, metric, x, value``: the curve ``sensitivity_n_correlation`` at each share ``x``, and its mean ``sensitivity_n``, both
        from -1 to 1. A share at which the map's sums, or the probabilities, do not vary (see ``faithfulness_correlation``) has NaN, and the
        mean is over the others.

    Raises
    ------
    ValueError
        For a parameter out of range, and an image without a label where that is the target.

    References
    ----------
    Ancona, Ceolini, Oeztireli and Gross, ICLR 2018.
    """
    if not shares or list(shares) != sorted(set(shares)) or shares[0] <= 0 or shares[-1] >= 1 or draws < 2:
        raise ValueError(f"benchmark.sensitivity_n: shares={list(shares)} must rise between 0 and 1, and draws={draws} be at least 2")
    classes = explained_class(targets, labels, target, "benchmark.sensitivity_n")
    values = signed(attribution.saliency, sign, "benchmark.sensitivity_n.sign")
    removal = Removal(images, fill, rngs, "benchmark.sensitivity_n.fill")
    whole = class_scores(model, classes, iter([images]))
    sizes = [max(1, round(share * values[0].numel())) for share in shares]
    curve = torch.stack([_correlation(model, classes, values, removal, whole, size, draws, rngs) for size in sizes], 1)
    mean = one_number_each({"sensitivity_n": curve.nanmean(1)}, attribution.saliency)
    return pd.concat([curve_each("sensitivity_n_correlation", curve, shares, attribution.saliency), mean], ignore_index=True)


def _correlation(
    model: ScoreModel,
    classes: Targets,
    values: Float[Tensor, "n h w"],
    removal: Removal,
    whole: Float[Tensor, "n 1"],
    size: int,
    draws: int,
    rngs: Rngs,
) -> Float[Tensor, " n"]:
    sums = list[Tensor]()

    def versions() -> Iterator[Images]:
        for _ in range(draws):
            removed = torch.stack([_subset(of, size, rng) for of, rng in zip(values, rngs, strict=True)])
            sums.append((values * removed).sum((1, 2)))
            yield removal(~removed)

    scores = class_scores(model, classes, versions())
    said = torch.stack(sums, 1)
    constant = _spread(said) <= SUMS_EQUAL * said.abs().amax(1)
    constant |= _spread(scores) <= SCORES_EQUAL * torch.cat([whole, scores], 1).amax(1)
    return _pearson(said, whole - scores).where(~constant, torch.nan)


def _subset(values: Float[Tensor, "h w"], size: int, rng: np.random.Generator) -> Bool[Tensor, "h w"]:
    """As many pixels as ``size``, at random."""
    removed = np.zeros(values.numel(), bool)
    removed[rng.choice(values.numel(), size, replace=False)] = True
    return torch.from_numpy(removed).view(values.shape).to(values.device)


def _pearson(a: Float[Tensor, "n d"], b: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
    """Pearson's correlation of each row."""
    a, b = (of - of.mean(1, keepdim=True) for of in (a, b))
    return (a * b).sum(1) / (torch.linalg.vector_norm(a, dim=1) * torch.linalg.vector_norm(b, dim=1))


def _spread(of: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
    return of.amax(1) - of.amin(1)
