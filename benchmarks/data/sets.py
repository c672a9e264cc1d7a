"""Image sets: where photographs and labels come from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torchvision
from PIL import Image
from timm.data import ImageNetInfo

from benchmarks.data.annotations import annotated
from benchmarks.data.decoding import UnreadableError, checked_range, upright_rgb
from benchmarks.data.demo_pictures import PICTURES, path_of
from benchmarks.data.folders import LeftOut, images_below, images_by_class, printable, report_left_out, summary_of_left_out
from benchmarks.data.photographs import ImageSet, Mosaic, Photograph, prepared
from benchmarks.data.preparing import prepare

__version__ = "1"

__all__ = [
    "ImageSet", "Mosaic", "Photograph", "UnreadableError", "cifar100", "class_folder", "demo", "image_folder", "imagenet", "prepare",
    "prepared", "upright_rgb", "wnid_folder",
]  # fmt: skip


def demo() -> ImageSet:
    """Photographs that scikit-image, scikit-learn and matplotlib ship, with ImageNet labels.

    Returns
    -------
    ImageSet
        Seven photographs.
    """
    return ImageSet("demo", tuple(Photograph(name, label, path_of(name)) for name, (_, label) in PICTURES.items()))


def imagenet(
    root: str, *, split: str = "val", value_range: Sequence[float] | None = None, masks: str | None = None, boxes: str | None = None
) -> ImageSet:
    """ILSVRC2012 as torchvision unpacks it, from the user's copy.

    Parameters
    ----------
    root : str
        The folder, as torchvision takes it.
    split : {"val", "train"}
        Which of its sets.
    value_range : two floats, optional
        The values of black and white in the files, such as ``[0, 4095]``; left out, those of each file's type, see ``upright_rgb``.
    masks, boxes : str, optional
        A folder of PNG masks or of XML boxes of the images, see ``benchmarks.data.annotations``: the evidence for measures.

    Returns
    -------
    ImageSet
        With labels.

    Raises
    ------
    ValueError
        Where torchvision finds no such set, and as of ``wnid_folder``.
    """
    try:
        images = torchvision.datasets.ImageNet(str(Path(root).expanduser()), split=split)
    except (RuntimeError, OSError, KeyError) as error:
        raise ValueError(f"dataset.root={root!r}: torchvision found no ImageNet {split} set there ({error})") from None
    folder = Path(images.split_folder)
    found = _from_wnids(folder, root, value_range, masks, boxes)  # torchvision's labels would be others where folders are missing
    named = tuple(replace(photograph, id=f"{folder.name}/{photograph.id}") for photograph in found)
    return ImageSet(f"imagenet_{split}", named)


def wnid_folder(
    root: str, *, name: str = "wnid_folder", value_range: Sequence[float] | None = None, masks: str | None = None, boxes: str | None = None
) -> ImageSet:
    """A folder of folders named by WordNet ids (n02124075): the class index is that of ImageNet's synset list, whichever are present.

    Parameters
    ----------
    root : str
        The folder.
    name : str
        Of the image set.
    value_range : two floats, optional
        The values of black and white in the files, such as ``[0, 4095]``; left out, those of each file's type, see ``upright_rgb``.
    masks, boxes : str, optional
        A folder of PNG masks or of XML boxes of the images, see ``benchmarks.data.annotations``: the evidence for measures.

    Returns
    -------
    ImageSet
        With labels.

    Raises
    ------
    ValueError
        For a folder that is not there, has no images or folders of other names, and for a value range that is none.
    """
    return ImageSet(name, _from_wnids(_folder(root), root, value_range, masks, boxes))


def _from_wnids(
    folder: Path, root: str, value_range: Sequence[float] | None, masks: str | None, boxes: str | None
) -> tuple[Photograph, ...]:
    indices = {wnid: index for index, wnid in enumerate(ImageNetInfo().label_names())}
    classes, left_out = images_by_class(folder)
    if not classes:
        raise ValueError(f"dataset.root={root!r} holds no folders named by WordNet ids, such as n02124075")
    if unknown := [wnid for wnid in classes if wnid not in indices]:
        raise ValueError(f"dataset.root={root!r}: {_listed(unknown)} are not among ImageNet's 1000 WordNet ids")
    return _of_class_in(_from_classes(folder, root, classes, indices, left_out, value_range), masks, boxes)


def class_folder(
    root: str,
    *,
    class_names: Sequence[object],
    name: str = "class_folder",
    value_range: Sequence[float] | None = None,
    masks: str | None = None,
    boxes: str | None = None,
) -> ImageSet:
    """A folder of folders named by class: the index is that of the name in ``class_names``, whichever are present.

    Parameters
    ----------
    root : str
        The folder.
    class_names : sequence of str
        By class index.
    name : str
        Of the image set.
    value_range : two floats, optional
        The values of black and white in the files, such as ``[0, 4095]``; left out, those of each file's type, see ``upright_rgb``.
    masks, boxes : str, optional
        A folder of PNG masks or of XML boxes of the images, see ``benchmarks.data.annotations``: the evidence for measures.

    Returns
    -------
    ImageSet
        With labels.

    Raises
    ------
    ValueError
        As of ``wnid_folder``; for a folder whose name several classes have, and for a class name that is no text.
    """
    if odd := [entry for entry in class_names if entry is None or isinstance(entry, bool | float)]:
        raise ValueError(f"dataset.class_names: {odd[0]!r} is no text: put class names in quotes")
    names = list(map(str, class_names))
    folder = _folder(root)
    classes, left_out = images_by_class(folder)
    if unknown := [entry for entry in classes if entry not in names]:
        raise ValueError(f"dataset.root={root!r}: {_listed(unknown)} are not among the {len(names)} class names")
    count = Counter(names)
    if shared := [entry for entry in classes if count[entry] > 1]:
        places = " and ".join(str(index) for index, entry in enumerate(names) if entry == shared[0])
        raise ValueError(
            f"dataset.root={root!r}: {shared[0]} is the name of classes {places}: name folders by WordNet ids and give "
            "dataset=wnid_folder, or give each class a name of its own in dataset.class_names"
        )
    indices = {entry: index for index, entry in enumerate(names)}
    return ImageSet(name, _of_class_in(_from_classes(folder, root, classes, indices, left_out, value_range), masks, boxes))


def cifar100(root: str, *, split: str = "test", download: bool = False) -> ImageSet:
    """CIFAR-100 as torchvision reads it.

    Parameters
    ----------
    root : str
        The folder.
    split : {"test", "train"}
        Which of its sets.
    download : bool
        Whether to fetch it where it is not there.

    Returns
    -------
    ImageSet
        With labels.

    Raises
    ------
    ValueError
        Where it is not there.
    """
    try:
        images = torchvision.datasets.CIFAR100(Path(root).expanduser(), train=split == "train", download=download)
    except (RuntimeError, OSError) as error:
        raise ValueError(f"dataset.root={root!r}: no CIFAR-100 there ({error}); dataset.download=true fetches it") from None
    photographs = (
        Photograph(f"{split}/{i:05d}", int(label), Image.fromarray(pixels))
        for i, (pixels, label) in enumerate(zip(images.data, images.targets, strict=True))
    )
    return ImageSet(f"cifar100_{split}", tuple(photographs))


def image_folder(
    root: str, *, name: str = "image_folder", value_range: Sequence[float] | None = None, masks: str | None = None, boxes: str | None = None
) -> ImageSet:
    """Every image file below a folder, or one file, without labels.

    Parameters
    ----------
    root : str
        The folder, or the file.
    name : str
        Of the image set.
    value_range : two floats, optional
        The values of black and white in the files, such as ``[0, 4095]``; left out, those of each file's type, see ``upright_rgb``.
    masks, boxes : str, optional
        A folder of PNG masks or of XML boxes of the images, see ``benchmarks.data.annotations``: the evidence for measures.

    Returns
    -------
    ImageSet
        Without labels.

    Raises
    ------
    ValueError
        For a folder that is not there or has no images, and for a value range that is none.
    """
    path = Path(root).expanduser()
    if path.is_file():
        found = _from_files(path.parent, root, [(path, None)], {}, value_range)
    else:
        folder = _folder(root)
        files, left_out = images_below(folder)
        found = _from_files(folder, root, [(file, None) for file in files], left_out, value_range)
    return ImageSet(name, annotated(found, masks=masks, boxes=boxes))


def _folder(root: str) -> Path:
    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise ValueError(f"dataset.root={root!r} is not a folder")
    return folder


def _listed(names: Sequence[str]) -> str:
    return ", ".join(printable(Path(name)) for name in names[:3])


def _of_class_in(photographs: tuple[Photograph, ...], masks: str | None, boxes: str | None) -> tuple[Photograph, ...]:
    """Photographs of folders named by class with their annotations: of boxes, those of that class count."""
    return annotated(photographs, masks=masks, boxes=boxes, name_of=lambda photograph: photograph.id.partition("/")[0])


def _from_classes(
    folder: Path,
    root: str,
    classes: Mapping[str, Iterable[Path]],
    indices: Mapping[str, int],
    left_out: LeftOut,
    value_range: Sequence[float] | None,
) -> tuple[Photograph, ...]:
    files = [(path, indices[name]) for name, paths in classes.items() for path in paths]
    return _from_files(folder, root, files, left_out, value_range)


def _from_files(
    folder: Path, root: str, files: Sequence[tuple[Path, int | None]], left_out: LeftOut, value_range: Sequence[float] | None
) -> tuple[Photograph, ...]:
    given = checked_range(value_range)
    if not files:
        found = f"; left out: {summary_of_left_out(left_out)}" if left_out else ""
        raise ValueError(f"dataset.root={root!r} holds no image files, such as .jpg and .png{found}")
    report_left_out(root, len(files), left_out)
    return tuple(Photograph(printable(path.relative_to(folder)), label, path, value_range=given) for path, label in files)
