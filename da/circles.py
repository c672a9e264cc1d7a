"""Circles to kept segments to masks: the geometry of Eq. 3."""

from __future__ import annotations

from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor


def segments_inside(
    x: Float[Tensor, "n k"], y: Float[Tensor, "n k"], r: Float[Tensor, "n k"], centres: Float[Tensor, "n s 2"]
) -> Bool[Tensor, "n s"]:
    """Whether each segment's centre lies in the union of the circles; ``x`` runs along the height, all in pixels."""
    rows, columns = centres[..., 0], centres[..., 1]
    inside = centres.new_zeros(rows.shape, dtype=bool)  # type: ignore[call-overload]
    for c in range(x.shape[1]):
        inside |= (rows - x[:, c, None]).square() + (columns - y[:, c, None]).square() <= r[:, c, None].square()
    return inside


def segment_masks(values: Shaped[Tensor, "n s"], index: Int[Tensor, "n h w"]) -> Shaped[Tensor, "n h w"]:
    """Spread values of segments, such as a mask or a map, over their pixels."""
    return values.gather(1, index.flatten(1)).view_as(index)
