"""A stored walk, walked again without the model: its random stream and decisions are all that it takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from da.circles import segment_masks, segments_inside
from da.superpixels import superpixels
from da.types import UNSATISFIABLE, VACUOUS
from da.walk import dynamic_ablation


@dataclass(frozen=True)
class Walk:
    """The accepted states of one image's walk: their steps, counted from 0, and masks ``[states, h, w]``."""

    steps: list[int]
    masks: Bool[np.ndarray, "states h w"]


class StoredDecisions:
    """A label model that gives the stored decisions: class 0 is the target."""

    def __init__(self, same: Bool[np.ndarray, " queries"]) -> None:
        self.answers = iter(same)

    def __call__(self, images: Tensor, /) -> Tensor:
        """Whether the next query had the class of the whole image."""
        return torch.full((len(images),), 0 if next(self.answers) else 1)


def replay(
    image: Float[np.ndarray, "h w 3"],
    accepted: Bool[np.ndarray, " steps"],
    kept: Bool[np.ndarray, "h w"],
    *,
    status: str,
    parameters: Mapping[str, Any],
    rng: np.random.Generator,
    most: int = 64,
) -> Walk | None:
    """The accepted states of ``da.walk.dynamic_ablation``, at most ``most`` of them evenly spaced, the last among them.

    accepted, kept, status: what the store holds. parameters: of the method. rng: the image's own stream, as the method got it. None where
    nothing was accepted, and where the walk does not end in ``kept``, such as on another processor that rounds otherwise.
    """
    steps = np.flatnonzero(accepted)
    if not len(steps) or status in (VACUOUS, UNSATISFIABLE):
        return None
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
    same = accepted if parameters["rule"] == "positive" else ~accepted
    model = StoredDecisions(np.append(same, False))  # the last query is the premise, which held
    walked = dynamic_ablation(model, pixels, torch.zeros(1, dtype=torch.long), rngs=[rng], **{**parameters, "trace": True, "speculate": 1})
    if walked.kept is None or walked.trace is None or walked.trace.circles is None or not np.array_equal(walked.kept[0].numpy(), kept):
        return None
    chosen = steps[np.unique(np.linspace(0, len(steps) - 1, most).round().astype(int))]
    segments = superpixels(pixels, parameters["sp_num"])
    x, y, r = walked.trace.circles[0, chosen].unbind(1)
    inside = segments_inside(x, y, r, segments.centres.expand(len(chosen), -1, -1))
    masks = segment_masks(inside, segments.index.expand(len(chosen), -1, -1))
    return Walk(chosen.tolist(), masks.numpy())
