"""A photograph: its content, by which results are kept, and the tensor that a model is shown."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import torch
from cachetools import LRUCache
from jaxtyping import Float
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from benchmarks.data.decoding import UnreadableError, ValueRange, upright_rgb
from benchmarks.data.evidence import Annotation, Evidence
from benchmarks.data.preparing import prepare, prepare_mask
from benchmarks.models.classifier import Preprocessing

KEPT = 2**29  # bytes of prepared photographs that stay in memory


@dataclass(frozen=True)
class Photograph:
    """One image.

    Attributes
    ----------
    id : str
        Stable, names the image in every row.
    label : int or None
        Class index, None where it is not known.
    source : Path or PIL.Image.Image
        A file or pixels.
    value_range : two floats or None
        The values of black and white, None for those of the file's type.
    annotation : Annotation or None
        What says where the object is, such as a file of boxes.
    """

    id: str
    label: int | None
    source: Path | Image.Image = field(compare=False)
    value_range: ValueRange | None = field(default=None, kw_only=True)
    annotation: Annotation | None = field(default=None, kw_only=True, compare=False, repr=False)

    def digest(self) -> str:
        """SHA-256 of the file or of the pixels, and of ``value_range`` where one is given.

        Returns
        -------
        str
            64 hexadecimal digits.

        Raises
        ------
        UnreadableError
            Where the picture cannot be read.
        """
        if isinstance(self.source, Path):
            try:
                stat = self.source.stat()
                content = _file_digest(self.source, stat.st_mtime_ns, stat.st_size)
            except OSError as error:
                raise UnreadableError(f"{error.strerror or error}") from None
        else:  # as it is seen: its bytes say neither its shape nor what they mean; those of a square are enough
            seen = self.load()
            shape = b"" if seen.width == seen.height else f"{seen.width} x {seen.height} ".encode()
            content = hashlib.sha256(shape + seen.tobytes()).hexdigest()
        return hashlib.sha256(f"{content} {self.value_range}".encode()).hexdigest() if self.value_range else content

    def load(self) -> Image.Image:
        """The picture upright, 8-bit RGB.

        Returns
        -------
        PIL.Image.Image
            In its own size.

        Raises
        ------
        UnreadableError
            Where the picture cannot be read.
        """
        try:
            with Image.open(self.source) if isinstance(self.source, Path) else self.source.copy() as image:
                return upright_rgb(image, self.value_range)
        except Exception as error:  # what Pillow raises depends on what is damaged
            said = str(error) if isinstance(error, UnreadableError | OSError) else f"{type(error).__name__}: {error}"
            if isinstance(error, UnidentifiedImageError):
                said = "Pillow knows no such file; where it is a picture, save it as PNG with 8 bits a value"
            raise UnreadableError(f"{self.id} cannot be read: {said}") from None

    def tensor(self, preprocessing: Preprocessing) -> Float[Tensor, "3 h w"]:
        """The picture as the model is shown it.

        Parameters
        ----------
        preprocessing : Preprocessing
            Of the model.

        Returns
        -------
        Tensor [3, h, w] in [0, 1]
            Not normalised.

        Raises
        ------
        UnreadableError
            Where the picture cannot be read.
        """
        return prepare(self.load(), preprocessing)

    def evidence(self, preprocessing: Preprocessing) -> Evidence | None:
        """Where the model is shown what the class depends on.

        Parameters
        ----------
        preprocessing : Preprocessing
            Of the model.

        Returns
        -------
        Evidence or None
            Each annotated object is a part, of which one is enough; None where none is known, or in view after the crop.

        Raises
        ------
        UnreadableError
            Where the annotation cannot be read, or is of another picture.
        """
        if self.annotation is None:
            return None
        masks = [prepare_mask(mask, preprocessing) for mask in self.annotation.masks(self.source, self.id)]
        parts = [mask for mask in masks if mask.any()]
        return Evidence(torch.stack(parts), (0,) * len(parts)) if parts else None

    def evidence_digest(self) -> str:
        """What tells the evidence of one image from another's, for the keys of results.

        Returns
        -------
        str
            The beginning of a SHA-256, empty where no evidence is known.

        Raises
        ------
        UnreadableError
            Where the annotation cannot be read.
        """
        return "" if self.annotation is None else self.annotation.digest()[:16]


@dataclass(frozen=True)
class Mosaic(Photograph):
    """Photographs side by side, row by row, each cropped to a square; put together when loaded.

    Attributes
    ----------
    pieces : tuple of Photograph
        ``cells`` x ``cells`` photographs.
    cells : int
        Along each side.
    side : int
        Of a cell, in pixels.
    """

    pieces: tuple[Photograph, ...]
    cells: int
    side: int

    def digest(self) -> str:
        """SHA-256 of the pieces' digests and of how they lie.

        Returns
        -------
        str
            64 hexadecimal digits.

        Raises
        ------
        UnreadableError
            Where a piece cannot be read.
        """
        return hashlib.sha256(" ".join([f"{self.side} uncropped", *(piece.digest() for piece in self.pieces)]).encode()).hexdigest()

    def load(self) -> Image.Image:
        """The picture, 8-bit RGB.

        Returns
        -------
        PIL.Image.Image
            ``cells * side`` pixels a side.

        Raises
        ------
        UnreadableError
            Where a piece cannot be read.
        """
        canvas = Image.new("RGB", (self.cells * self.side,) * 2)
        for place, piece in enumerate(self.pieces):
            square = ImageOps.fit(piece.load(), (self.side, self.side), Image.Resampling.BICUBIC)
            canvas.paste(square, (place % self.cells * self.side, place // self.cells * self.side))
        return canvas

    def tensor(self, preprocessing: Preprocessing) -> Float[Tensor, "3 h w"]:
        """The whole picture, so that its cells are of one size.

        Parameters
        ----------
        preprocessing : Preprocessing
            Of the model, of which the crop is left out.

        Returns
        -------
        Tensor [3, h, w] in [0, 1]
            Not normalised.

        Raises
        ------
        UnreadableError
            Where a piece cannot be read.
        """
        return prepare(self.load(), replace(preprocessing, crop_pct=1.0))


@dataclass(frozen=True)
class ImageSet:
    """A named list of photographs.

    Attributes
    ----------
    name : str
        In the rows and records.
    photographs : tuple of Photograph
        In their order.
    """

    name: str
    photographs: tuple[Photograph, ...]

    def __len__(self) -> int:
        return len(self.photographs)


@lru_cache(maxsize=100_000)
def _file_digest(path: Path, mtime_ns: int, size: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def prepared(photograph: Photograph, digest: str, preprocessing: Preprocessing) -> Float[Tensor, "3 h w"]:
    """A photograph ready for a model, kept in memory for the next setting of a sweep.

    Parameters
    ----------
    photograph : Photograph
        The photograph.
    digest : str
        The beginning of its ``Photograph.digest()``, as listed; a file that has changed since is not shown under it.
    preprocessing : Preprocessing
        Of the model.

    Returns
    -------
    Tensor [3, h, w] in [0, 1]
        Not normalised.

    Raises
    ------
    UnreadableError
        Where the photograph cannot be read, or has changed.
    """
    key, keep = (photograph.id, type(photograph), digest, preprocessing), _decided_by_digest(photograph)
    if keep and (known := _PREPARED.get(key)) is not None:
        return known
    pixels = photograph.tensor(preprocessing)
    if not photograph.digest().startswith(digest):
        raise UnreadableError(f"{photograph.id} has changed since it was listed: run the command again")
    if keep and pixels.nbytes <= KEPT:
        _PREPARED[key] = pixels
    return pixels


_PREPARED: LRUCache[object, Tensor] = LRUCache(KEPT, getsizeof=lambda pixels: pixels.nbytes)


def _decided_by_digest(photograph: Photograph) -> bool:
    """Whether the digest is all that decides the pixels: not where a class of the user's has its own way of loading."""
    pieces = photograph.pieces if type(photograph) is Mosaic else ()
    return type(photograph) in (Photograph, Mosaic) and all(map(_decided_by_digest, pieces))
