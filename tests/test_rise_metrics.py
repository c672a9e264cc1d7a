"""Insertion and deletion against values worked out by hand."""

from __future__ import annotations

import pytest
import torch

from benchmarks.rise_metrics import box_blur, rise_metrics
from da.types import Attribution
from tests.conftest import rngs

OPTIONS = {"deletion_fill": "black", "kernel": 3, "sigma": 1, "border": [0.0] * 3, "target": "predicted"}


def brightness(images):
    score = images.mean((1, 2, 3))
    return torch.stack([1 - score, score], 1)


def test_curves_and_areas_of_the_mean_brightness():
    images = torch.ones(1, 3, 4, 4)
    saliency = torch.arange(16.0).view(1, 4, 4)
    frame = rise_metrics(brightness, images, torch.tensor([1]), [0], Attribution(saliency), rngs=rngs(1), step=6, **OPTIONS)
    deletion = frame[frame["metric"] == "deletion_score"]
    assert deletion["x"].tolist() == pytest.approx([0, 6 / 16, 12 / 16, 1])
    assert deletion["value"].tolist() == pytest.approx([1, 10 / 16, 4 / 16, 0])
    area = frame[frame["metric"] == "rise_deletion_auc"]["value"].item()
    assert area == pytest.approx((1 / 2 + 10 / 16 + 4 / 16 + 0) / 3)
    insertion = frame[frame["metric"] == "insertion_score"]["value"].tolist()
    assert insertion[0] == pytest.approx(float(box_blur(images, 3, 1, [0.0] * 3).mean()))
    assert insertion[-1] == pytest.approx(1)
    other = rise_metrics(
        brightness, images, torch.tensor([1]), [0], Attribution(saliency), rngs=rngs(1), step=16, **OPTIONS | {"target": "label"}
    )
    assert other[other["metric"] == "deletion_score"]["value"].tolist() == pytest.approx([0, 1])


@pytest.mark.parametrize("change", [{"step": 0}, {"step": 17}, {"target": "mean"}])
def test_a_value_out_of_range_is_named(change):
    images, saliency = torch.ones(1, 3, 4, 4), torch.zeros(1, 4, 4)
    with pytest.raises(ValueError, match=f"{next(iter(change))}="):
        rise_metrics(brightness, images, torch.tensor([1]), [1], Attribution(saliency), rngs=rngs(1), **{"step": 4} | OPTIONS | change)
