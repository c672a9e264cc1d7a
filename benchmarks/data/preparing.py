"""From a picture to the tensor that a model is shown, and from a mask of the picture to the pixels of that tensor."""

from __future__ import annotations

from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import InterpolationMode, center_crop, pil_modes_mapping, pil_to_tensor, resize

from benchmarks.models.preprocessing import Preprocessing

LARGEST = 2**26  # pixels of an enlarged picture, a quarter of a gigabyte
MARGIN = 4  # pixels around a part that its enlargement looks at, at least


def prepare(image: Image.Image, preprocessing: Preprocessing) -> Float[Tensor, "3 h w"]:
    """Resize the shorter side to ``size / crop_pct``, crop the centre, scale to [0, 1].

    Parameters
    ----------
    image : PIL.Image.Image
        The picture, 8-bit RGB.
    preprocessing : Preprocessing
        Of the model, whose normalisation is its own.

    Returns
    -------
    Tensor [3, size, size] in [0, 1]
        Not normalised.
    """
    size, interpolation = preprocessing.size, InterpolationMode(preprocessing.interpolation)
    shorter = round(size / preprocessing.crop_pct)
    width, height = (int(shorter * side / min(image.size)) for side in image.size)
    if width * height > LARGEST and width * height > image.width * image.height:  # such as a strip of 1 x 30000
        cropped = _enlarged_centre(image, (width, height), size, pil_modes_mapping[interpolation])
    else:
        cropped = center_crop(resize(image, [shorter], interpolation, antialias=True), [size, size])
    return pil_to_tensor(cropped).float() / 255


def prepare_mask(mask: Image.Image, preprocessing: Preprocessing) -> Bool[Tensor, "h w"]:
    """Resize and crop a mask of a picture exactly as ``prepare`` does the picture.

    Parameters
    ----------
    mask : PIL.Image.Image
        White on black, of the picture's size.
    preprocessing : Preprocessing
        Of the model.

    Returns
    -------
    Tensor [size, size] of bool
        The pixels of which the mask has at least half.
    """
    return prepare(mask.convert("RGB"), preprocessing)[0] >= 0.5


def _enlarged_centre(image: Image.Image, enlarged: tuple[int, int], size: int, interpolation: int) -> Image.Image:
    """The centre of an enlarged picture, ``size`` pixels a side, without making the rest of it.

    Pillow enlarges rows, then columns; given a box of both it may do it the other way round, with other rounding.
    """
    (x0, x1), (y0, y1) = (
        (round((new - size) / 2) * old / new, min((round((new - size) / 2) + size) * old / new, old))
        for old, new in zip(image.size, enlarged, strict=True)
    )
    left, top = max(0, int(x0) - MARGIN), max(0, int(y0) - MARGIN)
    part = image.crop((left, top, min(int(x1) + 1 + MARGIN, image.width), min(int(y1) + 1 + MARGIN, image.height)))
    rows = part.resize((size, part.height), interpolation, (x0 - left, 0, x1 - left, part.height))
    return rows.resize((size, size), interpolation, (0, y0 - top, size, y1 - top))
