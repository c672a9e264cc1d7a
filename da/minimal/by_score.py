"""Small regions that keep enough of the class's probability, with a certificate."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from da.arguments import SCORES, arguments
from da.minimal.exact import Exact, smallest
from da.minimal.region import Accepts, regions
from da.minimal.region import __version__ as search_version
from da.minimal.search import Settings
from da.passes import passes
from da.settings import with_settings
from da.types import Attribution, Images, Rngs, ScoreModel, Targets

__version__ = f"1, search {search_version}"


@passes(lambda budget, **_: (budget, 0))
@with_settings(Settings, leave_out=("rule",))
def minimal_region_by_score(
    model: ScoreModel,
    images: Images,
    targets: Targets | None = None,
    *,
    rngs: Rngs | None = None,
    seed: int = 0,
    criterion: str = "share",
    level: float = 0.9,
    settings: Settings,
) -> Attribution:
    """``minimal_region`` with another meaning of sufficient: the region alone has enough of the class's probability.

    The rule is Pos-R. One of the ``budget`` queries, of which there are at least 3, is for the whole image.

    Parameters
    ----------
    model : ScoreModel
        Probabilities of images, see ``da.score_model``.
    images : Tensor [n, 3, h, w] in [0, 1]
        The images to explain, not normalised.
    targets : Tensor [n], optional
        The class to explain of each image; left out, the model's own prediction.
    rngs : sequence of numpy.random.Generator, optional
        One generator per image; left out, made of ``seed`` and the image's content.
    seed : int
        Of the generators, where ``rngs`` is left out.
    criterion : {"share", "threshold"}
        Whether ``level`` is a share of the whole image's probability, or a probability.
    level : float
        What the region alone must have at least, above 0, at most 1.
    settings : Settings
        Given field by field: those of ``da.minimal.search.Settings`` but ``rule`` are keyword arguments, such as ``budget=200``.

    Returns
    -------
    Attribution
        As of ``minimal_region``; with ``threshold`` the status is ``unsatisfiable`` where the whole image has less.

    Raises
    ------
    TypeError, ValueError
        For arguments of another type, shape or range.
    """
    if settings.budget < 3:
        raise ValueError(f"budget={settings.budget}: give at least 3 queries, of which one is for the whole image")
    model, images, classes, rngs = arguments(SCORES, model, images, targets, rngs, seed)
    accepts, reachable = _sufficient(model, images, classes, criterion, level)
    found = regions(accepts, images, classes, rngs, replace(settings, budget=settings.budget - 1), reachable=reachable)
    assert found.queries is not None
    return replace(found, queries=found.queries + 1)


@passes(lambda budget=20_000, **_: (budget, 0))
@with_settings(Exact, leave_out=("rule",))
def exact_region_by_score(
    model: ScoreModel,
    images: Images,
    targets: Targets | None = None,
    *,
    rngs: Rngs | None = None,
    seed: int = 0,
    criterion: str = "share",
    level: float = 0.9,
    settings: Exact,
) -> Attribution:
    """``exact_region`` with another meaning of sufficient: the region alone has enough of the class's probability.

    The rule is Pos-R. One of the ``budget`` queries, of which there are at least 3, is for the whole image.

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
    criterion : {"share", "threshold"}
        Whether ``level`` is a share of the whole image's probability, or a probability.
    level : float
        What the region alone must have at least, above 0, at most 1.
    settings : Exact
        Given field by field: those of ``da.exact_region`` but ``rule`` are keyword arguments, such as ``sp_num=12``.

    Returns
    -------
    Attribution
        As of ``exact_region``; with ``threshold`` the status is ``unsatisfiable`` where the whole image has less.

    Raises
    ------
    TypeError, ValueError
        For arguments of another type, shape or range.
    """
    if settings.budget < 3:
        raise ValueError(f"budget={settings.budget}: give at least 3 queries, of which one is for the whole image")
    model, images, classes, _ = arguments(SCORES, model, images, targets, rngs, seed)
    accepts, reachable = _sufficient(model, images, classes, criterion, level)
    found = smallest(accepts, images, classes, replace(settings, budget=settings.budget - 1), reachable)
    assert found.queries is not None
    return replace(found, queries=found.queries + 1)


def _sufficient(model: ScoreModel, images: Images, classes: Tensor, criterion: str, level: float) -> tuple[Accepts, list[bool]]:
    """Whether shown images have enough of the class's probability, and whether the whole ones have."""
    if criterion not in ("share", "threshold"):
        raise ValueError(f"criterion={criterion!r}: choose share or threshold")
    if not 0 < level <= 1:
        raise ValueError(f"level={level}: a share or probability above 0, at most 1")
    whole = model(images).gather(1, classes[:, None])[:, 0]
    needed = level * whole if criterion == "share" else torch.full_like(whole, level)

    def accepts(shown: Images, rows: Tensor) -> Tensor:
        return model(shown).gather(1, classes[rows, None])[:, 0] >= needed[rows]

    return accepts, (whole >= needed).tolist()
