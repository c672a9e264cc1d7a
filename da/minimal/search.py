"""The search of ``da.minimal.region`` on one image: it yields a region to ask about and is sent whether the rule holds."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float, Int

from da.fill import Fill
from da.minimal.cells import Cells, Mask, graded, in_order_of_area
from da.superpixels import COMPACTNESS

FEW = 24  # superpixels, whose unions are asked about in the order of their area
NOTHING_NEW = 30  # groups in a row whose answers were known, after which no further ones are drawn


@dataclass(frozen=True)
class Settings:
    """The hyper-parameters of ``minimal_region``.

    Attributes
    ----------
    rule : str
        ``"positive"``, Pos-R: the region alone has class y; ``"negative"``, Neg-R: without it the class is not y.
    budget : int
        Queries per image at most, from 2.
    sp_num : int
        Superpixels asked of SLIC, fewer where they would have less than 10 pixels.
    compactness : float
        Of SLIC, above 0, see ``da.superpixels``.
    slic_zero : bool
        Whether SLICO adapts the compactness to each superpixel, which gives nearly as many as asked.
    cut : bool
        Whether superpixels may be cut; otherwise the region is a union of them, and of at most 24 the smallest union is looked for.
    needed : float
        Parts of the image that are expected to be needed at first, above 0.
    groups : int
        Random groups of which the most promising one is tried, from 1.
    cells : int
        Square cells that the region is divided into at most, from 1: groups are of whole cells.
    largest : float
        Share of the region that a group has at most, between 0 and 1.
    coherent : int
        Queries before groups of scattered superpixels are tried besides coherent ones, from 0.
    scattered : float
        Share of such groups from then on, from 0 to 1.
    noise : float
        Scale of the noise in the order of their superpixels, from 0.
    descent : float
        Share of a search's queries before which no check is begun, from 0 to 1.
    verify : float
        Queries kept back for each superpixel's check, above 0.
    search : int
        Queries of one search, from 2, about: a budget of 1.5 times as many and more is divided evenly among several, of which the smallest
        certified region is kept. One that ends early is followed by another, where as many queries are left as it took.
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
    cut: bool = True
    needed: float = 2
    groups: int = 24
    cells: int = 1500
    largest: float = 0.6
    coherent: int = 50
    scattered: float = 0.5
    noise: float = 0.5
    descent: float = 0.6
    verify: float = 2
    search: int = 500
    fill: Fill = "black"

    def __post_init__(self) -> None:
        for name, valid, hint in (
            ("sp_num", self.sp_num >= 1, "at least one superpixel"),
            ("rule", self.rule in ("positive", "negative"), "choose positive (Pos-R) or negative (Neg-R)"),
            ("budget", self.budget >= 2, "at least 2 queries"),
            ("compactness", 0 < self.compactness < math.inf, "a number above 0"),
            ("needed", 0 < self.needed < math.inf, "a number above 0"),
            ("groups", self.groups >= 1, "at least one group"),
            ("cells", self.cells >= 1, "at least one cell"),
            ("largest", 0 < self.largest < 1, "a share between 0 and 1"),
            ("coherent", self.coherent >= 0, "0 or more queries"),
            ("scattered", 0 <= self.scattered <= 1, "a share from 0 to 1"),
            ("noise", 0 <= self.noise < math.inf, "0 or more"),
            ("descent", 0 <= self.descent <= 1, "a share from 0 to 1"),
            ("verify", 0 < self.verify < math.inf, "more than 0 queries"),
            ("search", self.search >= 2, "at least 2 queries"),
        ):
            if not valid:
                raise ValueError(f"{name}={getattr(self, name)!r}: give {hint}")


