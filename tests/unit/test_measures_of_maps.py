"""Removal, infidelity, subsets, sensitivity: against answers known beforehand, and where there is no answer."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from benchmarks.measures import (
    faithfulness_correlation,
    infidelity,
    iterative_removal,
    max_sensitivity,
    pixel_flipping,
    remove_and_debias,
    sensitivity_n,
    sufficient_shares,
)
from benchmarks.measures.fills import Removal, linear_imputation
from da.superpixels import superpixels
from da.types import Attribution
from tests.helpers import rngs, textured

ONE = torch.ones(1, dtype=torch.long)
FLIP = {"fills": ["black"], "steps": 4, "target": "predicted"}
ROAD = {"shares": [0.25, 0.5, 0.75], "target": "predicted"}
IROF = {"sp_num": 20, "compactness": 10.0, "fill": "black", "target": "predicted"}
INFIDELITY = {"draws": 8, "perturbation": "square", "sigma": 0.2, "side": 0.25, "fill": "black", "sign": "signed", "normalise": False}
SUFFICIENT = {"criteria": {"share": 0.5}, "fills": ["black"], "smallest": 0.01, "points": 4}
SUBSET = {"draws": 20, "fill": "black", "sign": "signed", "target": "predicted"}


class Bright:
    """Probability of class 1: the mean brightness, so that each pixel's part in it is its own brightness; ``queries`` counts images."""

    def __init__(self) -> None:
        self.queries = 0

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        self.queries += len(images)
        p = images.double().mean((1, 2, 3))
        return torch.stack([1 - p, p], 1)


def found(frame: pd.DataFrame) -> dict[str, float]:
    """The single numbers of one image."""
    single = frame[frame["x"].isna()]
    assert not single["metric"].duplicated().any()
    return dict(zip(single["metric"], single["value"], strict=True))


def asked(measure, saliency, images, classes=ONE, labels=(1,), **chosen):
    model = Bright()
    kept = chosen.pop("kept", None)
    frame = measure(model, images, classes, list(labels), Attribution(saliency, kept), rngs=rngs(len(images)), **chosen)
    return frame, model.queries


def test_most_relevant_first_is_below_least_relevant_first_by_what_is_known():
    image = torch.zeros(1, 3, 8, 8)
    image[:, :, :4] = 1  # the upper half is bright: p is 0.5
    saliency = image[:, 0] + torch.rand(1, 8, 8) / 10
    frame, queries = asked(pixel_flipping, saliency, image, **FLIP)
    curve = frame[frame["metric"] == "morf_score_black"]
    assert curve["x"].tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert curve["value"].tolist() == pytest.approx([0.5, 0.25, 0, 0, 0])
    values = found(frame)
    assert values["morf_black"] == pytest.approx((0.25 + 0.25 + 0) / 4)
    assert values["lerf_black"] == pytest.approx((0.5 + 0.5 + 0.25 + 0.25) / 4)
    assert values["srg_black"] == pytest.approx(values["lerf_black"] - values["morf_black"])
    assert queries == pixel_flipping.passes(**FLIP)[0] == 8
    opposite = found(asked(pixel_flipping, -saliency, image, **FLIP)[0])
    assert opposite["srg_black"] == pytest.approx(-values["srg_black"])
    fills = ["black", "mean", "blur", "noise", "road", [0.5, 0.5, 0.5]]
    frame, queries = asked(pixel_flipping, saliency, image, **FLIP | {"fills": fills})
    assert {name for name in found(frame) if name.startswith("srg")} == {f"srg_{of}" for of in (*fills[:5], "colour")}
    assert queries == pixel_flipping.passes(fills, steps=4)[0]
    for same in (["black", "black"], [[0.1] * 3, [0.2] * 3], ["photographs:a", "photographs:b"], []):
        with pytest.raises(ValueError, match="different names"):
            asked(pixel_flipping, saliency, image, **FLIP | {"fills": same})
    with pytest.raises(ValueError, match="steps=65: from 1 to the 64 pixels"):
        asked(pixel_flipping, saliency, image, **FLIP | {"steps": 65})
    with pytest.raises(ValueError, match=r"flipping\.fills='grey'"):
        asked(pixel_flipping, saliency, image, **FLIP | {"fills": ["grey"]})
    with pytest.raises(ValueError, match=r"flipping\.target=label: an image has no label"):
        asked(pixel_flipping, saliency, image, labels=[None], **FLIP | {"target": "label"})
    assert found(asked(pixel_flipping, saliency, image, labels=[0], **FLIP | {"target": "label"})[0])["srg_black"] < 0


