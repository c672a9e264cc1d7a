"""Decisions on a GPU: those of the CPU, whatever the batch, the order and the speculation, without growing memory. ``pytest -m cuda``."""

from __future__ import annotations

import pytest
import torch

from benchmarks.engines.engine import Engine, torch_engine
from benchmarks.engines.views import LabelView
from benchmarks.models.classifier import Model
from da.minimal import minimal_region
from da.types import Attribution
from da.walk import dynamic_ablation
from tests.helpers import rngs

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here"),
]
BATCH = 8
STEPS = 500
FLIPS = 0.01  # share of the decisions on masked photographs that rounding may turn: those next to the boundary


@pytest.fixture(scope="module")
def engine(lite0: Model) -> Engine:
    return torch_engine(lite0, batch=BATCH, device="cuda")


def walked(engine: Engine, images: torch.Tensor, streams: list, **options: object) -> Attribution:
    view = LabelView(engine)
    images = images.to(engine.device)
    return dynamic_ablation(view, images, view(images), rngs=streams, trace=True, iterations=STEPS, **options)


def test_decisions_on_masked_photographs_are_the_cpus(engine, lite0, photographs):
    at = torch_engine(lite0, batch=BATCH, device="cpu")
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(64, 1, 7, 7, generator=generator)
    masks = torch.nn.functional.interpolate(coarse, photographs.shape[-2:], mode="bilinear") > 0.5
    shown = torch.cat([photographs[i % len(photographs)][None] * mask for i, mask in enumerate(masks)])
    there, here = LabelView(engine)(shown.to(engine.device)).cpu(), LabelView(at)(shown)
    assert (there != here).float().mean() <= FLIPS


def test_an_image_is_explained_alike_in_any_batch_and_order(engine, photographs):
    whole = walked(engine, photographs, rngs(len(photographs)))
    order = list(range(len(photographs)))[::-1]
    turned = walked(engine, photographs[order], [rngs(len(photographs))[i] for i in order])
    assert torch.equal(turned.kept, whole.kept[order])
    assert torch.equal(turned.saliency, whole.saliency[order])
    alone = walked(engine, photographs[2:3], rngs(len(photographs))[2:3])
    assert torch.equal(alone.kept[0], whole.kept[2])
    assert torch.equal(alone.trace.accepted[0], whole.trace.accepted[2])


def test_speculation_changes_nothing_but_the_queries(engine, photographs):
    plain = walked(engine, photographs[:1], rngs(1))
    ahead = walked(engine, photographs[:1], rngs(1), speculate=4)
    assert torch.equal(plain.trace.accepted, ahead.trace.accepted)
    assert torch.equal(plain.kept, ahead.kept)
    assert torch.equal(plain.saliency, ahead.saliency)


def test_memory_does_not_grow(engine, photographs):
    walked(engine, photographs, rngs(len(photographs)))
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    for seed in range(3):
        walked(engine, photographs, rngs(len(photographs), seed))
    torch.cuda.synchronize()
    assert torch.cuda.memory_allocated() <= before + 2**20


def test_a_minimal_region_is_sufficient_by_the_device_that_found_it(engine, photographs):
    view, images = LabelView(engine), photographs[:3].to(engine.device)
    targets = view(images)
    found = minimal_region(view, images, targets, rngs=rngs(3), budget=200)
    assert torch.equal(view(images * found.kept[:, None]), targets)
