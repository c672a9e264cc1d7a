"""A measure that has the method explain other versions of the images: the method's own maps, its passes counted, its batches no matter."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from baselines import occlusion, precomputed, random_map, sobel_edges
from benchmarks.inputs.parameters import given_by_the_harness, takes_explain
from benchmarks.measures import insertion_game, max_sensitivity
from da import minimal_region, reduce
from da.fill import baseline_image
from da.types import STATED_QUERIES, Attribution, LabelModel
from tests.benchmarks.test_job import job, planted, written  # noqa: F401  a fixture
from tests.helpers import textured

CHOSEN = {"draws": 2, "radius": 0.05}


def again(model, images, targets, labels, attribution, *, rngs, explain):
    """How far the same images' maps are from the first ones."""
    far = (explain(images) - attribution.saliency).abs().amax((1, 2))
    return pd.DataFrame([(i, "again", np.nan, float(one)) for i, one in enumerate(far)], columns=["image", "metric", "x", "value"])


def counted(model: LabelModel, images, targets, *, rngs, taken):
    """A method that keeps what its maps take, image by image."""
    found = minimal_region(model, images, targets, rngs=rngs, budget=20, sp_num=20)
    taken += found.queries.tolist()
    return found


def test_the_same_images_have_the_same_maps_and_other_ones_others(tmp_path, planted):  # noqa: F811
    for method in (None, partial(random_map), partial(sobel_edges)):
        measures = {"again": partial(again), "sensitivity": partial(max_sensitivity, **CHOSEN)}
        found = job(tmp_path / str(method), *planted, method=method, benchmarks=measures)
        found.run()
        assert (found.rows("again")["value"] == 0).all()  # random as the method is
        sensitivity = found.rows("sensitivity")["value"]
        assert len(sensitivity) == 6
        assert (sensitivity == 0).all() if method is not None and method.func is random_map else (sensitivity > 0).any()


def test_passes_of_further_explanations_are_counted_and_batches_are_no_matter(tmp_path, planted):  # noqa: F811
    spent, taken = [], []
    method = partial(counted, taken=taken)
    measures = {"sensitivity": partial(max_sensitivity, **CHOSEN)}
    whole = job(tmp_path / "whole", *planted, method=method, benchmarks=measures)
    whole.run(lambda images, queries: spent.append(queries))
    once = whole.rows("attribution").query("metric == 'queries'")["value"].sum()
    assert len(taken) == 6 * (1 + CHOSEN["draws"])
    assert sum(taken[:4] + taken[12:14]) == once  # batches of four and of two, each followed by its noisy versions
    assert sum(spent) == sum(taken) > once
    single = job(tmp_path / "single", *planted, method=method, benchmarks=measures, batch_size=1)
    single.run()
    pd.testing.assert_frame_equal(written(single), written(whole))


def test_passes_are_counted_of_a_measure_that_fails_afterwards(tmp_path, planted):  # noqa: F811
    def fails(model, images, targets, labels, attribution, *, rngs, explain):
        explain(images)
        raise ValueError("no")

    spent, taken = [], []
    found = job(tmp_path, *planted, method=partial(counted, taken=taken), benchmarks={"fails": partial(fails)}, batch_size=1)
    found.run(lambda images, queries: spent.append(queries))
    assert found.rows("fails")["status"].str.contains("no").all()
    assert len(taken) == 6 * 2
    assert sum(spent) == sum(taken)


def test_a_method_that_does_not_say_its_passes_can_be_explained_again(tmp_path, planted):  # noqa: F811
    def unknown(model, images, targets, *, rngs):
        return Attribution(images.mean(1), extras={STATED_QUERIES: torch.full((len(images),), torch.nan)})

    found = job(tmp_path, *planted, method=partial(unknown), benchmarks={"sensitivity": partial(max_sensitivity, **CHOSEN)})
    found.run()
    assert (found.rows("sensitivity")["value"] >= 0).all()


@pytest.mark.parametrize("fill", ["noise", "photographs:DIR"])
def test_maps_on_a_fill_that_changes_with_the_image_are_not_compared(tmp_path, planted, fill):  # noqa: F811
    Image.new("RGB", (32, 32)).save(tmp_path / "black.png")
    method = partial(occlusion, window=0.5, stride=0.5, fill=fill.replace("DIR", str(tmp_path)))
    found = job(tmp_path / "store", *planted, method=method, benchmarks={"sensitivity": partial(max_sensitivity, **CHOSEN)})
    found.run()
    assert found.rows("attribution")["status"].isin(["ok"]).all()
    assert found.rows("sensitivity")["status"].str.contains("drawn anew for each version of an image").all()


@pytest.mark.parametrize("as_start", [False, True])
def test_maps_of_elsewhere_cannot_be_made_again(tmp_path, planted, as_start):  # noqa: F811
    images, _, _ = planted
    (tmp_path / "maps").mkdir()
    for photograph in images.photographs:
        np.save(tmp_path / "maps" / f"{photograph.id}.npy", np.random.default_rng(0).random((32, 32)).astype(np.float32))
    method = partial(precomputed, maps=str(tmp_path / "maps"))
    method = partial(reduce, start_from=method, budget=20, sp_num=30) if as_start else method
    found = job(tmp_path / "store", *planted, method=method, benchmarks={"sensitivity": partial(max_sensitivity, **CHOSEN)})
    if as_start:
        stated = {"start_from": {"_target_": "baselines.precomputed", "maps": str(tmp_path / "maps")}, "budget": 20, "sp_num": 30}
        found = replace(found, parameters=stated)
    found.run()
    assert found.rows("sensitivity")["status"].str.contains("made elsewhere").all()


def test_explain_is_no_hyper_parameter():
    assert takes_explain(partial(max_sensitivity, **CHOSEN))
    assert not takes_explain(insertion_game)
    assert "explain" in given_by_the_harness(max_sensitivity)


def test_noise_and_photographs_are_each_images_own_and_never_the_image_itself(tmp_path):
    from skimage.io import imsave

    images = textured(3, 24, 32)
    for fill in ("noise", f"photographs:{tmp_path}"):
        if fill != "noise":
            with pytest.raises(ValueError, match="no photograph in it but the image itself"):
                baseline_image(images, fill)
            for i, image in enumerate(images):
                imsave(tmp_path / f"{i}.png", (image.permute(1, 2, 0) * 255).byte().numpy())
            imsave(tmp_path / "grey.png", np.full((50, 40), 30, np.uint8), check_contrast=False)
        filled = baseline_image(images, fill)
        assert filled.shape == images.shape
        assert float(filled.min()) >= 0
        assert float(filled.max()) <= 1
        assert torch.equal(filled[1:2], baseline_image(images[1:2], fill))
        assert all(float((filled - image).abs().mean((1, 2, 3)).min()) > 0.02 or fill != "noise" for image in images)
        assert all(float((one - image).abs().mean()) > 0.02 for one, image in zip(filled, images, strict=True))
    assert not torch.equal(*baseline_image(images[:2], "noise"))