@dataclass
class Found:
    """What is known of one image so far.

    layer: the sum of the regions that held, each divided by its share of the image; graded at the end. pieces: superpixels that the
    region has a share of. checked: those of them without whose share the rule is known to be broken. smallest: whether no smaller union of
    superpixels holds. start: the share of the image that a given start kept. answers: whether each region that was asked about held.
    """

    region: Mask
    layer: Float[np.ndarray, "h w"]
    queries: int
    pieces: int = 0
    checked: int = 0
    changed: bool = False
    smallest: bool = False
    start: float = 1.0
    answers: dict[bytes, bool] = field(default_factory=dict)

    def holds(self, region: Mask) -> Generator[Mask, bool, bool]:
        """Whether the rule holds for a region; it is asked about once."""
        key = hashlib.blake2b(np.packbits(region).tobytes(), digest_size=16).digest()
        if key not in self.answers:
            self.answers[key] = yield region
            self.queries += 1
        return self.answers[key]

    def keep(self, region: Mask) -> None:
        """Go on with a region for which the rule holds."""
        self.region, self.changed = region, True
        self.layer += region / region.mean()

    @property
    def certified(self) -> bool:
        """Whether the region is 1-minimal over superpixels: its share of none of them can go."""
        return self.pieces == self.checked > 0


Index = Int[np.ndarray, "h w"]
Search = Generator[Mask, bool, Found]


def search(index: Index, rng: np.random.Generator, s: Settings, starts: Sequence[Mask] = ()) -> Search:
    """One image's search: yields a region to ask about, is sent whether the rule holds, returns what was found.

    starts: regions, each in the next, of which the search starts at the smallest that holds; without any, at the whole image.
    """
    first = Found(np.ones(index.shape, bool), np.zeros(index.shape), queries=1)
    yield from _start(starts, s, first)
    size = s.budget // max(1, round(s.budget / s.search)) if s.cut else s.budget
    best, last = first, 1
    while s.budget - best.queries >= last:
        found, begun = replace(first, layer=first.layer.copy(), queries=best.queries), best.queries
        left = s.budget - begun
        yield from _one_search(index, rng, replace(s, budget=s.budget if left < 1.5 * size else begun + size), found)
        best, last = replace(min(found, best, key=_order), queries=found.queries), found.queries - begun
        if not s.cut or last == 0 or (found.certified and not found.changed):
            break  # nothing is drawn, nothing was left to ask, or all of the image is needed
    best.layer = graded(best.layer)
    return best


def _order(found: Found) -> tuple[bool, bool, int]:
    """By which the better of two is the lower."""
    return not found.changed, not found.certified, int(found.region.sum())


def _start(starts: Sequence[Mask], s: Settings, found: Found) -> Generator[Mask, bool, None]:
    """Find where regions that grow begin to hold, by bisection; where none does, the whole image is the start."""
    fails, holds = -1, len(starts)
    while holds - fails > 1 and found.queries < s.budget:
        middle = (fails + holds) // 2
        held = yield from found.holds(starts[middle])
        fails, holds = (fails, middle) if held else (middle, holds)
    if holds < len(starts):
        found.layer = np.sum(starts[holds:], 0) / (len(starts) + 1)
        found.keep(starts[holds])
        found.start = float(starts[holds].mean())


def _one_search(index: Index, rng: np.random.Generator, s: Settings, found: Found) -> Generator[Mask, bool, None]:
    """Remove groups while the queries allow a check of what is left, check it, and go on with those that the check did not take.

    Where superpixels are not cut the check is all: it removes groups, too. Then come the unions of superpixels from the smallest on.
    """
    need = np.full(index.shape, s.needed / index.size)
    best, reserve, begun = None, s.verify, found.queries
    if not s.cut:
        yield from _check(index, need, s, found)
        yield from _smaller(index, s, found)
        return
    while True:
        yield from _descend(index, need, rng, s, found, reserve, begun)
        yield from _check(index, need, s, found)
        if not found.certified or (best is not None and best.region is found.region):
            break
        best = replace(found, layer=found.layer.copy())
        reserve /= 2  # with a check behind it, more is dared
        if s.budget - found.queries <= reserve * found.pieces:
            break
    if best is not None and not found.certified:
        vars(found).update(vars(replace(best, queries=found.queries)))


