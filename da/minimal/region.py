"""Small sufficient regions with a certificate: of random groups of parts the most promising ones are removed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from da.arguments import LABELS, arguments
from da.fill import baseline_image, composite
from da.minimal.cells import Mask
from da.minimal.search import Found, Search, Settings, search
from da.passes import passes
from da.settings import with_settings
from da.superpixels import superpixels
from da.types import NOTHING_ACCEPTED, OK, UNSATISFIABLE, VACUOUS, Attribution, Images, LabelModel, Rngs, Targets

__version__ = "13"

Accepts = Callable[[Images, Tensor], Tensor]


@passes(lambda budget, **_: (budget, 0))
@with_settings(Settings)
def minimal_region(
    model: LabelModel,
    images: Images,
    targets: Targets | None = None,
    *,
    rngs: Rngs | None = None,
    seed: int = 0,
    settings: Settings,
) -> Attribution:
    """Find a region that decides the class and is 1-minimal over superpixels, within ``budget`` label queries per image.

    The region begins as the whole image. Again and again, of many random groups of its parts the most promising one is removed: the
    expected gain in the logarithm of the area, where parts that are needed are a Poisson process whose density is uniform at first and
    grows in every group that could not go (as in probabilistic delta debugging, with places in place of list items). Groups are discs,
    their outsides and halves; after some queries also superpixels in the order of that density, with noise. Once no more queries are
    left than the check needs, what remains is checked until no single superpixel's share of it can go. Queries that are left then are
    spent in the same way; where they end before the next check does, the region that was checked is returned. A budget of 1.5 times
    ``search`` is divided among as many searches, and the smallest certified region is returned.

    Parameters
    ----------
    model : LabelModel
        Predicted classes of images, see ``da.label_model``.
    images : Tensor [n, 3, h, w] in [0, 1]
        The images to explain, not normalised.
    targets : Tensor [n], optional
        The class to explain of each image; left out, the model's own prediction.
    rngs : sequence of numpy.random.Generator, optional
        One generator per image; left out, made of ``seed`` and the image's content.
    seed : int
        Of the generators, where ``rngs`` is left out.
    settings : Settings
        Given field by field: those of ``da.minimal.search.Settings`` are keyword arguments, such as ``budget=200``.

    Returns
    -------
    Attribution
        The region as ``kept``, its status (``ok``, ``vacuous``, ``unsatisfiable`` or ``nothing_accepted``), the queries of each image, and
        a map that agrees with the rule: the sum of all regions for which the rule held, each of which has one unit, spread evenly over its
        pixels. So the region is on top, then comes what was removed last; within a step, what is nearer to the steps above. Extras:
        ``certified`` (1: without what the region has of any one superpixel, the rule is broken), ``checked`` of its ``pieces``, the
        superpixels that it has a share of: those known to be needed; ``superpixels`` obtained.

    Raises
    ------
    TypeError, ValueError
        For arguments of another type, shape or range.

    References
    ----------
    - Wang et al., ESEC/FSE 2021 (probabilistic delta debugging).
    - Misherghi and Su, ICSE 2006 (hierarchical delta debugging).
    """
    model, images, classes, rngs = arguments(LABELS, model, images, targets, rngs, seed)

    return regions(by_label(model, classes, settings.rule), images, classes, rngs, settings)


def by_label(model: LabelModel, classes: Tensor, rule: str) -> Accepts:
    """Whether the rule holds by the predicted class."""
    return lambda shown, rows: (model(shown) == classes[rows]) == (rule == "positive")


def regions(
    accepts: Accepts,
    images: Images,
    targets: Targets,
    rngs: Rngs,
    settings: Settings,
    reachable: Sequence[bool] | None = None,
    starts: Sequence[Sequence[Mask]] | None = None,
) -> Attribution:
    """Run every image's search side by side: one batch asks for all that still go on.

    accepts: whether the rule holds for shown images ``[m, 3, h, w]`` of the rows ``[m]`` of ``images``. reachable: whether it can hold
    at all, where that is known beforehand. starts: of each image regions to start from, see ``search``.
    """
    n, _, h, w = images.shape
    asked = min(settings.sp_num, max(h * w // 10, 1))
    segments = superpixels(images, asked, compactness=settings.compactness, slic_zero=settings.slic_zero)
    blank = baseline_image(images, settings.fill)
    positive = settings.rule == "positive"

    def decide(masks: list[Mask], rows: list[int]) -> list[bool]:
        at = torch.tensor(rows, device=images.device)
        pixels = torch.from_numpy(np.stack(masks)).to(images.device)
        shown = composite(images[at], blank[at], pixels if positive else ~pixels)
        answers: list[bool] = accepts(shown, at).tolist()
        return answers

    # The wholly ablated image must not have the class. Shown by Pos-R's empty region, and by all that Neg-R can remove.
    everything = np.ones((h, w), bool)
    ablated = decide([~everything if positive else everything] * n, list(range(n)))
    statuses = [VACUOUS if positive and holds else UNSATISFIABLE if not positive and not holds else OK for holds in ablated]
    statuses = [UNSATISFIABLE if reachable and not reachable[i] else status for i, status in enumerate(statuses)]
    found = [Found(~everything if status == VACUOUS else everything, np.zeros((h, w)), queries=1) for status in statuses]
    searches: dict[int, tuple[Search, Mask]] = {}

    def go_on(i: int, one: Search, step: Callable[[], Mask]) -> None:
        try:
            searches[i] = one, step()
        except StopIteration as stop:
            found[i] = stop.value
            searches.pop(i, None)

    for i in range(n):
        if statuses[i] == OK:
            one = search(segments.index[i].cpu().numpy(), rngs[i], settings, () if starts is None else starts[i])
            go_on(i, one, partial(next, one))
    while searches:
        rows = list(searches)
        for i, held in zip(rows, decide([searches[i][1] for i in rows], rows), strict=True):
            go_on(i, searches[i][0], partial(searches[i][0].send, held))
    names = ("pieces", "checked", *(() if starts is None else ("start",)))
    numbers = {name: [float(getattr(of, name)) for of in found] for name in names}
    numbers["certified"] = [float(of.certified) for of in found]
    return Attribution(
        saliency=torch.from_numpy(np.stack([of.layer / max(of.layer.max(), 1) for of in found])).to(images),
        kept=torch.from_numpy(np.stack([of.region for of in found])).to(images.device),
        status=tuple(NOTHING_ACCEPTED if status == OK and not of.changed else status for status, of in zip(statuses, found, strict=True)),
        queries=torch.tensor([of.queries for of in found]),
        targets=targets,
        negative=not positive,
        extras={name: torch.tensor(values) for name, values in numbers.items()} | {"superpixels": segments.count.float()},
    )
