"""Max-sensitivity: how much a method's map changes when the image hardly does."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import torch

from benchmarks.measures.maps import one_number_each
from da.passes import passes
from da.types import Attribution, Images, LabelModel, Rngs, Saliency, Targets

__version__ = "1"


def _of_the_method(draws: int, **_: object) -> tuple[int, int]:
    raise TypeError("the passes are those of the method, once a draw")


@passes(_of_the_method)
def max_sensitivity(
    model: LabelModel,
    images: Images,
    targets: Targets,
    labels: Sequence[int | None],
    attribution: Attribution,
    *,
    rngs: Rngs,
    explain: Callable[[Images], Saliency],
    draws: int,
    radius: float,
) -> pd.DataFrame:
    """The largest relative change of a map under uniform noise on the image, in the Frobenius norm.

    The method is run again on each noisy image, for the same class and with the same random streams: ``draws`` times its passes.

    Parameters
    ----------
    model : LabelModel
        Not used.
    images : Tensor [n, 3, h, w] in [0, 1]
        The images that were explained, not normalised.
    targets : Tensor [n]
        Not used; ``explain`` knows them.
    labels : sequence of int or None
        Not used.
    attribution : Attribution
        What the method said of the images.
    rngs : sequence of numpy.random.Generator
        One generator per image, by which the noise is drawn.
    explain : callable
        From other versions of the images to their maps by the same method, given by the harness.
    draws : int
        Noisy images an image, from 1.
    radius : float
        Of the noise, of pixels in [0, 1], above 0; noisy pixels are clipped to [0, 1].

    Returns
    -------
    pandas.DataFrame
        Rows ``image, metric, x, value`` with the metric ``max_sensitivity``, from 0: NaN of a map of zeros.

    Raises
    ------
    ValueError
        For a parameter out of range, and maps that were made elsewhere, which cannot be made again.

    References
    ----------
    Yeh, Hsieh, Suggala, Inouye and Ravikumar, NeurIPS 2019.
    """
    if draws < 1 or radius <= 0:
        raise ValueError(f"benchmark.sensitivity: draws={draws} must be at least 1, and radius={radius} above 0")
    before = attribution.saliency.double()
    size = torch.linalg.vector_norm(before, dim=(1, 2))
    changes = []
    for _ in range(draws):
        drawn = [rng.uniform(-radius, radius, image.shape).astype(np.float32) for image, rng in zip(images, rngs, strict=True)]
        noisy = (images + torch.from_numpy(np.stack(drawn)).to(images)).clamp(0, 1)
        changes.append(torch.linalg.vector_norm(explain(noisy).to(before) - before, dim=(1, 2)))
    largest = torch.stack(changes).amax(0) / size.where(size > 0, torch.nan)
    return one_number_each({"max_sensitivity": largest}, attribution.saliency)
