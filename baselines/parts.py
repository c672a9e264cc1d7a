"""Images cut into parts, and what a model says of them while only some parts are shown."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from da.superpixels import superpixels
from da.types import Images, Saliency, ScoreModel, Targets

TOGETHER = 64  # composites held at a time


@dataclass(frozen=True)
class Parts:
    """A partition of each image. index: the part of each pixel. count: of each image's parts."""

    index: Int[Tensor, "n h w"]
    count: list[int]


def grid(images: Images, cells: int) -> Parts:
    """Each image in ``cells`` x ``cells`` rectangles, row by row. Raises ValueError for fewer than 2 a side, and more than pixels."""
    n, _, h, w = images.shape
    if not 2 <= cells <= min(h, w):
        raise ValueError(f"cells={cells}: give from 2 to {min(h, w)} for images of {h} x {w} pixels")
    rows, columns = (torch.arange(side, device=images.device) * cells // side for side in (h, w))
    return Parts((rows[:, None] * cells + columns).expand(n, h, w), [cells**2] * n)


def segments(images: Images, most: int, slic_zero: bool) -> Parts:
    """SLIC's segments of each image, asking for ``most``; where it makes more, the smallest are joined to a neighbour."""
    found = superpixels(images, most, slic_zero=slic_zero)
    maps = [_joined(labels, most) for labels in found.index.cpu().numpy()]
    return Parts(torch.from_numpy(np.stack(maps)).to(images.device), [int(labels.max()) + 1 for labels in maps])


def _joined(labels: Int[np.ndarray, "h w"], most: int) -> NDArray[np.int64]:
    """The same map with at most ``most`` segments: again and again the smallest becomes part of what it shares most border with."""
    while labels.max() >= most:
        smallest = np.bincount(labels.ravel()).argmin()
        one = np.concatenate([labels[:-1].ravel(), labels[:, :-1].ravel()])
        other = np.concatenate([labels[1:].ravel(), labels[:, 1:].ravel()])
        beside = np.concatenate([other[one == smallest], one[other == smallest]])
        into = np.bincount(beside[beside != smallest]).argmax()
        labels = np.where(labels == smallest, into, labels)
        labels = labels - (labels > smallest)
    return labels


def asked(
    model: ScoreModel,
    images: Images,
    hidden: Images,
    targets: Targets,
    parts: Parts,
    rows: Int[np.ndarray, " m"],
    shown: Bool[np.ndarray, "m s"] | Float[np.ndarray, "m s"],
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The target's probability, and whether it is the predicted class, of images with each part shown as far as it says, from 0 to 1.

    rows: the image of each query. hidden: what stands where nothing is shown. One query a row of ``shown``, ``TOGETHER`` at a time.
    """
    probabilities, decided = [], []
    which = torch.from_numpy(rows).to(images.device)
    weights = torch.from_numpy(shown).to(images)
    h, w = images.shape[-2:]
    for at, part in zip(which.split(TOGETHER), weights.split(TOGETHER), strict=True):
        mask = part.gather(1, parts.index[at].flatten(1)).view(-1, 1, h, w)
        scores = model(torch.lerp(hidden[at], images[at], mask))
        probabilities.append(scores.gather(1, targets[at, None].to(scores.device))[:, 0].cpu().float().numpy())
        decided.append((scores.argmax(1) == targets[at].to(scores.device)).cpu().numpy())
    return np.concatenate(probabilities), np.concatenate(decided)


def smooth_maps(values: Float[np.ndarray, "n s"], images: Images) -> Saliency:
    """Values of a square grid's cells as maps of the images' size, by cubic interpolation."""
    n, count = values.shape
    side = round(count**0.5)
    small = torch.from_numpy(values).float().view(n, 1, side, side).to(images.device)
    return interpolate(small, images.shape[-2:], mode="bicubic", align_corners=False)[:, 0]
