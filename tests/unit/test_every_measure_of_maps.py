"""What holds of every measure of maps: fills, values that are not finite, batches, directions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.data import Evidence
from benchmarks.measures import (
    faithfulness_correlation,
    infidelity,
    iterative_removal,
    localisation,
    max_sensitivity,
    pixel_flipping,
    remove_and_debias,
    sensitivity_n,
    sparseness,
    sufficient_shares,
)
from da.types import Attribution
from results.metrics import metric_named
from tests.helpers import rngs, textured
from tests.unit.test_localisation import LOCATE
from tests.unit.test_measures_of_maps import FLIP, INFIDELITY, IROF, ROAD, SUBSET, SUFFICIENT, Bright, asked

OF_A_FILL = {
    pixel_flipping: FLIP,
    iterative_removal: IROF,
    infidelity: INFIDELITY | {"target": "predicted"},
    faithfulness_correlation: SUBSET | {"size": 224},
    sensitivity_n: SUBSET | {"shares": [0.5]},
    sufficient_shares: SUFFICIENT,
}


@pytest.mark.parametrize("measure", OF_A_FILL)
def test_a_wrong_fill_is_refused_before_any_pass(measure):
    chosen = OF_A_FILL[measure]
    wrong = {"fills": ["black", "grey"]} if "fills" in chosen else {"fill": "grey"}
    model, images = Bright(), textured(64, 16, 16)
    with pytest.raises(ValueError, match="='grey': choose black"):
        measure(model, images, torch.ones(64).long(), [1] * 64, Attribution(images[:, 0]), rngs=rngs(64), **chosen | wrong)
    assert model.queries == 0


def every_measure(mask):
    known = {"evidence": [Evidence(mask[None], (0,))]}
    yield localisation, LOCATE | known
    yield pixel_flipping, FLIP
    yield remove_and_debias, ROAD
    yield iterative_removal, IROF
    yield infidelity, INFIDELITY | {"target": "predicted"}
    yield faithfulness_correlation, SUBSET | {"size": 224 * 20}
    yield sensitivity_n, SUBSET | {"shares": [0.1, 0.5]}
    yield sparseness, {"sign": "absolute", "threshold": 0.0}
    yield max_sensitivity, {"draws": 2, "radius": 0.1, "explain": lambda images: images.mean(1)}


def test_a_map_with_a_value_that_is_not_finite_has_no_number_and_ties_do_not_fail():
    mask = torch.zeros(16, 16, dtype=torch.bool)
    mask[:5, :5] = True
    image = textured(1, 16, 16)
    wrong = image.mean(1).clone()
    wrong[0, 3, 3] = torch.nan
    for measure, chosen in every_measure(mask):
        frame, _ = asked(measure, wrong, image, **chosen)
        assert len(frame)
        assert frame["value"].isna().all(), measure.__name__
        frame, _ = asked(measure, torch.zeros(1, 16, 16), image, **chosen)
        assert not np.isinf(frame["value"]).any()


def test_an_images_numbers_do_not_depend_on_the_others_of_its_batch():
    images = textured(3, 16, 16)
    maps = torch.from_numpy(np.random.default_rng(1).random((3, 16, 16))).float()
    mask = torch.zeros(16, 16, dtype=torch.bool)
    mask[:5, :5] = True
    classes = torch.ones(3, dtype=torch.long)
    for measure, chosen in every_measure(mask):
        if measure is localisation:
            chosen |= {"evidence": chosen["evidence"] * 3}
        together, _ = asked(measure, maps, images, classes, [1] * 3, **chosen)
        alone = measure(
            Bright(), images[1:2], classes[:1], [1], Attribution(maps[1:2]), rngs=rngs(3)[1:2],
            **chosen | ({"evidence": chosen["evidence"][:1]} if measure is localisation else {}),
        )  # fmt: skip
        there = together[together["image"] == 1]
        assert there["metric"].tolist() == alone["metric"].tolist()
        np.testing.assert_allclose(there["value"], alone["value"], rtol=1e-9, equal_nan=True)


def test_each_number_says_which_direction_is_better():
    names = ["pointing_hit", "relevance_mass", "irof", "road_combined", "srg_black", "lerf_road", "gini", "sensitivity_n"]
    assert {metric_named(name).better for name in names} == {"larger"}
    names = ["infidelity_scaled", "max_sensitivity", "morf_noise", "road_morf", "entropy", "effective_size"]
    assert {metric_named(name).better for name in names} == {"smaller"}
    assert metric_named("morf_score_black").better == ""
