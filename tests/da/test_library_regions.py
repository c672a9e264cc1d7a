"""Regions as a library gives them: verified, certified, disjoint, in words."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import baselines
import da
from da.ranking import prefix_shares
from da.superpixels import superpixels
from tests.helpers import PatchNet, textured

SUPERPIXELS = 60
PATCH = (20, 24, 10, 9)  # top, left, height, width


def patched() -> tuple[PatchNet, Tensor, Tensor, Tensor]:
    """A model, an image, the index of its superpixels, and those that the patch of the model touches."""
    images = textured(1, 64, 64)
    index = superpixels(images, SUPERPIXELS).index[0]
    return PatchNet(*PATCH), images, index, index[20:30, 24:33].unique()


@pytest.mark.parametrize("batch", [1, 8])
def test_what_is_superfluous_is_named_and_each_superpixel_costs_one_query(batch):
    net, images, index, needed = patched()
    model, target = da.label_model(net, batch=batch), torch.ones(1).long()
    others = [one for one in index.unique().tolist() if one not in needed]
    for extra in ([], others[:1], [others[2], others[7], others[11]]):
        kept = torch.isin(index, torch.tensor([*needed.tolist(), *extra]))[None]
        before = model.queries
        (found,) = da.certify(model, images, kept, target, sp_num=SUPERPIXELS)
        assert found.verified
        assert found.superfluous == tuple(sorted(extra))
        assert found.minimal == (not extra)
        assert found.shares == len(needed) + len(extra)
        assert found.queries == model.queries - before == 1 + found.shares


def test_a_region_that_lacks_a_pixel_is_not_verified():
    net, images, index, needed = patched()
    kept = torch.isin(index, needed)[None]
    kept[0, 25, 28] = False
    (found,) = da.certify(da.label_model(net), images, kept, sp_num=SUPERPIXELS)
    assert not found.verified
    assert not found.minimal
    assert found.superfluous == ()


def test_of_a_negative_rule_one_superpixel_of_the_patch_is_enough():
    net, images, index, needed = patched()
    model = da.label_model(net)
    for removed in (needed[:1], needed[:2]):
        (found,) = da.certify(model, images, torch.isin(index, removed)[None], rule="negative", sp_num=SUPERPIXELS)
        assert found.verified
        assert found.minimal == (len(removed) == 1)
        assert found.superfluous == (() if len(removed) == 1 else tuple(removed.tolist()))


def test_a_method_that_certifies_its_regions_is_right():
    net, images, *_ = patched()
    model = da.label_model(net)
    found = da.minimal_region(model, images, sp_num=SUPERPIXELS)
    assert found.extras["certified"].tolist() == [1]
    (certificate,) = da.certify(model, images, found.kept, sp_num=SUPERPIXELS)
    assert certificate.minimal
    assert found.extras["pieces"].tolist() == [certificate.shares]


class EitherPatch(nn.Module):
    """Class 1 where one of two patches is wholly visible."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.ModuleList([PatchNet(6, 6, 8, 8), PatchNet(44, 46, 8, 8)])

    def forward(self, images: Tensor) -> Tensor:
        return torch.stack([patch(images) for patch in self.patches]).amax(0)


@pytest.mark.parametrize("method", [da.dynamic_ablation, da.minimal_region])
def test_two_separate_reasons_are_found_and_there_is_no_third(method):
    net, images = EitherPatch(), textured(1, 64, 64)
    model = da.label_model(net)
    (found,) = da.disjoint_regions(model, images, attribute=lambda images, targets: method(model, images, targets))
    assert len(found.regions) == 2
    assert found.exhausted
    masks = torch.stack([torch.from_numpy(region.mask) for region in found.regions])
    assert not masks.all(0).any()
    assert {bool(mask[6:14, 6:14].all()) for mask in masks} == {bool(mask[44:52, 46:54].all()) for mask in masks} == {False, True}
    for region, mask in zip(found.regions, masks, strict=True):
        assert region.verified
        assert region.mar == pytest.approx(float(mask.float().mean()))
        assert region.certified is (True if method is da.minimal_region else None)
    assert len(found.rules("cup")) == 2
    assert all(rule.endswith("present, then the image is classified cup.") for rule in found.rules("cup"))


def test_no_more_regions_than_asked_for():
    (found,) = da.disjoint_regions(da.label_model(EitherPatch()), textured(1, 64, 64), most=1)
    assert len(found.regions) == 1
    assert not found.exhausted


@pytest.mark.parametrize("rule", ["positive", "negative"])
def test_an_explanation_is_the_region_of_dynamic_ablation_verified(rule):
    images, model = textured(2, 64, 64), da.label_model(PatchNet(*PATCH))
    found = da.dynamic_ablation(model, images, rule=rule)
    before = model.queries
    explained = da.explain(model, images, rule=rule)
    assert model.queries - before == sum(1 + of.regions[0].queries + 2 for of in explained)  # the class; the image and the region verified
    for i, one in enumerate(explained):
        (region,) = one.regions
        assert torch.equal(torch.from_numpy(region.mask), found.kept[i])
        assert (one.target, one.negative, region.verified, region.status) == (1, rule == "negative", True, "ok")
        assert one.rules("cup") == [found.rule(["no cup", "cup"]).splitlines()[i]]
        assert region.queries == 501
        assert sum(part.share for part in region.parts) == pytest.approx(region.mar)


def test_of_a_ranking_the_region_is_its_smallest_share_that_is_enough():
    net, images = PatchNet(*PATCH), textured(1, 64, 64)
    model, scores = da.label_model(net), da.score_model(net)
    (found,) = da.explain(model, images, attribute=lambda images, targets: baselines.rise(scores, images, targets, masks=300))
    (region,) = found.regions
    tried = [round(share * 64 * 64) / 64**2 for share in prefix_shares()]
    assert region.mar in tried[:-1]
    assert region.verified
    assert region.certified is None
    saliency = region.attribution.saliency[0]
    assert saliency[torch.from_numpy(region.mask)].min() >= saliency[torch.from_numpy(~region.mask)].max()
    smaller = round(tried[tried.index(region.mar) - 1] * 64 * 64)
    fewer = torch.zeros(64 * 64, dtype=torch.bool)
    fewer[saliency.flatten().argsort(descending=True)[:smaller]] = True
    assert not da.certify(model, images, fewer.view(1, 64, 64))[0].verified


def test_another_model_may_verify():
    images, model = textured(1, 64, 64), da.label_model(PatchNet(*PATCH))
    for other, verified in ((PatchNet(*PATCH), True), (PatchNet(0, 0, 64, 64), False)):
        (found,) = da.explain(model, images, verifier=da.label_model(other))
        assert found.regions[0].verified is verified
