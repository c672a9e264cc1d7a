"""Methods that ask how the score depends on cells or superpixels: closed forms, and the estimators on known functions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from baselines import hsic, lime, sobol
from baselines.parts import grid, segments
from baselines.perturbation.hsic import dependence
from baselines.perturbation.sobol import replicated, total_indices
from tests.helpers import rngs, textured

WHITE = torch.ones(1, 3, 24, 24)
Y = torch.ones(1).long()


def additive(pixel: Tensor):
    """A probability that is a weighted sum of the image's brightness, by pixel."""

    def model(shown: Tensor) -> Tensor:
        share = (shown.mean(1) * pixel).sum((1, 2))
        return torch.stack([1 - share, share], 1)

    return model


def by_part(index: Tensor, weights: Tensor) -> Tensor:
    """Pixels' weights that add up to those of the parts."""
    return weights[index] / index.flatten().bincount()[index]


def test_total_indices_of_ishigamis_function_are_known():
    def ishigami(rows: np.ndarray) -> np.ndarray:
        x = 2 * np.pi * rows.astype(float) - np.pi
        return np.sin(x[:, 0]) + 7 * np.sin(x[:, 1]) ** 2 + 0.1 * x[:, 2] ** 4 * np.sin(x[:, 0])

    found = total_indices(ishigami(replicated(4096, 3, np.random.default_rng(0))).reshape(4, 4096))
    first, second, both = (1 + 0.1 * np.pi**4 / 5) ** 2 / 2, 7**2 / 8, 0.1**2 * np.pi**8 * 8 / 225
    expected = np.array([first + both, second, both]) / (first + second + both)
    np.testing.assert_allclose(found, expected, atol=0.005)  # 0.558, 0.442, 0.244


def test_total_indices_of_a_sum_are_shares_of_its_variance():
    weights = torch.tensor([1.0, 5, 3, 2, 8, 1, 4, 0, 2]) / 26
    parts = grid(WHITE, 3)
    asked = []

    def model(shown: Tensor) -> Tensor:
        asked.append(len(shown))
        return additive(by_part(parts.index[0], weights))(shown)

    found = sobol(model, WHITE, Y, rngs=rngs(1), cells=3, designs=256, fill="black").saliency[0]
    assert sum(asked) == 256 * 10 == sobol.passes(cells=3, designs=256)[0]
    assert max(asked) <= 64
    centres = found[4::8, 4::8].flatten()
    torch.testing.assert_close(centres, weights.square() / weights.square().sum(), atol=0.03, rtol=0)
    flat = sobol(lambda shown: torch.full((len(shown), 2), 0.5), WHITE, Y, rngs=rngs(1), cells=3, designs=4)
    assert flat.saliency.abs().max() == 0


def test_dependence_on_bits_that_are_all_seen_equally_often_is_known():
    bits = ((np.arange(64)[:, None] >> np.arange(6)) & 1).astype(bool)  # every combination once: independent to the last digit
    values = (0.3 + 0.4 * bits[:, 2]).astype(np.float32)
    found = dependence(bits, values)
    width = np.median(values.astype(float))
    assert found[2] == pytest.approx((1 - np.exp(-(0.4**2) / (2 * width**2))) / 4, rel=1e-5)
    assert np.abs(np.delete(found, 2)).max() < 1e-12
    assert np.abs(dependence(bits, np.zeros(64, np.float32))).max() == 0


def test_dependence_equals_the_definition_by_matrices():
    rng = np.random.default_rng(0)
    bits, n = rng.random((50, 4)) < 0.5, 50
    values = (0.2 + 0.3 * bits[:, 0] + 0.2 * bits[:, 1] * bits[:, 2] + 0.05 * rng.random(n)).astype(np.float32)
    centring = np.eye(n) - 1 / n
    y = values.astype(float)
    of_values = np.exp(-((y[:, None] - y) ** 2) / (2 * np.median(y) ** 2))
    expected = [np.trace((bits[:, None, j] == bits[:, j]) @ centring @ of_values @ centring) / n**2 for j in range(4)]
    np.testing.assert_allclose(dependence(bits, values), expected, rtol=1e-9)


