"""The vocabulary every room shares: shapes, what a method may see of a model, what it returns.

Images are RGB in [0, 1]; a model normalises inside itself. ``n`` counts images, ``h`` and ``w`` are pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int
from torch import Tensor

Images = Float[Tensor, "n 3 h w"]
Targets = Int[Tensor, " n"]
Labels = Int[Tensor, " m"]
Scores = Float[Tensor, "m classes"]
Saliency = Float[Tensor, "n h w"]
Masks = Bool[Tensor, "n h w"]
Rngs = Sequence[np.random.Generator]

OK = "ok"


@runtime_checkable
class LabelModel(Protocol):
    """All that a decision-based method sees: images ``[m, 3, h, w]`` in, predicted classes ``[m]`` out."""

    def __call__(self, images: Tensor, /) -> Tensor:
        """Classify."""
        ...


@runtime_checkable
class ScoreModel(Protocol):
    """All that a score-based black-box method sees: images ``[m, 3, h, w]`` in, softmax probabilities ``[m, classes]`` out."""

    def __call__(self, images: Tensor, /) -> Tensor:
        """Score."""
        ...


@dataclass(frozen=True)
class Trace:
    """What became of every state a walk proposed. With the image's random stream, the decisions alone are enough to walk it again.

    accepted: whether the rule held; circles: rows ``x, y, r`` in pixels, ``x`` along the height; share: kept share of the image.
    """

    accepted: Bool[Tensor, "n steps"]
    circles: Float[Tensor, "n steps 3 k"] | None = None
    share: Float[Tensor, "n steps"] | None = None


@dataclass(frozen=True)
class Attribution:
    """What a method says of ``n`` images.

    saliency: higher is more important. kept: the final mask, where the method ends in one (for a negative rule: the pixels
    to remove). status: one word an image, ``"ok"`` unless a premise failed. queries: forward passes spent on each image, where
    they differ between the images of a batch. extras: further per-image numbers for the rows.
    """

    saliency: Saliency
    kept: Masks | None = None
    status: tuple[str, ...] | None = None
    queries: Int[Tensor, " n"] | None = None
    extras: Mapping[str, Float[Tensor, " n"]] = field(default_factory=dict)
    trace: Trace | None = None