def test_road_imputes_a_plane_exactly_and_adds_noise_to_what_is_missing_alone():
    rows = torch.arange(12.0)[:, None].expand(12, 12) / 12
    image, kept = rows.expand(3, 12, 12).clone(), torch.ones(12, 12, dtype=torch.bool)
    kept[3:8, 2:9] = False
    nothing = torch.zeros(3, 12, 12)
    hidden = torch.where(kept, image, 0.7)  # what was there does not count
    assert torch.allclose(linear_imputation(hidden, kept, nothing), image, atol=1e-6)  # a plane is its own mean
    noisy = linear_imputation(hidden, kept, nothing + 0.1)
    assert torch.allclose(noisy - image, 0.1 * (~kept).float(), atol=1e-6)
    assert torch.equal(linear_imputation(hidden, torch.ones_like(kept), nothing + 0.1), hidden)
    removal = Removal(image[None], "road", rngs(1), "fill")
    assert torch.allclose(removal(torch.zeros(1, 12, 12, dtype=torch.bool))[0], torch.full((3, 12, 12), float(rows.mean())))
    assert torch.equal(removal(kept[None]), removal(kept[None]))  # the noise of an image is drawn once


def test_road_imputes_pixels_that_lie_scattered_at_the_size_of_photographs():
    """Nine of ten missing, at random, as of a noisy map: with pivoting the system would take minutes."""
    side = 224
    kept = torch.from_numpy(np.random.default_rng(0).random((side, side)) < 0.1)
    kept[0] = kept[-1] = kept[:, 0] = kept[:, -1] = True
    image = (torch.arange(side) / side)[:, None].expand(3, side, side).clone()
    assert torch.allclose(linear_imputation(torch.where(kept, image, 0.7), kept, torch.zeros(3, side, side)), image, atol=1e-5)


def test_road_asks_twice_a_share_and_means_what_it_says():
    image = torch.zeros(1, 3, 8, 8)
    image[:, :, :6] = 1  # p is 0.75, of which class 1 is lost below 0.5
    frame, queries = asked(remove_and_debias, image[:, 0] + torch.rand(1, 8, 8) / 10, image, **ROAD)
    assert queries == remove_and_debias.passes(**ROAD)[0] == 6
    values = found(frame)
    lerf = frame[frame["metric"] == "road_lerf_score"]["value"]
    morf = frame[frame["metric"] == "road_morf_score"]["value"]
    assert lerf.iloc[0] == pytest.approx(1, abs=0.01)  # the dark pixels are imputed from bright ones
    assert values["road_combined"] == pytest.approx((lerf - morf.to_numpy()).mean() / 2)
    assert values["road_lerf"] == 1
    assert values["road_morf"] == pytest.approx(2 / 3)  # with 0.75 gone all that is left is dark
    with pytest.raises(ValueError, match="shares"):
        asked(remove_and_debias, image[:, 0], image, shares=[0.5, 1.0], target="predicted")


@pytest.mark.parametrize(("share", "removed"), [(0.29, 29), (0.57, 57), (0.001, 1)])  # 100 * 0.29 is 28.999999999999996
def test_road_removes_the_share_that_it_says_and_a_pixel_at_least(share, removed):
    shown = []

    def model(images):
        shown.append(images)
        return Bright()(images)

    image = textured(1, 10, 10)
    remove_and_debias(model, image, ONE, [1], Attribution(image[:, 0]), rngs=rngs(1), shares=[share], target="predicted")
    assert [int((one != image).any(1).sum()) for one in shown] == [removed] * 2