def test_dependence_ranks_cells_by_what_they_add():
    weights = torch.tensor([0.0, 0, 6, 0, 0, 0, 0, 4, 0]) / 10
    asked = []

    def model(shown: Tensor) -> Tensor:
        asked.append(len(shown))
        return additive(by_part(grid(WHITE, 3).index[0], weights))(shown)

    found = hsic(model, WHITE, Y, rngs=rngs(1), cells=3, masks=500, fill="black")
    assert sum(asked) == 500
    assert found.status is None
    centres = found.saliency[0][4::8, 4::8].flatten()
    assert centres.argsort(descending=True)[:2].tolist() == [2, 7]
    assert centres[[0, 1, 3, 4, 5, 6, 8]].max() < centres[7] / 4
    assert hsic(model, WHITE, Y, rngs=rngs(1), cells=3, masks=8, fill="black").status == ("few_samples",)


def test_a_linear_score_has_its_own_weights():
    images = textured(2, 40, 44)
    parts = segments(images, 20, slic_zero=True)
    for i in range(2):
        count = parts.count[i]
        weights = torch.from_numpy(np.random.default_rng(1).permutation(count) + 1.0).float()
        weights /= weights.sum()
        shown_share = by_part(parts.index[i], weights)
        asked = []

        def model(shown: Tensor, share=shown_share, asked=asked) -> Tensor:
            asked.append(len(shown))
            visible = ((shown[:, 0] > 0) * share).sum((1, 2))
            return torch.stack([1 - visible, visible], 1)

        found = lime(model, images[i : i + 1], Y, rngs=rngs(1), samples=300, sp_num=20, kernel_width=10.0, alpha=1e-4)
        assert sum(asked) == 300
        assert found.status == ("ok",)
        torch.testing.assert_close(found.saliency[0], weights[parts.index[i]], atol=1e-4, rtol=1e-3)
    few = lime(model, images[1:], Y, rngs=rngs(1), samples=15, sp_num=20)
    assert few.status == ("few_samples",)


def test_near_samples_weigh_more():
    """The regression equals the weighted normal equations on the samples that the generator gives."""
    image = textured(1, 40, 44)
    index, count = segments(image, 12, slic_zero=True).index[0], segments(image, 12, slic_zero=True).count[0]

    def model(shown: Tensor) -> Tensor:
        visible = torch.stack([(shown[:, 0] > 0)[:, index == one].float().mean(1) for one in range(count)], 1)
        p = visible[:, 0] * visible[:, 1] * 0.8 + 0.1 * visible[:, 2]
        return torch.stack([1 - p, p], 1)

    found = lime(model, image, Y, rngs=[np.random.default_rng(5)], samples=60, sp_num=12, alpha=0.5).saliency[0]
    draws = np.random.default_rng(5).integers(0, 2, (60, count))
    draws[0] = 1
    weight = np.exp(-((1 - np.sqrt(draws.mean(1))) ** 2) / (2 * 0.25**2))
    y = draws[:, 0] * draws[:, 1] * 0.8 + 0.1 * draws[:, 2]
    x = draws - np.average(draws, 0, weight)
    y = y - np.average(y, 0, weight)
    expected = np.linalg.solve((x * weight[:, None]).T @ x + 0.5 * np.eye(count), (x * weight[:, None]).T @ y)
    torch.testing.assert_close(found, torch.from_numpy(expected).float()[index], atol=1e-5, rtol=1e-4)


def test_an_image_of_one_superpixel_is_all_its():
    image, asked = torch.full((1, 3, 20, 20), 0.5), []

    def model(shown: Tensor) -> Tensor:
        asked.append(len(shown))
        return additive(torch.full((20, 20), 1 / 400))(shown)

    found = lime(model, image, Y, rngs=rngs(1), sp_num=1)
    assert sum(asked) == 2
    torch.testing.assert_close(found.saliency, torch.full((1, 20, 20), 0.5))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: sobol(m, WHITE, designs=12), "designs=12"),
        (lambda m: sobol(m, WHITE, designs=1), "designs=1"),
        (lambda m: sobol(m, WHITE, cells=103), "cells=103: at most 102"),
        (lambda m: sobol(m, WHITE, cells=25), "cells=25: give from 2 to 24"),
        (lambda m: hsic(m, WHITE, masks=1), "masks=1"),
        (lambda m: lime(m, WHITE, samples=1), "samples=1"),
        (lambda m: lime(m, WHITE, alpha=0.0), "alpha=0.0"),
    ],
)
def test_a_value_out_of_range_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(additive(torch.full((24, 24), 1 / 576)))
