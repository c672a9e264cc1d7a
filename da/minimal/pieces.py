"""A region cut into ever smaller pieces: between superpixels first, then through them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

Mask = Bool[np.ndarray, "h w"]


def superpixels_in(labels: Int[np.ndarray, "h w"], region: Mask, index: Int[np.ndarray, "h w"]) -> NDArray[np.int64]:
    """The number of superpixels that each piece in the region has a part of, in the order of their labels."""
    pairs = np.unique(labels[region] * (index.max() + 1) + index[region])
    return np.unique(pairs // (index.max() + 1), return_counts=True)[1]


def shares(labels: Int[np.ndarray, "h w"], region: Mask, index: Int[np.ndarray, "h w"]) -> NDArray[np.int64]:
    """What the region has of each superpixel as one piece; pieces that lie in several superpixels stay as they are.

    Numbered from 0, the last number for all outside the region.
    """
    _, piece = np.unique(labels[region], return_inverse=True)
    several = superpixels_in(labels, region, index) > 1
    _, share = np.unique(np.where(several[piece], -1 - piece, index[region]), return_inverse=True)
    found = np.full(labels.shape, share.max() + 1)
    found[region] = share
    return found


def cut(
    labels: Int[np.ndarray, "h w"], region: Mask, index: Int[np.ndarray, "h w"], smallest: int, cuts: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cut at most ``cuts`` pieces of the region in two across their longer axes: between superpixels, and a part of one through it.

    Those of most superpixels come first, then the largest. Returns the pieces, numbered from 0, halves next to each other, the last
    number for all outside the region; and the place of the old piece that each was part of.
    """
    old, sizes = np.unique(labels[region], return_counts=True)
    coarse = superpixels_in(labels, region, index)
    able = np.flatnonzero((coarse > 1) | (sizes >= 2 * smallest))
    chosen = set(able[np.lexsort((-sizes[able], -coarse[able]))][:cuts].tolist())
    pieces = np.full(labels.shape, -1)
    parents: list[int] = []
    for place, piece in enumerate(old):
        at = np.argwhere((labels == piece) & region)
        pieces[tuple(at.T)] = len(parents)
        parents.append(place)
        if place in chosen:
            units = index[tuple(at.T)] if coarse[place] > 1 else np.arange(len(at))
            pieces[tuple(at[_second_half(at, units)].T)] = len(parents)
            parents.append(place)
    return np.where(pieces < 0, len(parents), pieces), np.array([*parents, len(old)])


def _second_half(at: Int[np.ndarray, "m 2"], units: Int[np.ndarray, " m"]) -> NDArray[np.bool_]:
    """Which of a piece's pixels lie past the middle of its longer axis, every unit whole on one side and both sides taken."""
    _, unit, sizes = np.unique(units, return_inverse=True, return_counts=True)
    centred = at - at.mean(0)
    axis = np.linalg.eigh(centred.T @ centred)[1][:, -1]
    order = np.argsort(np.bincount(unit, centred @ axis) / sizes, kind="stable")
    past = np.cumsum(sizes[order]) - sizes[order] / 2 >= len(at) / 2
    past[0], past[-1] = False, True
    second = np.empty(len(sizes), bool)
    second[order] = past
    return second[unit]


def graded(layer: Float[np.ndarray, "h w"]) -> NDArray[np.float64]:
    """The same order of the pixels, where those of one value come the earlier the nearer they are to those of higher values.

    Coherent parts show a model more than scattered pixels. A value grows by less than what it lacks to the next; the largest stays.
    """
    values, place = np.unique(layer, return_inverse=True)
    place = place.reshape(layer.shape)
    found = layer.astype(float)
    for level, gap in enumerate(np.diff(values)):
        here = place == level
        away = distance_transform_edt(place <= level)[here]
        found[here] += gap * (1 - away / (away.max() + 1))
    return found
