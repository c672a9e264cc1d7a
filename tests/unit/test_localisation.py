"""Where a map and a region lie, and how sparse a map is: no measure asks the model."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.data import Evidence
from benchmarks.measures import (
    localisation,
    sparseness,
)
from da.types import Attribution
from tests.helpers import rngs, textured
from tests.unit.test_measures_of_maps import Bright, asked, found

LOCATE = {"tolerance": 3.0, "k": 224**2 // 4, "sign": "positive", "target": "label"}


def test_a_point_hits_within_the_tolerance_and_mass_lies_where_it_lies():
    mask = torch.zeros(16, 16, dtype=torch.bool)
    mask[4:8, 4:8] = True
    saliency = -torch.ones(1, 16, 16)
    saliency[0, 5, 10] = 3.0  # three columns right of the mask
    saliency[0, 4, 4:8] = 1.0
    kept = torch.zeros(1, 16, 16, dtype=torch.bool)
    kept[0, 4:8, 6:10] = True
    known, image = [Evidence(mask[None], (0,))], textured(1, 16, 16)

    def located(**chosen):
        frame, queries = asked(localisation, saliency, image, evidence=known, kept=kept, **LOCATE | chosen)
        assert queries == 0
        return found(frame)

    values = located()
    assert values["pointing_exact"] == 0
    assert values["pointing_hit"] == 0  # 3 pixels away, and not nearer
    assert located(tolerance=3.1)["pointing_hit"] == 1
    assert values["relevance_mass"] == pytest.approx(4 / 7)
    assert 4 / 16 <= values["relevance_rank"] < 1
    assert located(k=round(224**2 * 5 / 256))["topk_intersection"] == 4 / 5  # the five pixels that are not at -1
    assert values["region_iou"] == pytest.approx(8 / 24)
    assert located(sign="absolute")["relevance_mass"] == pytest.approx(16 / (256 + 2))
    assert asked(localisation, saliency, image, labels=[0], evidence=known, **LOCATE)[0].empty  # the mask is the label's
    assert len(asked(localisation, saliency, image, labels=[0], evidence=known, **LOCATE | {"target": "any"})[0]) == 5
    assert asked(localisation, saliency, image, evidence=[None], **LOCATE)[0].empty
    negative = found(asked(localisation, -torch.ones(1, 16, 16), image, evidence=known, **LOCATE)[0])
    assert np.isnan(negative["relevance_mass"])
    assert negative["relevance_rank"] < 1  # ties in a random order
    with pytest.raises(ValueError, match="tolerance=0"):
        located(tolerance=0.0)
    with pytest.raises(ValueError, match="k=50177"):
        located(k=224**2 + 1)
    with pytest.raises(ValueError, match="sign='signed': choose positive, absolute"):  # a total may be near 0, or below
        located(sign="signed")


def test_the_overlap_of_two_regions_is_a_double():
    mask, kept = torch.zeros(16, 16, dtype=torch.bool), torch.zeros(1, 16, 16, dtype=torch.bool)
    mask[0, :2] = kept[0, 0, 1:3] = True
    chosen = LOCATE | {"evidence": [Evidence(mask[None], (0,))], "kept": kept}
    assert found(asked(localisation, torch.ones(1, 16, 16), textured(1, 16, 16), **chosen)[0])["region_iou"] == 1 / 3


def test_sparseness_of_a_constant_of_a_point_and_of_two_halves():
    maps = torch.zeros(4, 8, 8)
    maps[0], maps[1, 2, 3], maps[2, :4] = 2.0, -5.0, 1.0
    frame = sparseness(
        Bright(), textured(4, 8, 8), torch.ones(4).long(), [1] * 4, Attribution(maps), rngs=rngs(4), sign="absolute", threshold=1e-5
    )
    values = frame.pivot_table(index="metric", columns="image", values="value", dropna=False)
    assert values.loc["gini"].tolist()[:3] == pytest.approx([0, 63 / 64, 0.5])
    assert values.loc["entropy"].tolist()[:3] == pytest.approx([np.log(64), 0, np.log(32)])
    assert values.loc["effective_size"].tolist()[:3] == pytest.approx([1, 1 / 64, 0.5])
    assert values.loc["effective_complexity"].tolist()[:3] == pytest.approx([1, 1 / 64, 0.5])
    assert frame[frame["image"] == 3]["value"].isna().all()  # of nothing but zeros
    for wrong, said in (({"sign": "signed"}, "sign='signed': choose positive, absolute"), ({"threshold": 1.0}, "threshold=1.0: from 0")):
        with pytest.raises(ValueError, match=said):
            asked(sparseness, maps[:1], textured(1, 8, 8), **{"sign": "absolute", "threshold": 0.1} | wrong)
