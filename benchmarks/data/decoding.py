"""From an image file to the picture a model is shown: upright, 8-bit RGB, and a refusal where it cannot be told what is white."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped
from PIL import ExifTags, Image

ValueRange = tuple[float, float]

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
TOPS = (1, 255, 1023, 4095, 16383, 65535, 2**32 - 1)  # of the depths that cameras and programs write
BITS_PER_SAMPLE, PHOTOMETRIC, PLANAR, SAMPLE_FORMAT = 258, 262, 284, 339  # tags of a TIFF file


class UnreadableError(ValueError):
    """An image file that cannot be shown to a model."""


def checked_range(value_range: Sequence[float] | None) -> ValueRange | None:
    """The values of black and white as two floats. Raises ValueError for anything else."""
    if value_range is None:
        return None
    try:
        given = [float(value) for value in value_range]
    except (TypeError, ValueError):
        given = []
    if len(given) != 2 or not all(map(math.isfinite, given)) or given[0] >= given[1]:
        raise ValueError(f"dataset.value_range={value_range}: give the values of black and of white, such as [0,4095]")
    return given[0], given[1]


def upright_rgb(image: Image.Image, value_range: ValueRange | None = None) -> Image.Image:
    """Turned by EXIF, transparency laid on white, the first frame or page, 8-bit RGB.

    Parameters
    ----------
    image : PIL.Image.Image
        The picture, as opened or in memory.
    value_range : two floats, optional
        The values of black and white; left out, those of the file's type, 0 to 1 for floats.

    Returns
    -------
    PIL.Image.Image
        The picture in mode ``RGB``.

    Raises
    ------
    UnreadableError
        Where the values do not fit: more than 8 bits of which the upper two are not used (a camera's 12 bits in 16, most likely), floats
        outside of [0, 1], values outside of the given range, and values that are no numbers.
    """
    file = File(image)
    image = upright(image)
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_deep_grey(image, file, value_range)).convert("RGB")
    if file.bits > 8:
        _check_deep_colour(image, file, value_range)
        value_range = None
    elif file.signed:
        raise UnreadableError("its values are signed 8-bit integers: save it with values from 0 to 255")
    if not image.has_transparency_data:
        return _scaled(image.convert("RGB"), value_range, file.top or 255)
    rgba = image.convert("RGBA")
    colours = _scaled(rgba.convert("RGB"), value_range, file.top or 255)
    colours.putalpha(rgba.getchannel("A"))
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), colours).convert("RGB")


def upright(image: Image.Image) -> Image.Image:
    """Turned as its EXIF orientation says. EXIF is advice: where it is damaged, the picture is shown as it is stored."""
    image.load()  # a PNG's EXIF may stand behind its pixels, and Pillow turns a TIFF by itself
    turn = turn_of(image)
    return image if turn is None else image.transpose(turn)


def turn_of(image: Image.Image) -> Image.Transpose | None:
    """How a loaded picture must be turned to be upright."""
    try:
        return TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # what Pillow raises depends on what is damaged
        return None


class File:
    """What a file that was opened and not yet loaded says of its values; a picture in memory says no more than its mode.

    bits: of a value. signed: whether there are negative values. top: the largest value, where the file says one; stored_top: what Pillow
    makes of it. negative: whether 0 is white.
    """

    def __init__(self, image: Image.Image) -> None:
        tile: Any = next(iter(getattr(image, "tile", [])), None)  # how Pillow is going to decode it
        arguments = (tile.args if isinstance(tile.args, tuple) else (tile.args,)) if tile else ()
        raw = str(arguments[0]) if arguments else ""
        tags: Any = getattr(image, "tag_v2", {})
        grey = image.mode[0] in "IF"
        self.format = image.format
        self.bits = 16 if image.mode.startswith("I;16") else 32 if grey else 8
        self.signed = image.mode == "I"
        self.top = self.stored_top = 0
        self.negative = grey and tags.get(PHOTOMETRIC) == 0  # Pillow turns only 8 bits round
        self.planar = tags.get(PLANAR) == 2
        if tags:
            self.bits = max(tags.get(BITS_PER_SAMPLE, (1,)))
            self.signed = 2 in tags.get(SAMPLE_FORMAT, (1,))
            self.top = self.stored_top = 2**self.bits - 1 if 8 < self.bits < 16 else 0
        elif self.format in ("PNG", "SGI"):
            self.bits = 16 if ";16" in raw or tile.codec_name == "SGI16" or (tile.codec_name == "sgi_rle" and arguments[-1] == 2) else 8
        elif self.format == "PPM" and image.mode != "F":
            top = int(arguments[-1]) if len(arguments) == 2 else 65535 if ";16" in raw else 255
            self.bits, self.signed = 16 if top > 255 else 8, False
            self.top, self.stored_top = (0, 0) if top in (255, 65535) else (top, 65535 if grey else 255)
        elif self.format == "JPEG2000" and image.mode.startswith("I;16") and (bits := _jpeg2000_bits(image)) < 16:
            self.top, self.stored_top = 2**bits - 1, (2**bits - 1) << (16 - bits)


def _jpeg2000_bits(image: Image.Image) -> int:
    """Bits a value by the code stream's header, 16 where it is not found: Pillow shifts them up to 16."""
    file: Any = getattr(image, "fp", None)
    place = file.tell()
    file.seek(0)
    head = file.read(1 << 16)
    file.seek(place)
    start = head.find(b"\xff\x4f\xff\x51")  # the markers SOC and SIZ
    return (head[start + 42] & 0x7F) + 1 if 0 <= start < len(head) - 42 else 16


def _deep_grey(image: Image.Image, file: File, value_range: ValueRange | None) -> Shaped[np.ndarray, "h w"]:
    """Grey values of more than 8 bits as 8 bits. Raises UnreadableError, see ``upright_rgb``."""
    if file.format not in (None, "PNG", "TIFF", "PPM", "JPEG2000"):
        raise UnreadableError(f"its values have more than 8 bits, which is not read from a {file.format} file: save it as TIFF or PNG")
    stored = np.asarray(image)
    if image.mode == "I" and file.bits == 32 and not file.signed:
        stored = stored.astype(np.int32).view(np.uint32)  # Pillow reads unsigned values as signed ones
    values = stored.astype(np.float64)
    if file.top:
        values = np.rint(values * (file.top / file.stored_top))
    if not np.isfinite(values).all():
        raise UnreadableError("it holds values that are no numbers (NaN or infinite), for which no dataset.value_range helps: fill them in")
    low, high = (value_range or _evident(values, image.mode == "F", file)) if values.size else (0, 1)
    _check_within(values.min(), values.max(), (low, high))
    whole = value_range is not None and image.mode != "F" and low % 1 == high % 1 == 0 and (low, high) != (0, 2**file.bits - 1)
    eight: Float[np.ndarray, "h w"]  # of a stated range of whole numbers, 256 shares of equally many: 12 bits lose their lower four
    eight = np.floor((values - low) / (high - low + 1) * 256) if whole else np.rint((values - low) / (high - low) * 255)
    eight = 255 - eight if file.negative else eight
    if isinstance(transparent := image.info.get("transparency"), int):
        eight[stored == transparent] = 255
    return np.clip(eight, 0, 255).astype(np.uint8)


def _evident(values: Float[np.ndarray, "h w"], floats: bool, file: File) -> tuple[float, float]:
    """The values of black and white where none are given. Raises UnreadableError where they are not evident."""
    low, high = values.min(), values.max()
    if floats:
        if low < 0 or high > 1:
            raise UnreadableError(f"its values are floats from {low:g} to {high:g}, not from 0 to 1: {_suggested(low, high)}")
        return 0, 1
    if file.top:
        return 0, file.top
    top = 2 ** (file.bits - file.signed) - 1
    if low < 0 or 0 < high < (top + 1) // 4:
        full = "" if low < 0 else f", or [0,{top}] if it is that dark"
        raise UnreadableError(f"its {file.bits}-bit values go from {low:.0f} to {high:.0f} only: {_suggested(low, high)}{full}")
    return 0, top


def _suggested(low: float, high: float) -> str:
    near = [top for top in TOPS if (top + 1) / 4 <= high <= top]
    black, white = (0, near[0]) if near and low >= 0 else (min(0, math.floor(low)), max(1, math.ceil(high)))
    return f"say which values are black and white by dataset.value_range=[{black},{white}]"


def _check_within(low: float, high: float, value_range: ValueRange) -> None:
    if low < value_range[0] or high > value_range[1]:
        given = "dataset.value_range=[{:g},{:g}]".format(*value_range)
        raise UnreadableError(f"its values go from {low:g} to {high:g}, outside of {given}: give a range that holds them, or clip them")


def _check_deep_colour(image: Image.Image, file: File, value_range: ValueRange | None) -> None:
    """Raises UnreadableError where the upper 8 bits of a colour value, which are all that Pillow reads, are not the picture."""
    if file.bits != 16 or file.signed or (file.planar and file.format == "TIFF"):
        raise UnreadableError(f"its colours have {file.bits} bits a value in a layout that is not read: save it with 8 bits")
    top = file.top or 65535
    if value_range not in (None, (0, top)):
        raise UnreadableError(
            f"its colours have more than 8 bits, of which only dataset.value_range=[0,{top}] is read: save it with 8 bits"
        )
    highest = max(high for _, high in _extremes(image.convert("RGB")))
    if value_range is None and not file.top and highest < 64:
        end = f"its colours have 16 bits and end at {256 * highest + 255} or below"
        raise UnreadableError(f"{end}: save it with 8 bits, or give dataset.value_range=[0,65535] if it is that dark")


def _scaled(image: Image.Image, value_range: ValueRange | None, top: int) -> Image.Image:
    """8-bit colours with black and white at the given values, ``top`` being the largest. Raises UnreadableError where they do not fit."""
    if value_range in (None, (0, top)):
        return image
    low, high = value_range or (0, top)
    if low < 0 or high > top:
        raise UnreadableError(f"its values go to {top} at most, so that dataset.value_range=[{low:g},{high:g}] is not theirs")
    extremes = [value * top / 255 for band in _extremes(image) for value in band]
    _check_within(min(extremes), max(extremes), (low, high))
    table = [min(255, max(0, round((value * top / 255 - low) / (high - low) * 255))) for value in range(256)]
    return image.point(table * 3)


def _extremes(image: Image.Image) -> tuple[tuple[int, int], ...]:
    """The least and the largest value of each band."""
    return image.getextrema()  # type: ignore[return-value]
