"""RISE: randomised input sampling."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from baselines.perturbation.few_samples import FEW_SAMPLES
from da.arguments import SCORES, arguments
from da.fill import IMAGENET_MEAN, Fill, baseline_image
from da.passes import passes
from da.types import Attribution, Images, Rngs, ScoreModel, Targets

__version__ = "2"


@passes(lambda masks, **_: (masks, 0))
def rise(
    model: ScoreModel,
    images: Images,
    targets: Targets | None = None,
    *,
    rngs: Rngs | None = None,
    seed: int = 0,
    masks: int = 4000,
    cells: int = 7,
    probability: float = 0.5,
    fill: Fill = IMAGENET_MEAN,
    mask_seed: int = 0,
    chunk: int = 8,
) -> Attribution:
    """The mean of random smooth masks, weighted by the class's probability under each.

    The map is ``sum(score * mask) / (masks * probability)``.

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
    masks : int
        How many, from 1: one score query each and image.
    cells : int
        Side of the random grid, from 2.
    probability : float
        Of a cell to be kept, between 0 and 1.
    fill : str or three floats
        What shows where a mask is 0, see ``da.fill.baseline_image``; the model's mean colour is zero after normalisation, which is the
        reference's.
    mask_seed : int
        Of the masks, which all images share, from 0.
    chunk : int
        Masks held at a time, from 1, so that memory does not grow with their number.

    Returns
    -------
    Attribution
        The map as ``saliency``. With fewer masks than cells there are cells that no mask tells apart: the status of the images is
        ``few_samples``.

    Raises
    ------
    TypeError, ValueError
        For arguments of another type, shape or range, and where all masks are of one value: for a single cell, and a probability of 1.

    References
    ----------
    Petsiuk, Das and Saenko, BMVC 2018.
    """
    model, images, targets, rngs = arguments(SCORES, model, images, targets, rngs, seed)
    if masks < 1 or cells < 2 or chunk < 1 or mask_seed < 0 or not 0 < probability < 1:
        counts = f"masks={masks}, chunk={chunk} must be at least 1, cells={cells} at least 2"
        raise ValueError(f"rise: {counts}, probability={probability} between 0 and 1, mask_seed={mask_seed} at least 0")
    n, _, h, w = images.shape
    hidden = baseline_image(images, fill)
    total = torch.zeros(n, h * w, dtype=torch.float64, device=images.device)
    for some in random_masks(masks, cells=cells, probability=probability, size=(h, w), seed=mask_seed, chunk=chunk):
        some = some.to(images.device)
        shown = torch.lerp(hidden[:, None], images[:, None], some[None, :, None])
        scores = model(shown.flatten(0, 1)).view(n, len(some), -1)
        for i in range(n):  # an image at a time, so that the sum does not depend on the batch
            total[i] += some.flatten(1).T @ scores[i, :, targets[i]]
    return Attribution((total / (masks * probability)).view(n, h, w).float(), status=(FEW_SAMPLES,) * n if masks < cells**2 else None)


def random_masks(
    count: int, *, cells: int, probability: float, size: tuple[int, int], seed: int, chunk: int
) -> Iterator[Float[Tensor, "c h w"]]:
    """Stream ``count`` masks in [0, 1], ``chunk`` at a time: grids of kept cells, enlarged bilinearly, shifted at random and cropped.

    A mask depends on its place in the stream alone. Enlarged to one cell more than the image, with cells of
    ``ceil(side / cells)`` pixels and mirrored edges, and shifted by less than a cell, as in the reference implementation.
    """
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, 0x52495345])))
    cell = [math.ceil(side / cells) for side in size]
    enlarge = [_enlargement(cells, (cells + 1) * c) for c in cell]
    for start in range(0, count, chunk):
        number = min(chunk, count - start)
        draws = rng.random((number, cells * cells + 2))
        grid = torch.from_numpy((draws[:, 2:] < probability).reshape(number, cells, cells)).float()
        shift = [torch.from_numpy((draws[:, axis] * cell[axis]).astype(np.int64)) for axis in (0, 1)]
        rows, columns = (enlarge[axis][shift[axis][:, None] + torch.arange(size[axis])] for axis in (0, 1))
        yield rows @ grid @ columns.transpose(1, 2)


def _enlargement(cells: int, side: int) -> Float[Tensor, "side cells"]:
    """Bilinear interpolation of ``cells`` values to ``side`` pixels as a matrix; past the outermost centres the values are mirrored."""
    at = (np.arange(side) + 0.5) * cells / side - 0.5
    low = np.floor(at).astype(int)
    matrix = np.zeros((side, cells), dtype=np.float32)
    for index, weight in ((low, 1 - (at - low)), (low + 1, at - low)):
        mirrored = np.clip(np.where(index < 0, -index, np.where(index >= cells, 2 * (cells - 1) - index, index)), 0, cells - 1)
        np.add.at(matrix, (np.arange(side), mirrored), weight)
    return torch.from_numpy(matrix)
