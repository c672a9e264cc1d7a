"""XRAI, Blur IG and Guided IG: what is known of their sums, and what the package cannot do here."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from baselines.gradients.saliency_package import blur_ig, guided_ig, xrai
from benchmarks.engines.views import counted
from tests.helpers import rngs, textured
from tests.strangers.networks import make
from tests.unit.test_captum import WEIGHTS, Linear

pytest.importorskip("saliency", reason="the extra saliency")
TARGETS = torch.tensor([3, 1])


def test_maps_are_the_same_alone_and_count_their_passes():
    model, images = make("base").eval(), textured(2, 64, 64)
    with counted(model) as passes:
        together = blur_ig(model, images, TARGETS, rngs=rngs(2), steps=4).saliency
    assert (passes.forward, passes.backward) == (8, 8)
    assert torch.equal(blur_ig(model, images[1:], TARGETS[1:], rngs=rngs(1), steps=4).saliency[0], together[1])
    assert float(together.std()) > 0


@pytest.mark.slow
def test_xrai_puts_the_denser_half_first():
    """The weights rise from -1 in the first channel to 1 in the last, and within each from the top down."""
    model, images = Linear().eval(), textured(1, 16, 16)
    with counted(model) as passes:
        found = xrai(model, images, torch.tensor([1]), rngs=rngs(1), steps=4).saliency[0]
    assert passes.forward == passes.backward == 2 * 4
    assert float(found[-4:].mean()) > float(found[:4].mean())
    assert WEIGHTS[2, -4:].mean() > WEIGHTS[2, :4].mean()


def test_guided_ig_runs_or_says_why_not():
    model, images = Linear().eval(), textured(1, 16, 16)
    if np.lib.NumpyVersion(np.__version__) >= "2.4.0":
        with pytest.raises(ValueError, match="the installed saliency does not run with the installed NumPy"):
            guided_ig(model, images, torch.tensor([1]), rngs=rngs(1), steps=20)
        return
    found = guided_ig(model, images, torch.tensor([1]), rngs=rngs(1), steps=20).saliency
    torch.testing.assert_close(found, (images * WEIGHTS).sum(1).abs(), atol=1e-3, rtol=1e-2)


@pytest.mark.parametrize(("method", "more"), [(xrai, {"steps": 0}), (blur_ig, {"sigma": 0.0}), (guided_ig, {"fraction": 0.0})])
def test_what_is_out_of_range(method, more):
    with pytest.raises(ValueError, match=f"{method.__name__}: .* must be"):
        method(Linear().eval(), textured(1, 16, 16), torch.tensor([1]), rngs=rngs(1), **more)
