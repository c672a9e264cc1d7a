"""Integrated Gradients and SmoothGrad."""

from __future__ import annotations

import numpy as np
import torch
from captum.attr import IntegratedGradients, Saliency
from torch import nn

from baselines.perturbation.few_samples import FEW_SAMPLES, warn_once
from da.arguments import MODULE, arguments
from da.fill import Fill, baseline_image
from da.passes import passes
from da.types import Attribution, Images, Rngs, Targets

__version__ = "2"


@passes(lambda steps, **_: (0, steps))
def integrated_gradients(
    model: nn.Module,
    images: Images,
    targets: Targets | None = None,
    *,
    rngs: Rngs | None = None,
    seed: int = 0,
    steps: int = 32,
    fill: Fill = "black",
) -> Attribution:
    """Gradients of the class logit averaged on the way from an ablated image, times the difference.

    The magnitude of the sum over the channels. Captum's ``IntegratedGradients``.

    Parameters
    ----------
    model : torch.nn.Module
        Logits of images in [0, 1]: normalisation is inside it.
    images : Tensor [n, 3, h, w] in [0, 1]
        The images to explain, not normalised.
    targets : Tensor [n], optional
        The class to explain of each image; left out, the model's own prediction.
    rngs : sequence of numpy.random.Generator, optional
        Not used: nothing is drawn.
    seed : int
        Not used: nothing is drawn.
    steps : int
        Of the Gauss-Legendre quadrature, from 1: one forward and one backward pass each.
    fill : str or three floats
        The ablated image, see ``da.fill.baseline_image``.

    Returns
    -------
    Attribution
        The map as ``saliency``.

    Raises
    ------
    TypeError, ValueError
        For arguments of another type, shape or range.

    References
    ----------
    Sundararajan et al., ICML 2017.
    """
    model, images, targets, rngs = arguments(MODULE, model, images, targets, rngs, seed)
    if steps < 1:
        raise ValueError(f"integrated_gradients: steps={steps} must be at least 1")
    baselines = baseline_image(images, fill)
    start = images.detach().clone().requires_grad_()
    integral = IntegratedGradients(model).attribute(start, baselines, target=targets, n_steps=steps, internal_batch_size=len(images))
    return Attribution(integral.detach().sum(1).abs().float())


@passes(lambda samples, **_: (0, samples))
def smoothgrad(
    model: nn.Module,
    images: Images,
    targets: Targets | None = None,
    *,
    rngs: Rngs | None = None,
    seed: int = 0,
    samples: int = 32,
    noise: float = 0.15,
) -> Attribution:
    """The mean gradient of noisy copies, its largest magnitude over the channels.

    Parameters
    ----------
    model : torch.nn.Module
        Logits of images in [0, 1]: normalisation is inside it.
    images : Tensor [n, 3, h, w] in [0, 1]
        The images to explain, not normalised.
    targets : Tensor [n], optional
        The class to explain of each image; left out, the model's own prediction.
    rngs : sequence of numpy.random.Generator, optional
        One generator per image; left out, made of ``seed`` and the image's content.
    seed : int
        Of the generators, where ``rngs`` is left out.
    samples : int
        Noisy copies, from 1: one forward and one backward pass each.
    noise : float
        Standard deviation as a fraction of each image's range of values, above 0; drawn from each image's own stream, where Captum's
        ``NoiseTunnel`` would draw from PyTorch's global one.

    Returns
    -------
    Attribution
        The map as ``saliency``. One sample is no mean: the status of the images is ``few_samples``.

    Raises
    ------
    TypeError, ValueError
        For arguments of another type, shape or range.

    References
    ----------
    Smilkov et al., 2017.
    """
    model, images, targets, rngs = arguments(MODULE, model, images, targets, rngs, seed)
    if samples < 1 or not noise > 0:
        raise ValueError(f"smoothgrad: samples={samples} must be at least 1 and noise={noise} above 0: without noise it is gradient")
    if samples == 1:
        warn_once("smoothgrad: samples=1 is the gradient of one noisy copy, no mean: give more")
    spread = noise * (images.amax((1, 2, 3)) - images.amin((1, 2, 3)))
    total = torch.zeros_like(images)
    for _ in range(samples):
        draws = np.stack([rng.standard_normal(images.shape[1:], dtype=np.float32) for rng in rngs])
        noisy = images + spread.view(-1, 1, 1, 1) * torch.from_numpy(draws).to(images.device)
        total += Saliency(model).attribute(noisy.requires_grad_(), target=targets, abs=False).detach()
    return Attribution((total / samples).abs().amax(1), status=(FEW_SAMPLES,) * len(images) if samples == 1 else None)
