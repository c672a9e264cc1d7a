"""XRAI, Blur IG and Guided IG by the package saliency."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from da.arguments import MODULE, arguments
from da.fill import Fill, baseline_image
from da.types import Attribution, Images, Rngs, Targets

__version__ = "1"

TOGETHER = 8  # images of a path that are shown at a time
Explain = Callable[[Any, NDArray[np.float64], Callable[..., Any], int], NDArray[np.float64]]


def xrai(
    model: nn.Module, images: Images, targets: Targets | None = None, *, rngs: Rngs | None = None, seed: int = 0, steps: int = 100
) -> Attribution:
    """Regions by their Integrated Gradients, the densest first: XRAI of the package ``saliency`` (the extra ``saliency``).

    2 ``steps`` passes per image, each forward and backward: the gradients are those from a darkest and a brightest image. The regions
    are Felzenszwalb's segments at several scales.

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
        Of each of the two paths, from 1.

    Returns
    -------
    Attribution
        The map as ``saliency``.

    Raises
    ------
    TypeError, ValueError
        For arguments of another type, shape or range, and where the package is missing, or does not run with the installed versions.

    References
    ----------
    Kapishnikov et al., ICCV 2019.
    """

    def explain(core: Any, pixels: NDArray[np.float64], gradients: Callable[..., Any], _i: int) -> NDArray[np.float64]:
        more = core.XRAIParameters(steps=steps)
        found: NDArray[np.float64] = core.XRAI().GetMask(pixels, gradients, batch_size=TOGETHER, extra_parameters=more)
        return found

    return _by_package("xrai", model, images, targets, rngs, seed, steps, explain)


def blur_ig(
    model: nn.Module,
    images: Images,
    targets: Targets | None = None,
    *,
    rngs: Rngs | None = None,
    seed: int = 0,
    steps: int = 100,
    sigma: float = 50.0,
) -> Attribution:
    """Gradients along a path on which the image comes out of a blur: Blur IG of the package ``saliency`` (the extra ``saliency``).

    ``steps`` passes per image, each forward and backward; the magnitude of the sum over the channels.

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
        Of the path, from 1.
    sigma : float
        Of the strongest blur, in pixels, above 0.

    Returns
    -------
    Attribution
        The map as ``saliency``.

    Raises
    ------
    TypeError, ValueError
        As ``xrai``, and for a sigma that is not above 0.

    References
    ----------
    Xu, Venugopalan and Sundararajan, CVPR 2020.
    """
    if not sigma > 0:
        raise ValueError(f"blur_ig: sigma={sigma} must be above 0")

    def explain(core: Any, pixels: NDArray[np.float64], gradients: Callable[..., Any], _i: int) -> NDArray[np.float64]:
        found: NDArray[np.float64] = core.BlurIG().GetMask(pixels, gradients, max_sigma=sigma, steps=steps, batch_size=TOGETHER)
        return np.abs(found.sum(2))

    return _by_package("blur_ig", model, images, targets, rngs, seed, steps, explain)


def guided_ig(
    model: nn.Module,
    images: Images,
    targets: Targets | None = None,
    *,
    rngs: Rngs | None = None,
    seed: int = 0,
    steps: int = 200,
    fraction: float = 0.25,
    max_dist: float = 0.02,
    fill: Fill = "black",
) -> Attribution:
    """Gradients along a path that goes where they are small first: Guided IG of the package ``saliency`` (the extra ``saliency``).

    ``steps`` passes per image, each forward and backward; the magnitude of the sum over the channels. Version 0.2.1 of the package asks
    NumPy for what version 2.4 no longer has: there it is refused.

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
        Of the path, from 1.
    fraction : float
        Of the values, those that are moved at a step, above 0 and up to 1.
    max_dist : float
        How far a value may be from the straight path, as a share of it, from 0 to 1.
    fill : str or three floats
        The image that the path begins at: ``"black"``, ``"mean"``, ``"blur"`` or an RGB colour.

    Returns
    -------
    Attribution
        The map as ``saliency``.

    Raises
    ------
    TypeError, ValueError
        As ``xrai``, and for a fraction or distance out of range.

    References
    ----------
    Kapishnikov et al., CVPR 2021.
    """
    if not 0 < fraction <= 1 or not 0 <= max_dist <= 1:
        raise ValueError(f"guided_ig: fraction={fraction} must be above 0 and up to 1, max_dist={max_dist} from 0 to 1")

    def explain(core: Any, pixels: NDArray[np.float64], gradients: Callable[..., Any], i: int) -> NDArray[np.float64]:
        start = baseline_image(images[i : i + 1], fill)[0].permute(1, 2, 0).double().cpu().numpy()
        found: NDArray[np.float64] = core.GuidedIG().GetMask(
            pixels, gradients, x_baseline=start, x_steps=steps, fraction=fraction, max_dist=max_dist
        )
        return np.abs(found.sum(2))

    return _by_package("guided_ig", model, images, targets, rngs, seed, steps, explain)


def _by_package(
    name: str,
    model: nn.Module,
    images: Images,
    targets: Targets | None,
    rngs: Rngs | None,
    seed: int,
    steps: int,
    explain: Explain,
) -> Attribution:
    """An image at a time, whose gradients the package asks for."""
    model, images, targets, rngs = arguments(MODULE, model, images, targets, rngs, seed)
    if steps < 1:
        raise ValueError(f"{name}: steps={steps} must be at least 1")
    try:
        from saliency import core
    except ImportError:
        raise ValueError(f"{name} needs saliency: pip install 'dynamic-ablation[saliency]'") from None
    maps = []
    for i, (image, target) in enumerate(zip(images, targets.tolist(), strict=True)):

        def gradients(pixels: Any, call_model_args: Any = None, expected_keys: Any = None, *, like: Any = image, of: int = target) -> Any:
            shown = torch.from_numpy(np.asarray(pixels)).to(like).permute(0, 3, 1, 2).contiguous().requires_grad_()
            with torch.enable_grad():
                (gradient,) = torch.autograd.grad(model(shown)[:, of].sum(), shown)
            return {core.INPUT_OUTPUT_GRADIENTS: gradient.permute(0, 2, 3, 1).double().cpu().numpy()}

        try:
            found = explain(core, image.permute(1, 2, 0).double().cpu().numpy(), gradients, i)
        except TypeError as error:
            if "unexpected keyword" not in str(error):
                raise
            raise ValueError(
                f"{name}: the installed saliency does not run with the installed NumPy or SciPy ({error}): choose another method, such as "
                "integrated_gradients, or for guided_ig install a NumPy before 2.4"
            ) from None
        maps.append(torch.from_numpy(np.ascontiguousarray(found)).float())
    return Attribution(torch.stack(maps).to(images.device))