def test_irof_of_superpixels_is_the_area_over_their_curve():
    image = textured(1, 32, 32)
    parts = superpixels(image, 20)
    index, count = parts.index[0], int(parts.count[0])
    light = torch.stack([image[0][:, index == s].sum() for s in range(count)]) / image.sum()
    size = torch.bincount(index.flatten())
    order = (light / size).argsort(descending=True)
    left = 1 - torch.cat([torch.zeros(1), light[order].cumsum(0)])
    frame, queries = asked(iterative_removal, image[0].mean(0)[None], image, **IROF)
    assert found(frame) == {"irof": pytest.approx(float(1 - torch.trapezoid(left, dx=1 / count)), abs=1e-6)}
    assert queries == 1 + count
    single = found(asked(iterative_removal, image[:, 0], image, **IROF | {"sp_num": 1})[0])
    assert single == {"irof": pytest.approx(0.5)}  # one superpixel: from all to nothing
    dark = found(asked(iterative_removal, image[:, 0], torch.zeros_like(image), **IROF)[0])
    assert np.isnan(dark["irof"])  # there is no probability to lose
    chance = {share: torch.full_like(image, share) for share in (0.49, 0.5)}  # of two classes, one has half of it by chance
    values = {share: found(asked(iterative_removal, image[:, 0], of, **IROF)[0])["irof"] for share, of in chance.items()}
    assert np.isnan(values[0.49])  # else, where a probability rises from nearly nothing, it would be as far below 0 as one likes
    assert values[0.5] == pytest.approx(0.5, abs=0.1)


def test_infidelity_of_what_each_pixel_does_is_zero_and_its_scale_is_found():
    images = textured(2, 16, 16)
    exact = torch.full((2, 16, 16), 1 / (3 * 16 * 16))  # the gradient of the mean
    classes, labels = torch.ones(2, dtype=torch.long), [1, 1]
    for perturbation in ("square", "noise"):
        chosen = INFIDELITY | {"perturbation": perturbation, "target": "predicted"}
        frame, queries = asked(infidelity, exact, images, classes, labels, **chosen)
        assert frame["value"].to_numpy() == pytest.approx(0, abs=1e-9)
        assert queries == 2 * infidelity.passes(**chosen)[0] == 18
        frame, _ = asked(infidelity, 1000 * exact, images, classes, labels, **chosen)
        values = frame.set_index(["metric", "image"])["value"]
        assert (values["infidelity"] > 1e-4).all()
        assert values["infidelity_scaled"].to_numpy() == pytest.approx(0, abs=1e-9)
        normalised, _ = asked(infidelity, 1000 * exact, images, classes, labels, **chosen | {"normalise": True})
        once, _ = asked(infidelity, torch.ones(2, 16, 16), images, classes, labels, **chosen)
        pd.testing.assert_frame_equal(normalised, once)
    frame, _ = asked(infidelity, 0 * exact, images, classes, labels, **chosen)  # of a map that says nothing: the mean squared loss
    values = frame.set_index(["metric", "image"])["value"]
    assert (values["infidelity"] == values["infidelity_scaled"]).all()
    against = asked(infidelity, -1000 * exact, images, classes, labels, **chosen)[0].set_index(["metric", "image"])["value"]
    assert against["infidelity_scaled"].tolist() == values["infidelity_scaled"].tolist()  # no better than to say nothing
    with pytest.raises(ValueError, match="side=0"):
        asked(infidelity, exact, images, classes, labels, **chosen | {"side": 0.0})
    with pytest.raises(ValueError, match="choose square, noise"):
        asked(infidelity, exact, images, classes, labels, **chosen | {"perturbation": "circle"})


