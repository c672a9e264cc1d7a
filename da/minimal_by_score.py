"""Small regions that keep enough of the class's probability, with a certificate."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from da.fill import Fill
from da.minimal import __version__ as search_version
from da.minimal import regions
from da.search import Settings
from da.types import Attribution, Images, Rngs, ScoreModel, Targets

__version__ = f"1, search {search_version}"


def minimal_region_by_score(
    model: ScoreModel,
    images: Images,
    targets: Targets,
    *,
    rngs: Rngs,
    criterion: str,
    level: float,
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
    smallest: float,
    fill: Fill,
) -> Attribution:
    """``minimal_region`` with another meaning of sufficient: the region alone has enough of the class's probability.

    criterion: ``share`` (at least ``level`` of the whole image's probability) or ``threshold`` (at least ``level``; the status is
    ``unsatisfiable`` where the whole image has less). One of the ``budget`` queries is for the whole image. The rule is Pos-R.

    Raises ValueError for a hyper-parameter out of range.
    """
    if criterion not in ("share", "threshold"):
        raise ValueError(f"criterion={criterion!r}: choose share or threshold")
    if not 0 < level <= 1:
        raise ValueError(f"level={level}: a share or probability above 0, at most 1")
    if budget < 3:
        raise ValueError(f"budget={budget}: give at least 3 queries, of which one is for the whole image")
    settings = Settings(
        "positive", budget - 1, sp_num, k, walk, alpha_step, fc, start, prior, prior_half, prior_again, refine, verify, smallest, fill
    )
    whole = model(images).gather(1, targets[:, None])[:, 0]
    needed = level * whole if criterion == "share" else torch.full_like(whole, level)

    def accepts(shown: Images, rows: Tensor) -> Tensor:
        return model(shown).gather(1, targets[rows, None])[:, 0] >= needed[rows]

    found = regions(accepts, images, rngs, settings, reachable=(whole >= needed).tolist())
    assert found.queries is not None
    return replace(found, queries=found.queries + 1)
