"""Images to superpixels: SLIC, or one segment a pixel."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from skimage.segmentation import slic
from torch import Tensor

from da.types import Images

COMPACTNESS = 10.0
LATER = {"compactness": COMPACTNESS, "slic_zero": False}  # what methods that were without these hyper-parameters did
CACHE_BYTES = 2**28  # bytes of maps that are kept for the next setting of a sweep: 1300 images of 224 x 224


Key = tuple[str, int, float, bool]


class _SegmentCache(OrderedDict[Key, NDArray[np.int32]]):
    """Maps by image and settings, those used last, up to ``CACHE_BYTES``."""

    bytes_ = 0

    def keep(self, key: Key, segments: NDArray[np.int32]) -> None:
        """Add a map, and drop those that were not used for longest."""
        self[key] = segments
        self.bytes_ += segments.nbytes
        while self.bytes_ > CACHE_BYTES and len(self) > 1:
            self.bytes_ -= self.popitem(last=False)[1].nbytes


_RECENT = _SegmentCache()


@dataclass(frozen=True)
class Superpixels:
    """A partition of each image.

    index: the segment of each pixel. centres: mean (row, column) of each segment in pixels, infinite past an image's last
    segment. count: segments obtained in each image; SLIC rarely returns the number asked for.
    """

    index: Int[Tensor, "n h w"]
    centres: Float[Tensor, "n s 2"]
    count: Int[Tensor, " n"]


def superpixels(images: Images, sp_num: int | None, *, compactness: float = COMPACTNESS, slic_zero: bool = False) -> Superpixels:
    """Segment each image with SLIC (Achanta et al., TPAMI 2012), asking for ``sp_num`` segments; None gives one segment a pixel.

    compactness: of SLIC, above 0; the higher the squarer, and the nearer their number is to that asked for. slic_zero: SLICO, which finds
    the compactness of each segment itself and returns nearly the number on its grid of seeds: at 224 x 224, 49 for 50 and for 45.
    Each image is segmented on its own, so the result does not depend on the batch. Raises ValueError for ``sp_num`` below 1 and a
    compactness that is not above 0.
    """
    n, _, h, w = images.shape
    if sp_num is None:
        rows, columns = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
        index = torch.arange(h * w).view(1, h, w).expand(n, h, w)
        centres = torch.stack([rows, columns], -1).view(1, h * w, 2).expand(n, h * w, 2).float()
        return Superpixels(index.to(images.device), centres.to(images.device), torch.full((n,), h * w))
    if not compactness > 0:
        raise ValueError(f"compactness={compactness}: give a number above 0, such as {COMPACTNESS:g}")
    if sp_num < 1:
        raise ValueError(f"sp_num={sp_num}: ask for at least one superpixel, or null for one segment a pixel")
    maps = [_segment(image, sp_num, compactness, slic_zero) for image in images.permute(0, 2, 3, 1).cpu().numpy()]
    count = [int(segments.max()) + 1 for segments in maps]
    centres = torch.full((n, max(count), 2), torch.inf)
    for i, segments in enumerate(maps):
        centres[i, : count[i]] = torch.from_numpy(_centres(segments, count[i]))
    index = torch.from_numpy(np.stack(maps).astype(np.int64))
    return Superpixels(index.to(images.device), centres.to(images.device), torch.tensor(count))


def _segment(image: NDArray[np.float32], sp_num: int, compactness: float, slic_zero: bool) -> NDArray[np.int32]:
    """SLIC of one image ``[h, w, 3]``, kept by content: the settings of a sweep visit an image hundreds of times."""
    key = (hashlib.sha256(image.tobytes()).hexdigest() + str(image.shape), sp_num, compactness, slic_zero)
    if key not in _RECENT:
        found = slic(image, n_segments=sp_num, compactness=compactness, slic_zero=slic_zero, start_label=0, channel_axis=-1)
        _RECENT.keep(key, found.astype(np.int32))
    _RECENT.move_to_end(key)
    return _RECENT[key]


def _centres(segments: NDArray[np.int32], count: int) -> NDArray[np.float32]:
    h, w = segments.shape
    flat = segments.ravel()
    size = np.bincount(flat, minlength=count)
    rows = np.bincount(flat, np.repeat(np.arange(h), w), count) / size
    columns = np.bincount(flat, np.tile(np.arange(w), h), count) / size
    return np.stack([rows, columns], -1).astype(np.float32)
