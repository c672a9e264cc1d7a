"""What a network returns, made into logits ``[m, classes]``: tensors of other shapes, tuples, dicts, one score, probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

KINDS = ("logits", "probabilities", "sigmoid")
SUM_TO_ONE = {torch.float16: 1e-2, torch.bfloat16: 5e-2}  # by how much the sum of rounded probabilities may miss 1; others: 1e-3


@dataclass(frozen=True)
class Outputs:
    """How a model's answer is read. name: the model's, for messages. classes: how many class names it has.

    kind: ``logits``; ``probabilities``, of which the logarithm is taken, so that a softmax gives them back; ``sigmoid``, the one logit
    of two classes; None for logits that must not look like probabilities. key: which of several outputs, by name or place.
    """

    name: str
    classes: int
    kind: str | None = None
    key: str | int | None = None

    def __post_init__(self) -> None:
        if self.kind not in (None, *KINDS):
            raise ValueError(f"model.outputs={self.kind!r}: choose {', '.join(KINDS)}, or null")
        if self.kind == "sigmoid" and self.classes != 2:
            raise ValueError(
                f"model.outputs=sigmoid: model {self.name} has {self.classes} class names (model.classes): give two, "
                "the class of a score below 0 and that of one above"
            )

    def scores(self, returned: Any, images: int) -> Tensor:
        """What is in a network's answer for so many images: ``[m, width]``. Raises ValueError where that is not clear."""
        if self.key is not None or not isinstance(returned, Tensor):
            returned = self._chosen(returned, images)
        scores = returned if returned.dim() == 2 else _flat(returned, images)
        if scores is None or scores.dim() != 2:
            raise ValueError(
                f"model {self.name} returns scores of shape {list(returned.shape)} for {images} images: it must return [images, classes]"
            )
        if not scores.is_floating_point():
            raise ValueError(f"model {self.name} returns {str(scores.dtype).removeprefix('torch.')}, not scores: labels are not enough")
        if scores.shape[1] not in self._widths():
            raise ValueError(self._wrong_width(list(returned.shape), images))
        return scores

    def logits(self, scores: Tensor) -> Tensor:
        """Logits ``[m, classes]`` of scores ``[m, width]``."""
        if self.kind == "sigmoid":
            return torch.cat([torch.zeros_like(scores), scores], 1)
        if self.kind == "probabilities":
            scores = scores.float()
            if scores.shape[1] == 1:
                scores = torch.cat([1 - scores, scores], 1)
            return scores.clamp_min(torch.finfo(torch.float32).tiny).log()
        return scores

    def check(self, scores: Tensor) -> None:
        """Compare what photographs were answered, ``[m, width]``, with what ``kind`` says. Raises ValueError, naming the option."""
        known = scores.float()
        within = bool(((known >= 0) & (known <= 1 + SUM_TO_ONE.get(scores.dtype, 1e-3))).all())
        one = scores.shape[1] == 1
        sums = within and bool(((known.sum(1) - 1).abs() <= SUM_TO_ONE.get(scores.dtype, 1e-3)).all())
        if self.kind is None and sums and not one:
            raise ValueError(
                f"model {self.name} returns probabilities (none is negative, and those of an image sum to 1): give "
                "model.outputs=probabilities, so that no second softmax is taken of them, or model.outputs=logits where these are logits"
            )
        if self.kind is None and within and not one and bool(known.any()):  # an untrained head may say 0 of all
            raise ValueError(
                f"model {self.name} returns values in [0, 1] that do not sum to 1, as the sigmoids of labels of which several may hold: "
                "return their logits instead (the class is the largest), or give model.outputs=logits where these are logits"
            )
        if self.kind == "probabilities" and not (within and (one or sums)):
            raise ValueError(
                f"model.outputs=probabilities: model {self.name} returns values from {float(known.min()):.3g} to {float(known.max()):.3g}"
                f"{'' if one else f' that sum to {float(known.sum(1).amax()):.3g} an image'}: these are no probabilities; leave it out"
            )
        if self.kind == "sigmoid" and within:
            raise ValueError(
                f"model.outputs=sigmoid takes the sigmoid of the one score, and model {self.name} returns values in [0, 1] already: "
                "give model.outputs=probabilities, or return two scores, 0 and yours, where it is no probability"
            )

    def _widths(self) -> tuple[int, ...]:
        if self.kind == "sigmoid":
            return (1,)
        return (1, 2) if self.kind == "probabilities" and self.classes == 2 else (self.classes,) if self.classes > 1 else ()

    def _wrong_width(self, shape: list[int], images: int) -> str:
        one = shape[1:] in ([], [1]) or all(side == 1 for side in shape[1:])
        if one and self.kind != "sigmoid":
            return (
                f"model {self.name} returns one score per image and has {self.classes} class names: give two, model.classes=[no,yes], "
                "and model.outputs=sigmoid: a score below 0 is the first class, one above the second (probabilities, where it is in [0, 1])"
            )
        if self.kind == "sigmoid":
            return (
                f"model.outputs=sigmoid is for one score per image, and model {self.name} returns scores of shape {shape} for {images} "
                "images: leave it out, or, where several labels may hold, return the score of one"
            )
        return (
            f"model.classes: {self.name} returns scores of shape {shape} for {images} images and has {self.classes} class names: "
            "give as many names as it has classes"
        )

    def _chosen(self, returned: Any, images: int) -> Tensor:
        """One of several outputs: the one asked for, ``logits``, or the only one of a fitting shape."""
        found = _named(returned)
        if not found:
            raise ValueError(f"model {self.name} returns {type(returned).__name__}: it must return a tensor [images, classes]")
        if self.key is not None:
            if str(self.key) not in found:
                raise ValueError(f"model.output_name={self.key}: model {self.name} returns {_listed(found)}")
            return found[str(self.key)]
        if "logits" in found:
            return found["logits"]
        fitting = [
            value
            for value in found.values()
            if value.is_floating_point() and (flat := _flat(value, images)) is not None and flat.shape[1] in (self._widths() or (1,))
        ]
        if len(fitting) == 1:
            return fitting[0]
        raise ValueError(
            f"model {self.name} returns several outputs, {len(fitting) or 'none'} of {self.classes} scores an image ({_listed(found)}): "
            f"say which with model.output_name={next(iter(found))}"
        )


def _flat(values: Tensor, images: int) -> Tensor | None:
    """``[m, c]`` of ``[m, c, 1, 1]``, ``[m, 1, 1, c]``, ``[m]``, and of ``[c]`` for one image; None for other shapes."""
    if values.dim() == 1:
        return values[None] if images == 1 and len(values) != 1 else values[:, None]
    if values.dim() < 2 or values.shape[0] != images or sum(side != 1 for side in values.shape[1:]) > 1:
        return None
    return values.flatten(1)


def _named(returned: Any) -> dict[str, Tensor]:
    """The tensors of a tuple, a dictionary or an object, by name or place."""
    if isinstance(returned, Tensor):
        return {"0": returned}
    if isinstance(returned, Mapping):
        items = dict(returned)
    elif isinstance(returned, tuple | list):
        items = returned._asdict() if hasattr(returned, "_asdict") else dict(enumerate(returned))
    else:
        items = dict(getattr(returned, "__dict__", {}))
        if hasattr(returned, "logits"):
            items["logits"] = returned.logits
    return {str(name): value for name, value in items.items() if isinstance(value, Tensor)}


def _listed(found: Mapping[str, Tensor]) -> str:
    return ", ".join(f"{name} {list(value.shape)}" for name, value in found.items())
