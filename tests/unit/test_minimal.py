"""Small certified regions: planted answers, the budget, the certificate, invariance."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from da.minimal.cells import Cells, graded
from da.minimal.region import minimal_region
from da.minimal.search import Found, Settings, _blame, _check, _most_promising, search
from da.superpixels import superpixels
from tests.conftest import REPOSITORY
from tests.helpers import Labels, PatchNet, rngs, textured


def settings(name: str = "da_minimal", **changes):
    stated = OmegaConf.to_object(OmegaConf.load(REPOSITORY / "conf" / "method" / f"{name}.yaml"))
    return {key: value for key, value in stated.items() if not key.startswith("_")} | changes


def holds(net, images, region, rule: str):
    shown = torch.where(region[:, None] if rule == "positive" else ~region[:, None], images, 0.0)
    return (net(shown).argmax(1) == 1) == (rule == "positive")


@pytest.mark.parametrize("rule", ["positive", "negative"])
def test_the_region_is_the_smallest_set_of_superpixels_that_decides(rule):
    net, images = PatchNet(20, 24, 10, 9), textured(3, 64, 64)
    found = minimal_region(Labels(net), images, torch.ones(3).long(), rngs=rngs(3), **settings(rule=rule, sp_num=60, cut=False))
    index = superpixels(images, 60).index
    assert found.status == ("ok",) * 3
    assert found.extras["certified"].tolist() == [1, 1, 1]
    for i in range(3):
        patch = set(index[i][20:30, 24:33].flatten().tolist())
        inside = set(index[i][found.kept[i]].flatten().tolist())
        assert inside == patch if rule == "positive" else (len(inside) == 1 and inside <= patch)
        assert found.extras["pieces"][i] == found.extras["checked"][i] == len(inside)


@pytest.mark.parametrize("rule", ["positive", "negative"])
def test_cut_superpixels_shrink_it_and_the_certificate_is_true(rule):
    net, images = PatchNet(20, 24, 10, 9), textured(2, 64, 64)
    y = torch.ones(2).long()
    coarse, fine = (
        minimal_region(Labels(net), images, y, rngs=rngs(2), **settings(rule=rule, sp_num=30, cut=cut)) for cut in (False, True)
    )
    assert (fine.kept.float().mean((1, 2)) < coarse.kept.float().mean((1, 2))).all()
    assert holds(net, images, fine.kept, rule).all()
    assert fine.extras["certified"].tolist() == [1, 1]
    if rule == "positive":  # the patch itself may not be lost
        assert fine.kept[:, 20:30, 24:33].all()
    index = superpixels(images, 30).index
    for found in (coarse, fine):
        for i in range(2):  # no superpixel's share of the region can go
            shares = index[i][found.kept[i]].unique()
            assert found.extras["pieces"][i] == len(shares)
            for one in shares:
                without = found.kept[i] & (index[i] != one)
                assert not holds(net, images[i : i + 1], without[None], rule).any()


def test_the_check_asks_about_each_share_once_where_all_are_needed():
    index = np.repeat([0, 1, 2, 3, 4], [1, 5, 2, 4, 3])[None]  # the areas of five superpixels
    found = Found(np.ones(index.shape, bool), np.zeros(index.shape), queries=1)
    sizes = []
    asked = _check(index, np.ones(index.shape), Settings(), found)
    try:
        region = next(asked)
        while True:
            sizes.append(int((~region).sum()))
            region = asked.send(False)
    except StopIteration:
        pass
    assert sorted(sizes) == [1, 2, 3, 4, 5]
    assert found.certified
    assert found.queries == 6


def test_what_could_not_go_is_likelier_to_be_needed():
    need, removed = np.full((2, 4), 0.1), np.zeros((2, 4), bool)
    removed[0, :2] = True
    _blame(need, removed)
    assert need[0, 0] == pytest.approx(0.1 / (1 - np.exp(-0.2)))  # the mean of a Poisson number, given that it is not 0
    assert np.allclose(need[~removed], 0.1)


def test_the_beginning_of_an_order_is_weighed_by_area_and_need():
    cells = Cells.shares(np.arange(8).reshape(2, 4), np.ones((2, 4), bool))
    order = np.arange(8)
    none_needed = np.full((2, 4), 1e-9)
    assert _most_promising(cells, none_needed, order[None], 0.5).tolist() == [0, 1, 2, 3]
    third_needed = none_needed.copy()
    third_needed[0, 2] = 9.0
    assert _most_promising(cells, third_needed, order[None], 0.5).tolist() == [0, 1]
    assert _most_promising(cells, third_needed, np.stack([order, order[::-1]]), 0.5).tolist() == [7, 6, 5, 4]


def test_a_small_image_has_fewer_superpixels_and_is_cut_to_pixels():
    net, images = PatchNet(10, 12, 3, 3), textured(1, 32, 32)
    found = minimal_region(Labels(net), images, torch.ones(1).long(), rngs=rngs(1), **settings())
    assert found.extras["superpixels"] <= 110
    assert found.extras["certified"] == 1
    assert 9 <= found.kept.sum() <= 12
    assert found.kept[0, 10:13, 12:15].all()


def test_the_budget_is_kept_and_what_was_found_holds():
    net, images = PatchNet(16, 16, 30, 30), textured(2, 64, 64)
    for budget in (2, 9, 40, 500):
        labels = Labels(net)
        found = minimal_region(labels, images, torch.ones(2).long(), rngs=rngs(2), **settings(budget=budget, sp_num=100))
        assert (found.queries <= budget).all()
        assert sum(map(len, labels.shown)) == found.queries.sum()
        assert holds(net, images, found.kept, "positive").all()
        if budget <= 9:
            assert found.extras["certified"].sum() == 0
            assert (found.extras["checked"] < found.extras["pieces"]).all()


def test_premises_that_fail_are_statuses():
    images = textured(1, 32, 32)

    class Constant(torch.nn.Module):
        def forward(self, x):
            return torch.tensor([[0.0, 1.0]]).expand(len(x), 2)

    y = torch.ones(1).long()
    vacuous = minimal_region(Labels(Constant()), images, y, rngs=rngs(1), **settings())
    assert (vacuous.status, float(vacuous.kept.sum()), int(vacuous.queries)) == (("vacuous",), 0, 1)
    stays = minimal_region(Labels(Constant()), images, y, rngs=rngs(1), **settings(rule="negative"))
    assert stays.status == ("unsatisfiable",)
    assert (stays.extras["certified"].tolist(), stays.queries.tolist()) == ([0], [1])


def test_an_image_is_the_same_alone_and_in_a_batch():
    net, images = PatchNet(20, 24, 10, 9), textured(3, 64, 64)
    y = torch.ones(3).long()
    chosen = settings(sp_num=60, budget=200)
    together = minimal_region(Labels(net), images, y, rngs=rngs(3), **chosen)
    for i in range(3):
        alone = minimal_region(Labels(net), images[i : i + 1], y[:1], rngs=[rngs(3)[i]], **chosen)
        assert torch.equal(alone.kept[0], together.kept[i])
        assert torch.equal(alone.saliency[0], together.saliency[i])
        assert alone.queries[0] == together.queries[i]


def test_grading_keeps_the_order_and_puts_the_nearer_first():
    layer = np.zeros((5, 5))
    layer[2, 2], layer[2, 3] = 3, 1
    found = graded(layer)
    assert found[2, 2] == 3
    assert 1 <= found[2, 3] < 3
    assert (found[layer == 0] < 1).all()
    assert found[2, 1] > found[2, 0] > 0
    assert np.array_equal(graded(np.ones((3, 3))), np.ones((3, 3)))


def test_the_certificate_is_true_of_any_rule():
    """Whether a set of 16 blocks holds is drawn for each set, so that what was needed once may not be later."""
    blocks = np.kron(np.arange(16).reshape(4, 4), np.ones((2, 2), int))
    index = np.kron(np.arange(4).reshape(2, 2), np.ones((4, 4), int))
    certified = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        drawn = rng.random(2**16) < 0.2
        drawn[0], drawn[-1] = False, True

        def rule_holds(region, drawn=drawn) -> bool:
            return bool(drawn[sum(1 << int(block) for block in np.unique(blocks[region]))])

        going = search(index, rng, Settings(**settings(budget=60)))
        region = next(going)
        try:
            while True:
                region = going.send(rule_holds(region))
        except StopIteration as stop:
            found = stop.value
        assert found.queries <= 60
        assert rule_holds(found.region)
        minimal = not any(rule_holds(found.region & (index != one)) for one in np.unique(index[found.region]))
        assert minimal or not found.certified
        certified += found.certified
    assert certified >= 36


def test_cells_are_a_partition_of_the_region():
    region = np.zeros((9, 11), bool)
    region[2:8, 3:9] = True
    for cells in (Cells.squares(region, 6, np.random.default_rng(0)), Cells.shares(np.arange(99).reshape(9, 11) // 20, region)):
        assert cells.areas.sum() == region.sum()
        assert np.array_equal(cells.pixels(np.arange(len(cells.areas))), region)
        for order in [
            *cells.orders_in_space(6, np.random.default_rng(1)),
            *cells.orders_by_need(np.ones((9, 11)), 3, 0.5, np.random.default_rng(1)),
        ]:
            assert sorted(order.tolist()) == list(range(len(cells.areas)))


def test_a_larger_budget_is_several_searches_of_which_the_smallest_region_is_kept():
    net, images = PatchNet(20, 24, 10, 9), textured(2, 64, 64)
    y, chosen = torch.ones(2).long(), settings(sp_num=60, search=100)
    one, four = (minimal_region(Labels(net), images, y, rngs=rngs(2), **chosen | {"budget": budget}) for budget in (100, 400))
    assert (four.kept.sum((1, 2)) <= one.kept.sum((1, 2))).all()
    assert (four.queries > one.queries).all()
    assert (four.queries <= 400).all()
    assert holds(net, images, four.kept, "positive").all()


@pytest.mark.parametrize("changes", [{}, {"budget": 1500}, {"cut": False}, {"rule": "negative"}])
def test_no_region_is_asked_about_twice(changes):
    """Where few pixels decide, searches end early, and what is left is spent on further ones."""
    labels = Labels(PatchNet(10, 12, 2, 2))
    found = minimal_region(labels, textured(1, 32, 32), torch.ones(1).long(), rngs=rngs(1), **settings(**changes))
    shown = [image.numpy().tobytes() for batch in labels.shown for image in batch]
    assert len(set(shown)) == len(shown) == found.queries.item()
    assert found.extras["certified"] == 1


def test_few_superpixels_are_searched_once_with_the_whole_budget():
    """Nothing is drawn there, so that a second search would be the first one again."""
    net, images = PatchNet(20, 24, 10, 9), textured(1, 64, 64)
    chosen = settings(sp_num=12, slic_zero=True, cut=False)
    several, one = (
        minimal_region(Labels(net), images, torch.ones(1).long(), rngs=rngs(1), **chosen | {"search": search}) for search in (50, 500)
    )
    assert torch.equal(several.kept, one.kept)
    assert several.queries == one.queries


def test_a_rule_that_nothing_breaks_leaves_one_part_and_a_map():
    """Without anything the image does not have the class, so that Neg-R holds whatever is left out."""
    images = textured(1, 32, 32)
    found = minimal_region(lambda shown: torch.ones(len(shown)).long(), images, torch.zeros(1).long(), rule="negative", budget=60)
    assert torch.isfinite(found.saliency).all()
    assert found.kept.any()


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (3, 300)])
@pytest.mark.parametrize("cut", [True, False])
def test_an_image_of_few_pixels_has_an_answer(size, cut):
    images = torch.full((1, 3, *size), 0.5)
    found = minimal_region(lambda shown: (shown.amax((1, 2, 3)) > 0.1).long(), images, budget=200, cut=cut)
    assert found.extras["certified"] == 1
    assert found.extras["pieces"] == 1
    single = size == (1, 1) or (not cut and found.extras["superpixels"] == 1)  # nothing can go
    assert found.status == ("nothing_accepted" if single else "ok",)
    if cut and size == (1, 9):
        assert found.kept.sum() == 1  # any single pixel is enough


def test_where_all_is_needed_nothing_is_accepted():
    net, images = PatchNet(0, 0, 64, 64), textured(1, 64, 64)
    found = minimal_region(Labels(net), images, torch.ones(1).long(), rngs=rngs(1), **settings(sp_num=100))
    assert found.status == ("nothing_accepted",)
    assert found.kept.all()
    assert found.extras["certified"] == 1


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"rule": "both"}, "rule"),
        ({"budget": 1}, "budget"),
        ({"groups": 0}, "groups"),
        ({"largest": 1.0}, "largest"),
        ({"sp_num": 0}, "sp_num"),
        ({"needed": float("inf")}, "needed"),
    ],
)
def test_a_value_out_of_range_is_named(change, name):
    with pytest.raises(ValueError, match=f"^{name}="):
        minimal_region(Labels(PatchNet(1, 1, 2, 2)), textured(1, 16, 16), torch.ones(1).long(), rngs=rngs(1), **settings(**change))
