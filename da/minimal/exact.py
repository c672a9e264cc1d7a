"""The smallest region over a coarse partition, proven: subsets of its segments in the order of their area."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from itertools import islice, takewhile

import numpy as np
import torch
from torch import Tensor

from da.arguments import LABELS, arguments
from da.fill import Fill, baseline_image, composite
from da.minimal.cells import in_order_of_area
from da.minimal.region import Accepts
from da.passes import passes
from da.settings import with_settings
from da.superpixels import superpixels
from da.types import NOTHING_ACCEPTED, OK, UNSATISFIABLE, VACUOUS, Attribution, Images, LabelModel, Rngs, Targets

__version__ = "1"

TOGETHER = 16  # subsets of an image that are asked about at a time
MOST_SEGMENTS = 62  # a subset is the bits of one whole number


@dataclass(frozen=True)
class Exact:
    """Settings of ``exact_region``, as its keyword arguments.

    Parameters
    ----------
    rule : {"positive", "negative"}
        Pos-R: the region alone has the class; Neg-R: without it the class is lost.
    sp_num : int
        Segments asked of SLIC, at most 62; each one more doubles the subsets.
    slic_zero : bool
        Adapt the compactness to each segment, which gives nearly as many segments as asked.
    compactness : float
        Of SLIC, above 0.
    budget : int
        Queries per image at most, from 2.
    fill : str or three floats
        What replaces ablated pixels, see ``da.fill.baseline_image``.

    Raises
    ------
    ValueError
        For values out of range.
    """

    rule: str = "positive"
    sp_num: int = 16
    slic_zero: bool = True
    compactness: float = 10.0
    budget: int = 20_000
    fill: Fill = "black"

    def __post_init__(self) -> None:
        if self.rule not in ("positive", "negative"):
            raise ValueError(f"rule={self.rule!r}: choose positive (Pos-R) or negative (Neg-R)")
        if not 1 <= self.sp_num <= MOST_SEGMENTS:
            raise ValueError(f"sp_num={self.sp_num}: give 1 to {MOST_SEGMENTS} segments")
        if not self.compactness > 0:
            raise ValueError(f"compactness={self.compactness}: give a number above 0")
        if self.budget < 2:
            raise ValueError(f"budget={self.budget}: give at least 2 queries")


@dataclass
class Smallest:
    """What is known of one image. subset: bits of the smallest that held; lower: pixels below which none holds."""

    subset: int
    lower: int
    queries: int = 1
    proven: bool = False


@passes(lambda budget=20_000, **_: (budget, 0))
@with_settings(Exact)
def exact_region(
    model: LabelModel,
    images: Images,
    targets: Targets | None = None,
    *,
    rngs: Rngs | None = None,
    seed: int = 0,
    settings: Exact,
) -> Attribution:
    """Find the smallest region by area that decides the class, among all unions of the segments of a coarse partition.

    Segments are removed one by one, the largest first, until none can go: an upper bound. Then the subsets of smaller area are asked
    about in the order of their area, until the first that holds, or until none is left: that is the minimum, whatever the model, since
    nothing is assumed of it. Where the budget ends before, no subset of less area than the next holds: a lower bound.

    Parameters
    ----------
    model : LabelModel
        Predicted classes of images, see ``da.label_model``.
    images : Tensor [n, 3, h, w] in [0, 1]
        The images to explain, not normalised.
    targets : Tensor [n], optional
        The class to explain of each image; left out, the model's own prediction.
    rngs : sequence of numpy.random.Generator, optional
        Not used: nothing is drawn.
    seed : int
        Not used: nothing is drawn.
    settings : Exact
        Given field by field: those of ``da.minimal.exact.Exact`` are keyword arguments, such as ``sp_num=12``.

    Returns
    -------
    Attribution
        The smallest region as ``kept``, and as the map each segment's place: 1 in the region, below that the order in which others went.
        Status ``vacuous``, ``unsatisfiable``, ``nothing_accepted`` (no proper subset that was asked about holds) or ``ok``. Extras:
        ``proven`` (1: no smaller union of segments holds), ``mar_lower`` (the share of the image below which none does; 0, as ``proven``,
        where it is ``unsatisfiable`` and none was asked about) and ``superpixels``.

    Raises
    ------
    TypeError, ValueError
        For arguments of another type, shape or range.
    """
    model, images, classes, _ = arguments(LABELS, model, images, targets, rngs, seed)
    return smallest(lambda shown, rows: model(shown) == classes[rows], images, classes, settings)


def smallest(accepts: Accepts, images: Images, classes: Tensor, settings: Exact, reachable: Sequence[bool] | None = None) -> Attribution:
    """``exact_region`` for any meaning of having the class.

    accepts: images and their rows in the batch to whether each has it. reachable: whether each whole image has it, where that is known.
    """
    n, _, h, w = images.shape
    segments = superpixels(images, min(settings.sp_num, h * w), compactness=settings.compactness, slic_zero=settings.slic_zero)
    if int(segments.count.max()) > MOST_SEGMENTS:
        raise ValueError(
            f"sp_num={settings.sp_num}: SLIC made {int(segments.count.max())} segments: ask for fewer, at most {MOST_SEGMENTS} can be"
        )
    blank, positive = baseline_image(images, settings.fill), settings.rule == "positive"
    index = segments.index.cpu().numpy()

    def decide(subsets: list[int], rows: list[int]) -> list[bool]:
        at = torch.tensor(rows, device=images.device)
        pixels = torch.from_numpy(np.stack([_pixels(one, index[i]) for one, i in zip(subsets, rows, strict=True)])).to(images.device)
        shown = composite(images[at], blank[at], pixels if positive else ~pixels)
        answers: list[bool] = (accepts(shown, at) == positive).tolist()
        return answers

    everything = [(1 << int(count)) - 1 for count in segments.count]
    ablated = decide([0] * n if positive else everything, list(range(n)))
    statuses = [VACUOUS if positive and held else UNSATISFIABLE if not positive and not held else OK for held in ablated]
    if reachable is not None:
        statuses = [status if known else UNSATISFIABLE for status, known in zip(statuses, reachable, strict=True)]
    found = [
        Smallest(0 if status == VACUOUS else all_, 0, proven=status == VACUOUS) for status, all_ in zip(statuses, everything, strict=True)
    ]
    orders: list[list[int]] = [[] for _ in range(n)]
    searches = {}
    for i in range(n):
        if statuses[i] == OK:
            one = _search(np.bincount(index[i].ravel()), settings.budget, found[i], orders[i])
            if (first := next(one, None)) is not None:
                searches[i] = one, first
    while searches:
        rows = [i for i, (_, subsets) in searches.items() for _ in subsets]
        held = iter(decide([subset for _, subsets in searches.values() for subset in subsets], rows))
        for i, (one, subsets) in list(searches.items()):
            try:
                searches[i] = one, one.send([next(held) for _ in subsets])
            except StopIteration:
                del searches[i]
    kept = np.stack([_pixels(one.subset, index[i]) for i, one in enumerate(found)])
    lower = [(mask.sum() if one.proven else one.lower) / (h * w) for one, mask in zip(found, kept, strict=True)]
    return Attribution(
        saliency=torch.from_numpy(np.stack([_layers(orders[i], kept[i], index[i]) for i in range(n)])).to(images),
        kept=torch.from_numpy(kept).to(images.device),
        status=tuple(
            NOTHING_ACCEPTED if status == OK and one.subset == all_ else status
            for status, one, all_ in zip(statuses, found, everything, strict=True)
        ),
        queries=torch.tensor([one.queries for one in found]),
        targets=classes,
        negative=not positive,
        extras={
            "proven": torch.tensor([float(one.proven) for one in found]),
            "mar_lower": torch.tensor(lower).float(),
            "superpixels": segments.count.float(),
        },
    )


def _search(areas: np.ndarray, budget: int, found: Smallest, order: list[int]) -> Generator[list[int], list[bool], None]:
    """One image's search: yields subsets to ask about, is sent whether each holds. order: filled with the segments that went."""
    known: dict[int, bool] = {}
    falling = sorted(range(len(areas)), key=lambda i: (-int(areas[i]), i))
    went = True
    while went:
        went = False
        for i in falling:
            less = found.subset & ~(1 << i)
            if found.subset >> i & 1 and less and less not in known and found.queries < budget:
                (known[less],) = yield [less]
                found.queries += 1
                if known[less]:
                    found.subset, went = less, True
                    order.append(i)
    bound = sum(int(area) for i, area in enumerate(areas) if found.subset >> i & 1)
    rising = in_order_of_area([int(area) for area in areas])
    smaller = takewhile(lambda one: one[0] < bound, (one for one in rising if one[1] not in known))
    while asked := list(islice(smaller, min(TOGETHER, budget - found.queries))):
        held = yield [subset for _, subset in asked]
        found.queries += len(asked)
        if any(held):
            found.subset, found.proven = asked[held.index(True)][1], True
            return
    following = next(smaller, None)
    found.proven, found.lower = following is None, following[0] if following else bound


def _pixels(subset: int, index: np.ndarray) -> np.ndarray:
    inside = np.array([bool(subset >> i & 1) for i in range(int(index.max()) + 1)])
    return np.asarray(inside[index])


def _layers(order: list[int], kept: np.ndarray, index: np.ndarray) -> np.ndarray:
    """1 in the region, and below it the segments that went, the last the highest."""
    place = np.zeros(int(index.max()) + 1, np.float32)
    place[order] = np.arange(1, len(order) + 1) / (len(order) + 1)
    return np.where(kept, np.float32(1), place[index])
