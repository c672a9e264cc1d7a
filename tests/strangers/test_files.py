"""Image files as people have them: which count, what is left out is said, and what their folders mean."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torchvision

from benchmarks.data import folders
from benchmarks.data.sets import cifar100, class_folder, image_folder, imagenet, wnid_folder
from benchmarks.models.classifier import class_names
from tests.corpus import gradient
from tests.strangers.reading import make_theirs, picture, pixels


@pytest.fixture
def warned(caplog, monkeypatch):
    """The lines that were said, as one text."""
    monkeypatch.setattr(folders, "_SAID", set())
    caplog.set_level(logging.WARNING)
    return lambda: "\n".join(record.getMessage() for record in caplog.records)


@pytest.fixture(scope="module")
def theirs(tmp_path_factory) -> Path:
    return make_theirs(tmp_path_factory.mktemp("theirs"))


# What counts


def test_what_programs_leave_beside_photographs_does_not_count_and_is_said_once(theirs, tmp_path, warned):
    assert [p.id for p in image_folder(str(theirs / "hidden")).photographs] == ["a.jpg"]
    image_folder(str(theirs / "hidden"))
    root = str(theirs / "hidden")
    assert warned() == (f"dataset.root={root!r}: 1 images; left out: 3 hidden or of the system (._a.jpg, .ipynb_checkpoints/, @eaDir/)")
    for name in ("__MACOSX/._b.jpg", ".thumbnails/a.png", "$RECYCLE.BIN/a.png", "#recycle/a.png", ".git/a.png", ".hidden.png", "a.png"):
        picture(tmp_path / name, format="PNG")
    for name in (".DS_Store", "Thumbs.db", "notes.txt", "b.heic"):
        (tmp_path / name).write_bytes(b"x")
    assert [p.id for p in image_folder(str(tmp_path)).photographs] == ["a.png"]
    assert "2 not named like a picture that Pillow reads (b.heic, notes.txt)" in warned()
    assert [p.id for p in image_folder(str(tmp_path / ".hidden.png")).photographs] == [".hidden.png"]  # asked for by name
    assert [p.id for p in image_folder(str(tmp_path / ".git")).photographs] == ["a.png"]


def test_a_folder_of_photographs_alone_says_nothing(tmp_path, warned):
    picture(tmp_path / "a.png")
    (tmp_path / ".DS_Store").write_bytes(b"x")
    image_folder(str(tmp_path))
    assert not warned()


def test_every_suffix_that_pillow_reads_counts(theirs, tmp_path, warned):
    found = {photograph.id: photograph for photograph in image_folder(str(theirs / "suffixes")).photographs}
    assert set(found) >= {"a.jpg", "b.jfif", "b.jpe", "b.avif", "b.jp2", "b.pgm", "b.pnm"}
    assert all(pixels(photograph).shape == (120, 160, 3) for photograph in found.values())
    for name in ("a.JPG", "b.JpEg", "c.TIF", "d.mpo", "e.pbm", "f.qoi"):
        picture(tmp_path / name, gradient().convert("1") if name == "e.pbm" else None)
    for name in ("g.jpg_large", "h", "i.png~", "j.jpg.part", "k.pdf", "l.h5", "m.eps"):
        (tmp_path / name).write_bytes((tmp_path / "a.JPG").read_bytes())
    photos = image_folder(str(tmp_path)).photographs
    assert [p.id for p in photos] == ["a.JPG", "b.JpEg", "c.TIF", "d.mpo", "e.pbm", "f.qoi"]
    assert all(pixels(photograph).shape == (48, 64, 3) for photograph in photos)
    assert "7 not named like a picture that Pillow reads (g.jpg_large, h, i.png~, ...)" in warned()


def test_linked_folders_count_once_and_loops_end(theirs, tmp_path, warned):
    assert [p.id for p in image_folder(str(theirs / "links")).photographs] == ["album/far.jpg", "near.jpg"]
    assert not warned()
    root = tmp_path / "up" / "root"
    picture(root / "b" / "x.png")
    picture(tmp_path / "up" / "not mine.png")
    picture(tmp_path / "far" / "deep" / "y.png")
    (root / "a").symlink_to(root / "b", target_is_directory=True)  # by its own path, although the link comes first
    (root / "b" / "self").symlink_to(root / "b", target_is_directory=True)
    (root / "parent").symlink_to("..", target_is_directory=True)
    (root / "far").symlink_to(tmp_path / "far", target_is_directory=True)
    (root / "far again").symlink_to(tmp_path / "far" / "deep", target_is_directory=True)
    (tmp_path / "far" / "deep" / "top").symlink_to(tmp_path / "far", target_is_directory=True)
    assert [p.id for p in image_folder(str(root)).photographs] == ["b/x.png", "far/deep/y.png"]
    assert "5 links to folders that are in already or hold the link (a/, b/self/, far again/, ...)" in warned()


def test_folders_that_cannot_be_opened_and_pipes_are_said(tmp_path, warned, monkeypatch):
    picture(tmp_path / "a.png")
    picture(tmp_path / "locked" / "b.png")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "unmounted").symlink_to(tmp_path / "nowhere", target_is_directory=True)
    scandir = os.scandir

    def closed(path):
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    assert [p.id for p in image_folder(str(tmp_path)).photographs] == ["a.png"]
    assert "1 neither files nor folders (pipe.png)" in warned()
    assert "1 folders that cannot be opened (locked/)" in warned()
    assert "1 links to nothing (unmounted)" in warned()


def test_a_folder_without_photographs_says_what_it_has(tmp_path):
    (tmp_path / "a.heic").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"holds no image files, .*; left out: 1 not named like .* \(a\.heic\)"):
        image_folder(str(tmp_path))


@pytest.mark.parametrize(("function", "first", "second"), [(wnid_folder, "n01440764", "n02124075"), (class_folder, "worm", "bee")])
def test_class_folders_say_what_is_left_out(tmp_path, warned, function, first, second):
    options = {"class_names": class_names("cifar100")} if function is class_folder else {}
    picture(tmp_path / first / "a.png")
    picture(tmp_path / first / "._a.png", format="PNG")
    picture(tmp_path / "loose.png")
    picture(tmp_path / ".ipynb_checkpoints" / "a.png")
    picture(tmp_path / "elsewhere" / "b.png").parent.rename(tmp_path.parent / f"{tmp_path.name} linked")
    (tmp_path / second).mkdir()
    (tmp_path / "labels.csv").write_text("x")
    assert [p.id for p in function(str(tmp_path), **options).photographs] == [f"{first}/a.png"]
    for part in (
        f"2 hidden or of the system (.ipynb_checkpoints/, {first}/._a.png)",
        "1 beside the folders of the classes (loose.png)",
        f"1 classes without pictures ({second}/)",
        "(labels.csv)",
    ):
        assert part in warned()
    (tmp_path / second).rmdir()
    (tmp_path / second).symlink_to(tmp_path.parent / f"{tmp_path.name} linked", target_is_directory=True)  # a class may be a link
    labels = {p.id: p.label for p in function(str(tmp_path), **options).photographs}
    assert set(labels) == {f"{first}/a.png", f"{second}/b.png"}
    assert len(set(labels.values())) == 2


# Classes


@pytest.mark.parametrize(("name", "indices"), [("crane", "134 and 517"), ("maillot", "638 and 639")])
def test_a_folder_whose_name_is_that_of_two_classes_is_refused(tmp_path, name, indices):
    picture(tmp_path / name / "a.png")
    picture(tmp_path / "espresso" / "a.png")
    with pytest.raises(ValueError, match=rf"{name} is the name of classes {indices}: .*dataset=wnid_folder"):
        class_folder(str(tmp_path), class_names=class_names("imagenet"))
    (tmp_path / name / "a.png").unlink()
    (tmp_path / name).rmdir()
    assert [p.label for p in class_folder(str(tmp_path), class_names=class_names("imagenet")).photographs] == [967]


def test_class_names_that_are_numbers_in_yaml_are_names(tmp_path):
    for name in ("7", "1"):
        picture(tmp_path / name / "a.png")
    images = class_folder(str(tmp_path), class_names=list(range(10)))
    assert {p.id: p.label for p in images.photographs} == {"1/a.png": 1, "7/a.png": 7}
    for odd in (True, None, 1.5):
        with pytest.raises(ValueError, match=r"dataset\.class_names: .* is no text: put class names in quotes"):
            class_folder(str(tmp_path), class_names=["1", odd])


def test_imagenet_with_missing_folders_keeps_its_labels(tmp_path, monkeypatch):
    """Torchvision numbers the folders that are there."""
    for wnid in ("n02124075", "n07920052"):
        picture(tmp_path / "val" / wnid / "a.JPEG", format="JPEG")
    monkeypatch.setattr(torchvision.datasets, "ImageNet", lambda root, split: SimpleNamespace(split_folder=f"{root}/{split}"))
    images = imagenet(str(tmp_path))
    assert [(p.id, p.label) for p in images.photographs] == [("val/n02124075/a.JPEG", 285), ("val/n07920052/a.JPEG", 967)]


# Paths


def test_home_and_names_in_no_encoding(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    picture(tmp_path / "photos" / "a.png")
    picture(tmp_path / "classes" / "n02124075" / "a.png")
    assert [p.id for p in image_folder("~/photos").photographs] == ["a.png"]
    assert [p.id for p in image_folder("~/photos/a.png").photographs] == ["a.png"]
    assert [p.id for p in wnid_folder("~/classes").photographs] == ["n02124075/a.png"]
    for function in (cifar100, imagenet):
        seen = []
        name = "CIFAR100" if function is cifar100 else "ImageNet"
        monkeypatch.setattr(torchvision.datasets, name, lambda root, seen=seen, **_: seen.append(str(root)) or 1 / 0)
        with pytest.raises(ZeroDivisionError):
            function("~/set")
        assert seen == [f"{tmp_path}/set"]
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe")
    os.makedirs(os.path.join(odd, os.fsdecode(b"\xfd")))
    picture(Path(odd) / os.fsdecode(b"\xfd") / "b.png")
    (photograph,) = image_folder(odd).photographs
    assert photograph.id == "\\xfd/b.png"
    photograph.id.encode()
    assert pixels(photograph).shape == (48, 64, 3)
    with pytest.raises(ValueError, match="are not among"):
        class_folder(odd, class_names=["a"])
