"""Image sets: where photographs and labels come from, which are taken, and how a photograph becomes a tensor."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torchvision
from jaxtyping import Float
from PIL import Image, ImageOps
from timm.data import ImageNetInfo
from torch import Tensor
from torchvision.transforms.functional import InterpolationMode, center_crop, pil_to_tensor, resize

from benchmarks.models import Preprocessing
from benchmarks.rng import image_rng

__version__ = "1"

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".ppm"})


class UnreadableError(ValueError):
    """An image file that cannot be shown to a model."""


@dataclass(frozen=True)
class Photograph:
    """One image. id: stable, names the image in every row; label: class index, None where unknown; source: a file or pixels."""

    id: str
    label: int | None
    source: Path | Image.Image = field(compare=False)

    def digest(self) -> str:
        """SHA-256 of the file, or of the pixels. Raises UnreadableError."""
        if isinstance(self.source, Path):
            try:
                stat = self.source.stat()
                return _file_digest(self.source, stat.st_mtime_ns, stat.st_size)
            except OSError as error:
                raise UnreadableError(f"{error.strerror or error}") from None
        return hashlib.sha256(self.source.tobytes()).hexdigest()

    def load(self) -> Image.Image:
        """The picture upright, 8-bit RGB. Raises UnreadableError."""
        try:
            with Image.open(self.source) if isinstance(self.source, Path) else self.source.copy() as image:
                return upright_rgb(image)
        except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
            raise UnreadableError(f"{self.id} cannot be read: {error}") from None

    def tensor(self, preprocessing: Preprocessing) -> Float[Tensor, "3 h w"]:
        """The picture as the model is shown it. Raises UnreadableError."""
        return prepare(self.load(), preprocessing)


@dataclass(frozen=True)
class Mosaic(Photograph):
    """``cells`` x ``cells`` photographs side by side, row by row, each cropped to a square of ``side`` pixels; put together when loaded."""

    pieces: tuple[Photograph, ...]
    cells: int
    side: int

    def digest(self) -> str:
        """SHA-256 of the pieces' digests and of how they lie. Raises UnreadableError."""
        return hashlib.sha256(" ".join([f"{self.side} uncropped", *(piece.digest() for piece in self.pieces)]).encode()).hexdigest()

    def load(self) -> Image.Image:
        """The picture, 8-bit RGB. Raises UnreadableError where a piece cannot be read."""
        canvas = Image.new("RGB", (self.cells * self.side,) * 2)
        for place, piece in enumerate(self.pieces):
            square = ImageOps.fit(piece.load(), (self.side, self.side), Image.Resampling.BICUBIC)
            canvas.paste(square, (place % self.cells * self.side, place // self.cells * self.side))
        return canvas

    def tensor(self, preprocessing: Preprocessing) -> Float[Tensor, "3 h w"]:
        """The whole picture, so that its cells are of one size. Raises UnreadableError."""
        return prepare(self.load(), replace(preprocessing, crop_pct=1.0))


@dataclass(frozen=True)
class ImageSet:
    """A named list of photographs."""

    name: str
    photographs: tuple[Photograph, ...]

    def __len__(self) -> int:
        return len(self.photographs)


@lru_cache(maxsize=100_000)
def _file_digest(path: Path, mtime_ns: int, size: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def upright_rgb(image: Image.Image) -> Image.Image:
    """Turn by EXIF; 16-bit (and [0, 1] float) grey scaled to 8 bits; transparency laid on white; first frame of an animation; RGB."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        grey = np.asarray(image, dtype=np.float64)
        top = 1 if image.mode == "F" else 65535
        return Image.fromarray(np.clip(np.rint(grey / top * 255), 0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


@lru_cache(maxsize=1024)
def prepared(photograph: Photograph, digest: str, preprocessing: Preprocessing) -> Float[Tensor, "3 h w"]:
    """A photograph ready for a model, kept in memory for the next setting of a sweep; ``digest`` is its ``Photograph.digest()``."""
    return photograph.tensor(preprocessing)


def prepare(image: Image.Image, preprocessing: Preprocessing) -> Float[Tensor, "3 h w"]:
    """Resize the shorter side to ``size / crop_pct``, crop the centre, scale to [0, 1]. Normalisation is the model's."""
    size = preprocessing.size
    scaled = resize(image, [round(size / preprocessing.crop_pct)], InterpolationMode(preprocessing.interpolation), antialias=True)
    return pil_to_tensor(center_crop(scaled, [size, size])).float() / 255


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


def imagenet(root: str, *, split: str = "val") -> ImageSet:
    """ILSVRC2012 as torchvision reads it, from the user's copy."""
    try:
        images = torchvision.datasets.ImageNet(root, split=split)
    except (RuntimeError, OSError) as error:
        raise ValueError(f"dataset.root={root!r}: torchvision found no ImageNet {split} set there ({error})") from None
    return ImageSet(f"imagenet_{split}", _from_files(Path(root), [(Path(path), label) for path, label in images.samples]))


def wnid_folder(root: str, *, name: str = "wnid_folder") -> ImageSet:
    """A folder of folders named by WordNet ids (n02124075): the class index is that of ImageNet's synset list, whichever are present."""
    indices = {wnid: index for index, wnid in enumerate(ImageNetInfo().label_names())}
    folder = _folder(root)
    wnids = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    if not wnids:
        raise ValueError(f"dataset.root={root!r} holds no folders named by WordNet ids, such as n02124075")
    if unknown := [wnid for wnid in wnids if wnid not in indices]:
        raise ValueError(f"dataset.root={root!r}: {', '.join(unknown[:3])} are not among ImageNet's 1000 WordNet ids")
    return ImageSet(name, _from_files(folder, [(path, indices[wnid]) for wnid in wnids for path in _images_below(folder / wnid)]))


def class_folder(root: str, *, class_names: Sequence[str], name: str = "class_folder") -> ImageSet:
    """A folder of folders named by class: the index is that of the name in ``class_names``, whichever are present."""
    indices = {name: index for index, name in enumerate(class_names)}
    folder = _folder(root)
    found = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    if unknown := [entry for entry in found if entry not in indices]:
        raise ValueError(f"dataset.root={root!r}: {', '.join(unknown[:3])} are not among the {len(indices)} class names")
    return ImageSet(name, _from_files(folder, [(path, indices[entry]) for entry in found for path in _images_below(folder / entry)]))


def cifar100(root: str, *, split: str = "test", download: bool = False) -> ImageSet:
    """CIFAR-100 as torchvision reads it."""
    try:
        images = torchvision.datasets.CIFAR100(root, train=split == "train", download=download)
    except (RuntimeError, OSError) as error:
        raise ValueError(f"dataset.root={root!r}: no CIFAR-100 there ({error}); dataset.download=true fetches it") from None
    photographs = (
        Photograph(f"{split}/{i:05d}", int(label), Image.fromarray(pixels))
        for i, (pixels, label) in enumerate(zip(images.data, images.targets, strict=True))
    )
    return ImageSet(f"cifar100_{split}", tuple(photographs))


def image_folder(root: str, *, name: str = "image_folder") -> ImageSet:
    """Every image file below a folder, or one file, without labels."""
    path = Path(root)
    if path.is_file():
        return ImageSet(name, _from_files(path.parent, [(path, None)]))
    folder = _folder(root)
    return ImageSet(name, _from_files(folder, [(file, None) for file in _images_below(folder)]))


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


def _images_below(folder: Path) -> list[Path]:
    """Image files below a folder in a stable order; links to folders are not followed, and pipes and devices are no files."""
    found = (Path(parent) / name for parent, _, names in os.walk(folder) for name in names)
    return sorted(path for path in found if path.suffix.lower() in SUFFIXES and (path.is_file() or not path.exists()))


def _from_files(root: Path, files: Sequence[tuple[Path, int | None]]) -> tuple[Photograph, ...]:
    if not files:
        raise ValueError(f"dataset.root={str(root)!r} holds no image files ({', '.join(sorted(SUFFIXES))})")
    return tuple(Photograph(_written(path.relative_to(root)), label, path) for path, label in files)


def _written(path: Path) -> str:
    """A path as text that any file can hold: bytes that are not UTF-8 are written out, as ``\\xff``."""
    return os.fsencode(path.as_posix()).decode("utf-8", "backslashreplace")
