"""What it means that a region is enough: the class is predicted, or has enough probability."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray

from da.types import OK, UNSATISFIABLE, VACUOUS


@dataclass(frozen=True)
class Criterion:
    """When a region is enough.

    name: ``top1``, the target is the predicted class; ``share``, it has ``level`` of its probability in the whole image; ``threshold``, it
    has a probability of ``level``. Raises ValueError for another name, and a level that is not above 0 and at most 1.
    """

    name: str
    level: float

    def __post_init__(self) -> None:
        if self.name not in ("top1", "share", "threshold"):
            raise ValueError(f"criterion={self.name!r}: choose top1, share or threshold")
        if not 0 < self.level <= 1:
            raise ValueError(f"level={self.level}: a share or probability above 0, at most 1")

    def accepts(
        self, probability: Float[np.ndarray, " m"], decided: Bool[np.ndarray, " m"], whole: Float[np.ndarray, " m"]
    ) -> NDArray[np.bool_]:
        """Whether regions are enough. decided: whether the target is the predicted class. whole: its probability in the whole image."""
        if self.name == "top1":
            return decided
        needed = self.level * (whole if self.name == "share" else np.ones_like(whole))
        return np.asarray(probability >= needed)


def premises(whole: bool, ablated: bool) -> str:
    """The status of an image before any search: whether it is enough as a whole, and whether it is when all is ablated."""
    return UNSATISFIABLE if not whole else VACUOUS if ablated else OK
