"""Masks and boxes of photographs: found beside them, and carried through turning, resizing and cropping exactly as the pixels are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.data import UnreadableError, class_folder, image_folder, prepare, wnid_folder
from benchmarks.data.annotations import BoxFile, MaskFile
from benchmarks.models import Preprocessing

BOXES = [(5, 8, 40, 30), (60, 2, 69, 49)]  # left, top, right, bottom: both ends included
WHITE, BLACK = 255, 0


def seen(size: int = 32, crop_pct: float = 0.8, interpolation: str = "bilinear") -> Preprocessing:
    return Preprocessing(size, crop_pct, interpolation, (0.5,) * 3, (0.5,) * 3)


def drawing(width: int = 90, height: int = 60) -> Image.Image:
    """White where the boxes are, black elsewhere: the picture is its own mask."""
    pixels = np.zeros((height, width), np.uint8)
    for left, top, right, bottom in BOXES:
        pixels[top : bottom + 1, left : right + 1] = WHITE
    return Image.fromarray(pixels)


def xml(path: Path, boxes=BOXES, name: str = "n02124075", width: int = 90, height: int = 60, others: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    ends = ("xmin", "ymin", "xmax", "ymax")
    objects = "".join(
        f"<object><name>{name}</name><bndbox>{''.join(f'<{e}>{v}</{e}>' for e, v in zip(ends, box, strict=True))}</bndbox></object>"
        for box in boxes
    )
    path.write_text(f"<annotation><size><width>{width}</width><height>{height}</height></size>{objects}{others}</annotation>")
    return path


def picture(path: Path, image: Image.Image | None = None, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    (image or drawing()).save(path, **options)
    return path


@pytest.mark.parametrize("how", [seen(), seen(24, 1.0, "bicubic"), seen(100, 0.875, "lanczos"), seen(60, 1.0, "nearest")])
@pytest.mark.parametrize("kind", ["masks", "boxes"])
def test_they_go_where_the_pixels_go(tmp_path, how, kind):
    picture(tmp_path / "photos" / "a" / "x.png")
    picture(tmp_path / "masks" / "a" / "x.png")
    xml(tmp_path / "boxes" / "a" / "x.xml")
    (photograph,) = image_folder(str(tmp_path / "photos"), **{kind: str(tmp_path / kind)}).photographs
    evidence = photograph.evidence(how)
    assert torch.equal(evidence.union, photograph.tensor(how)[0] >= 0.5)
    assert 0 < evidence.union.float().mean() < 1
    assert evidence.groups == ((0,) if kind == "masks" else (0,) * len(evidence.parts))


def test_boxes_are_parts_of_which_one_is_enough_and_out_of_view_they_are_none(tmp_path):
    picture(tmp_path / "photos" / "x.png")
    xml(tmp_path / "boxes" / "x.xml", boxes=[*BOXES, (86, 0, 89, 59)])
    (photograph,) = image_folder(str(tmp_path / "photos"), boxes=str(tmp_path / "boxes")).photographs
    evidence = photograph.evidence(seen(60, 1.0))  # of 90 x 60 the centre: columns 15 to 74
    assert len(evidence.parts) == 2
    assert evidence.groups == (0, 0)
    assert evidence.parts[0, 8:31, :26].all()
    assert int(evidence.parts[0].sum()) == 23 * 26
    xml(tmp_path / "boxes" / "x.xml", boxes=[(86, 0, 89, 59)])
    assert photograph.evidence(seen(60, 1.0)) is None


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_a_photograph_turned_by_its_exif_turns_the_mask_of_its_file(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = picture(tmp_path / "x.jpg", drawing().convert("RGB"), exif=exif, quality=100)
    mask = picture(tmp_path / "masks" / "x.png")
    (photograph,) = image_folder(str(path), masks=str(tmp_path / "masks")).photographs
    upright = np.asarray(photograph.load())[..., 0] > 127
    assert upright.shape == (90, 60)
    (of_file,) = MaskFile(mask).masks(path, "x")
    assert np.array_equal(np.asarray(of_file), upright)
    Image.fromarray(upright).save(mask)  # drawn on the upright picture
    (of_upright,) = MaskFile(mask).masks(path, "x")
    assert np.array_equal(np.asarray(of_upright), upright)
    assert torch.equal(photograph.evidence(seen()).union, photograph.tensor(seen())[0] >= 0.5)


def test_where_it_cannot_be_told_which_way_up_a_mask_is_it_is_refused(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 3
    path = picture(tmp_path / "x.jpg", drawing().convert("RGB"), exif=exif)
    with pytest.raises(UnreadableError, match="does not say of which way up it is"):
        MaskFile(picture(tmp_path / "m.png")).masks(path, "x")
    with pytest.raises(UnreadableError, match="90 x 61 pixels, and x has 90 x 60"):
        MaskFile(picture(tmp_path / "n.png", drawing(90, 61))).masks(picture(tmp_path / "y.png"), "x")


def test_masks_of_any_mode_and_what_is_no_mask(tmp_path):
    path = picture(tmp_path / "x.png")
    wanted = np.asarray(drawing()) > 0
    palette = drawing().point(lambda value: 1 - value // 255).convert("P")
    palette.putpalette([200, 0, 0, 0, 0, 0])  # the second colour is black
    ones = Image.fromarray((wanted * 1).astype(np.uint8))
    for i, mask in enumerate((drawing(), drawing().convert("1"), drawing().convert("RGB"), ones, palette)):
        (found,) = MaskFile(picture(tmp_path / f"{i}.png", mask)).masks(path, "x")
        assert np.array_equal(np.asarray(found), wanted)
    soft = drawing().resize((45, 30), Image.Resampling.BILINEAR).resize((90, 60), Image.Resampling.BILINEAR)
    for mask, said in (
        (soft, "values beside black"),
        (Image.new("L", (90, 60)), "black all over"),
        (drawing().convert("RGBA"), "transparent"),
    ):
        with pytest.raises(UnreadableError, match=said):
            MaskFile(picture(tmp_path / "wrong.png", mask)).masks(path, "x")
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(UnreadableError, match="cannot be read"):
        MaskFile(tmp_path / "text.png").masks(path, "x")


def test_only_boxes_of_the_class_count(tmp_path):
    picture(tmp_path / "photos" / "n02124075" / "x.png")
    picture(tmp_path / "named" / "cat" / "x.png")
    other = "<object><name>n01440764</name><bndbox><xmin>0</xmin><ymin>0</ymin><xmax>89</xmax><ymax>59</ymax></bndbox></object>"
    xml(tmp_path / "boxes" / "x.xml", others=other)
    (photograph,) = wnid_folder(str(tmp_path / "photos"), boxes=str(tmp_path / "boxes")).photographs
    assert len(photograph.evidence(seen(60, 1.0)).parts) == 2
    (photograph,) = class_folder(str(tmp_path / "named"), class_names=["cat"], boxes=str(tmp_path / "boxes")).photographs
    with pytest.raises(UnreadableError, match="has no box of cat"):
        photograph.evidence(seen())
    (photograph,) = image_folder(str(tmp_path / "named"), boxes=str(tmp_path / "boxes")).photographs
    assert len(photograph.evidence(seen(60, 1.0)).parts) == 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"boxes": [(10, 5, 8, 20)]}, "box 10 5 8 20 is not in"),
        ({"boxes": [(0, 0, 91, 10)]}, "is not in a picture of 90 x 60"),
        ({"boxes": [(-1, 0, 5, 10)]}, "is not in"),
        ({"width": 91}, "91 x 60 pixels, and x has 90 x 60"),
        ({"boxes": []}, "has no box"),
        ({"boxes": [("a", 0, 5, 10)]}, "no file of boxes"),
    ],
)
def test_boxes_that_cannot_be_are_refused(tmp_path, change, said):
    with pytest.raises(UnreadableError, match=said):
        BoxFile(xml(tmp_path / "x.xml", **change), None).masks(picture(tmp_path / "x.png"), "x")
    (tmp_path / "y.xml").write_text("<annotation>")
    with pytest.raises(UnreadableError, match="no file of boxes"):
        BoxFile(tmp_path / "y.xml", None).masks(tmp_path / "x.png", "x")


def test_files_are_found_beside_photographs_and_their_content_is_told_apart(tmp_path):
    for name in ("a/x.png", "b/x.png", "b/y.png"):
        picture(tmp_path / "photos" / name)
    picture(tmp_path / "masks" / "a" / "x.png")
    images = image_folder(str(tmp_path / "photos"), masks=str(tmp_path / "masks")).photographs
    assert [one.evidence(seen()) is not None for one in images] == [True, False, False]
    assert [bool(one.evidence_digest()) for one in images] == [True, False, False]
    before = images[0].evidence_digest(), images[0].digest()
    picture(tmp_path / "masks" / "a" / "x.png", drawing().transpose(Image.Transpose.FLIP_TOP_BOTTOM))
    assert images[0].evidence_digest() != before[0]
    assert images[0].digest() == before[1]
    picture(tmp_path / "flat" / "x.png")
    with pytest.raises(ValueError, match=r"is of a/x.png and b/x.png"):
        image_folder(str(tmp_path / "photos"), masks=str(tmp_path / "flat"))
    assert prepare(drawing().convert("RGB"), seen()).shape == (3, 32, 32)


def test_wrong_folders_are_refused(tmp_path):
    picture(tmp_path / "photos" / "x.png")
    (tmp_path / "empty").mkdir()
    photos, empty = str(tmp_path / "photos"), str(tmp_path / "empty")
    with pytest.raises(ValueError, match=r"dataset\.masks=.*absent' is not a folder"):
        image_folder(photos, masks=str(tmp_path / "absent"))
    with pytest.raises(ValueError, match=r"dataset\.boxes=.*has no file of an image, such as x\.xml"):
        image_folder(photos, boxes=empty)
    with pytest.raises(ValueError, match="give one of them"):
        image_folder(photos, masks=empty, boxes=empty)
