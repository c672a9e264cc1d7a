"""The grid pointing game: on a mosaic, how much of a map lies in the cell whose class it explains."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch.nn.functional import interpolate

from da.passes import passes
from da.types import Attribution, Images, Rngs, ScoreModel, Targets

__version__ = "2"


@passes(lambda cells, **_: (cells**2, 0))
def grid_pointing(
    model: ScoreModel,
    images: Images,
    targets: Targets,
    labels: Sequence[int | None],
    attribution: Attribution,
    *,
    rngs: Rngs,
    cells: int,
    confident: float,
) -> pd.DataFrame:
    """The share of positive attribution in the right cell of a mosaic.

    The right cell is the one which alone, enlarged to the whole input, is given the mosaic's class with at least the probability
    ``confident``. One forward pass a cell. Chance is ``1 / cells^2``.

    Parameters
    ----------
    model : ScoreModel
        Probabilities of images, see ``da.score_model``.
    images : Tensor [n, 3, h, w] in [0, 1]
        Mosaics of ``cells`` x ``cells`` photographs (``dataset=mosaic``), not normalised.
    targets : Tensor [n]
        The class explained of each image.
    labels : sequence of int or None
        Not used.
    attribution : Attribution
        What the method said of the images.
    rngs : sequence of numpy.random.Generator
        Not used.
    cells : int
        Along each side of a mosaic, from 2: a divisor of the input's height and width.
    confident : float
        Probability from 0 to 1 that the right cell alone has the class with, at least.

    Returns
    -------
    pandas.DataFrame
        Rows ``image, metric, x, value`` with the metric ``grid_pointing``: NaN of a mosaic with no right cell, or two, and of a map without
        positive values.

    Raises
    ------
    ValueError
        For another number of cells.

    References
    ----------
    After Boehle, Fritz and Schiele, CVPR 2021.
    """
    n, _, h, w = images.shape
    if cells < 2 or h % cells or w % cells:
        raise ValueError(f"benchmark.pointing.cells={cells}: at least 2, and a divisor of the input's {h} x {w} pixels")
    high, wide = h // cells, w // cells
    boxes = [(slice(y * high, (y + 1) * high), slice(x * wide, (x + 1) * wide)) for y in range(cells) for x in range(cells)]
    right = []
    for rows_, columns in boxes:
        alone = interpolate(images[:, :, rows_, columns], (h, w), mode="bilinear", align_corners=False)
        confidence, classes = model(alone).max(1)
        right.append((classes == targets) & (confidence >= confident))
    chosen = torch.stack(right, 1).cpu().numpy()
    positive = attribution.saliency.clamp_min(0).cpu().double().numpy()
    rows = []
    for i in range(n):
        total = positive[i].sum()
        there = float(positive[i][boxes[int(np.argmax(chosen[i]))]].sum() / total) if chosen[i].sum() == 1 and total > 0 else np.nan
        rows.append((i, "grid_pointing", np.nan, there))
    return pd.DataFrame(rows, columns=["image", "metric", "x", "value"])
