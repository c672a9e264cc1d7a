"""Image sets: where photographs and labels come from, and which are taken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import torchvision
from PIL import Image
from timm.data import ImageNetInfo

from benchmarks.data.decoding import UnreadableError, checked_range, upright_rgb
from benchmarks.data.folders import LeftOut, images_below, images_by_class, said, say, written
from benchmarks.data.photographs import ImageSet, Mosaic, Photograph, prepare, prepared
from da.rng import image_rng

__version__ = "1"

__all__ = [
    "ImageSet", "Mosaic", "Photograph", "UnreadableError", "cifar100", "class_folder", "correct_for_all", "demo", "image_folder",
    "imagenet", "mosaics", "prepare", "prepared", "select", "upright_rgb", "wnid_folder",
]  # fmt: skip


def demo() -> ImageSet:
    """Photographs that scikit-image, scikit-learn and matplotlib ship, with ImageNet labels."""
    skimage_data = _package("skimage") / "data"
    sklearn_data = _package("sklearn") / "datasets" / "images"
    matplotlib_data = _package("matplotlib") / "mpl-data" / "sample_data"
    labelled = (
        ("chelsea", skimage_data / "chelsea.png", 285),  # Egyptian cat
        ("coffee", skimage_data / "coffee.png", 967),  # espresso
        ("camera", skimage_data / "camera.png", 872),  # tripod
        ("motorcycle", skimage_data / "motorcycle_left.png", 665),  # moped
        ("rocket", skimage_data / "rocket.jpg", 657),  # missile
        ("china", sklearn_data / "china.jpg", 698),  # palace
        ("grace_hopper", matplotlib_data / "grace_hopper.jpg", 652),  # military uniform
    )
    return ImageSet("demo", tuple(Photograph(name, label, path) for name, path, label in labelled))


def _package(name: str) -> Path:
    """Where a package lies, without importing it."""
    spec = find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def imagenet(root: str, *, split: str = "val", value_range: Sequence[float] | None = None) -> ImageSet:
    """ILSVRC2012 as torchvision unpacks it, from the user's copy. value_range: see ``image_folder``."""
    try:
        images = torchvision.datasets.ImageNet(str(Path(root).expanduser()), split=split)
    except (RuntimeError, OSError, KeyError) as error:
        raise ValueError(f"dataset.root={root!r}: torchvision found no ImageNet {split} set there ({error})") from None
    folder = Path(images.split_folder)
    found = _from_wnids(folder, root, value_range)  # torchvision's labels would be others where folders are missing
    named = tuple(replace(photograph, id=f"{folder.name}/{photograph.id}") for photograph in found)
    return ImageSet(f"imagenet_{split}", named)


def wnid_folder(root: str, *, name: str = "wnid_folder", value_range: Sequence[float] | None = None) -> ImageSet:
    """A folder of folders named by WordNet ids (n02124075): the class index is that of ImageNet's synset list, whichever are present.

    value_range: see ``image_folder``.
    """
    return ImageSet(name, _from_wnids(_folder(root), root, value_range))


def _from_wnids(folder: Path, root: str, value_range: Sequence[float] | None) -> tuple[Photograph, ...]:
    indices = {wnid: index for index, wnid in enumerate(ImageNetInfo().label_names())}
    classes, left_out = images_by_class(folder)
    if not classes:
        raise ValueError(f"dataset.root={root!r} holds no folders named by WordNet ids, such as n02124075")
    if unknown := [wnid for wnid in classes if wnid not in indices]:
        raise ValueError(f"dataset.root={root!r}: {_listed(unknown)} are not among ImageNet's 1000 WordNet ids")
    return _from_classes(folder, root, classes, indices, left_out, value_range)


