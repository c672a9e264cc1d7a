"""Greedy insertion of segments by a submodular score."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from baselines.parts import segments
from baselines.regions.criterion import Criterion
from baselines.regions.search import Answers, Found, Search, Subsets, searched
from da.arguments import SCORES, arguments
from da.fill import Fill, baseline_image
from da.passes import passes
from da.types import Attribution, Images, Rngs, ScoreModel, Targets

__version__ = "1"

PENDING = 8  # candidates for the least important, as in the authors' code


@passes(lambda sp_num, **_: (sp_num * (sp_num + 1), 0))
def greedy(
    model: ScoreModel,
    images: Images,
    targets: Targets | None = None,
    *,
    rngs: Rngs | None = None,
    seed: int = 0,
    sp_num: int = 45,
    slic_zero: bool = True,
    criterion: str = "top1",
    level: float = 0.9,
    collaboration: float = 1.0,
    bidirectional: bool = False,
    fill: Fill = "black",
) -> Attribution:
    """Insert the segment by which a score of the subset grows most, until all are in; the fewest of the first that are enough.

    The score is ``p(S) + collaboration * (1 - p(rest))``, of the class's probability p under the subset alone and under all but it. All
    segments take ``s (s + 1)`` score queries, the whole and the ablated image among them. It ranks by the probability whatever the
    criterion; with ``top1`` what is enough is decided by the predicted class alone.

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
    collaboration : float
        Weight of the second term, from 0.
    bidirectional : bool
        Whether each round also sets aside the least important, while more than 8 are open: of the 8 whose insertion gains least, the one
        that adds least to those set aside. Fewer rounds, about 0.7 times the queries for 45 segments.
    fill : str or three floats
        What replaces the rest, see ``da.fill.baseline_image``.

    Returns
    -------
    Attribution
        The smallest prefix that is enough as ``kept``, its status (``ok``, ``vacuous``, ``unsatisfiable`` or ``nothing_accepted``), the
        queries of each image, and the order of insertion as the map, the first on top. Extras: ``parts``, the segments obtained.

    Raises
    ------
    TypeError, ValueError
        For arguments of another type, shape or range.

    References
    ----------
    - Chen et al., ICLR 2024 (the score, greedy search).
    - Chen et al., 2025 (arXiv 2504.00470; bidirectional search).

    Notes
    -----
    Deviations from the paper: of its four terms only the two that probabilities suffice for, and with these in place of similarities to
    the class's features; its terms of confidence and effectiveness need an evidential network and features. The paper ends in a ranking,
    here its smallest sufficient prefix is the region.
    """
    needed = Criterion(criterion, level)
    if not 0 <= collaboration < np.inf:
        raise ValueError(f"collaboration={collaboration}: give a weight from 0")
    model, images, targets, rngs = arguments(SCORES, model, images, targets, rngs, seed)
    parts = segments(images, sp_num, slic_zero)
    hidden = baseline_image(images, fill)
    return searched(model, images, targets, hidden, parts, needed, lambda count: insertion(count, collaboration, bidirectional))


def insertion(parts: int, collaboration: float, bidirectional: bool) -> Search:
    """One image's search, see ``greedy``: yields subsets of its parts and is sent the answers."""
    inserted, aside = np.zeros(parts, bool), np.zeros(parts, bool)
    first: list[int] = []
    last: list[int] = []
    enough = np.zeros(parts, bool)  # whether the prefix of each length is

    def score(answers: Answers) -> NDArray[np.float64]:
        with_it, without = np.split(answers.probability.astype(float), 2)
        return np.asarray(with_it + collaboration * (1 - without))

    while len(open_ := np.flatnonzero(~inserted & ~aside)) > 1:
        answers = yield _and_rest(inserted, open_)
        scores = score(answers)
        best = int(scores.argmax())
        if bidirectional and len(open_) > PENDING:
            weakest = np.argsort(scores, kind="stable")[:PENDING]
            weakest = open_[weakest[weakest != best]]
            of_weakest = yield _and_rest(aside, weakest)
            worst = int(score(of_weakest).argmin())
            last.append(int(weakest[worst]))
            aside[weakest[worst]] = True
            enough[parts - len(last)] = of_weakest.accepted[len(weakest) + worst]
        first.append(int(open_[best]))
        inserted[open_[best]] = True
        enough[len(first)] = answers.accepted[best]
    order = np.array([*first, *open_, *last[::-1]])
    kept = np.zeros(parts, bool)
    kept[order[: int(enough.argmax()) if enough.any() else parts]] = True
    rank = np.zeros(parts)
    rank[order] = np.arange(parts)[::-1]
    return Found(kept, rank)


def _and_rest(of: np.ndarray, candidates: np.ndarray) -> Subsets:
    """A set with each of the candidates, and then the complement of each of these."""
    grown = np.repeat(of[None], len(candidates), 0)
    grown[np.arange(len(candidates)), candidates] = True
    return np.concatenate([grown, ~grown])
