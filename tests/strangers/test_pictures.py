"""Image files as people have them: each is read right or refused in a line."""

from __future__ import annotations

import hashlib
import io
import resource
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hydra.utils import instantiate
from PIL import Image
from torchvision.transforms.functional import InterpolationMode, center_crop, pil_to_tensor, resize

from benchmarks.data import photographs, preparing
from benchmarks.data.sets import Mosaic, Photograph, UnreadableError, image_folder, prepare, prepared
from benchmarks.inputs.compose import composed
from benchmarks.models.classifier import Preprocessing
from tests.corpus import gradient
from tests.strangers import depths, exif
from tests.strangers.reading import make_theirs, outcome, picture, pixels

SMALL = Preprocessing(32, 0.875, "bicubic", (0.0,) * 3, (1.0,) * 3)


@pytest.fixture(scope="module")
def theirs(tmp_path_factory) -> Path:
    return make_theirs(tmp_path_factory.mktemp("theirs"))


# Depth


def test_every_depth_and_layout_is_right_or_refused_by_name(tmp_path):
    right = {"grey": np.repeat(depths.GREY[..., None], 3, -1), "rgb": depths.RGB, "black": depths.RGB * 0}
    for name, (kind, value_range) in depths.make(tmp_path).items():
        found = {given: outcome(Photograph(name, None, tmp_path / name, value_range=given)) for given in {None, value_range}}
        for given, shown in found.items():
            if isinstance(shown, str):  # a range is asked for where one helps
                assert shown.startswith(f"{name} cannot be read: ")
                assert "\n" not in shown
                assert not kind or (given is None and value_range and "dataset.value_range" in shown)
            else:
                assert kind, name
                assert np.abs(shown - right[kind]).max() <= 1, (name, given)


def test_the_same_picture_in_every_depth_has_the_same_mean(theirs):
    grey = np.asarray(Image.open(theirs / "depth" / "a8.png")).mean()
    assert grey == pytest.approx(103.6, abs=0.1)
    said = {}
    for photograph in image_folder(str(theirs / "depth")).photographs:
        try:
            assert pixels(photograph).mean() == pytest.approx(grey, abs=0.2)
        except UnreadableError as error:
            said[photograph.id] = str(error)
    assert sorted(said) == ["c12in16.png", "d_float255.tif", "f_int32.tif", "g_floatnan.tif"]
    assert "16-bit values go from 16 to 4064 only" in said["c12in16.png"]
    assert "dataset.value_range=[0,4095], or [0,65535] if it is that dark" in said["c12in16.png"]
    assert "floats from 1 to 254, not from 0 to 1" in said["d_float255.tif"]
    assert "dataset.value_range=[0,255]" in said["f_int32.tif"]
    assert "NaN" in said["g_floatnan.tif"]
    for name, value_range, mean in (
        ("c12in16.png", [0, 4080], grey),
        ("c12in16.png", [0, 4095], grey),
        ("d_float255.tif", [0, 255], grey),
        ("f_int32.tif", [0, 255], grey),
        ("b16full.png", [0, 65535], grey),
        ("a8.png", [0, 255], grey),
    ):
        (photograph,) = image_folder(str(theirs / "depth" / name), value_range=value_range).photographs
        assert pixels(photograph).mean() == pytest.approx(mean, abs=0.2)


@pytest.mark.parametrize(
    ("image", "value_range", "said"),
    [
        (Image.new("L", (4, 4), 9), (0, 4095), "go to 255 at most, so that dataset.value_range=[0,4095] is not theirs"),
        (Image.new("L", (4, 4), 200), (0, 100), "outside of dataset.value_range=[0,100]"),
        (Image.fromarray(np.full((4, 4), 5000, np.uint16)), (0, 4095), "outside of dataset.value_range=[0,4095]"),
        (Image.fromarray(np.full((4, 4), -3, np.int32)), None, "dataset.value_range=[-3,1]"),
        (Image.fromarray(np.full((4, 4), 1.25, np.float32)), None, "dataset.value_range=[0,2]"),
    ],
)
def test_values_outside_of_their_range_are_refused(image, value_range, said):
    with pytest.raises(UnreadableError) as caught:
        Photograph("x", None, image, value_range=value_range).load()
    assert said in str(caught.value)


def test_a_range_scales_eight_bits_too_and_leaves_transparency():
    grey = Image.fromarray(np.array([[0, 50, 100]], np.uint8))
    assert pixels(Photograph("x", None, grey, value_range=(0, 100)))[0, :, 0].tolist() == [0, 128, 255]
    with_alpha = grey.convert("LA")
    with_alpha.putalpha(Image.fromarray(np.array([[255, 0, 255]], np.uint8)))
    assert pixels(Photograph("x", None, with_alpha, value_range=(0, 100)))[0, :, 0].tolist() == [0, 255, 255]


