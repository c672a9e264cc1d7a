"""Whether a region satisfies its rule, whether any part of it could go, and how much a reduction still takes away."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from da.certificate import certify
from da.fill import Fill, baseline_image, composite
from da.minimal.reduction import reduce
from da.minimal.region import __version__ as search_version
from da.ranking import importance_rank, prefix_shares
from da.types import Attribution, Images, LabelModel, Masks, Rngs, Saliency, Targets

__version__ = f"1, search {search_version}"  # by which ``removable`` is found


def region_certificate(
    model: LabelModel,
    images: Images,
    targets: Targets,
    labels: Sequence[int | None],
    attribution: Attribution,
    *,
    rngs: Rngs,
    rule: str = "positive",
    sp_num: int = 250,
    budget: int = 500,
    smallest: float = 0.002,
    points: int = 32,
    fill: Fill = "black",
) -> pd.DataFrame:
    """Certify anybody's region: a method's mask, or the smallest tried share of its map's highest pixels that satisfies the rule.

    One query for the ablated image, one for the region, one for each superpixel that it has a share of, up to ``budget`` for the
    reduction; of a map up to ``points`` more for the share.

    Parameters
    ----------
    model : LabelModel
        Predicted classes of images, see ``da.label_model``.
    images : Tensor [n, 3, h, w] in [0, 1]
        The images that were explained, not normalised.
    targets : Tensor [n]
        The class explained of each image.
    labels : sequence of int or None
        Not used.
    attribution : Attribution
        What the method said of the images.
    rngs : sequence of numpy.random.Generator
        One generator per image, by which ties are broken.
    rule : {"positive", "negative"}
        Pos-R: the region alone has the class; Neg-R: without it the class is lost.
    sp_num : int
        Superpixels asked of SLIC, see ``da.certify``.
    budget : int
        Queries of the reduction, from 2, see ``da.reduce``.
    smallest : float
        The smallest share of a map's pixels that is tried, between 0 and 1.
    points : int
        Shares that are tried, from 2.
    fill : str or three floats
        What replaces ablated pixels, see ``da.fill.baseline_image``.

    Returns
    -------
    pandas.DataFrame
        Rows ``image, metric, x, value``: ``region_share``; ``region_holds`` and ``region_minimal`` (1-minimal over superpixels), 1 or 0;
        and of a region that holds ``removable``, the share of it that ``da.reduce`` takes away. An image that has its class when it is
        wholly ablated has no rows: nothing of it is needed.

    Raises
    ------
    ValueError
        For a parameter out of range.
    """
    needed = model(baseline_image(images, fill)) != targets
    if not needed.any():
        return pd.DataFrame(columns=["image", "metric", "x", "value"])
    images, targets, rngs = images[needed], targets[needed], [rng for rng, one in zip(rngs, needed.tolist(), strict=True) if one]
    if attribution.kept is None:
        shares = prefix_shares(smallest, points)
        kept = _first_share(model, images, targets, attribution.saliency[needed], rngs, rule, shares, fill)
    else:
        kept = attribution.kept[needed]
    certificates = certify(model, images, kept, targets, rule=rule, sp_num=sp_num, fill=fill)
    holding = [i for i, one in enumerate(certificates) if one.verified and bool(kept[i].any())]
    chosen = torch.tensor(holding, dtype=torch.long, device=images.device)
    left: dict[int, float] = {}
    if holding:
        region = {"start_from": kept[chosen], "rngs": [rngs[i] for i in holding], "rule": rule, "fill": fill}
        reduced = reduce(model, images[chosen], targets[chosen], **{**region, "sp_num": sp_num, "budget": budget}).kept  # type: ignore[arg-type]
        assert reduced is not None
        left = {i: float(mask.sum() / kept[i].sum()) for i, mask in zip(holding, reduced, strict=True)}
    rows, places = [], needed.nonzero()[:, 0].tolist()
    for i, one in enumerate(certificates):
        numbers = {"region_share": float(kept[i].double().mean()), "region_holds": one.verified, "region_minimal": one.minimal}
        rows += [(places[i], name, np.nan, float(value)) for name, value in numbers.items()]
        if i in left:
            rows.append((places[i], "removable", np.nan, 1 - left[i]))
    return pd.DataFrame(rows, columns=["image", "metric", "x", "value"])


def _first_share(
    model: LabelModel,
    images: Images,
    targets: Targets,
    saliency: Saliency,
    rngs: Rngs,
    rule: str,
    shares: Sequence[float],
    fill: Fill,
) -> Masks:
    """The smallest share of each map's highest pixels that satisfies the rule; all pixels where none does."""
    rank = importance_rank(saliency, rngs)
    blank, positive = baseline_image(images, fill), rule == "positive"
    shown, hidden = (images, blank) if positive else (blank, images)
    kept = torch.ones_like(rank, dtype=torch.bool)
    pending = torch.arange(len(images), device=images.device)
    for share in shares[:-1]:
        if not len(pending):
            break
        tried = rank[pending] < round(share * rank[0].numel())
        holds = (model(composite(shown[pending], hidden[pending], tried)) == targets[pending]) == positive
        kept[pending[holds]] = tried[holds]
        pending = pending[~holds]
    return kept