def class_folder(
    root: str, *, class_names: Sequence[object], name: str = "class_folder", value_range: Sequence[float] | None = None
) -> ImageSet:
    """A folder of folders named by class: the index is that of the name in ``class_names``, whichever are present.

    value_range: see ``image_folder``. Raises ValueError for a folder whose name several classes have.
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
    return ImageSet(name, _from_classes(folder, root, classes, indices, left_out, value_range))


def cifar100(root: str, *, split: str = "test", download: bool = False) -> ImageSet:
    """CIFAR-100 as torchvision reads it."""
    try:
        images = torchvision.datasets.CIFAR100(Path(root).expanduser(), train=split == "train", download=download)
    except (RuntimeError, OSError) as error:
        raise ValueError(f"dataset.root={root!r}: no CIFAR-100 there ({error}); dataset.download=true fetches it") from None
    photographs = (
        Photograph(f"{split}/{i:05d}", int(label), Image.fromarray(pixels))
        for i, (pixels, label) in enumerate(zip(images.data, images.targets, strict=True))
    )
    return ImageSet(f"cifar100_{split}", tuple(photographs))


def image_folder(root: str, *, name: str = "image_folder", value_range: Sequence[float] | None = None) -> ImageSet:
    """Every image file below a folder, or one file, without labels.

    value_range: the values of black and white in the files, such as ``[0, 4095]``; None: those of each file's type, see ``upright_rgb``.
    """
    path = Path(root).expanduser()
    if path.is_file():
        return ImageSet(name, _from_files(path.parent, root, [(path, None)], {}, value_range))
    folder = _folder(root)
    files, left_out = images_below(folder)
    return ImageSet(name, _from_files(folder, root, [(file, None) for file in files], left_out, value_range))


def mosaics(of: ImageSet, *, cells: int = 2, count: int = 1000, side: int = 224, seed: int = 0) -> ImageSet:
    """Square mosaics of ``cells`` x ``cells`` photographs of different classes, for the grid pointing game.

    Each is drawn by itself from ``of``, so that photographs recur in several, and has the label of one of its cells, drawn too: with
    ``select.correct_for=[model]`` those are left in which the model sees that one. count: how many are drawn; equal ones are one.
    side: of a cell before the model's own resizing, in pixels. Raises ValueError where there are too few photographs.
    """
    made: dict[str, Mosaic] = {}
    for i in range(count):
        rng = image_rng(seed, "mosaic", str(i))
        pieces: list[Photograph] = []
        for place in rng.permutation(len(of)):
            photograph = of.photographs[place]
            if photograph.label is None or photograph.label not in {piece.label for piece in pieces}:
                pieces.append(photograph)
            if len(pieces) == cells**2:
                break
        else:
            raise ValueError(f"dataset.cells={cells}: {of.name} has not {cells**2} photographs of different classes")
        one = pieces[rng.integers(len(pieces))]
        name = " + ".join(f"[{piece.id}]" if piece is one and one.label is not None else piece.id for piece in pieces)
        made.setdefault(name, Mosaic(name, one.label, Path(), pieces=tuple(pieces), cells=cells, side=side))
    return ImageSet(f"{of.name}_mosaics", tuple(made.values()))


def select(images: ImageSet, *, n: int | None, order: str = "first", seed: int = 0) -> ImageSet:
    """The first ``n`` photographs, or the first ``n`` of a seeded shuffle that does not depend on ``n``; None takes all.

    Raises ValueError where there are not that many.
    """
    if order not in ("first", "random"):
        raise ValueError(f"select.order={order!r}: choose first or random")
    if n is not None and not 1 <= n <= len(images):
        raise ValueError(f"select.count={n}: {images.name} has {len(images)} images, give 1 to {len(images)}")
    photographs: Sequence[Photograph] = images.photographs
    if order == "random":
        photographs = sorted(photographs, key=lambda photograph: image_rng(seed, "select", photograph.id).random())
    return replace(images, photographs=tuple(photographs[:n]))


def correct_for_all(images: ImageSet, classify: Sequence[Callable[[Photograph], int | None]], *, n: int | None) -> ImageSet:
    """The first ``n`` photographs that every classifier gives their label (the rule of the paper's Table 1).

    classify: a photograph to the predicted class index, None where it cannot be read. Raises ValueError where there are fewer.
    """
    if all(photograph.label is None for photograph in images.photographs):
        raise ValueError(f"select.correct_for: {images.name} has no labels; a data set with labels is cifar100_folder or wnid_folder")
    kept: list[Photograph] = []
    for photograph in images.photographs:
        if len(kept) == n:
            break
        if photograph.label is not None and all(predict(photograph) == photograph.label for predict in classify):
            kept.append(photograph)
    if not kept or (n is not None and len(kept) < n):
        raise ValueError(f"select.count={n}: the models agree with the label on {len(kept)} images of {images.name}")
    return replace(images, photographs=tuple(kept))


def _folder(root: str) -> Path:
    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise ValueError(f"dataset.root={root!r} is not a folder")
    return folder


def _listed(names: Sequence[str]) -> str:
    return ", ".join(written(Path(name)) for name in names[:3])


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
        found = f"; left out: {said(left_out)}" if left_out else ""
        raise ValueError(f"dataset.root={root!r} holds no image files, such as .jpg and .png{found}")
    say(root, len(files), left_out)
    return tuple(Photograph(written(path.relative_to(folder)), label, path, value_range=given) for path, label in files)
