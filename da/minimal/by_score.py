"""Small regions that keep enough of the class's probability, with a certificate."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from da.arguments import SCORES, arguments
from da.minimal.exact import Exact, smallest
from da.minimal.region import Margins, regions
from da.minimal.region import __version__ as search_version
from da.minimal.search import Settings
from da.passes import passes
from da.settings import with_settings
from da.types import Attribution, Images, Rngs, ScoreModel, Targets

__version__ = f"2, search {search_version}"

TINY = 1e-12  # a probability below which none is told from another


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
        One generator an image; left out, made of ``seed`` and the image's content.
    seed : int
        Of the generators, where ``rngs`` is left out.
    criterion : {"top1", "share", "threshold"}
        Whether the class must be the predicted one, or ``level`` is a share of the whole image's probability, or a probability.
    level : float
        What the region alone must have at least, above 0, at most 1; not used by ``top1``.
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
    margins, whole = _margins(model, images, classes, criterion, level)
    found = regions(margins, images, classes, rngs, replace(settings, budget=settings.budget - 1), whole)
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
    criterion : {"top1", "share", "threshold"}
        Whether the class must be the predicted one, or ``level`` is a share of the whole image's probability, or a probability.
    level : float
        What the region alone must have at least, above 0, at most 1; not used by ``top1``.
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
    margins, whole = _margins(model, images, classes, criterion, level)

    def accepts(shown: Images, rows: Tensor) -> Tensor:
        return margins(shown, rows) >= 0

    found = smallest(accepts, images, classes, replace(settings, budget=settings.budget - 1), (whole >= 0).tolist())
    assert found.queries is not None
    return replace(found, queries=found.queries + 1)


def _margins(model: ScoreModel, images: Images, classes: Tensor, criterion: str, level: float) -> tuple[Margins, Tensor]:
    """By how much shown images have enough of the class's probability, in its logarithm, and by how much the whole ones have."""
    if criterion not in ("top1", "share", "threshold"):
        raise ValueError(f"criterion={criterion!r}: choose top1, share or threshold")
    if not 0 < level <= 1:
        raise ValueError(f"level={level}: a share or probability above 0, at most 1")
    scores = model(images)
    of_class = scores.gather(1, classes[:, None])[:, 0]
    needed = level * of_class if criterion == "share" else torch.full_like(of_class, level)

    def margin(scores: Tensor, rows: Tensor) -> Tensor:
        own = scores.gather(1, classes[rows, None])[:, 0]
        asked = needed[rows] if criterion != "top1" else scores.scatter(1, classes[rows, None], 0).amax(1)
        enough = own >= asked if criterion != "top1" else scores.argmax(1) == classes[rows]
        by = own.clamp_min(TINY).log() - asked.clamp_min(TINY).log()
        return torch.where(enough, by.clamp_min(0), by.clamp_max(-TINY))

    return lambda shown, rows: margin(model(shown), rows), margin(scores, torch.arange(len(images), device=images.device))
