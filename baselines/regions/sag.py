"""SAG: minimal sufficient explanations by beam search over a grid of patches."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
from jaxtyping import Bool
from numpy.typing import NDArray

from baselines.parts import grid
from baselines.regions.criterion import Criterion
from baselines.regions.search import Answers, Found, Search, Subsets, searched
from da.arguments import SCORES, arguments
from da.fill import Fill, baseline_image
from da.passes import passes
from da.types import Attribution, Images, Rngs, ScoreModel, Targets

__version__ = "1"

MOST_ROOTS = 20  # how many of them are diverse is found by trying their subsets


@passes(lambda budget, **_: (budget, 0))
def sag(
    model: ScoreModel,
    images: Images,
    targets: Targets | None = None,
    *,
    rngs: Rngs | None = None,
    seed: int = 0,
    cells: int = 7,
    criterion: str = "share",
    level: float = 0.9,
    beams: int = 3,
    successors: int = 15,
    roots: int = 10,
    overlap: int = 1,
    budget: int = 2500,
    fill: Fill = "blur",
) -> Attribution:
    """Grow sets of patches, the most probable first, until some are enough; strip each of what it does not need, and keep the smallest.

    The patches are tried in an order of promise: of each its probability alone less the probability of the image without it, two queries a
    patch. From nothing, every set of the beam grows by each of the first ``successors`` that it does not have. Those that are enough become
    roots, of which patches are removed one by one as long as the rest is enough; of the others the most probable are the next beam. It
    ranks by the probability whatever the criterion; with ``top1`` what is enough is decided by the predicted class alone.

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
    cells : int
        Patches a side, from 2.
    criterion : {"top1", "share", "threshold"}
        Whether a region is enough where the target is the predicted class, or by its probability: ``level`` is a share of the whole
        image's, or a probability.
    level : float
        What the region alone must have at least, above 0, at most 1; not used by ``top1``.
    beams : int
        Sets that grow side by side, from 1.
    successors : int
        Patches by which each is tried to grow, from 1.
    roots : int
        Minimal sets at which the search ends, from 1 to 20.
    overlap : int
        Patches that two roots may have in common and still count as diverse, from 0.
    budget : int
        Queries per image at most, from ``2 * cells ** 2 + 2``: the search ends there.
    fill : str or three floats
        What replaces the rest, see ``da.fill.baseline_image``.

    Returns
    -------
    Attribution
        The smallest root as ``kept``, of several the most probable, or what a root was being made of when the budget ended; its status
        (``ok``, ``vacuous``, ``unsatisfiable`` or ``nothing_accepted``), and the queries of each image. The map orders the patches: those
        of ``kept``, then by the number of roots that have them, then by their promise. Extras: ``roots``, the sets found that are enough
        and minimal; ``diverse``, how many of them are pairwise diverse; and ``parts``, the patches.

    Raises
    ------
    TypeError, ValueError
        For arguments of another type, shape or range.

    References
    ----------
    Shitole, Li, Kahng, Tadepalli and Fern, NeurIPS 2021.

    Notes
    -----
    Deviations from the paper: the authors order the patches by a map of I-GOS, which needs gradients; their patches are enlarged with soft
    edges, here each pixel belongs to one; a set that their beam holds several times counts once here, which takes fewer queries and leaves
    room for others; they have no budget, and end after the round in which they have more than ten roots, where the search here ends with
    the last of ``roots``. Their published script replaces the rest by black, the paper by a blurred image.
    """
    needed = Criterion(criterion, level)
    for name, value, least in (("beams", beams, 1), ("successors", successors, 1), ("roots", roots, 1), ("overlap", overlap, 0)):
        if value < least:
            raise ValueError(f"{name}={value}: give at least {least}")
    if roots > MOST_ROOTS:
        raise ValueError(f"roots={roots}: give at most {MOST_ROOTS}")
    model, images, targets, rngs = arguments(SCORES, model, images, targets, rngs, seed)
    parts = grid(images, cells)
    if budget < (order := 2 * cells**2 + 2):
        raise ValueError(f"budget={budget}: the order of {cells} x {cells} patches takes {order} queries; give more, or fewer cells")

    def search(count: int) -> Search:
        return beam_search(count, beams, successors, roots, overlap, budget - 2)

    return searched(model, images, targets, baseline_image(images, fill), parts, needed, search, ("roots", "diverse"))


Set = Bool[np.ndarray, " s"]


class _Met:
    """What is known of the sets that were asked about: probability, and whether it is enough."""

    def __init__(self, parts: int, budget: int) -> None:
        self.known: dict[bytes, tuple[float, bool]] = {np.zeros(parts, bool).tobytes(): (0.0, False)}  # nothing is not enough
        self.left = budget

    def __getitem__(self, one: Set) -> tuple[float, bool]:
        return self.known[one.tobytes()]

    def ask(self, sets: list[Set]) -> Generator[Subsets, Answers, bool]:
        """Ask about those not met before, as one batch; returns False, without asking, where the budget does not suffice."""
        new = {one.tobytes(): one for one in sets if one.tobytes() not in self.known}
        if len(new) > self.left:
            return False
        if new:
            self.left -= len(new)
            answers = yield np.stack([*new.values()])
            pairs = zip(answers.probability.tolist(), answers.accepted.tolist(), strict=True)
            self.known |= dict(zip(new, pairs, strict=True))
        return True


def beam_search(parts: int, beams: int, successors: int, most: int, overlap: int, budget: int) -> Search:
    """One image's search, see ``sag``: yields sets of its patches and is sent the answers."""
    met = _Met(parts, budget)
    single = np.eye(parts, dtype=bool)
    yield from met.ask([*single, *~single])
    promise = np.array([met[one][0] - met[~one][0] for one in single])
    order = np.argsort(-promise, kind="stable")
    enough: list[Set] = []
    roots: list[Set] = []  # of them that are minimal
    beam = [np.zeros(parts, bool)]
    while beam and len(roots) < most:
        grown = {(one | single[j]).tobytes(): one | single[j] for one in beam for j in order[~one[order]][:successors]}
        sets = [*grown.values()]
        if not (yield from met.ask(sets)):
            break
        sets.sort(key=lambda one: -met[one][0])  # stable: of the same probability, the first in the order of promise
        for one in sets:
            if met[one][1] and len(roots) < most:
                root, minimal = yield from _stripped(one, met)
                enough.append(root)
                if minimal and not any((root == other).all() for other in roots):
                    roots.append(root)
        beam = [one for one in sets if not met[one][1] and not one.all()][:beams]
    if not enough:
        return Found(np.ones(parts, bool), np.argsort(order).max() - np.argsort(order).astype(float))
    kept = min(enough, key=lambda one: (one.sum(), -met[one][0]))
    rank = np.empty(parts)
    rank[np.lexsort((promise, np.sum(roots or enough, 0), kept))] = np.arange(parts)
    return Found(
        kept, rank, {"roots": float(len(roots)), "diverse": float(_most_diverse(np.array(roots, bool).reshape(-1, parts), overlap))}
    )


def _stripped(one: Set, met: _Met) -> Generator[Subsets, Answers, tuple[Set, bool]]:
    """Remove patches from a set that is enough, in their order and again from the first, until each is needed or the budget ends.

    Returns what is left, and whether each was needed.
    """
    changed = True
    while changed:
        changed = False
        for j in np.flatnonzero(one):
            less = one.copy()
            less[j] = False
            if not (yield from met.ask([less])):
                return one, False
            if met[less][1]:
                one, changed = less, True
    return one, True


def _most_diverse(roots: Bool[np.ndarray, "r s"], overlap: int) -> int:
    """How many of the sets can be chosen so that no two have more than ``overlap`` patches in common."""
    apart: NDArray[np.bool_] = roots.astype(int) @ roots.T.astype(int) <= overlap

    def most(chosen: list[int], start: int) -> int:
        return max([len(chosen), *(most([*chosen, j], j + 1) for j in range(start, len(roots)) if apart[j, chosen].all())])

    return most([], 0)
