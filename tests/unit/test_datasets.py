"""Image sets: labels, ids, selection, and every kind of image file."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.data.derived import correct_for_all, select
from benchmarks.data.sets import (
    UnreadableError,
    cifar100,
    class_folder,
    demo,
    image_folder,
    imagenet,
    prepare,
    upright_rgb,
    wnid_folder,
)
from benchmarks.models.classifier import Preprocessing, class_names

SMALL = Preprocessing(32, 1.0, "bilinear", (0.0,) * 3, (1.0,) * 3)


def picture(path: Path, mode: str = "RGB", size: tuple[int, int] = (8, 6), **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, color=options.pop("color", None) or 128).save(path, **options)
    return path


def test_the_demo_photographs_are_there_with_imagenet_labels():
    images = demo()
    names = class_names("imagenet")
    assert {photograph.id: names[photograph.label] for photograph in images.photographs} == {
        "chelsea": "Egyptian cat",
        "coffee": "espresso",
        "camera": "tripod",
        "motorcycle": "moped",
        "rocket": "missile",
        "china": "palace",
        "grace_hopper": "military uniform",
    }
    assert all(photograph.tensor(SMALL).shape == (3, 32, 32) for photograph in images.photographs)


def test_a_wnid_folder_takes_its_labels_from_the_synset_list(tmp_path):
    for wnid in ("n02124075", "n07920052", "n01440764"):
        picture(tmp_path / wnid / "b.jpg")
        picture(tmp_path / wnid / "a.JPEG", format="jpeg")
    images = wnid_folder(str(tmp_path))
    assert [(p.id, p.label) for p in images.photographs] == [
        ("n01440764/a.JPEG", 0),
        ("n01440764/b.jpg", 0),
        ("n02124075/a.JPEG", 285),
        ("n02124075/b.jpg", 285),
        ("n07920052/a.JPEG", 967),
        ("n07920052/b.jpg", 967),
    ]
    picture(tmp_path / "cats" / "a.png")
    with pytest.raises(ValueError, match=r"cats are not among"):
        wnid_folder(str(tmp_path))


def test_a_class_folder_takes_its_labels_from_the_names(tmp_path):
    picture(tmp_path / "worm" / "1.png")
    images = class_folder(str(tmp_path), class_names=class_names("cifar100"))
    assert [(p.id, p.label) for p in images.photographs] == [("worm/1.png", 99)]


def test_an_image_folder_or_one_file_has_no_labels(tmp_path):
    file = picture(tmp_path / "a b" / "naïve 'x'.png")
    assert [(p.id, p.label) for p in image_folder(str(tmp_path)).photographs] == [("a b/naïve 'x'.png", None)]
    assert [p.id for p in image_folder(str(file)).photographs] == ["naïve 'x'.png"]


def test_absent_sets_say_what_to_do(tmp_path):
    with pytest.raises(ValueError, match="ImageNet val"):
        imagenet(str(tmp_path))
    with pytest.raises(ValueError, match=r"dataset\.download=true"):
        cifar100(str(tmp_path))
    with pytest.raises(ValueError, match="not a folder"):
        image_folder(str(tmp_path / "absent"))
    with pytest.raises(ValueError, match="no image files"):
        image_folder(str(tmp_path))
    with pytest.raises(ValueError, match="no folders named by WordNet"):
        wnid_folder(str(tmp_path))


def test_cifar100_as_torchvision_reads_it(tmp_path, monkeypatch):
    import torchvision

    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    data = np.zeros((3, 3072), np.uint8)
    for name in ("train", "test"):
        (folder / name).write_bytes(pickle.dumps({"data": data, "fine_labels": [5, 0, 99]}))
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": list(class_names("cifar100"))}))
    monkeypatch.setattr(torchvision.datasets.CIFAR100, "_check_integrity", lambda self: True)
    monkeypatch.setattr(torchvision.datasets.cifar, "check_integrity", lambda path, md5=None: True)
    images = cifar100(str(tmp_path))
    assert [(p.id, p.label) for p in images.photographs] == [("test/00000", 5), ("test/00001", 0), ("test/00002", 99)]
    assert images.photographs[0].load().size == (32, 32)
    assert len(images.photographs[0].digest()) == 64


def test_selection(tmp_path):
    for i in range(20):
        picture(tmp_path / f"{i:02d}.png")
    images = image_folder(str(tmp_path))
    assert [p.id for p in select(images, n=3).photographs] == ["00.png", "01.png", "02.png"]
    five, ten = (select(images, n=n, order="random", seed=1).photographs for n in (5, 10))
    assert ten[:5] == five
    assert five != select(images, n=5, order="random", seed=2).photographs
    assert select(images, n=5, order="random", seed=1, skip=5).photographs == ten[5:]
    assert [p.id for p in select(images, n=None, skip=18).photographs] == ["18.png", "19.png"]
    with pytest.raises(ValueError, match=r"select\.count=21.*20 images"):
        select(images, n=21)
    with pytest.raises(ValueError, match=r"select\.count=3.*2 images after those left out"):
        select(images, n=3, skip=18)
    for skip in (-1, 20):
        with pytest.raises(ValueError, match=r"select\.skip=.*give 0 to 19"):
            select(images, n=None, skip=skip)
    with pytest.raises(ValueError, match=r"select\.order"):
        select(images, n=1, order="last")


def test_only_images_that_every_classifier_gets_right(tmp_path):
    for wnid in ("n01440764", "n02124075", "n07920052"):
        picture(tmp_path / wnid / "a.png")
    images = wnid_folder(str(tmp_path))
    right = correct_for_all(images, [lambda p: p.label, lambda p: 285], n=None)
    assert [p.label for p in right.photographs] == [285]
    with pytest.raises(ValueError, match="agree with the label on 1"):
        correct_for_all(images, [lambda p: 285], n=2)
    with pytest.raises(ValueError, match="on 0 images"):
        correct_for_all(images, [lambda p: None], n=None)


def test_modes_become_rgb(tmp_path):
    grey16 = Image.fromarray(np.full((4, 4), 32768, dtype=np.uint16))
    assert upright_rgb(grey16).getpixel((0, 0)) == (128, 128, 128)
    dark16 = Image.fromarray(np.full((4, 4), 200, dtype=np.uint16))
    assert upright_rgb(dark16, (0, 65535)).getpixel((0, 0)) == (1, 1, 1)
    assert upright_rgb(Image.new("L", (4, 4), 7)).getpixel((0, 0)) == (7, 7, 7)
    assert upright_rgb(Image.new("CMYK", (4, 4), (0, 0, 0, 255))).getpixel((0, 0)) == (0, 0, 0)
    assert upright_rgb(Image.new("RGBA", (4, 4), (10, 20, 30, 0))).getpixel((0, 0)) == (255, 255, 255)
    assert upright_rgb(Image.new("LA", (4, 4), (9, 255))).getpixel((0, 0)) == (9, 9, 9)
    palette = Image.new("RGB", (4, 4), (1, 200, 3)).convert("P", palette=Image.Palette.ADAPTIVE)
    assert upright_rgb(palette).getpixel((0, 0)) == (1, 200, 3)
    assert upright_rgb(Image.new("1", (4, 4), 1)).getpixel((0, 0)) == (255, 255, 255)


def test_exif_rotation_is_applied(tmp_path):
    image = Image.new("RGB", (8, 4))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.jpg", exif=exif)
    assert image_folder(str(tmp_path)).photographs[0].load().size == (4, 8)


def test_one_pixel_and_long_images_are_prepared():
    assert prepare(Image.new("RGB", (1, 1)), SMALL).shape == (3, 32, 32)
    assert prepare(Image.new("RGB", (500, 40)), SMALL).shape == (3, 32, 32)


def test_files_that_are_no_images_are_unreadable(tmp_path):
    (tmp_path / "zero.jpg").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("not an image")
    whole = picture(tmp_path / "cut.jpg", size=(64, 64)).read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    bomb = bytearray(picture(tmp_path / "bomb.png").read_bytes())
    bomb[16:24] = (20000).to_bytes(4, "big") * 2
    (tmp_path / "bomb.png").write_bytes(bomb)
    for photograph in image_folder(str(tmp_path)).photographs:
        with pytest.raises(UnreadableError, match=photograph.id):
            photograph.load()


def test_a_folder_loop_ends(tmp_path):
    picture(tmp_path / "a" / "x.png")
    (tmp_path / "a" / "loop").symlink_to(tmp_path, target_is_directory=True)
    assert len(image_folder(str(tmp_path))) == 1
