"""The search of ``da.minimal.region`` on one image: it yields a region to ask about and is sent whether the rule holds."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from da.fill import Fill
from da.minimal.pieces import Mask, cut, graded, shares, superpixels_in
from da.superpixels import COMPACTNESS


@dataclass(frozen=True)
class Settings:
    """The hyper-parameters of ``minimal_region``.

    Attributes
    ----------
    rule : str
        ``"positive"``, Pos-R: the region alone has class y; ``"negative"``, Neg-R: without it the class is not y.
    budget : int
        Queries an image at most, from 2.
    sp_num : int
        Superpixels asked of SLIC, fewer where they would have less than 10 pixels; cuts follow their borders, then go through them.
    compactness : float
        Of SLIC, above 0, see ``da.superpixels``.
    slic_zero : bool
        Whether SLICO adapts the compactness to each superpixel, which gives nearly as many as asked.
    k : int
        Circles of the walk, from 1.
    walk : int
        Steps of the walk, from 0.
    alpha_step : float
        Step, as a fraction from 0 to 1, see ``dynamic_ablation``; here the centres move less as the area bound shrinks.
    fc : float
        Factor of the area bound at each acceptance, from 0 to 1.
    start : int
        The walk's region is cut into ``2 ** start`` pieces, from 0 to 16.
    prior : float
        Probability that a piece is needed at first, between 0 and 1.
    prior_half : float
        The same of a half.
    prior_again : float
        The same of what is tried again.
    refine : float
        Queries kept back for each cut, above 0.
    verify : float
        Queries kept back for each share's check, from 0; half of that once a check has ended.
    smallest : float
        Share of the image below which no half is made of a superpixel, above 0, at most 1.
    fill : str or three floats
        What replaces the rest, see ``da.fill.baseline_image``.

    Raises
    ------
    ValueError
        For a hyper-parameter out of range.
    """

    rule: str = "positive"
    budget: int = 500
    sp_num: int = 250
    compactness: float = COMPACTNESS
    slic_zero: bool = False
    k: int = 4
    walk: int = 60
    alpha_step: float = 0.2
    fc: float = 0.95
    start: int = 4
    prior: float = 0.4
    prior_half: float = 0.5
    prior_again: float = 0.7
    refine: float = 2
    verify: float = 3
    smallest: float = 0.00032
    fill: Fill = "black"

    def __post_init__(self) -> None:
        for name, valid, needed in (
            ("rule", self.rule in ("positive", "negative"), "choose positive (Pos-R) or negative (Neg-R)"),
            ("budget", self.budget >= 2, "at least 2 queries"),
            ("compactness", self.compactness > 0, "a number above 0"),
            ("k", self.k >= 1, "at least one circle"),
            ("walk", self.walk >= 0, "0 or more steps"),
            ("alpha_step", 0 <= self.alpha_step <= 1, "a fraction from 0 to 1"),
            ("fc", 0 <= self.fc <= 1, "a factor from 0 to 1"),
            ("start", 0 <= self.start <= 16, "0 to 16 cuts"),
            ("prior", 0 < self.prior < 1, "a probability between 0 and 1"),
            ("prior_half", 0 < self.prior_half < 1, "a probability between 0 and 1"),
            ("prior_again", 0 < self.prior_again < 1, "a probability between 0 and 1"),
            ("refine", self.refine > 0, "more than 0 queries"),
            ("verify", self.verify >= 0, "0 or more queries"),
            ("smallest", 0 < self.smallest <= 1, "a share of the image above 0, at most 1"),
        ):
            if not valid:
                raise ValueError(f"{name}={getattr(self, name)!r}: give {needed}")

    def least(self, index: Int[np.ndarray, "h w"]) -> int:
        """Pixels below which no half is made of a superpixel."""
        return max(1, round(self.smallest * index.size))


@dataclass
class Found:
    """What is known of one image so far.

    layer: in how many of the regions that held since the walk a pixel was, below 1 what the walk left out; graded at the end. start: the
    share of the image that a given start kept.
    """

    region: Mask
    layer: Float[np.ndarray, "h w"]
    queries: int
    pieces: int = 0
    checked: int = 0
    coarse: int = 0
    changed: bool = False
    start: float = 1.0

    @property
    def certified(self) -> bool:
        """Whether the region is 1-minimal over superpixels: its share of none of them can go."""
        return self.pieces == self.checked > 0 == self.coarse


Search = Generator[Mask, bool, Found]


def search(
    index: Int[np.ndarray, "h w"],
    centres: Float[np.ndarray, "s 2"],
    rng: np.random.Generator,
    s: Settings,
    starts: Sequence[Mask] | None = None,
) -> Search:
    """One image's search: yields a region to ask about, is sent whether the rule holds, returns what was found.

    starts: regions, each in the next, of which the search starts at one that holds instead of walking.
    """
    found = Found(np.ones(index.shape, bool), np.zeros(index.shape), queries=1)
    yield from _walk(index, centres, rng, s, found) if starts is None else _start(starts, s, found)
    labels = np.where(found.region, 0, 1)
    for _ in range(s.start):
        labels, _ = cut(labels, found.region, index, s.least(index), labels.size)
    pieces = _Pieces(labels, np.arange(labels.max() + 1), np.full(labels.max() + 1, s.prior))
    reserve, best = s.verify, None
    while True:
        yield from _remove(pieces, s, found, again=False)
        finer = _finer(pieces, index, reserve, s, found)
        if finer is None:
            yield from _remove(_shares(pieces, index, s, found), s, found, again=True)
            found.coarse = int((superpixels_in(pieces.labels, found.region, index) > 1).sum())
            if found.checked < found.pieces:
                break
            best = replace(found, layer=found.layer.copy()) if found.certified else best
            reserve /= 2  # with a check behind it, more is dared
            finer = _finer(pieces, index, reserve, s, found) or (None if best else _finer(pieces, index, 0.0, s, found))
            if finer is None:
                finer, known = _Pieces(pieces.labels, pieces.parents, np.ones(len(pieces.chances))), (found.pieces, found.checked)
                if not (yield from _remove(finer, s, found, again=True)):  # piece by piece
                    found.pieces, found.checked = known
                    break
        pieces = finer
    if best and not found.certified:
        found = replace(best, queries=found.queries)
    found.layer = graded(found.layer)
    return found


def _walk(
    index: Int[np.ndarray, "h w"], centres: Float[np.ndarray, "s 2"], rng: np.random.Generator, s: Settings, found: Found
) -> Generator[Mask, bool, None]:
    """Algorithm 1 whose centres move in proportion to the square root of the area bound."""
    h, w = index.shape
    x, y, r = h * rng.random(s.k), w * rng.random(s.k), rng.random(s.k)
    bound, last, accepted = float(h * w), np.zeros(len(centres)), 0
    for _ in range(min(s.walk, s.budget - found.queries)):
        reach, scale = math.sqrt(bound / math.pi), math.sqrt(bound / (h * w))
        x_new = x + h * s.alpha_step * scale * rng.uniform(-1, 1, s.k)
        y_new = y + w * s.alpha_step * scale * rng.uniform(-1, 1, s.k)
        r_new = r + reach * s.alpha_step * rng.uniform(-1, 1, s.k)
        r_new *= reach / max(math.sqrt((r_new**2).sum()), 1e-12)
        inside = ((centres[:, :1] - x_new) ** 2 + (centres[:, 1:] - y_new) ** 2 <= r_new**2).any(1)
        held = yield inside[index]
        found.queries += 1
        if held:
            x, y, r, bound = x_new, y_new, r_new, bound * s.fc
            accepted += 1
            last[inside] = accepted
            found.region, found.changed = inside[index], True
    found.layer = np.where(found.region & found.changed, 1, last[index] / (accepted + 1))  # the masks accepted last above the others


def _start(starts: Sequence[Mask], s: Settings, found: Found) -> Generator[Mask, bool, None]:
    """Find where regions that grow begin to hold, by bisection; where none does, the whole image is the start."""
    fails, holds = -1, len(starts)
    while holds - fails > 1 and found.queries < s.budget:
        middle = (fails + holds) // 2
        held = yield starts[middle]
        found.queries += 1
        fails, holds = (fails, middle) if held else (middle, holds)
    if holds < len(starts):
        found.region, found.changed, found.start = starts[holds], True, float(starts[holds].mean())
    found.layer = np.where(found.region & found.changed, 1, np.sum(starts, 0) / (len(starts) + 1))


@dataclass
class _Pieces:
    """A partition of the region. labels: the piece of each pixel, the last number outside; parents: the piece that each was cut from.

    chances: each one's probability of being needed, 1 once it was. needed: whether it is in the region as it is now.
    """

    labels: Int[np.ndarray, "h w"]
    parents: Int[np.ndarray, " p"]
    chances: Float[np.ndarray, " p"]

    def __post_init__(self) -> None:
        self.needed = np.zeros(len(self.chances), bool)


def _finer(pieces: _Pieces, index: Int[np.ndarray, "h w"], reserve: float, s: Settings, found: Found) -> _Pieces | None:
    """As many pieces cut in two as the budget affords with ``reserve`` queries kept back for each check; None where that is none."""
    checks = shares(pieces.labels, found.region, index)[found.region].max() + 1
    cuts = int((s.budget - found.queries - reserve * checks) / s.refine)
    labels, parents = cut(pieces.labels, found.region, index, s.least(index), max(cuts, 0))
    halved = np.bincount(parents)[parents] > 1
    return _Pieces(labels, parents, np.where(halved, s.prior_half, 1.0)) if halved.any() else None  # the others are known to be needed


def _shares(pieces: _Pieces, index: Int[np.ndarray, "h w"], s: Settings, found: Found) -> _Pieces:
    """The region's share of each superpixel as one piece. A share that is one of the pieces is as needed as it."""
    labels = shares(pieces.labels, found.region, index)
    merged = _Pieces(labels, np.arange(labels.max() + 1), np.full(labels.max() + 1, s.prior_again))
    pairs = np.unique(np.stack([labels[found.region], pieces.labels[found.region]]), axis=1)
    share, parts = np.unique(pairs[0], return_counts=True)
    merged.needed[share[parts == 1]] = pieces.needed[pairs[1, np.isin(pairs[0], share[parts == 1])]]
    return merged