@pytest.mark.parametrize("value", [[1], [3, 1], [1, 1], [0, float("inf")], [0, 1, 2]])
def test_a_range_that_is_none_is_named(tmp_path, value):
    picture(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"dataset\.value_range=.*give the values of black and of white, such as \[0,4095\]"):
        image_folder(str(tmp_path), value_range=value)


@pytest.mark.parametrize("name", ["image_folder", "wnid_folder", "cifar100_folder"])
def test_a_range_is_an_option_of_every_data_set_of_files_and_in_the_digest(tmp_path, name):
    folder = {"wnid_folder": "n02124075", "cifar100_folder": "worm"}.get(name, "")
    file = picture(tmp_path / folder / "a.png", Image.fromarray(np.full((4, 4), 2048, np.uint16)))
    plain, given, same, other = (
        instantiate(composed(f"dataset={name}", f"dataset.root={tmp_path}", f"dataset.value_range={value}").dataset).photographs[0]
        for value in ("null", "[0,4095]", "[0.0,4095.0]", "[0,8191]")
    )
    assert plain.digest() == Photograph("another", None, file).digest()  # of the file alone
    assert given.digest() == same.digest()
    assert len({plain.digest(), given.digest(), other.digest()}) == 3
    assert (pixels(given) == 128).all()
    assert (pixels(other) == 64).all()


# EXIF


def test_damaged_exif_is_no_reason_to_hide_a_picture(theirs, tmp_path):
    upright = pixels(Photograph("good", None, theirs / "exif" / "a_good.jpg"))
    turned = {"h_two_orientations.jpg", "j_bad_offset.jpg"}  # the orientation itself can be read
    for photograph in image_folder(str(theirs / "exif")).photographs:
        expected = np.rot90(upright, -1) if photograph.id in turned else upright
        np.testing.assert_array_equal(pixels(photograph), expected)
    for tag in (0x011A, 0x011B, 0x0128, 0x8769, 0x8825, 0x010E):
        for kind in (1, 2, 3, 4, 5, 7, 9, 10, 11, 12, 13, 99):
            exif.write(tmp_path / "x.jpg", kind, tag)
            assert pixels(Photograph("x", None, tmp_path / "x.jpg")).shape == (160, 120, 3), (tag, kind)


def test_exif_of_any_bytes_is_advice(tmp_path):
    rng = np.random.default_rng(0)
    stored = gradient()
    for form in ("JPEG", "PNG", "WEBP", "TIFF"):
        for _ in range(20):
            with_exif = Image.Exif()
            with_exif[0x0112], with_exif[0x011A], with_exif[0x010E] = 6, 72.0, "a text"
            damaged = bytearray(with_exif.tobytes())
            for place in rng.integers(len(damaged), size=4):
                damaged[place] = rng.integers(256)
            if form == "TIFF":  # whose tags are no advice: it is a picture or a status
                file = io.BytesIO()
                stored.save(file, form, exif=with_exif)
                content = bytearray(file.getvalue())
                for place in rng.integers(len(content) - 200, len(content), size=4):
                    content[place] = rng.integers(256)
                (tmp_path / "x").write_bytes(content)
            else:
                stored.save(tmp_path / "x", form, exif=bytes(damaged))
            try:
                assert sorted(Photograph("x", None, tmp_path / "x").load().size) == [48, 64]
            except UnreadableError:
                assert form == "TIFF"


@pytest.mark.parametrize("error", [TypeError("no"), ZeroDivisionError("no"), AttributeError("no"), MemoryError(), RecursionError("no")])
def test_whatever_loading_raises_is_a_status(tmp_path, monkeypatch, error):
    def raises(*_: object) -> None:
        raise error

    monkeypatch.setattr(photographs, "upright_rgb", raises)
    with pytest.raises(UnreadableError, match=f"a cannot be read: {type(error).__name__}"):
        Photograph("a", None, picture(tmp_path / "a.png")).load()


# Size


