"""A region divided into cells, and the orders in which groups of them are removed."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

Mask = Bool[np.ndarray, "h w"]


@dataclass(frozen=True)
class Cells:
    """A partition of a region. labels: the cell of each pixel, the last number outside; areas: the pixels of each cell."""

    labels: Int[np.ndarray, "h w"]
    areas: Int[np.ndarray, " c"]

    @classmethod
    def shares(cls, index: Int[np.ndarray, "h w"], region: Mask) -> Cells:
        """What the region has of each superpixel as one cell."""
        _, labels, areas = np.unique(index[region], return_inverse=True, return_counts=True)
        found = np.full(index.shape, len(areas))
        found[region] = labels
        return cls(found, areas)

    @classmethod
    def squares(cls, region: Mask, most: int, rng: np.random.Generator) -> Cells:
        """About ``most`` squares of a randomly placed grid, and those that the region's border cuts."""
        side = max(1, math.ceil(math.sqrt(region.sum() / most)))
        (top, left), (h, w) = rng.integers(side, size=2), region.shape
        rows, columns = (np.arange(h) + top) // side, (np.arange(w) + left) // side
        return cls.shares(rows[:, None] * (columns[-1] + 1) + columns, region)

    @cached_property
    def _inside(self) -> tuple[Int[np.ndarray, " m"], Int[np.ndarray, " m"]]:
        """The places of the region's pixels, and their cells."""
        places = np.flatnonzero(self.labels < len(self.areas))
        return places, self.labels.ravel()[places]

    def sums(self, of: Float[np.ndarray, "h w"]) -> NDArray[np.float64]:
        """Sums of a value of each pixel over each cell."""
        places, cells = self._inside
        return np.bincount(cells, of.ravel()[places], len(self.areas)).astype(float, copy=False)

    @cached_property
    def centres(self) -> NDArray[np.float64]:
        """The mean row and column of each cell's pixels, ``[c, 2]``."""
        h, w = self.labels.shape
        rows, columns = np.mgrid[:h, :w].astype(float)
        return np.stack([self.sums(rows), self.sums(columns)], -1) / self.areas[:, None]

    def pixels(self, group: Int[np.ndarray, " g"]) -> Mask:
        """The pixels of a group of cells."""
        chosen = np.zeros(len(self.areas) + 1, bool)
        chosen[group] = True
        return chosen[self.labels]

    def orders_in_space(self, count: int, rng: np.random.Generator) -> Int[np.ndarray, "g c"]:
        """Random orders whose beginnings are coherent: the nearest to a random cell first, or the farthest, or along a direction."""
        away = self.centres - self.centres[rng.integers(len(self.centres), size=count)][:, None]
        angle = rng.uniform(0, 2 * np.pi, count)
        squared, along = (away**2).sum(-1), away[..., 0] * np.cos(angle)[:, None] + away[..., 1] * np.sin(angle)[:, None]
        kind = np.arange(count)[:, None] % 3
        return _ordered(np.where(kind == 2, along, np.where(kind == 1, squared, -squared)))

    def orders_by_need(self, need: Float[np.ndarray, "h w"], count: int, noise: float, rng: np.random.Generator) -> Int[np.ndarray, "g c"]:
        """Random orders by the density of need, the least first."""
        density = np.log(self.sums(need) / self.areas)
        return _ordered(density + noise * rng.gumbel(size=(count, len(density))))


def _ordered(values: Float[np.ndarray, "g c"]) -> Int[np.ndarray, "g c"]:
    """Orders of rising values, those that are equal as they come: an unstable sort gives the same on every processor."""
    return np.argsort(values + 1e-9 * np.arange(values.shape[1]), axis=1)


def in_order_of_area(areas: list[int]) -> Iterator[tuple[int, int]]:
    """All subsets but the empty one as ``(area, bits)``, the smallest area first; areas are positive whole numbers."""
    order = sorted(range(len(areas)), key=lambda i: (areas[i], i))
    sizes, bits = [areas[i] for i in order], [1 << i for i in order]
    heap = [(sizes[0], 0, bits[0])] if sizes else []
    while heap:
        area, last, subset = heapq.heappop(heap)
        yield area, subset
        if last + 1 < len(sizes):
            heapq.heappush(heap, (area + sizes[last + 1], last + 1, subset | bits[last + 1]))
            heapq.heappush(heap, (area - sizes[last] + sizes[last + 1], last + 1, (subset ^ bits[last]) | bits[last + 1]))


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