def test_correlations_over_subsets_are_one_of_what_each_pixel_does():
    image = textured(1, 16, 16)
    saliency = image.mean(1)
    frame, queries = asked(faithfulness_correlation, saliency, image, size=224 * 20, **SUBSET)
    assert found(frame) == {"faithfulness_correlation": pytest.approx(1)}
    assert queries == faithfulness_correlation.passes(draws=20)[0] == 21
    assert found(asked(faithfulness_correlation, -saliency, image, size=224 * 20, **SUBSET)[0])[
        "faithfulness_correlation"
    ] == pytest.approx(-1)
    constant = found(asked(faithfulness_correlation, torch.full_like(saliency, 0.3), image, size=224 * 20, **SUBSET)[0])
    assert np.isnan(constant["faithfulness_correlation"])
    with pytest.raises(ValueError, match="size=50176 must be from 1 and below 50176"):
        asked(faithfulness_correlation, saliency, image, size=224**2, **SUBSET)
    frame, queries = asked(sensitivity_n, saliency, image, shares=[0.1, 0.5], **SUBSET)
    assert frame["value"].tolist() == pytest.approx([1, 1, 1])
    assert frame["x"].tolist()[:2] == [0.1, 0.5]
    assert queries == sensitivity_n.passes(shares=[0.1, 0.5], draws=20)[0] == 41
    with pytest.raises(ValueError, match="rise between 0 and 1"):
        asked(sensitivity_n, saliency, image, shares=[0.5, 0.1], **SUBSET)


@pytest.mark.parametrize(("spread", "none"), [(1e-7, True), (1e-2, False)])
def test_losses_that_are_rounding_have_no_correlation(spread, none):
    """A saturated probability differs between subsets in the last digits of single precision alone."""

    def saturated(images):
        p = 1 - spread * images.double().mean((1, 2, 3)).float()
        return torch.stack([1 - p, p], 1)

    image = textured(1, 16, 16)
    for measure, more in ((faithfulness_correlation, {"size": 224 * 20}), (sensitivity_n, {"shares": [0.1, 0.5]})):
        frame = measure(saturated, image, ONE, [1], Attribution(image.mean(1)), rngs=rngs(1), **SUBSET, **more)
        assert (frame["value"].isna() == none).all(), measure.__name__


def test_sufficient_shares_name_a_folder_of_photographs_without_its_path(tmp_path):
    Image.new("RGB", (20, 20)).save(tmp_path / "black.png")
    fills = [f"photographs:{tmp_path}", [0.0, 0.0, 0.0]]
    values = found(asked(sufficient_shares, *[textured(1, 16, 16)[:, 0], textured(1, 16, 16)], **SUFFICIENT | {"fills": fills})[0])
    assert set(values) == {"mar_share_photographs", "mar_share_colour"}
    with pytest.raises(ValueError, match="different names"):
        asked(sufficient_shares, textured(1, 16, 16)[:, 0], textured(1, 16, 16), **SUFFICIENT | {"fills": ["black", "black"]})


def test_max_sensitivity_is_the_largest_change_of_the_map():
    image = textured(2, 16, 16)
    changes = iter([0.1, 0.4, 0.2])
    shown = []

    def explain(noisy: torch.Tensor) -> torch.Tensor:
        shown.append(noisy)
        return maps * (1 + next(changes))

    maps = image.mean(1)
    maps[1] = 0
    classes, chosen = torch.ones(2, dtype=torch.long), {"draws": 3, "radius": 0.02}
    frame, _ = asked(max_sensitivity, maps, image, classes, [1, 1], explain=explain, **chosen)
    assert frame["value"].tolist() == pytest.approx([0.4, np.nan], nan_ok=True)  # a map of zeros has no relative change
    assert all(0 < float((noisy - image).abs().max()) <= 0.02 + 1e-6 for noisy in shown)
    assert len({float(noisy.sum()) for noisy in shown}) == 3
    with pytest.raises(ValueError, match="radius=0"):
        asked(max_sensitivity, maps, image, classes, [1, 1], explain=explain, draws=1, radius=0.0)
