"""From a photograph to a model's input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

INTERPOLATIONS = ("nearest", "nearest-exact", "bilinear", "bicubic", "box", "hamming", "lanczos")


@dataclass(frozen=True)
class Preprocessing:
    """From a photograph to a model's input.

    Attributes
    ----------
    size : int
        Side in pixels, from 1.
    crop_pct : float
        Side over the resized shorter side, from 0.01 to 1.
    interpolation : str
        Of the resizing: ``nearest``, ``nearest-exact``, ``bilinear``, ``bicubic``, ``box``, ``hamming`` or ``lanczos``.
    mean, std : three floats
        Of the normalisation of images in [0, 1].

    Raises
    ------
    ValueError
        For a value out of range.
    """

    size: int
    crop_pct: float
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"model.size={self.size}: give pixels, at least 1")
        if not 0.01 <= self.crop_pct <= 1:
            raise ValueError(f"model.crop_pct={self.crop_pct}: give a fraction from 0.01 to 1")
        if self.interpolation not in INTERPOLATIONS:
            raise ValueError(f"model.interpolation={self.interpolation!r}: choose {', '.join(INTERPOLATIONS)}")


def triple(name: str, values: Sequence[float]) -> tuple[float, float, float]:
    """Three numbers for images in [0, 1]. Raises ValueError for what cannot be: a mean outside [0, 1], a deviation outside (0, 1]."""
    if len(values) != 3 or not all(0 <= value <= 1 and (value > 0 or name == "mean") for value in values):
        bounds = "from 0 to 1" if name == "mean" else "above 0, up to 1"
        divided = ": divide by 255" if len(values) == 3 and max(values) > 1 else ""
        raise ValueError(
            f"model.{name}={list(values)}: give three numbers (red, green, blue) for images in [0, 1], {bounds}{divided}; a network that "
            "takes 0 to 255 has model.mean=[0,0,0] model.std=[0.00392157,0.00392157,0.00392157]"
        )
    red, green, blue = (float(value) for value in values)
    return red, green, blue
