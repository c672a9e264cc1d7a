"""Superpixels, circles, fills, rules."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.data import demo, prepare
from benchmarks.models.preprocessing import Preprocessing
from da.circles import segment_masks, segments_inside
from da.fill import baseline_image, composite
from da.rule import parts, picture, text
from da.superpixels import superpixels
from tests.helpers import textured


def test_superpixel_centres_are_mean_coordinates():
    images = textured(2, 40, 56)
    segments = superpixels(images, 30)
    assert segments.index.shape == (2, 40, 56)
    for i in range(2):
        for s in range(int(segments.count[i])):
            rows, columns = torch.nonzero(segments.index[i] == s, as_tuple=True)
            torch.testing.assert_close(segments.centres[i, s], torch.tensor([rows.float().mean(), columns.float().mean()]))
        assert torch.isinf(segments.centres[i, int(segments.count[i]) :]).all()


def test_segmentation_does_not_depend_on_the_batch():
    images = textured(3, 40, 40)
    assert torch.equal(superpixels(images, 20).index[2], superpixels(images[2:], 20).index[0])


def test_without_superpixels_each_pixel_is_a_segment():
    segments = superpixels(textured(2, 4, 6), None)
    assert segments.count.tolist() == [24, 24]
    assert segments.centres[1, 6 * 2 + 5].tolist() == [2.0, 5.0]
    assert segments.index[0, 2, 5] == 6 * 2 + 5


def test_a_segment_is_kept_inside_any_circle_and_on_its_edge():
    centres = torch.tensor([[[0.0, 0.0], [0.0, 3.0], [5.0, 5.0], [torch.inf, torch.inf]]])
    x, y, r = torch.tensor([[0.0, 5.0]]), torch.tensor([[0.0, 5.0]]), torch.tensor([[3.0, -1.0]])
    kept = segments_inside(x, y, r, centres)
    assert kept.tolist() == [[True, True, True, False]]
    index = torch.tensor([[[0, 1], [2, 2]]])
    assert segment_masks(torch.tensor([[True, False, True]]), index).tolist() == [[[True, False], [True, True]]]


def test_fills():
    images = textured(2, 20, 30)
    assert not baseline_image(images, "black").any()
    torch.testing.assert_close(baseline_image(images, "mean")[1, :, 3, 4], images[1].mean((1, 2)))
    assert baseline_image(images, "blur").var() < images.var()
    assert torch.equal(baseline_image(images, "blur")[1:], baseline_image(images[1:], "blur"))
    assert baseline_image(images, [0.1, 0.2, 0.3])[0, :, 0, 0].tolist() == pytest.approx([0.1, 0.2, 0.3])


@pytest.mark.parametrize("crop_pct", [0.875, 0.9, 1.0])
@pytest.mark.parametrize("turned", [False, True])
def test_a_photograph_does_not_stand_in_for_itself_however_it_was_prepared(tmp_path, crop_pct, turned):
    """As networks are shown photographs: the shorter side resized to 224 / crop_pct, and 224 pixels of the centre."""
    photograph = demo().photographs[0].load()
    seen = Preprocessing(size=224, crop_pct=crop_pct, interpolation="bicubic", mean=(0.0,) * 3, std=(1.0,) * 3)
    image = prepare(photograph, seen)[None]
    (photograph.transpose(Image.Transpose.ROTATE_90) if turned else photograph).save(tmp_path / "same.png")
    with pytest.raises(ValueError, match="no photograph in it but the image itself"):
        baseline_image(image, f"photographs:{tmp_path}")
    other = demo().photographs[1].load()
    other.save(tmp_path / "other.png")
    filled = baseline_image(image, f"photographs:{tmp_path}")
    assert float((filled - prepare(other, replace(seen, crop_pct=1.0))).abs().mean()) < 0.02


def test_noise_and_photograph_are_drawn_by_what_is_seen_and_not_by_the_last_digits(tmp_path):
    images = (textured(1, 24, 32) * 255).round() / 255
    for i, colour in enumerate((0, 90, 180, 255)):
        Image.new("RGB", (40, 30), (colour,) * 3).save(tmp_path / f"{i}.png")
    for fill in ("noise", f"photographs:{tmp_path}"):
        assert torch.equal(baseline_image(images + 1e-6, fill), baseline_image(images, fill))
    assert not torch.equal(baseline_image(images + 0.01, "noise"), baseline_image(images, "noise"))


def test_the_rule_in_words_counts_connected_parts():
    mask = np.zeros((10, 10), dtype=bool)
    mask[0, :3] = True
    mask[8, 8] = mask[9, 9] = True
    found = parts(mask)
    assert [part.share for part in found] == [0.03, 0.02]
    assert found[0].box == (0, 0, 1, 3)
    assert found[1].centre == (8.5, 8.5)
    assert text(mask, "tabby") == "If these 2 parts, 5.0 % of the image, are present, then the image is classified tabby."
    assert text(mask, "tabby", "negative") == "If these 2 parts, 5.0 % of the image, are absent, then the image is not classified tabby."
    assert text(mask[:1], "tabby").startswith("If this part, 30.0 % of the image, is present")
    assert text(~mask & mask, "tabby") == "If no part of the image is present, then the image is classified tabby."


def test_the_picture_dims_what_is_not_kept():
    image = np.full((10, 10, 3), 0.8, dtype=np.float32)
    mask = np.zeros((10, 10), dtype=bool)
    mask[2:6, 2:6] = True
    shown = picture(image, mask)
    assert shown[3, 3].tolist() == pytest.approx([0.8] * 3)
    assert shown[9, 9].tolist() == pytest.approx([0.2] * 3)


def test_masked_pixels_are_the_very_pixels():
    rng = np.random.default_rng(0)
    shown, hidden = (torch.from_numpy(rng.random((3, 3, 40, 50))).float() for _ in range(2))
    hidden[1] = 0
    shown[2] = shown[2] * 1e-30
    kept = torch.from_numpy(rng.random((3, 40, 50)) < 0.5)
    for a, b in ((shown, hidden), (hidden, shown), (shown.contiguous(memory_format=torch.channels_last), hidden)):
        assert torch.equal(composite(a, b, kept), torch.where(kept[:, None], a, b))
