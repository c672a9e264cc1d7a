"""A class's score while the most, or the least, relevant pixels are removed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd
import torch
from jaxtyping import Int
from torch import Tensor

from benchmarks.measures.fills import ROAD, Removal, fill_names
from benchmarks.measures.maps import area_under, class_scores, curve_each, explained_class, one_number_each
from da.fill import Fill
from da.passes import passes
from da.ranking import importance_rank
from da.types import Attribution, Images, Rngs, ScoreModel, Targets

__version__ = "2"


@passes(lambda fills, steps, **_: (1 + len(fills) * (2 * steps - 1), 0))
def pixel_flipping(
    model: ScoreModel,
    images: Images,
    targets: Targets,
    labels: Sequence[int | None],
    attribution: Attribution,
    *,
    rngs: Rngs,
    fills: Sequence[Fill],
    steps: int,
    target: str,
) -> pd.DataFrame:
    """Pixel flipping with the most relevant pixels first (MoRF) and last (LeRF), and the difference, the symmetric relevance gain.

    MoRF is a deletion game, LeRF an insertion game read from its end. One forward pass for the whole image; of each fill, one for the
    blank image and two for each step between.

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
        One generator per image, by which ties are broken and noise is drawn.
    fills : sequence of str or three floats
        What replaces removed pixels, see ``da.fill.baseline_image``; ``"road"`` imputes them.
    steps : int
        From 1 to the image's pixels: equal numbers of these are removed in each.
    target : {"predicted", "label"}
        The class whose probability it is.

    Returns
    -------
    pandas.DataFrame
        Rows ``image, metric, x, value`` of each fill: the curves ``morf_score_FILL`` and ``lerf_score_FILL`` at the removed share ``x``,
        the areas under them ``morf_FILL`` and ``lerf_FILL``, and ``srg_FILL``, the second less the first.

    Raises
    ------
    ValueError
        For no fills or two of one name, a parameter out of range, and an image without a label where that is the target.

    References
    ----------
    Samek et al., IEEE TNNLS 2017; Blücher, Vielhaben and Strodthoff, TMLR 2024 (symmetric relevance gain).
    """
    names = fill_names(fills, "benchmark.flipping.fills")
    area = images[0, 0].numel() if len(images) else 1
    if not 1 <= steps <= area:
        raise ValueError(f"benchmark.flipping.steps={steps}: from 1 to the {area} pixels of the image")
    classes = explained_class(targets, labels, target, "benchmark.flipping")
    rank = importance_rank(attribution.saliency, rngs)
    removals = [Removal(images, fill, rngs, "benchmark.flipping.fills") for fill in fills]
    counts = [round(area * step / steps) for step in range(1, steps)]
    whole = class_scores(model, classes, iter([images]))
    shares = [0.0, *(count / area for count in counts), 1.0]
    frames, areas = [], {}
    for name, removal in zip(names, removals, strict=True):
        blank = class_scores(model, classes, iter([removal(torch.zeros_like(rank, dtype=torch.bool))]))
        for order, ranked in (("morf", rank), ("lerf", area - 1 - rank)):
            between = class_scores(model, classes, _without(removal, ranked, counts)) if counts else whole[:, :0]
            curve = torch.cat([whole, between, blank], 1)
            frames.append(curve_each(f"{order}_score_{name}", curve, shares, attribution.saliency))
            areas[f"{order}_{name}"] = area_under(curve, shares)
        areas[f"srg_{name}"] = areas[f"lerf_{name}"] - areas[f"morf_{name}"]
    return pd.concat([*frames, one_number_each(areas, attribution.saliency)], ignore_index=True)


@passes(lambda shares, **_: (2 * len(shares), 0))
def remove_and_debias(
    model: ScoreModel,
    images: Images,
    targets: Targets,
    labels: Sequence[int | None],
    attribution: Attribution,
    *,
    rngs: Rngs,
    shares: Sequence[float],
    target: str,
) -> pd.DataFrame:
    """ROAD: whether a class is kept while pixels are imputed from those that are left, the most relevant first (MoRF) and last (LeRF).

    Two forward passes a share.

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
        One generator per image, by which ties are broken and noise is drawn.
    shares : sequence of float
        Removed fractions of the pixels, rising, between 0 and 1.
    target : {"predicted", "label"}
        The class that is to be kept.

    Returns
    -------
    pandas.DataFrame
        Rows ``image, metric, x, value``: the curves ``road_morf_kept`` and ``road_lerf_kept``, 1 where the class is the predicted one, and
        ``road_morf_score`` and ``road_lerf_score``, its probability, at each removed share ``x``; their means over the shares,
        ``road_morf``, ``road_lerf`` and ``road_combined``, half the mean difference of the probabilities, LeRF less MoRF.

    Raises
    ------
    ValueError
        For shares that do not rise between 0 and 1, and an image without a label where that is the target.

    References
    ----------
    Rong, Leemann, Borisov, Kasneci and Kasneci, ICML 2022; the combination is that of pytorch-grad-cam.
    """
    if not shares or list(shares) != sorted(set(shares)) or shares[0] <= 0 or shares[-1] >= 1:
        raise ValueError(f"benchmark.road.shares={list(shares)}: give rising fractions between 0 and 1")
    classes = explained_class(targets, labels, target, "benchmark.road")
    rank = importance_rank(attribution.saliency, rngs)
    area = rank[0].numel()
    removal = Removal(images, ROAD, rngs, "benchmark.road")
    counts = [max(1, round(area * share)) for share in shares]
    frames, means, scored = [], {}, {}
    for order, ranked in (("morf", rank), ("lerf", area - 1 - rank)):
        asked = [model(shown) for shown in _without(removal, ranked, counts)]
        kept = torch.stack([(scores.argmax(1) == classes).double() for scores in asked], 1)
        scored[order] = torch.stack([scores.gather(1, classes[:, None])[:, 0].double() for scores in asked], 1)
        frames.append(curve_each(f"road_{order}_kept", kept, shares, attribution.saliency))
        frames.append(curve_each(f"road_{order}_score", scored[order], shares, attribution.saliency))
        means[f"road_{order}"] = kept.mean(1)
    means["road_combined"] = (scored["lerf"] - scored["morf"]).mean(1) / 2
    return pd.concat([*frames, one_number_each(means, attribution.saliency)], ignore_index=True)


def _without(removal: Removal, rank: Int[Tensor, "n h w"], counts: Sequence[int]) -> Iterator[Images]:
    """The images without the first pixels of a ranking, for each of the counts."""
    return (removal(rank >= count) for count in counts)
