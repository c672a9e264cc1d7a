"""SIS: sufficient input subsets by backward selection."""

from __future__ import annotations

import numpy as np

from baselines.parts import segments
from baselines.regions.criterion import Criterion
from baselines.regions.search import Found, Search, searched
from da.arguments import SCORES, arguments
from da.fill import IMAGENET_MEAN, Fill, baseline_image
from da.passes import passes
from da.types import Attribution, Images, Rngs, ScoreModel, Targets

__version__ = "1"


@passes(lambda sp_num, subsets, **_: (subsets * (sp_num * (sp_num + 1) // 2 + 1), 0))
def sis(
    model: ScoreModel,
    images: Images,
    targets: Targets | None = None,
    *,
    rngs: Rngs | None = None,
    seed: int = 0,
    sp_num: int = 64,
    slic_zero: bool = True,
    criterion: str = "threshold",
    level: float = 0.9,
    subsets: int = 1,
    fill: Fill = IMAGENET_MEAN,
) -> Attribution:
    """Remove the segment without which the class's probability is highest, until none is left; the fewest of the last that are enough.

    Backward selection takes ``s (s + 1) / 2 + 1`` score queries for ``s`` segments, the whole and the ablated image among them. It ranks by
    the probability whatever the criterion; with ``top1`` what is enough is decided by the predicted class alone.

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
    sp_num : int
        Segments asked of SLIC, from 1; of more, the smallest are joined to a neighbour.
    slic_zero : bool
        Whether by SLICO, which comes near that number.
    criterion : {"top1", "share", "threshold"}
        Whether a region is enough where the target is the predicted class, or by its probability: ``level`` is a share of the whole
        image's, or a probability.
    level : float
        What the region alone must have at least, above 0, at most 1; not used by ``top1``.
    subsets : int
        Sufficient subsets to look for, from 1: each is disjoint with those before it, and starts from all that they leave, where that is
        enough. Each takes another backward selection.
    fill : str or three floats
        What replaces removed segments, see ``da.fill.baseline_image``; the data set's
        mean colour, which is zero after normalisation, is the authors'.

    Returns
    -------
    Attribution
        The first subset as ``kept``, its status (``ok``, ``vacuous``, ``unsatisfiable`` or ``nothing_accepted``), the queries of each
        image, and the order of removal as the map: what went last is on top, so that ``kept`` is its upper end. Extras: ``subsets`` found,
        and ``parts``, the segments obtained.

    Raises
    ------
    TypeError, ValueError
        For arguments of another type, shape or range.

    References
    ----------
    Carter, Mueller, Jain and Gifford, AISTATS 2019.

    Notes
    -----
    Deviations from the paper: segments in place of pixels. Of segments without which the probability is the same the first goes first, as
    in the authors' code.
    """
    needed = Criterion(criterion, level)
    if subsets < 1:
        raise ValueError(f"subsets={subsets}: look for at least one")
    model, images, targets, rngs = arguments(SCORES, model, images, targets, rngs, seed)
    parts = segments(images, sp_num, slic_zero)
    hidden = baseline_image(images, fill)
    return searched(model, images, targets, hidden, parts, needed, lambda count: sufficient_subsets(count, subsets), ("subsets",))


def sufficient_subsets(parts: int, most: int) -> Search:
    """One image's search, see ``sis``: yields subsets of its parts and is sent the answers."""
    left = np.ones(parts, bool)
    kept, rank, number = left, np.zeros(parts), 0
    while number < most:
        subset, order = left.copy(), []
        remaining = left.copy()
        while remaining.sum() > 1:  # without any part it is known not to be enough
            candidates = np.flatnonzero(remaining)
            trials = np.repeat(remaining[None], len(candidates), 0)
            trials[np.arange(len(candidates)), candidates] = False
            answers = yield trials
            best = int(answers.probability.argmax())
            remaining[candidates[best]] = False
            order.append(candidates[best])
            if answers.accepted[best]:
                subset = remaining.copy()
        if number == 0:
            order.append(np.flatnonzero(remaining)[0])
            rank[order] = np.arange(parts)
            kept = subset
        number += 1
        left = left & ~subset
        if number == most or not left.any() or not (yield left[None]).accepted[0]:
            break
    return Found(kept, rank, {"subsets": float(number)})
