"""Synthetic images of which everything is known: the same everywhere, with masks that are right and options that do what they say."""

from __future__ import annotations

import hashlib
from itertools import product

import numpy as np
import pytest
import torch

from benchmarks.data import Evidence, Planted, planted
from benchmarks.data.scenes import CLASSES, HALVES, OTHERS, PAIRS, SIDE, WHOLE, draw
from benchmarks.models import Preprocessing, class_names

PINNED = "2ac5d341308764ef"
SEEN = Preprocessing(SIDE, 1.0, "bilinear", (0.5,) * 3, (0.5,) * 3)


def images(n: int = 6, **options) -> list[Planted]:
    return list(planted(count=n, **options).photographs)


def test_an_image_is_decided_by_seed_number_and_options_in_any_process():
    first = images(3)
    digest = hashlib.sha256("".join(one.digest() + one.evidence_digest() for one in first).encode()).hexdigest()
    assert digest[:16] == PINNED
    assert [one.digest() for one in images(2)] == [one.digest() for one in first[:2]]
    others = [images(1, **changed)[0] for changed in ({"seed": 1}, {"size": 15}, {"contrast": 0.9}, {"copies": 2}, {"necessary": 2})]
    digests = {one.digest() for one in (first[0], *others, images(1, distractors=2)[0], images(1, confounded=1)[0])}
    assert len(digests) == 8


def test_classes_take_turns_and_have_names():
    every = planted(count=25).photographs
    assert [one.label for one in every] == [i % 10 for i in range(25)]
    names = class_names("planted")
    assert len(set(names)) == CLASSES + 1
    assert names[-1] == "nothing"


def test_a_class_is_a_pattern_in_a_colour_and_neither_alone_tells_it():
    roles = (WHOLE, HALVES, OTHERS)
    assert sorted(design for role in roles for design in role) == sorted(product(range(5), range(5)))
    for role in roles:
        for which in (0, 1):
            counts = np.bincount([design[which] for design in role])
            assert (counts == counts[0]).all()
    assert len(PAIRS) == CLASSES == len(WHOLE)


@pytest.mark.parametrize("options", [{}, {"copies": 3}, {"necessary": 2}, {"copies": 2, "necessary": 2, "distractors": 1}, {"size": 20}])
def test_masks_are_where_the_parts_are(options):
    for one in images(4, **options):
        scene = one.scene
        differs = (scene.picture != scene.absent).any(2)
        union = scene.parts.any(0)
        assert not (differs & ~union).any()  # nothing else is gone
        assert differs.sum() > 0.97 * union.sum()
        assert scene.parts.sum(0).max() == 1  # they do not touch
        copies, necessary = options.get("copies", 1), options.get("necessary", 1)
        assert scene.groups == tuple(group for group in range(necessary) for _ in range(copies))
        for part in scene.parts:
            rows, columns = np.flatnonzero(part.any(1)), np.flatnonzero(part.any(0))
            assert np.ptp(rows) + 1 == np.ptp(columns) + 1 == options.get("size", 14)


def test_another_ground_is_all_that_is_swapped():
    for one in images(8):
        scene = one.scene
        differs = (scene.picture != scene.swapped).any(2)
        assert not (differs & ~scene.ground).any()
        assert differs.sum() > 0.97 * scene.ground.sum()
        assert not (scene.ground & scene.parts.any(0)).any()
        assert 0.15 < scene.ground.mean() < 0.36
        assert len({scene.ground_class, scene.swapped_class} | {scene.label}) == 3 - (scene.ground_class == scene.label)


def test_the_ground_goes_with_the_class_on_the_asked_share():
    def share(confounded: float, n: int = 60) -> float:
        found = [draw(np.random.default_rng(i), i % 10, distractors=0, confounded=confounded) for i in range(n)]
        return float(np.mean([scene.ground_class == scene.label for scene in found]))

    assert share(1) == 1
    assert share(0) == 0
    assert 0.3 < share(0.5) < 0.7


def test_contrast_is_how_opaque_parts_are():
    for full, faint in zip(images(4), images(4, contrast=0.5), strict=True):
        assert np.array_equal(full.scene.parts, faint.scene.parts)
        change = [np.abs(scene.picture.astype(float) - scene.absent)[scene.parts.any(0)].mean() for scene in (full.scene, faint.scene)]
        assert change[1] == pytest.approx(change[0] / 2, rel=0.1)


def test_evidence_is_what_the_model_is_shown():
    one = images(1, copies=2, necessary=2, distractors=1)[0]
    evidence = one.evidence(SEEN)
    assert np.array_equal(evidence.parts.numpy(), one.scene.parts)
    assert np.array_equal(evidence.ground.numpy(), one.scene.ground)
    shown = one.tensor(SEEN)
    assert torch.equal(torch.where(evidence.union, 0, shown), torch.where(evidence.union, 0, evidence.absent))
    assert np.array_equal(evidence.distractors.numpy(), one.scene.distractors)
    assert not (evidence.distractors & (evidence.union | evidence.ground)).any()
    assert 0.6 * 14**2 < evidence.distractors.sum() <= 14**2
    assert torch.equal(torch.where(evidence.ground, 0, shown), torch.where(evidence.ground, 0, evidence.swapped))
    larger = one.evidence(Preprocessing(112, 0.875, "bicubic", (0.5,) * 3, (0.5,) * 3))
    assert larger.parts.shape == (4, 112, 112)
    assert larger.absent.shape == (3, 112, 112)


def test_what_is_enough_and_what_is_needed():
    parts = torch.eye(4, dtype=torch.bool).view(4, 2, 2)  # one pixel each
    a, b, c, d = parts
    evidence = Evidence(parts, (0, 0, 1, 1))  # a or b, together with c or d
    assert {tuple(mask.flatten().tolist()) for mask in evidence.sufficient()} == {
        tuple((x | y).flatten().tolist()) for x in (a, b) for y in (c, d)
    }
    assert torch.equal(evidence.necessary(), torch.stack([a | b, c | d]))
    assert evidence.union.all()
    assert evidence.found(a | d) == 1
    assert evidence.found(a | b) == 0.5
    assert evidence.found(torch.zeros(2, 2, dtype=torch.bool)) == 0


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"size": 9}, "size=9.*from 10 to 20"),
        ({"copies": 4}, "copies=4"),
        ({"necessary": 3}, "necessary=3"),
        ({"necessary": 0}, "necessary=0"),
        ({"distractors": -1}, "distractors=-1"),
        ({"contrast": 0}, "contrast=0"),
        ({"contrast": 1.5}, "contrast=1.5"),
        ({"confounded": 1.1}, "confounded=1.1"),
        ({"count": 0}, "count=0"),
        ({"seed": -1}, "seed=-1"),
        ({"copies": 3, "necessary": 2, "size": 20}, "do not fit"),
    ],
)
def test_wrong_options_are_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        planted(**wrong)


def test_whatever_is_allowed_fits():
    for size, copies, necessary, distractors in product((10, 14, 20), (1, 2, 3), (1, 2), (0, 3, 6)):
        try:
            (one,) = images(1, size=size, copies=copies, necessary=necessary, distractors=distractors)
        except ValueError:
            continue
        assert len(one.scene.parts) == copies * necessary
