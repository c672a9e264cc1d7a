"""Small certified regions: planted answers, the budget, the certificate, invariance."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from da.minimal.pieces import cut, graded, superpixels_in
from da.minimal.region import minimal_region
from da.minimal.search import Found, Settings, _Pieces, _remove, search
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
    found = minimal_region(Labels(net), images, torch.ones(3).long(), rngs=rngs(3), **settings(rule=rule, sp_num=60, walk=60, smallest=1.0))
    index = superpixels(images, 60).index
    assert found.status == ("ok",) * 3
    assert found.extras["certified"].tolist() == [1, 1, 1]
    for i in range(3):
        patch = set(index[i][20:30, 24:33].flatten().tolist())
        inside = set(index[i][found.kept[i]].flatten().tolist())
        assert inside == patch if rule == "positive" else (len(inside) == 1 and inside <= patch)
        assert found.extras["pieces"][i] == found.extras["checked"][i] == len(inside)


@pytest.mark.parametrize("rule", ["positive", "negative"])
def test_finer_pieces_shrink_it_and_the_certificate_is_true(rule):
    net, images = PatchNet(20, 24, 10, 9), textured(2, 64, 64)
    y = torch.ones(2).long()
    coarse, fine = (
        minimal_region(Labels(net), images, y, rngs=rngs(2), **settings(rule=rule, sp_num=30, walk=40, smallest=smallest))
        for smallest in (1.0, 8 / 4096)
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


def test_what_is_tried_again_is_tried_from_the_largest():
    labels = np.repeat([0, 1, 2, 3, 4], [1, 5, 2, 4, 3])[None]  # the areas of five pieces
    found = Found(np.ones(labels.shape, bool), np.zeros(labels.shape), queries=1)
    sizes = []
    chosen = Settings(**settings())
    asked = _remove(_Pieces(labels, np.arange(5), np.full(5, chosen.prior_again)), chosen, found, again=True)
    try:
        region = next(asked)
        while True:
            sizes.append(int((~region).sum()))
            region = asked.send(False)
    except StopIteration:
        pass
    assert sizes == [5, 4, 3, 2, 1]


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
    chosen = settings(sp_num=60, walk=30)
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


@pytest.mark.parametrize("seed", range(20))
def test_with_queries_left_no_piece_can_go(seed):
    """Whether a set of 16 blocks holds is drawn for each set, so that what was needed once may not be later."""
    rng = np.random.default_rng(seed)
    blocks = np.kron(np.arange(16).reshape(4, 4), np.ones((2, 2), int))
    index = np.kron(np.arange(4).reshape(2, 2), np.ones((4, 4), int))
    drawn = rng.random(2**16) < 0.2
    drawn[0], drawn[-1] = False, True

    def rule_holds(region) -> bool:
        return bool(drawn[sum(1 << int(block) for block in np.unique(blocks[region]))])

    going = search(index, np.zeros((4, 2)), rng, Settings(**settings(walk=0, smallest=4 / 64, budget=300)))
    region = next(going)
    try:
        while True:
            region = going.send(rule_holds(region))
    except StopIteration as stop:
        found = stop.value
    assert found.certified
    assert found.queries < 300
    assert rule_holds(found.region)
    for parts in (index, blocks):
        for one in np.unique(parts[found.region]):
            assert not rule_holds(found.region & (parts != one))


def test_cutting_goes_between_superpixels_then_through_them():
    index = np.repeat(np.repeat(np.arange(4).reshape(2, 2), 8, 0), 8, 1)
    region = index != 3
    region[0, 0] = False
    one = np.where(region, 0, 1)
    halves, parents = cut(one, region, index, 16, 1)
    assert parents.tolist() == [0, 0, 1]
    assert set(halves[~region].tolist()) == {2}
    assert sorted(superpixels_in(halves, region, index).tolist()) == [1, 2]
    three, _ = cut(halves, region, index, 16, 1)  # the one of two superpixels comes first
    assert superpixels_in(three, region, index).tolist() == [1, 1, 1]
    six, parents = cut(three, region, index, 16, 9)
    assert parents.tolist() == [0, 0, 1, 1, 2, 2, 3]
    assert sorted(np.bincount(six[region]).tolist()) == [31, 32, 32, 32, 32, 32]
    for nothing in (cut(six, region, index, 17, 9), cut(six, region, index, 1, 0)):
        assert np.array_equal(nothing[0], six)


def test_pieces_of_several_superpixels_are_no_certificate():
    net, images = PatchNet(0, 0, 64, 64), textured(1, 64, 64)  # all of the image is needed
    all_needed = 0
    for budget in range(20, 40):
        found = minimal_region(Labels(net), images, torch.ones(1).long(), rngs=rngs(1), **settings(sp_num=100, walk=0, budget=budget))
        assert found.status == ("nothing_accepted",)
        assert found.extras["coarse"] > 0
        assert found.extras["certified"] == 0
        all_needed += int(found.extras["checked"] == found.extras["pieces"])
    assert all_needed  # each piece was checked, and yet


@pytest.mark.parametrize(
    ("change", "name"), [({"rule": "both"}, "rule"), ({"budget": 1}, "budget"), ({"k": 0}, "k"), ({"prior": 1.0}, "prior")]
)
def test_a_value_out_of_range_is_named(change, name):
    with pytest.raises(ValueError, match=f"^{name}="):
        minimal_region(Labels(PatchNet(1, 1, 2, 2)), textured(1, 16, 16), torch.ones(1).long(), rngs=rngs(1), **settings(**change))
