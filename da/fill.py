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
from torch.nn.functional import conv2d, interpolate, pad

from da.types import Images, Masks

Fill = str | Sequence[float]

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # the mean colour of its training images: zero after the usual normalisation
BLUR_SIGMA = 0.09  # of the shorter side: about 20 pixels at 224, where little but colour is left
NOISE = "noise"
PHOTOGRAPHS = "photographs:"  # before the folder of a fill by other photographs
SAME = 0.02  # mean difference of two versions of one photograph, at most
SEEN, MOST = 256, 32  # pixels a side of a photograph when it is compared, and of its parts at most
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
        to 8 bits, so that a method and a measure have the same, whatever the batch. A photograph is passed over that shows the image
        itself: its centre (from a quarter of the shorter side on) or the whole of it resized to the image, upright or turned. Another
        part of it, or other colours, are not recognised.
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
        if fill == NOISE:
            drawn = [_rng(image).random(image.shape, dtype=np.float32) for image in images]
            return torch.from_numpy(np.stack(drawn)).to(images) if drawn else images
        if fill.startswith(PHOTOGRAPHS):
            others = [_other_photograph(image, fill.removeprefix(PHOTOGRAPHS), name) for image in images]
            return torch.stack(others) if others else images
    elif len(fill) == 3 and all(0 <= float(c) <= 1 for c in fill):
        return images.new_tensor([float(c) for c in fill]).view(1, 3, 1, 1).expand_as(images).contiguous()
    raise ValueError(f"{name}={fill!r}: choose black, mean, blur, noise, photographs:DIR, or three numbers in [0, 1] (red, green, blue)")


def _rng(image: Float[Tensor, "3 h w"]) -> np.random.Generator:
    """A generator by what is in an image, whose last digits may differ between devices."""
    pixels = (image.double().cpu() * 255).round().clamp(0, 255).byte().numpy()
    return np.random.default_rng(int(hashlib.sha256(pixels.tobytes()).hexdigest()[:32], 16))


def _other_photograph(image: Float[Tensor, "3 h w"], folder: str, name: str) -> Float[Tensor, "3 h w"]:
    """A photograph of a folder, drawn by what is in the image and not the image itself, cropped and resized to it."""
    from skimage.io import imread  # for those alone who have such a fill
    from skimage.util import img_as_float32

    files = sorted(path for path in Path(folder).expanduser().glob("*") if path.suffix.lower() in PICTURES)
    for place in _rng(image).permutation(len(files)):
        found = np.atleast_3d(imread(files[place]))
        found = found[0] if found.ndim == 4 else found  # the first of a moving picture
        found = found[..., :3] if found.shape[2] > 2 else found[..., :1].repeat(3, 2)
        photograph = torch.from_numpy(img_as_float32(found)).permute(2, 0, 1)
        if not _shows(photograph, image.float().cpu()):
            h, w = image.shape[1:]
            share = min(photograph.shape[1] / h, photograph.shape[2] / w)
            return _resized(_centre(photograph, share * h, share * w), h, w).to(image)
    raise ValueError(f"{name}={PHOTOGRAPHS}{folder}: there is no photograph in it but the image itself")


def _shows(photograph: Float[Tensor, "3 H W"], image: Float[Tensor, "3 h w"]) -> bool:
    """Whether an image is a photograph's centre or the whole of it, resized, upright or turned as cameras may store it."""
    side = min(image.shape[1:])
    probe = min(MOST, -(-side // 6))  # so coarse that how it was resized hardly counts
    whole, square = _resized(image, probe, probe), _resized(_centre(image, side, side), probe, probe)
    shorter = min(photograph.shape[1:])
    seen = _resized(_centre(photograph, shorter, shorter), SEEN, SEEN)
    parts = [_resized(_centre(seen, part, part), probe, probe) for part in range(SEEN // 4, SEEN + 1, 2)]
    for known, looks in ((square, torch.stack(parts)), (whole, _resized(photograph, probe, probe)[None])):
        turned = torch.stack([turn for one in (known, known.flip(2)) for turn in (one.rot90(k, (1, 2)) for k in range(4))])
        if float((turned[:, None] - looks).abs().mean((2, 3, 4)).min()) <= SAME:
            return True
    return False


def _centre(image: Float[Tensor, "3 h w"], high: float, wide: float) -> Float[Tensor, "3 a b"]:
    """The centre of an image."""
    h, w = max(1, round(high)), max(1, round(wide))
    top, left = (image.shape[1] - h) // 2, (image.shape[2] - w) // 2
    return image[:, top : top + h, left : left + w]


def _resized(image: Float[Tensor, "3 h w"], high: int, wide: int) -> Float[Tensor, "3 a b"]:
    return interpolate(image[None], (high, wide), mode="bilinear", antialias=True, align_corners=False)[0].clamp(0, 1)


def _blurred(image: Images, size: int, sigma: float) -> Images:
    """A Gaussian over ``size`` pixels, the edges mirrored: to the bit torchvision's ``gaussian_blur``, which this package does without."""
    reach = (size - 1) / (2 * math.sqrt(2))
    line = torch.linspace(-reach, reach, size, dtype=image.dtype, device=image.device).div(sigma).square().neg().softmax(0)
    kernel = (line[:, None] * line).expand(3, 1, size, size)
    return conv2d(pad(image, [size // 2] * 4, mode="reflect"), kernel, groups=3)
