"""Maps that know nothing of the model: what every method must beat."""

from __future__ import annotations

import numpy as np
import torch
from skimage.filters import sobel

from da.arguments import LABELS, arguments
from da.passes import passes
from da.types import Attribution, Images, LabelModel, Rngs, Targets

__version__ = "1"


@passes(lambda **_: (0, 0))
def random_map(
    model: LabelModel, images: Images, targets: Targets | None = None, *, rngs: Rngs | None = None, seed: int = 0
) -> Attribution:
    """Uniform noise, each image's own.

    Parameters
    ----------
    model : LabelModel
        Asked only for the prediction, where ``targets`` is left out.
    images : Tensor [n, 3, h, w] in [0, 1]
        The images to explain, not normalised.
    targets : Tensor [n], optional
        Not used.
    rngs : sequence of numpy.random.Generator, optional
        One generator per image; left out, made of ``seed`` and the image's content.
    seed : int
        Of the generators, where ``rngs`` is left out.

    Returns
    -------
    Attribution
        The map as ``saliency``.

    Raises
    ------
    TypeError, ValueError
        For arguments of another type, shape or range.
    """
    _, images, _, rngs = arguments(LABELS, model, images, targets, rngs, seed)
    h, w = images.shape[-2:]
    return Attribution(torch.from_numpy(np.stack([rng.random((h, w), dtype=np.float32) for rng in rngs])).to(images.device))


@passes(lambda **_: (0, 0))
def centre_disc(
    model: LabelModel, images: Images, targets: Targets | None = None, *, rngs: Rngs | None = None, seed: int = 0
) -> Attribution:
    """The nearer the centre, the more important: photographers aim.

    Parameters
    ----------
    model : LabelModel
        Asked only for the prediction, where ``targets`` is left out.
    images : Tensor [n, 3, h, w] in [0, 1]
        The images to explain, not normalised.
    targets : Tensor [n], optional
        Not used.
    rngs : sequence of numpy.random.Generator, optional
        Not used: nothing is drawn.
    seed : int
        Not used: nothing is drawn.

    Returns
    -------
    Attribution
        The map as ``saliency``.

    Raises
    ------
    TypeError, ValueError
        For arguments of another type, shape or range.
    """
    _, images, _, rngs = arguments(LABELS, model, images, targets, rngs, seed)
    h, w = images.shape[-2:]
    rows, columns = torch.meshgrid(torch.arange(h) - (h - 1) / 2, torch.arange(w) - (w - 1) / 2, indexing="ij")
    return Attribution(-(rows.square() + columns.square()).sqrt().expand(len(images), h, w).to(images.device))


@passes(lambda **_: (0, 0))
def sobel_edges(
    model: LabelModel, images: Images, targets: Targets | None = None, *, rngs: Rngs | None = None, seed: int = 0
) -> Attribution:
    """The magnitude of the brightness's edges; looks like an explanation and is none.

    Parameters
    ----------
    model : LabelModel
        Asked only for the prediction, where ``targets`` is left out.
    images : Tensor [n, 3, h, w] in [0, 1]
        The images to explain, not normalised.
    targets : Tensor [n], optional
        Not used.
    rngs : sequence of numpy.random.Generator, optional
        Not used: nothing is drawn.
    seed : int
        Not used: nothing is drawn.

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
    Adebayo et al., NeurIPS 2018.
    """
    _, images, _, rngs = arguments(LABELS, model, images, targets, rngs, seed)
    maps = [sobel(image) for image in images.mean(1).cpu().numpy()]
    return Attribution(torch.from_numpy(np.stack(maps)).float().to(images.device))