@pytest.mark.parametrize("size", [(1, 30000), (30000, 1), (3, 40000)])
def test_a_strip_takes_little_memory(size):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tensor = prepare(Image.new("RGB", size, (200, 90, 10)), replace(SMALL, size=224))
    assert tensor.shape == (3, 224, 224)
    assert np.allclose(tensor.numpy() * 255, np.array([200, 90, 10])[:, None, None])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kilobytes; 8 GB, enlarged whole


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "box", "lanczos"])
def test_what_is_cropped_before_it_is_enlarged_is_what_was_cropped_after(monkeypatch, interpolation):
    rng = np.random.default_rng(0)
    sizes = ((1, 90), 1.0), ((90, 1), 0.875), ((7, 61), 0.9), ((61, 7), 0.9), ((2, 90), 1.0), ((31, 17), 0.875), ((20, 20), 0.5)
    for (width, height), crop in sizes:
        image = Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))
        preprocessing = replace(SMALL, crop_pct=crop, interpolation=interpolation)
        whole = resize(image, [round(32 / crop)], InterpolationMode(interpolation), antialias=True)
        expected = pil_to_tensor(center_crop(whole, [32, 32])).float() / 255
        assert (prepare(image, preprocessing) == expected).all()
        monkeypatch.setattr(preparing, "LARGEST", 0)
        levels = (prepare(image, preprocessing) - expected).abs().mul(255).round().numpy()
        monkeypatch.undo()
        assert levels.max() <= 1  # Pillow takes the place of the part in single precision
        assert (levels > 0).mean() < 0.01


# Content and cache


def test_pictures_that_look_different_have_different_digests():
    content = np.arange(48, dtype=np.uint8)
    palette = Image.fromarray(100 + np.arange(16, dtype=np.uint8).reshape(4, 4)).convert("P")
    other_palette = palette.copy()
    other_palette.putpalette([255 - i // 3 for i in range(768)])
    see_through = Image.fromarray(content[:16].reshape(4, 4))
    see_through.info["transparency"] = 3
    turned = Image.fromarray(content.reshape(4, 4, 3))
    orientation = Image.Exif()
    orientation[0x0112] = 6
    turned.info["exif"] = orientation.tobytes()
    pictures = [
        Image.fromarray(content.reshape(2, 8, 3)),
        Image.fromarray(content.reshape(8, 2, 3)),
        Image.fromarray(content.reshape(4, 4, 3)),
        Image.fromarray(content.reshape(1, 16, 3)),
        Image.fromarray(content.reshape(6, 8)),
        Image.fromarray(content.reshape(8, 6)),
        Image.frombytes("CMYK", (4, 3), content.tobytes()),
        Image.frombytes("RGBA", (4, 3), content.tobytes()),
        palette,
        other_palette,
        see_through,
        turned,
    ]
    digests = [Photograph("x", None, image).digest() for image in pictures]
    assert len(set(digests)) == len(pictures)
    # What a square's bytes say was never ambiguous: CIFAR-100's digests are as they were.
    assert digests[2] == hashlib.sha256(content.tobytes()).hexdigest()


@dataclass(frozen=True)
class Dark(Photograph):
    """A user's own way of loading."""

    shown: int = 0

    def load(self) -> Image.Image:
        return Image.new("RGB", (8, 8), (self.shown,) * 3)


def test_only_pixels_that_the_digest_decides_are_kept(tmp_path):
    file = picture(tmp_path / "a.png")
    plain = Photograph("a", None, file)
    digest = plain.digest()[:16]
    first = prepared(plain, digest, SMALL)
    assert prepared(Photograph("a", 3, file), digest, SMALL) is first
    for shown in (0, 100):
        dark = Dark("a", None, file, shown=shown)
        assert prepared(dark, digest, SMALL).max() * 255 == shown
        mosaic = Mosaic("m", None, Path(), pieces=(dark,) * 4, cells=2, side=8)
        assert prepared(mosaic, mosaic.digest(), SMALL).max() * 255 == shown
    assert prepared(plain, digest, replace(SMALL, size=16)).shape == (3, 16, 16)


def test_a_file_that_changes_is_not_shown_under_its_old_digest(tmp_path):
    photograph = Photograph("edited", None, picture(tmp_path / "a.png"))
    digest = photograph.digest()[:16]
    picture(tmp_path / "a.png", Image.new("RGB", (9, 9)))
    with pytest.raises(UnreadableError, match="edited has changed since it was listed"):
        prepared(photograph, digest, SMALL)
    absent = Photograph("b", None, tmp_path / "b.png")
    with pytest.raises(UnreadableError, match="b cannot be read"):
        prepared(absent, "unreadable", SMALL)
    picture(tmp_path / "b.png")
    with pytest.raises(UnreadableError, match="b has changed since it was listed"):
        prepared(absent, "unreadable", SMALL)


def test_what_is_kept_is_bounded_in_bytes(monkeypatch):
    kept = photographs.LRUCache(4 * 3 * 32 * 32 * 4, getsizeof=lambda pixels: pixels.nbytes)
    monkeypatch.setattr(photographs, "_PREPARED", kept)
    for i in range(9):
        photograph = Photograph(str(i), None, Image.new("RGB", (8, 8), (i, i, i)))
        prepared(photograph, photograph.digest(), SMALL)
    assert len(kept) == 4
    assert kept.currsize <= kept.maxsize
    assert photographs._PREPARED.maxsize < photographs.KEPT == 2**29
