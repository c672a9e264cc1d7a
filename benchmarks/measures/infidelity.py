"""Infidelity: how far a map's inner product with a perturbation is from what the perturbation does to the score."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from benchmarks.measures.maps import chosen, class_scores, explained_class, one_number_each, signed
from da.fill import Fill, baseline_image
from da.passes import passes
from da.types import Attribution, Images, Rngs, ScoreModel, Targets

__version__ = "2"


@passes(lambda draws, **_: (1 + draws, 0))
def infidelity(
    model: ScoreModel,
    images: Images,
    targets: Targets,
    labels: Sequence[int | None],
    attribution: Attribution,
    *,
    rngs: Rngs,
    draws: int,
    perturbation: str,
    sigma: float,
    side: float,
    fill: Fill,
    sign: str,
    normalise: bool,
    target: str,
) -> pd.DataFrame:
    """Mean squared difference of ``sum(perturbation * map)`` and the loss of probability, over random perturbations.

    One forward pass for the whole image and one a draw. The map counts for each of the three channels.

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
        One generator per image, by which perturbations are drawn.
    draws : int
        Perturbations an image, from 1.
    perturbation : {"square", "noise"}
        What is subtracted: a square of the image less the fill, or normal noise, within what leaves pixels in [0, 1].
    sigma : float
        Standard deviation of the noise, of pixels in [0, 1], above 0.
    side : float
        Of the square, as a share of the shorter side, above 0 and up to 1.
    fill : str or three floats
        What stands in the square, see ``da.fill.baseline_image``.
    sign : {"positive", "absolute", "signed"}
        The values of the map that count.
    normalise : bool
        Whether a map is divided by its largest absolute value.
    target : {"predicted", "label"}
        The class whose probability it is.

    Returns
    -------
    pandas.DataFrame
        Rows ``image, metric, x, value``: ``infidelity`` of the map as it is, which depends on its units and says nothing between methods,
        and ``infidelity_scaled`` of the map times the factor from 0 on that makes it least. A map that goes against the losses has the
        factor 0, and so the value of a map of zeros, the mean squared loss; no map has more.

    Raises
    ------
    ValueError
        For a parameter out of range, and an image without a label where that is the target.

    References
    ----------
    Yeh, Hsieh, Suggala, Inouye and Ravikumar, NeurIPS 2019. Deviation: their factor, and captum's, may be negative, so that a map and its
    negative have one value.
    """
    if draws < 1 or sigma <= 0 or not 0 < side <= 1:
        raise ValueError(f"benchmark.infidelity: draws={draws} from 1, sigma={sigma} above 0, and side={side} above 0, up to 1")
    chosen("benchmark.infidelity.perturbation", perturbation, ("square", "noise"))
    classes = explained_class(targets, labels, target, "benchmark.infidelity")
    values = signed(attribution.saliency, sign, "benchmark.infidelity.sign")
    if normalise:
        largest = values.abs().amax((1, 2), keepdim=True)
        values = values / largest.where(largest > 0, 1)
    products = list[Tensor]()

    blank = baseline_image(images, fill, "benchmark.infidelity.fill")

    def perturbed() -> Iterator[Images]:
        yield images
        for _ in range(draws):
            if perturbation == "noise":
                drawn = torch.stack([_noise(image, rng) for image, rng in zip(images, rngs, strict=True)])
                taken = images - (images - sigma * drawn).clamp(0, 1)
            else:
                taken = (images - blank) * torch.stack([_square(image, side, rng) for image, rng in zip(images, rngs, strict=True)])
            products.append((taken.double() * values[:, None]).sum((1, 2, 3)))
            yield images - taken

    scores = class_scores(model, classes, perturbed())
    lost, said = scores[:, :1] - scores[:, 1:], torch.stack(products, 1)
    squares = said.square().sum(1)
    factor = (said * lost).sum(1).clamp_min(0) / squares.where(squares > 0, 1)
    found = {
        "infidelity": (said - lost).square().mean(1),
        "infidelity_scaled": (factor[:, None] * said - lost).square().mean(1),
    }
    return one_number_each(found, attribution.saliency)


def _noise(image: Float[Tensor, "3 h w"], rng: np.random.Generator) -> Float[Tensor, "3 h w"]:
    return torch.from_numpy(rng.standard_normal(image.shape, dtype=np.float32)).to(image)


def _square(image: Float[Tensor, "3 h w"], side: float, rng: np.random.Generator) -> Float[Tensor, "1 h w"]:
    """1 in a square at a random place, 0 elsewhere."""
    h, w = image.shape[1:]
    size = max(1, round(side * min(h, w)))
    top, left = (int(rng.integers(0, length - size + 1)) for length in (h, w))
    square = torch.zeros_like(image[:1])
    square[:, top : top + size, left : left + size] = 1
    return square
