"""LIME: a linear model of the score around an image."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import torch
from captum._utils.models.linear_model import SkLearnRidge
from captum.attr import Lime
from torch import Tensor

from baselines.parts import segments
from baselines.perturbation.few_samples import FEW_SAMPLES, warn_once
from da.arguments import SCORES, arguments
from da.fill import Fill, baseline_image
from da.passes import passes
from da.types import OK, Attribution, Images, Rngs, ScoreModel, Targets

__version__ = "1"


@passes(lambda samples, **_: (samples, 0))
def lime(
    model: ScoreModel,
    images: Images,
    targets: Targets | None = None,
    *,
    rngs: Rngs | None = None,
    seed: int = 0,
    samples: int = 1000,
    sp_num: int = 50,
    slic_zero: bool = True,
    kernel_width: float = 0.25,
    alpha: float = 1.0,
    fill: Fill = "black",
) -> Attribution:
    """Weights of superpixels in a ridge regression of the class's probability, by samples with half of them hidden.

    Captum's ``Lime``, an image at a time. The first sample is the image, the others show each superpixel with probability a half, drawn
    from each image's own stream. A sample with a share k of the superpixels shown weighs ``exp(-d^2 / (2 kernel_width^2))``, where
    ``d = 1 - sqrt(k)`` is its cosine distance from the image's. An image of a single superpixel is all that superpixel's: two queries.

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
    samples : int
        Score queries, from 2.
    sp_num : int
        Superpixels asked of SLIC, from 1; of more, the smallest are joined to a neighbour.
    slic_zero : bool
        Whether by SLICO, which comes near that number.
    kernel_width : float
        Of the samples' weights, above 0.
    alpha : float
        Of the regression's penalty, above 0.
    fill : str or three floats
        What replaces hidden superpixels, see ``da.fill.baseline_image``.

    Returns
    -------
    Attribution
        The weights as ``saliency``. With no more samples than superpixels the penalty decides the weights: the status of the image is
        ``few_samples``.

    Raises
    ------
    TypeError, ValueError
        For arguments of another type, shape or range.

    References
    ----------
    Ribeiro, Singh and Guestrin, KDD 2016.

    Notes
    -----
    Deviations from the paper: ridge regression on all superpixels, as the authors' code for images has it, and not a lasso path that leaves
    a few; segments are SLIC's, where that code uses quickshift, and hides each behind its own mean colour.
    """
    if samples < 2 or not kernel_width > 0 or not alpha > 0:
        raise ValueError(f"lime: samples={samples} must be at least 2, kernel_width={kernel_width} and alpha={alpha} above 0")
    model, images, targets, rngs = arguments(SCORES, model, images, targets, rngs, seed)
    parts = segments(images, sp_num, slic_zero)
    hidden = baseline_image(images, fill)

    def weight(_image: Tensor, _shown: Tensor, sample: Tensor, **_: object) -> float:
        return math.exp(-((1 - math.sqrt(float(sample.float().mean()))) ** 2) / (2 * kernel_width**2))

    maps = []
    for i, rng in enumerate(rngs):
        one = slice(i, i + 1)
        if parts.count[i] == 1:  # a regression on a constant
            shown, ablated = model(torch.cat([images[one], hidden[one]]))[:, targets[i]]
            maps.append((shown - ablated).expand(images.shape[-2:]))
            continue
        draws = rng.integers(0, 2, (samples, parts.count[i]))
        draws[0] = 1
        following = iter(torch.from_numpy(draws).to(images.device).split(1))
        ridge = SkLearnRidge(alpha=alpha)
        regression = Lime(model, interpretable_model=ridge, similarity_func=weight, perturb_func=partial(_next, following))
        with torch.random.fork_rng(devices=[]):  # its data loader draws a seed
            values = regression.attribute(
                images[one],
                baselines=hidden[one],
                target=targets[one],
                feature_mask=parts.index[one, None],
                n_samples=samples,
                perturbations_per_eval=8,
            )
        maps.append(values[0, 0])
    status = tuple(FEW_SAMPLES if count > 1 and samples <= count else OK for count in parts.count)
    if FEW_SAMPLES in status:
        warn_once(f"lime: samples={samples} for {max(parts.count)} superpixels do not decide their weights: give more")
    queries = torch.tensor([2 if count == 1 else samples for count in parts.count])
    return Attribution(torch.stack(maps).float(), status=status, queries=queries)


def _next(draws: Iterator[Tensor], _image: Tensor, **_: object) -> Tensor:
    """The next of the draws, as Captum asks for them."""
    return next(draws)
