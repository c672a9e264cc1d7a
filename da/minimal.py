"""Small sufficient regions with a certificate: a walk of circles, then removal of ever smaller pieces."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from da.fill import Fill, filled, masked
from da.pieces import Mask, cut, shares, superpixels_in
from da.superpixels import superpixels
from da.types import OK, Attribution, Images, LabelModel, Rngs, Targets
from da.walk import NOTHING_ACCEPTED, UNSATISFIABLE, VACUOUS

__version__ = "8"

Accepts = Callable[[Images, Tensor], Tensor]


def minimal_region(
    model: LabelModel,
    images: Images,
    targets: Targets,
    *,
    rngs: Rngs,
    rule: str,
    budget: int,
    sp_num: int,
    k: int,
    walk: int,
    alpha_step: float,
    fc: float,
    start: int,
    prior: float,
    prior_half: float,
    prior_again: float,
    refine: float,
    verify: float,
    smallest: int,
    fill: Fill,
) -> Attribution:
    """Find a region that decides the class and of which no single superpixel's share can go, within ``budget`` label queries an image.

    First ``walk`` steps of Dynamic Ablation (see ``da.walk``), whose centres move less as the area bound shrinks. The region is
    cut into ``2 ** start`` coherent pieces, and these are removed by probabilistic delta debugging (Wang et al., ESEC/FSE 2021): each has a
    probability of being needed; the group whose removal promises most area is tried; where that fails its members become likelier.
    Then pieces that are needed are cut in two, those of most superpixels first, and the same goes on with the halves: as in hierarchical
    delta debugging (Misherghi and Su, ICSE 2006), all that is superfluous goes in few, large pieces. Once the budget affords no
    more cuts, what remains is checked until no single superpixel's share of it can go. Queries that are left then are spent in the same
    way; where they end before the next check does, the region that was checked is returned.

    rule: "positive" (the region alone has class y) or "negative" (without it the class is not y). sp_num: superpixels asked of SLIC; cuts
    follow their borders, then go through them. prior: probability that a piece is needed at first; prior_half: of a half; prior_again: of
    what is tried again. refine: queries kept back for each cut; verify: for each share's check, half of that once a check has
    ended. smallest: pixels below which no half is made of a superpixel. fill: what replaces the rest.

    Returns the region as ``kept``, its status (``ok``, ``vacuous``, ``unsatisfiable`` or ``nothing_accepted``), the queries of each
    image, and a map that agrees with the rule: the region on top, then what was removed last; each of these steps is a
    region that was verified. Extras: ``certified`` (1: without what the region has of any one superpixel, the rule is broken),
    ``checked`` shares known to be needed, of ``pieces``, of which ``coarse`` lie in several superpixels, as their cuts were not
    reached; ``superpixels`` obtained.

    Raises ValueError for a hyper-parameter out of range.
    """

    def accepts(shown: Images, rows: Tensor) -> Tensor:
        return (model(shown) == targets[rows]) == (rule == "positive")

    settings = Settings(
        rule, budget, sp_num, k, walk, alpha_step, fc, start, prior, prior_half, prior_again, refine, verify, smallest, fill
    )
    return regions(accepts, images, rngs, settings)


@dataclass(frozen=True)
class Settings:
    """The hyper-parameters of ``minimal_region``. Raises ValueError for one out of range."""

    rule: str
    budget: int
    sp_num: int
    k: int
    walk: int
    alpha_step: float
    fc: float
    start: int
    prior: float
    prior_half: float
    prior_again: float
    refine: float
    verify: float
    smallest: int
    fill: Fill

    def __post_init__(self) -> None:
        for name, valid, needed in (
            ("rule", self.rule in ("positive", "negative"), "choose positive (Pos-R) or negative (Neg-R)"),
            ("budget", self.budget >= 2, "at least 2 queries"),
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
            ("smallest", self.smallest >= 1, "at least 1 pixel"),
        ):
            if not valid:
                raise ValueError(f"{name}={getattr(self, name)!r}: give {needed}")


@dataclass
class _Found:
    """What is known of one image so far. layer: the order of the map."""

    region: Mask
    layer: Float[np.ndarray, "h w"]
    queries: int
    pieces: int = 0
    checked: int = 0
    coarse: int = 0
    changed: bool = False

    @property
    def certified(self) -> bool:
        """Whether no superpixel's share can go."""
        return self.pieces == self.checked > 0 == self.coarse


Search = Generator[Mask, bool, _Found]


