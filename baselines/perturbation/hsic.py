"""Dependence of the score on each cell of a grid, by the Hilbert-Schmidt independence criterion."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from scipy.stats import qmc

from baselines.parts import asked, grid, smooth_maps
from baselines.perturbation.few_samples import FEW_SAMPLES
from da.arguments import SCORES, arguments
from da.fill import IMAGENET_MEAN, Fill, baseline_image
from da.passes import passes
from da.types import Attribution, Images, Rngs, ScoreModel, Targets

__version__ = "1"


@passes(lambda masks, **_: (masks, 0))
def hsic(
    model: ScoreModel,
    images: Images,
    targets: Targets | None = None,
    *,
    rngs: Rngs | None = None,
    seed: int = 0,
    cells: int = 7,
    masks: int = 1536,
    fill: Fill = IMAGENET_MEAN,
) -> Attribution:
    """How far the class's probability depends on whether each cell is shown.

    The biased estimate of the Hilbert-Schmidt independence criterion between a cell's bit in random masks, with the kernel that is 1 for
    equal bits, and the probability, with a Gaussian kernel as wide as the median probability. Masks are a Latin hypercube, rounded: every
    cell is shown in half of them.

    Parameters
    ----------
    model : ScoreModel
        Probabilities of images, see ``da.score_model``.
    images : Tensor [n, 3, h, w] in [0, 1]
        The images to explain, not normalised.
    targets : Tensor [n], optional
        The class to explain of each image; left out, the model's own prediction.
    rngs : sequence of numpy.random.Generator, optional
        One generator per image; left out, made of ``seed`` and the image's content.
    seed : int
        Of the generators, where ``rngs`` is left out.
    cells : int
        Side of the grid, from 2.
    masks : int
        How many, from 2: one score query each.
    fill : str or three floats
        What replaces hidden cells, see ``da.fill.baseline_image``; the model's mean colour, which is zero after normalisation, is the
        authors'.

    Returns
    -------
    Attribution
        The criterion as ``saliency``, enlarged by cubic interpolation. With fewer masks than cells there are cells that no mask tells
        apart: the status of the images is ``few_samples``.

    Raises
    ------
    TypeError, ValueError
        For arguments of another type, shape or range.

    References
    ----------
    Novello, Fel and Vigouroux, NeurIPS 2022.

    Notes
    -----
    Deviations from the paper: each image has masks of its own, and what is explained is the probability, where the authors' code explains
    logits. The median of an even number of values is the mean of the middle two, not the lower one.
    """
    if masks < 2:
        raise ValueError(f"masks={masks}: give at least 2")
    model, images, targets, rngs = arguments(SCORES, model, images, targets, rngs, seed)
    parts, hidden = grid(images, cells), baseline_image(images, fill)
    found = []
    for i, rng in enumerate(rngs):
        shown = qmc.LatinHypercube(cells**2, seed=rng).random(masks) >= 0.5
        values, _ = asked(model, images, hidden, targets, parts, np.full(masks, i), shown)
        found.append(dependence(shown, values))
    return Attribution(smooth_maps(np.stack(found), images), status=(FEW_SAMPLES,) * len(images) if masks < cells**2 else None)


def dependence(bits: Bool[np.ndarray, "m d"], values: Float[np.ndarray, " m"]) -> NDArray[np.float64]:
    """The biased estimate of each bit's criterion with the values: the mean over pairs of the product of the centred kernels.

    The kernel of equal bits, centred, is ``2 c c'`` for centred bits c; so there is one matrix for all of them, that of the values.
    """
    y = values.astype(np.float64)
    width = float(np.median(y)) or 1.0
    kernel = np.exp(-((y[:, None] - y) ** 2) / (2 * width**2))
    centred = bits - bits.mean(0)
    return np.asarray(2 * (centred * (kernel @ centred)).sum(0) / len(y) ** 2)