def _descend(
    index: Index, need: Float[np.ndarray, "h w"], rng: np.random.Generator, s: Settings, found: Found, reserve: float, begun: int
) -> Generator[Mask, bool, None]:
    """Remove the most promising of random groups, again and again, while ``reserve`` queries are left for each superpixel's check."""
    shares = Cells.shares(index, found.region)
    cells = Cells.squares(found.region, s.cells, rng)
    first, known = begun + s.descent * (s.budget - begun), 0
    while (
        found.queries < min(s.budget, max(first, s.budget - reserve * len(shares.areas))) and len(cells.areas) > 1 and known < NOTHING_NEW
    ):
        if found.queries - begun >= s.coherent and len(shares.areas) > 1 and rng.random() < s.scattered:
            of, orders = shares, shares.orders_by_need(need, s.groups, s.noise, rng)
        else:
            of, orders = cells, cells.orders_in_space(s.groups, rng)
        group = _most_promising(of, need, orders, s.largest)
        removed = of.pixels(group)
        region, asked = found.region & ~removed, found.queries
        held = yield from found.holds(region)
        known = known + 1 if found.queries == asked else 0
        if held:
            found.keep(region)
            shares = Cells.shares(index, region)
            cells = Cells.squares(region, s.cells, rng)
        else:
            _blame(need, removed)


def _most_promising(cells: Cells, need: Float[np.ndarray, "h w"], orders: Int[np.ndarray, "g c"], largest: float) -> Int[np.ndarray, " b"]:
    """Of the beginnings of all orders the one whose removal promises most: the gain in the logarithm of the area, if none is needed."""
    begun = orders[:, :-1]  # without any cell the rule is known not to hold
    area = cells.areas[begun].cumsum(1) / cells.areas.sum()
    promise = -np.log1p(-area) * np.exp(-cells.sums(need)[begun].cumsum(1))
    promise[:, 1:][area[:, 1:] > largest] = 0  # a single cell may be larger
    group, last = np.unravel_index(promise.argmax(), promise.shape)
    return orders[group, : last + 1]


def _blame(need: Float[np.ndarray, "h w"], removed: Mask) -> None:
    """Of a group that could not go at least one part is needed: its expected number, given that."""
    expected = need[removed].sum()
    need[removed] /= -np.expm1(-expected)


def _check(index: Index, need: Float[np.ndarray, "h w"], s: Settings, found: Found) -> Generator[Mask, bool, None]:
    """Remove superpixels' shares of the region, several at a time while they are hardly needed, until each left is known to be needed."""
    shares = Cells.shares(index, found.region)
    left, known = np.ones(len(shares.areas), bool), np.zeros(len(shares.areas), bool)
    while found.queries < s.budget and left.sum() > 1 and not known[left].all():
        open_ = np.flatnonzero(left & ~known)
        needs = shares.sums(need)
        order = open_[np.lexsort((-shares.areas[open_], needs[open_]))]
        promise = np.cumsum(shares.areas[order]) * np.exp(-np.cumsum(needs[order]))
        group = order[: promise.argmax() + 1]
        if len(group) == left.sum():
            group = group[:-1]  # without any the rule is known not to hold
        left[group] = False
        region = shares.pixels(np.flatnonzero(left))
        held = yield from found.holds(region)
        if held:
            known[:] = False
            found.keep(region)
        else:
            left[group] = True
            known[group] |= len(group) == 1
            _blame(need, shares.pixels(group))
    known |= left.sum() == 1
    found.pieces, found.checked = int(left.sum()), int((known & left).sum())


def _smaller(index: Index, s: Settings, found: Found) -> Generator[Mask, bool, None]:
    """Ask about the unions of superpixels of less area than the region, the smallest first, until one holds: there is none smaller."""
    superpixels = Cells.shares(index, np.ones(index.shape, bool))
    if len(superpixels.areas) > FEW:
        return
    for area, bits in in_order_of_area(superpixels.areas.tolist()):
        if area >= found.region.sum():
            break
        if found.queries >= s.budget:
            return
        group = np.array([i for i in range(len(superpixels.areas)) if bits >> i & 1])
        region = superpixels.pixels(group)
        held = yield from found.holds(region)
        if held:
            found.region, found.changed, found.pieces, found.checked = region, True, len(group), len(group)
            found.layer = np.where(region, found.layer.max() + 1, found.layer)
            break
    found.smallest = True