def regions(accepts: Accepts, images: Images, rngs: Rngs, settings: Settings, reachable: Sequence[bool] | None = None) -> Attribution:
    """Run every image's search side by side: one batch asks for all that still go on.

    accepts: whether the rule holds for shown images ``[m, 3, h, w]`` of the rows ``[m]`` of ``images``. reachable: whether it can hold
    at all, where that is known beforehand.
    """
    n, _, h, w = images.shape
    segments = superpixels(images, settings.sp_num)
    blank = filled(images, settings.fill)
    positive = settings.rule == "positive"

    def decide(masks: list[Mask], rows: list[int]) -> list[bool]:
        at = torch.tensor(rows, device=images.device)
        pixels = torch.from_numpy(np.stack(masks)).to(images.device)
        shown = masked(images[at], blank[at], pixels if positive else ~pixels)
        answers: list[bool] = accepts(shown, at).tolist()
        return answers

    # The wholly ablated image must not have the class. Shown by Pos-R's empty region, and by all that Neg-R can remove.
    everything = np.ones((h, w), bool)
    ablated = decide([~everything if positive else everything] * n, list(range(n)))
    statuses = [VACUOUS if positive and holds else UNSATISFIABLE if not positive and not holds else OK for holds in ablated]
    statuses = [UNSATISFIABLE if reachable and not reachable[i] else status for i, status in enumerate(statuses)]
    found = [_Found(~everything if status == VACUOUS else everything, np.zeros((h, w)), queries=1) for status in statuses]
    searches: dict[int, tuple[Search, Mask]] = {}
    for i in range(n):
        if statuses[i] == OK:
            start = segments.index[i].cpu().numpy(), segments.centres[i, : int(segments.count[i])].cpu().numpy()
            search = _search(*start, rngs[i], settings)
            searches[i] = search, next(search)
    while searches:
        rows = list(searches)
        for i, held in zip(rows, decide([searches[i][1] for i in rows], rows), strict=True):
            try:
                searches[i] = searches[i][0], searches[i][0].send(held)
            except StopIteration as stop:
                found[i] = stop.value
                del searches[i]
    numbers = {name: [float(getattr(of, name)) for of in found] for name in ("pieces", "checked", "coarse")}
    numbers["certified"] = [float(of.certified) for of in found]
    return Attribution(
        saliency=torch.from_numpy(np.stack([of.layer / max(of.layer.max(), 1) for of in found])).to(images),
        kept=torch.from_numpy(np.stack([of.region for of in found])).to(images.device),
        status=tuple(NOTHING_ACCEPTED if status == OK and not of.changed else status for status, of in zip(statuses, found, strict=True)),
        queries=torch.tensor([of.queries for of in found]),
        extras={name: torch.tensor(values) for name, values in numbers.items()} | {"superpixels": segments.count.float()},
    )


def _search(index: Int[np.ndarray, "h w"], centres: Float[np.ndarray, "s 2"], rng: np.random.Generator, s: Settings) -> Search:
    """One image's search: yields a region to ask about, is sent whether the rule holds, returns what was found."""
    found = _Found(np.ones(index.shape, bool), np.zeros(index.shape), queries=1)
    yield from _walk(index, centres, rng, s, found)
    labels = np.where(found.region, 0, 1)
    for _ in range(s.start):
        labels, _ = cut(labels, found.region, index, s.smallest, labels.size)
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
    found.layer += found.region  # on top of all that was removed
    return found


def _walk(
    index: Int[np.ndarray, "h w"], centres: Float[np.ndarray, "s 2"], rng: np.random.Generator, s: Settings, found: _Found
) -> Generator[Mask, bool, None]:
    """Algorithm 1 whose centres move in proportion to the square root of the area bound."""
    h, w = index.shape
    x, y, r = h * rng.random(s.k), w * rng.random(s.k), rng.random(s.k)
    bound, overlap = float(h * w), np.zeros(len(centres))
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
            overlap += inside
            found.region, found.changed = inside[index], True
    if found.changed:
        found.layer = np.where(found.region, 1, overlap[index] / (overlap.max() + 1))  # the last accepted mask above all else


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


def _finer(pieces: _Pieces, index: Int[np.ndarray, "h w"], reserve: float, s: Settings, found: _Found) -> _Pieces | None:
    """As many pieces cut in two as the budget affords with ``reserve`` queries kept back for each check; None where that is none."""
    checks = shares(pieces.labels, found.region, index)[found.region].max() + 1
    cuts = int((s.budget - found.queries - reserve * checks) / s.refine)
    labels, parents = cut(pieces.labels, found.region, index, s.smallest, max(cuts, 0))
    halved = np.bincount(parents)[parents] > 1
    return _Pieces(labels, parents, np.where(halved, s.prior_half, 1.0)) if halved.any() else None  # the others are known to be needed


def _shares(pieces: _Pieces, index: Int[np.ndarray, "h w"], s: Settings, found: _Found) -> _Pieces:
    """The region's share of each superpixel as one piece. A share that is one of the pieces is as needed as it."""
    labels = shares(pieces.labels, found.region, index)
    merged = _Pieces(labels, np.arange(labels.max() + 1), np.full(labels.max() + 1, s.prior_again))
    pairs = np.unique(np.stack([labels[found.region], pieces.labels[found.region]]), axis=1)
    share, parts = np.unique(pairs[0], return_counts=True)
    merged.needed[share[parts == 1]] = pieces.needed[pairs[1, np.isin(pairs[0], share[parts == 1])]]
    return merged


def _remove(pieces: _Pieces, s: Settings, found: _Found, *, again: bool) -> Generator[Mask, bool, bool]:
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
