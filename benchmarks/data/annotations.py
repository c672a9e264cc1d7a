"""Masks and boxes of photographs: PNG files, and XML files as those of ILSVRC."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from benchmarks.data.decoding import UnreadableError, turn_of
from benchmarks.data.evidence import Annotation
from benchmarks.data.photographs import Photograph

LOG = logging.getLogger(__name__)

TRANSPOSED = (Image.Transpose.TRANSPOSE, Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_270, Image.Transpose.TRANSVERSE)
_SAID: set[str] = set()


@dataclass(frozen=True)
class MaskFile:
    """A mask of the object: black outside of it, one other value inside."""

    path: Path

    def digest(self) -> str:
        """SHA-256 of the file."""
        return hashlib.sha256(_content(self.path)).hexdigest()

    def masks(self, source: Path | Image.Image, name: str) -> list[Image.Image]:
        """The mask, upright. Raises UnreadableError where it is none, or not of the photograph."""
        try:
            with Image.open(self.path) as image:
                if image.mode in ("RGBA", "LA", "PA") or image.has_transparency_data:
                    raise UnreadableError(f"{self.path} is transparent: save it in black and white")
                stored = np.asarray(image.convert("RGB") if image.mode == "P" else image)  # which index is black is in its palette
        except OSError as error:
            raise UnreadableError(f"{self.path} cannot be read: {error}") from None
        inside = np.asarray(stored.astype(bool) if stored.ndim == 2 else stored.any(2))
        values = np.unique(stored[inside], axis=0)
        if len(values) != 1:
            many = "is black all over" if not len(values) else f"has {len(values)} values beside black"
            raise UnreadableError(f"{self.path} {many}: a mask has one value inside of the object, and is black outside")
        return [fitted(Image.fromarray(inside), source, name, self.path)]


@dataclass(frozen=True)
class BoxFile:
    """The boxes of an XML file as those of ILSVRC: ``object`` with ``name`` and ``bndbox``, whose pixels count from 0, both ends included.

    name: of the objects that count, None for all.
    """

    path: Path
    name: str | None

    def digest(self) -> str:
        """SHA-256 of the file and of the name."""
        return hashlib.sha256(f"{self.name}\0".encode() + _content(self.path)).hexdigest()

    def masks(self, source: Path | Image.Image, name: str) -> list[Image.Image]:
        """A mask a box, upright. Raises UnreadableError where there is none of the name, or they are not of the photograph."""
        try:
            tree = ElementTree.fromstring(_content(self.path))
            width, height = (int(tree.findtext(f"size/{side}", "")) for side in ("width", "height"))
            boxes = [
                [int(float(one.findtext(f"bndbox/{end}", ""))) for end in ("xmin", "ymin", "xmax", "ymax")]
                for one in tree.findall("object")
                if self.name is None or one.findtext("name") == self.name
            ]
        except (ElementTree.ParseError, ValueError) as error:
            raise UnreadableError(f"{self.path} is no file of boxes as ILSVRC's ({error})") from None
        if not boxes:
            raise UnreadableError(f"{self.path} has no box{'' if self.name is None else f' of {self.name}'}")
        found = []
        for left, top, right, bottom in boxes:
            if not (0 <= left <= right <= width and 0 <= top <= bottom <= height and left < width and top < height):
                raise UnreadableError(f"{self.path}: the box {left} {top} {right} {bottom} is not in a picture of {width} x {height}")
            mask = np.zeros((height, width), bool)
            mask[top : bottom + 1, left : right + 1] = True
            found.append(fitted(Image.fromarray(mask), source, name, self.path))
        return found


def fitted(mask: Image.Image, source: Path | Image.Image, name: str, path: Path) -> Image.Image:
    """A mask of a stored picture, or of the upright one, as one of the upright one.

    Raises UnreadableError for another size, and where a picture is turned by its EXIF so that the size does not tell the two apart.
    """
    if not isinstance(source, Path):
        stored, turn = source.size, None
    else:
        try:
            with Image.open(source) as image:
                image.load()
                stored, turn = image.size, turn_of(image)
        except Exception as error:  # what Pillow raises depends on what is damaged
            raise UnreadableError(f"{name} cannot be read: {error}") from None
    upright = stored[::-1] if turn in TRANSPOSED else stored
    if mask.size not in (stored, upright):
        here, there = ("{} x {}".format(*size) for size in (upright, mask.size))
        raise UnreadableError(f"{path} is of a picture of {there} pixels, and {name} has {here}")
    if turn is not None and stored == upright:
        raise UnreadableError(f"{name} is turned by its EXIF, and {path} does not say of which way up it is: save it upright")
    return mask if turn is None or mask.size == upright else mask.transpose(turn)


def annotated(
    photographs: Sequence[Photograph],
    *,
    masks: str | None,
    boxes: str | None,
    name_of: Callable[[Photograph], str | None] = lambda photograph: None,
) -> tuple[Photograph, ...]:
    """Photographs with the annotations that a folder has of them: files of the same path or name, but for the suffix.

    name_of: what the objects of a photograph are called in its file of boxes, None for whatever. Raises ValueError where both are given,
    for a folder that is not there or has none of them, and for one name that several photographs have.
    """
    if masks is None and boxes is None:
        return tuple(photographs)
    if masks is not None and boxes is not None:
        raise ValueError("dataset.masks and dataset.boxes: give one of them")
    option, given, suffix = ("masks", masks, ".png") if masks is not None else ("boxes", boxes, ".xml")
    folder = Path(str(given)).expanduser()
    if not folder.is_dir():
        raise ValueError(f"dataset.{option}={given!r} is not a folder")
    found: dict[Path, str] = {}
    every: list[Photograph] = []
    for photograph in photographs:
        path = _beside(folder, PurePosixPath(photograph.id), suffix)
        if path is not None and path in found:
            raise ValueError(f"dataset.{option}={given!r}: {path} is of {found[path]} and {photograph.id}: put it in their folders")
        if path is not None:
            found[path] = photograph.id
        of: Annotation | None = None if path is None else MaskFile(path) if masks is not None else BoxFile(path, name_of(photograph))
        every.append(replace(photograph, annotation=of))
    if not found:
        raise ValueError(f"dataset.{option}={given!r} has no file of an image, such as {PurePosixPath(photographs[0].id).stem}{suffix}")
    line = f"dataset.{option}={given!r}: of {len(found)} of {len(every)} images"
    if len(found) < len(every) and line not in _SAID:
        _SAID.add(line)
        LOG.warning("%s", line)
    return tuple(every)


def _beside(folder: Path, name: PurePosixPath, suffix: str) -> Path | None:
    """The file of an image: at the same place in a folder, or at the end of that, ``val/n01/a.JPEG`` at ``n01/a.xml`` or ``a.xml``."""
    for start in range(len(name.parts)):
        path = folder.joinpath(*name.parts[start:]).with_suffix(suffix)
        if path.is_file():
            return path
    return None


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnreadableError(f"{path} cannot be read: {error.strerror or error}") from None
