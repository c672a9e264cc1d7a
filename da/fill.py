"""What stands where a pixel is ablated."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import conv2d, pad

from da.types import Images, Masks

Fill = str | Sequence[float]

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # the mean colour of its training images: zero after the usual normalisation
BLUR_SIGMA = 0.09  # of the shorter side: about 20 pixels at 224, where little but colour is left
PHOTOGRAPHS = "photographs:"  # before the folder of a fill by other photographs
SAME = 0.02  # mean difference of two versions of one photograph, at most
PICTURES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


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
        ``"black"``; ``"mean"``, each image's own mean colour; ``"blur"``, a Gaussian of sigma 0.09 times the shorter side; ``"noise"``,
        uniform and each image's own; ``"photographs:DIR"``, for each image one of the photographs in a folder; or one RGB colour in
        [0, 1], such as the data set's mean, which is zero after normalisation. Noise and photograph are drawn by what is in the image,
        so that a method and a measure have the same, whatever the batch.
    name : str
        Of the fill in messages.

    Returns
    -------
    Tensor [n, 3, h, w] in [0, 1]
        The ablated images.

    Raises
    ------
    ValueError
        For any other fill, and a folder without another photograph.
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
        if fill == "noise":
            drawn = [_rng(image).random(image.shape, dtype=np.float32) for image in images]
            return torch.from_numpy(np.stack(drawn)).to(images) if drawn else images
        if fill.startswith(PHOTOGRAPHS):
            others = [_other_photograph(image, fill.removeprefix(PHOTOGRAPHS), name) for image in images]
            return torch.stack(others) if others else images
    elif len(fill) == 3 and all(0 <= float(c) <= 1 for c in fill):
        return images.new_tensor([float(c) for c in fill]).view(1, 3, 1, 1).expand_as(images).contiguous()
    raise ValueError(f"{name}={fill!r}: choose black, mean, blur, noise, photographs:DIR, or three numbers in [0, 1] (red, green, blue)")


def _rng(image: Float[Tensor, "3 h w"]) -> np.random.Generator:
    """A generator by what is in an image."""
    return np.random.default_rng(int(hashlib.sha256(image.cpu().numpy().tobytes()).hexdigest()[:32], 16))


def _other_photograph(image: Float[Tensor, "3 h w"], folder: str, name: str) -> Float[Tensor, "3 h w"]:
    """A photograph of a folder, drawn by what is in the image and not the image itself, cropped and resized to it."""
    from skimage.io import imread  # for those alone who have such a fill
    from skimage.transform import resize

    files = sorted(path for path in Path(folder).expanduser().glob("*") if path.suffix.lower() in PICTURES)
    for place in _rng(image).permutation(len(files)):
        found = np.atleast_3d(imread(files[place]))
        found = found[0] if found.ndim == 4 else found  # the first of a moving picture
        found = found[..., :3] if found.shape[2] > 2 else found[..., :1].repeat(3, 2)
        h, w = image.shape[1:]
        share = min(found.shape[0] / h, found.shape[1] / w)
        high, wide = round(h * share), round(w * share)
        top, left = (found.shape[0] - high) // 2, (found.shape[1] - wide) // 2
        scaled = resize(found[top : top + high, left : left + wide], (h, w), anti_aliasing=True)  # to [0, 1]
        other = torch.from_numpy(scaled).permute(2, 0, 1).clamp(0, 1).to(image)
        if float((other - image).abs().mean()) > SAME:
            return other
    raise ValueError(f"{name}={PHOTOGRAPHS}{folder}: there is no photograph in it but the image itself")


def _blurred(image: Images, size: int, sigma: float) -> Images:
    """A Gaussian over ``size`` pixels, the edges mirrored: to the bit torchvision's ``gaussian_blur``, which this package does without."""
    reach = (size - 1) / (2 * math.sqrt(2))
    line = torch.linspace(-reach, reach, size, dtype=image.dtype, device=image.device).div(sigma).square().neg().softmax(0)
    kernel = (line[:, None] * line).expand(3, 1, size, size)
    return conv2d(pad(image, [size // 2] * 4, mode="reflect"), kernel, groups=3)