def _remove(pieces: _Pieces, s: Settings, found: Found, *, again: bool) -> Generator[Mask, bool, bool]:
    """Remove groups of pieces until each that is left was needed once; with ``again``, until each is needed in what is left at last.

    Returns whether any went.
    """
    chances, needed, parents = pieces.chances, pieces.needed, pieces.parents
    area = np.bincount(pieces.labels.ravel(), minlength=len(chances))
    left = np.zeros(len(chances), bool)
    left[np.unique(pieces.labels[found.region])] = True
    before = found.region
    while found.queries < s.budget and not needed[left].all():
        open_ = np.flatnonzero(left & ~needed & (chances < 1))
        if not len(open_):
            if not again:
                break
            chances[left & ~needed] = s.prior_again
            continue
        # Neighbours have near numbers: groups are coherent. What is tried again is tried singly, where the largest promises most.
        order = open_[np.lexsort((-area[open_], chances[open_]) if again else (chances[open_],))]
        all_superfluous = np.cumprod(1 - chances[order])
        size = int(np.argmax(np.cumsum(area[order]) * all_superfluous)) + 1
        if size == left.sum() > 1:
            size -= 1  # without any piece the rule is known not to hold
        group = order[:size]
        left[group] = False
        region = left[pieces.labels]
        held = yield region
        found.queries += 1
        if held:
            needed[:] = False
            found.region, found.changed = region, True
            found.layer += region
            if not again:
                chances[left & np.isin(parents, parents[group])] = 1  # of two halves of a needed piece, one is
        else:
            left[group] = True
            if size == 1:
                chances[group], needed[group] = 1, True
            else:
                chances[group] = np.minimum(chances[group] / (1 - all_superfluous[size - 1]), 1 - 1e-6)
    found.pieces, found.checked = int(left.sum()), int((needed & left).sum())
    return found.region is not before
