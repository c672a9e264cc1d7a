"""Minimal regions of a real model are what they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.engines.views import LabelView, ScoreView
from da.minimal.by_score import minimal_region_by_score
from da.minimal.region import minimal_region
from da.minimal.search import Settings, search
from da.superpixels import superpixels
from tests.helpers import rngs
from tests.unit.test_minimal import settings

pytestmark = pytest.mark.slow


def test_the_map_agrees_with_the_rule(lite0_engine, photographs):
    """Its top is the region, under it are the regions that were accepted on the way, one in the other, and no further ones."""
    view, photograph = LabelView(lite0_engine), photographs[1:2]
    y = view(photograph)
    segments = superpixels(photograph, settings()["sp_num"])
    chosen = Settings(**settings(budget=150))
    accepted, region = [], None
    going = search(segments.index[0].numpy(), rngs(1)[0], chosen)
    try:
        region = next(going)
        while True:
            if held := bool(view(torch.where(torch.from_numpy(region), photograph, 0.0)) == y):
                accepted.append(region)
            region = going.send(held)
    except StopIteration as stop:
        found = stop.value
    assert np.array_equal(found.layer == found.layer.max(), found.region)
    assert np.array_equal(accepted[-1], found.region)
    assert len(accepted) > 5
    levels = np.cumsum([1 / mask.mean() for mask in accepted])
    assert all(np.array_equal(mask, found.layer > level - 1e-6) for level, mask in zip(levels, accepted, strict=True))
    assert found.layer.max() == pytest.approx(levels[-1])
    assert len(np.unique(found.layer.astype(np.float32))) > 100  # what was removed at once is in an order, too
    whole = minimal_region(view, photograph, y, rngs=rngs(1), **settings(budget=150))
    assert torch.equal(whole.saliency[0] == whole.saliency[0].max(), whole.kept[0])
    assert np.allclose(whole.saliency[0] * found.layer.max(), found.layer, atol=1e-4)


def test_the_certificate_of_a_real_model_is_true(lite0_engine, photographs):
    view = LabelView(lite0_engine)
    y = view(photographs[1:3])
    found = minimal_region(view, photographs[1:3], y, rngs=rngs(2), **settings())
    index = superpixels(photographs[1:3], settings()["sp_num"]).index
    assert found.extras["certified"].any()
    for i in np.flatnonzero(found.extras["certified"].numpy()):
        shares = index[i][found.kept[i]].unique()
        kept = torch.stack([found.kept[i], *(found.kept[i] & (index[i] != one) for one in shares)])
        decided = view(torch.where(kept[:, None], photographs[i + 1], 0.0)) == y[i]
        assert decided.tolist() == [True] + [False] * len(shares)


def test_by_score_keeps_the_share(lite0_engine, photographs):
    scores = ScoreView(lite0_engine)
    images = photographs[1:3]
    whole, y = scores(images).max(1)
    before = scores.queries
    found = minimal_region_by_score(scores, images, y, rngs=rngs(2), **settings("da_minimal_share", budget=120))
    assert int(found.queries.sum()) == scores.queries - before
    assert (found.queries <= 120).all()
    kept = scores(torch.where(found.kept[:, None], images, 0.0)).gather(1, y[:, None])[:, 0]
    assert (kept >= 0.9 * whole).all()
    assert (found.kept.float().mean((1, 2)) < 1).all()
    out_of_reach = settings("da_minimal_share", criterion="threshold", level=1.0)
    never = minimal_region_by_score(scores, images, y, rngs=rngs(2), **out_of_reach)
    assert never.status == ("unsatisfiable",) * 2
    assert never.extras["certified"].tolist() == [0, 0]
    assert never.kept.all()
    for change in ({"criterion": "top1"}, {"level": 0.0}, {"budget": 2}):
        with pytest.raises(ValueError, match=next(iter(change))):
            minimal_region_by_score(scores, images, y, rngs=rngs(2), **settings("da_minimal_share", **change))
