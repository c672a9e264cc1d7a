"""The order of an image's pixels by their importance."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from da.types import Rngs, Saliency


def importance_rank(saliency: Saliency, rngs: Rngs) -> Int[Tensor, "n h w"]:
    """The place of each pixel, 0 for the most important; ties are broken by each image's own random permutation.

    Raster order would favour a corner, and maps that sum superpixel masks tie nearly everywhere.
    """
    ranks = []
    for values, rng in zip(saliency.flatten(1).cpu().float().numpy(), rngs, strict=True):
        shuffled = rng.permutation(values.size)
        rank = np.empty(values.size, np.int32)
        rank[shuffled[falling_order(values[shuffled])]] = np.arange(values.size)
        ranks.append(rank)
    return torch.from_numpy(np.stack(ranks)).view(saliency.shape).to(saliency.device)


def falling_order(values: Float[np.ndarray, " p"]) -> NDArray[np.int64]:
    """A stable order of finite 32-bit floats, the largest first: what a stable argsort of ``-values`` gives, in half its time.

    The bits of a float, read as an integer, are in the order of its magnitude; with the place below them no two keys are equal.
    """
    bits = (-values).view(np.int32).astype(np.int64)
    keys = np.where(bits < 0, -(bits & 0x7FFFFFFF), bits) << 32 | np.arange(values.size)
    keys.sort()
    return keys & 0xFFFFFFFF


def prefix_shares(smallest: float = 0.002, points: int = 32) -> list[float]:
    """The shares of an image's pixels that are tried: geometric from ``smallest`` to 1. Raises ValueError for values out of range."""
    if not 0 < smallest < 1 or points < 2:
        raise ValueError(f"smallest={smallest} must lie between 0 and 1, points={points} be at least 2")
    return [float(share) for share in np.geomspace(smallest, 1, points)]
