"""What stands where a pixel is ablated."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch.nn.functional import conv2d, pad

from da.types import Images, Masks

Fill = str | Sequence[float]

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # the mean colour of its training images: zero after the usual normalisation
BLUR_SIGMA = 0.09  # of the shorter side: about 20 pixels at 224, where little but colour is left


def composite(shown: Images, hidden: Images, kept: Masks) -> Images:
    """Pixels ``[n, h, w]`` that are kept from ``shown``, the others from ``hidden``.

    The same bits as ``torch.where``, which is several times slower on a CPU: with weights 0 and 1 ``lerp`` returns its ends exactly.
    """
    return torch.lerp(hidden, shown, kept[:, None].to(shown.dtype))


def baseline_image(images: Images, fill: Fill, name: str = "fill") -> Images:
    """Return the images with every pixel ablated, in [0, 1] pixel space, before normalisation.

    Parameters
    ----------
    images : Tensor [n, 3, h, w] in [0, 1]
        The images whose pixels are to be ablated.
    fill : str or three floats
        ``"black"``; ``"mean"``, each image's own mean colour; ``"blur"``, a Gaussian of sigma 0.09 times the shorter side; or one RGB
        colour in [0, 1], such as the data set's mean, which is zero after normalisation.
    name : str
        Of the fill in messages.

    Returns
    -------
    Tensor [n, 3, h, w] in [0, 1]
        The ablated images.

    Raises
    ------
    ValueError
        For any other fill.
    """
    if isinstance(fill, str):
        if fill == "black":
            return torch.zeros_like(images)
        if fill == "mean":
            return images.double().mean((2, 3), keepdim=True).to(images.dtype).expand_as(images).contiguous()
        if fill == "blur":
            sigma = BLUR_SIGMA * min(images.shape[-2:])
            size = min(2 * round(3 * sigma) + 1, 2 * min(images.shape[-2:]) - 1)
            return torch.cat([_blurred(image, size, sigma) for image in images.split(1)])
    elif len(fill) == 3 and all(0 <= float(c) <= 1 for c in fill):
        return images.new_tensor([float(c) for c in fill]).view(1, 3, 1, 1).expand_as(images).contiguous()
    raise ValueError(f"{name}={fill!r}: choose black, mean, blur, or three numbers in [0, 1] (red, green, blue)")


def _blurred(image: Images, size: int, sigma: float) -> Images:
    """A Gaussian over ``size`` pixels, the edges mirrored: to the bit torchvision's ``gaussian_blur``, which this package does without."""
    reach = (size - 1) / (2 * math.sqrt(2))
    line = torch.linspace(-reach, reach, size, dtype=image.dtype, device=image.device).div(sigma).square().neg().softmax(0)
    kernel = (line[:, None] * line).expand(3, 1, size, size)
    return conv2d(pad(image, [size // 2] * 4, mode="reflect"), kernel, groups=3)
