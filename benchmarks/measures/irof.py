"""Iterative removal of features: superpixels go in the order of their mean relevance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from benchmarks.measures.fills import Removal
from benchmarks.measures.maps import class_scores, explained_class, one_number_each
from da.fill import Fill
from da.passes import passes
from da.superpixels import superpixels
from da.types import Attribution, Images, Rngs, ScoreModel, Targets

__version__ = "2"


CHANCE = 1 - 1e-5  # of 1 / classes, up to rounding


def _of_the_image(sp_num: int, **_: object) -> tuple[int, int]:
    raise TypeError("the passes depend on the superpixels of the image")


@passes(_of_the_image)
def iterative_removal(
    model: ScoreModel,
    images: Images,
    targets: Targets,
    labels: Sequence[int | None],
    attribution: Attribution,
    *,
    rngs: Rngs,
    sp_num: int,
    compactness: float,
    fill: Fill,
    target: str,
) -> pd.DataFrame:
    """IROF: the area over the curve of a class's probability, as a share of that of the whole image, while superpixels are removed.

    One forward pass for the whole image and one for each superpixel.

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
    sp_num : int
        Superpixels asked of SLIC, see ``da.certify``.
    compactness : float
        Of SLIC, above 0.
    fill : str or three floats
        What replaces removed superpixels, see ``da.fill.baseline_image``; ``"road"`` imputes them.
    target : {"predicted", "label"}
        The class whose probability it is.

    Returns
    -------
    pandas.DataFrame
        Rows ``image, metric, x, value`` with the metric ``irof``, up to 1: NaN where the whole image has less probability of the class
        than chance, 1 / classes, which the predicted class never has.

    Raises
    ------
    ValueError
        For a parameter out of range, and an image without a label where that is the target.

    References
    ----------
    Rieger and Hansen, arXiv:2003.08747.
    """
    classes = explained_class(targets, labels, target, "benchmark.irof")
    parts = superpixels(images, sp_num, compactness=compactness)
    removals = [Removal(images[i : i + 1], fill, [rng], "benchmark.irof.fill") for i, rng in enumerate(rngs)]
    scores = model(images)
    whole = scores.gather(1, classes[:, None]).double()
    known = whole[:, 0] > CHANCE / scores.shape[1]
    found = []
    for i, rng in enumerate(rngs):
        one, count = slice(i, i + 1), int(parts.count[i])
        place = segment_rank(attribution.saliency[i], parts.index[i], count, rng)
        left = class_scores(model, classes[one], (removals[i]((place >= removed)[None]) for removed in range(1, count + 1)))
        found.append(1 - torch.trapezoid(torch.cat([whole[one], left], 1)[0] / whole[i], dx=1 / count))
    return one_number_each({"irof": torch.stack(found).where(known, torch.nan)}, attribution.saliency)


def segment_rank(saliency: Float[Tensor, "h w"], index: Int[Tensor, "h w"], count: int, rng: np.random.Generator) -> Int[Tensor, "h w"]:
    """The place of each pixel's superpixel by falling mean value; superpixels that tie are in a random order."""
    flat = index.flatten()
    total = torch.zeros(count, dtype=torch.float64, device=index.device).index_add_(0, flat, saliency.flatten().double())
    mean = (total / torch.bincount(flat, minlength=count)).cpu().numpy()
    shuffled = rng.permutation(count)
    order = shuffled[np.argsort(-mean[shuffled], kind="stable")]
    place = np.empty(count, np.int64)
    place[order] = np.arange(count)
    return torch.from_numpy(place).to(index.device)[index]
