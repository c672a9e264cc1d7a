"""Total Sobol indices of a grid of cells."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.stats import qmc

from baselines.parts import asked, grid, smooth_maps
from da.arguments import SCORES, arguments
from da.fill import IMAGENET_MEAN, Fill, baseline_image
from da.passes import passes
from da.types import Attribution, Images, Rngs, ScoreModel, Targets

__version__ = "1"

MOST_CELLS = 102  # a side: scipy's sequence has 21201 dimensions, and each cell takes two


@passes(lambda cells, designs, **_: (designs * (cells**2 + 1), 0))
def sobol(
    model: ScoreModel,
    images: Images,
    targets: Targets | None = None,
    *,
    rngs: Rngs | None = None,
    seed: int = 0,
    cells: int = 11,
    designs: int = 32,
    fill: Fill = IMAGENET_MEAN,
) -> Attribution:
    """The share of the variance of the class's probability in which each cell has a part, when all are shown to random degrees.

    Jansen's estimator of total Sobol indices. A mask has a value from 0 to 1 for each cell, from the image to ``fill``; masks are rows of a
    scrambled Sobol sequence, and for each cell the same rows with that cell's value from another sequence.

    Parameters
    ----------
    model : ScoreModel
        Probabilities of images, see ``da.score_model``.
    images : Tensor [n, 3, h, w] in [0, 1]
        The images to explain, not normalised.
    targets : Tensor [n], optional
        The class to explain of each image; left out, the model's own prediction.
    rngs : sequence of numpy.random.Generator, optional
        One generator per image, by which its sequence is scrambled; left out, made of ``seed`` and the image's content.
    seed : int
        Of the generators, where ``rngs`` is left out.
    cells : int
        Side of the grid, from 2 to 102.
    designs : int
        Rows of the sequence, a power of two from 2: each takes one score query and one per cell.
    fill : str or three floats
        What shows where a mask is 0, see ``da.fill.baseline_image``; the model's mean colour, which is zero after normalisation, is the
        authors'.

    Returns
    -------
    Attribution
        The indices as ``saliency``, enlarged by cubic interpolation. All zero where the probability is the same under all masks.

    Raises
    ------
    TypeError, ValueError
        For arguments of another type, shape or range.

    References
    ----------
    Fel, Cadene, Chalvidal, Cord, Vigouroux and Serre, NeurIPS 2021.

    Notes
    -----
    Deviations from the paper: the second sequence is asked about only where it replaces a cell, as the estimator needs no more
    (``designs * (cells ** 2 + 1)`` queries in place of ``+ 2``); sequences are scrambled, each image's by itself; what is explained is the
    probability, where the authors' code explains logits.
    """
    if designs < 2 or designs & (designs - 1):
        raise ValueError(f"designs={designs}: give a power of two from 2, which a Sobol sequence needs to be balanced")
    if cells > MOST_CELLS:
        raise ValueError(f"cells={cells}: at most {MOST_CELLS}, as a Sobol sequence has no more dimensions")
    model, images, targets, rngs = arguments(SCORES, model, images, targets, rngs, seed)
    parts, hidden = grid(images, cells), baseline_image(images, fill)
    indices = []
    for i, rng in enumerate(rngs):
        masks = replicated(designs, cells**2, rng)
        values, _ = asked(model, images, hidden, targets, parts, np.full(len(masks), i), masks)
        indices.append(total_indices(values.reshape(cells**2 + 1, designs)))
    return Attribution(smooth_maps(np.stack(indices), images))


def replicated(designs: int, dimensions: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Rows A of a Sobol sequence in [0, 1], and for each dimension A with that dimension's values from rows B."""
    rows = qmc.Sobol(2 * dimensions, scramble=True, seed=rng).random(designs).astype(np.float32)
    found = np.tile(rows[:, :dimensions], (dimensions + 1, 1, 1))
    for one in range(dimensions):
        found[one + 1, :, one] = rows[:, dimensions + one]
    return found.reshape(-1, dimensions)


def total_indices(values: Float[np.ndarray, "masks designs"]) -> NDArray[np.float64]:
    """Jansen's estimate (1999) of each dimension's total index from a function's values at ``replicated`` rows."""
    base, *replaced = values.astype(np.float64)
    variance = base.var(ddof=1)
    if variance == 0:
        return np.zeros(len(replaced))
    return np.asarray(((base - np.stack(replaced)) ** 2).mean(1) / (2 * variance))
