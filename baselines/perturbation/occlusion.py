"""Occlusion and KernelSHAP: scores under removed patches and superpixels."""

from __future__ import annotations

import torch
from captum.attr import KernelShap, Occlusion

from baselines.perturbation.few_samples import FEW_SAMPLES, warn_once
from da.arguments import SCORES, arguments
from da.fill import Fill, baseline_image
from da.passes import passes
from da.superpixels import superpixels
from da.types import OK, Attribution, Images, Rngs, ScoreModel, Targets

__version__ = "3"


def occlusion(
    model: ScoreModel,
    images: Images,
    targets: Targets | None = None,
    *,
    rngs: Rngs | None = None,
    seed: int = 0,
    window: float = 0.14,
    stride: float = 0.07,
    fill: Fill = "black",
) -> Attribution:
    """How much the class's probability falls as a square is slid over the image.

    Score queries: one for the image and one a position, which are ``1 + ceil((side - window) / stride)`` along each side. A pixel gets the
    mean over the squares that cover it. Captum's ``Occlusion``.

    Parameters
    ----------
    model : ScoreModel
        Probabilities of images, see ``da.score_model``.
    images : Tensor [n, 3, h, w] in [0, 1]
        The images to explain, not normalised.
    targets : Tensor [n], optional
        The class to explain of each image; left out, the model's own prediction.
    rngs : sequence of numpy.random.Generator, optional
        Not used: nothing is drawn.
    seed : int
        Not used: nothing is drawn.
    window : float
        Side of the square as a fraction of the shorter side, at least a pixel and at most 1.
    stride : float
        Fraction of the shorter side, at least a pixel and at most ``window``.
    fill : str or three floats
        What replaces ablated pixels, see ``da.fill.baseline_image``.

    Returns
    -------
    Attribution
        The map as ``saliency``.

    Raises
    ------
    TypeError, ValueError
        For arguments of another type, shape or range, and for a window as large as the image: its one square says nothing.

    References
    ----------
    Zeiler and Fergus, ECCV 2014.
    """
    model, images, targets, rngs = arguments(SCORES, model, images, targets, rngs, seed)
    if not 0 < stride <= window <= 1:
        raise ValueError(f"occlusion: window={window} and stride={stride} must satisfy 0 < stride <= window <= 1")
    side = min(images.shape[-2:])
    window_px, stride_px = max(1, round(window * side)), max(1, round(stride * side))
    if window_px >= max(images.shape[-2:]):
        raise ValueError(f"occlusion: window={window} hides the whole image, which says nothing of its parts: give a smaller one")
    drop = Occlusion(model).attribute(
        images,
        sliding_window_shapes=(3, window_px, window_px),
        strides=(3, stride_px, stride_px),
        baselines=baseline_image(images, fill),
        target=targets,
    )
    return Attribution(drop.mean(1).float())


@passes(lambda samples, **_: (samples, 0))
def kernel_shap(
    model: ScoreModel,
    images: Images,
    targets: Targets | None = None,
    *,
    rngs: Rngs | None = None,
    seed: int = 0,
    samples: int = 500,
    sp_num: int = 50,
    fill: Fill = "black",
) -> Attribution:
    """Shapley values of superpixels for the class's probability, by weighted regression.

    Captum's ``KernelShap``, an image at a time, its draws seeded from the image's own stream and PyTorch's global one left as it was. An
    image of which SLIC makes a single superpixel is all that superpixel's: two queries.

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
        Score queries, from 2: the whole and the ablated image are among them.
    sp_num : int
        Superpixels asked of SLIC, from 1.
    fill : str or three floats
        What replaces ablated pixels, see ``da.fill.baseline_image``.

    Returns
    -------
    Attribution
        The map as ``saliency``. With fewer samples than superpixels and two the regression has not one answer: the status of the image is
        ``few_samples``.

    Raises
    ------
    TypeError, ValueError
        For arguments of another type, shape or range.

    References
    ----------
    Lundberg and Lee, NeurIPS 2017.
    """
    model, images, targets, rngs = arguments(SCORES, model, images, targets, rngs, seed)
    if samples < 2:
        raise ValueError(f"kernel_shap: samples={samples} must be at least 2, for the whole and the ablated image")
    parts = superpixels(images, sp_num)
    index = parts.index
    hidden = baseline_image(images, fill)
    maps = []
    for i, rng in enumerate(rngs):
        one = slice(i, i + 1)
        if parts.count[i] == 1:  # nothing to draw; Captum divides by zero
            shown, ablated = model(torch.cat([images[one], hidden[one]]))[:, targets[i]]
            maps.append((shown - ablated).expand(images.shape[-2:]))
            continue
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(int(rng.integers(2**31)))  # the CPU's alone; torch.manual_seed is also CUDA's
            values = KernelShap(model).attribute(
                images[one],
                baselines=hidden[one],
                target=targets[one],
                feature_mask=index[one, None],
                n_samples=samples,
                perturbations_per_eval=8,
            )
        maps.append(values[0, 0])
    status = tuple(FEW_SAMPLES if count > 1 and samples < count + 2 else OK for count in parts.count.tolist())
    if FEW_SAMPLES in status:
        warn_once(f"kernel_shap: samples={samples} for {int(parts.count.max())} superpixels do not decide their values: give more")
    queries = torch.tensor([2 if count == 1 else samples for count in parts.count.tolist()])
    return Attribution(torch.stack(maps).float(), status=status, queries=queries)
