"""The arguments that every method has: checked, and filled in where they are left out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from da.models import LabelView, ScoreView, checked_scores
from da.rng import image_rng
from da.types import Images, Rngs, Targets

LABELS = "predicted classes"
SCORES = "probabilities"
MODULE = "the network itself"

INSTEAD = {
    LABELS: "da.label_model(net, mean=..., std=...)",
    SCORES: "da.score_model(net, mean=..., std=...)",
    MODULE: "a torch.nn.Module on images in [0, 1], such as nn.Sequential(torchvision.transforms.Normalize(mean, std), net)",
}

DIFFERENT_IN_TRAINING = (_BatchNorm, _DropoutNd)


def arguments(
    asked: str, model: Any, images: Images, targets: Targets | None, rngs: Rngs | None, seed: int
) -> tuple[Any, Images, Targets, Rngs]:
    """What a method is to work with: a model whose answers are checked, images, the classes to explain, and a generator per image.

    Parameters
    ----------
    asked : str
        What the method asks of the model: ``LABELS``, ``SCORES`` or ``MODULE``.
    model, images, targets, rngs, seed
        As the method was given them. Without targets: the model's own predictions, one query per image. Without generators: one of each
        image, by the seed and what is in the image, so that its numbers do not depend on the others.

    Raises
    ------
    TypeError, ValueError
        For a model of another kind, and images, targets or generators of another type, shape or range.
    """
    images = _checked_images(images)
    images = images if asked == MODULE else images.float()
    model = _checked(asked, model)
    n = len(images)
    if targets is None:
        with torch.no_grad():
            answer = model(images)
        targets = (answer if asked == LABELS else checked_scores(answer).argmax(1)).to(images.device)
    if not isinstance(targets, Tensor) or targets.is_floating_point() or targets.shape != (n,):
        raise ValueError(f"targets: give one class an image, a tensor of whole numbers of shape [{n}]")
    if n and int(targets.min()) < 0:
        raise ValueError(f"targets: {int(targets.min())} is no class: they are counted from 0, not from the last")
    if rngs is None:
        rngs = [image_rng(seed, "method", hashlib.sha256(image.cpu().numpy().tobytes()).hexdigest()) for image in images]
    if not isinstance(rngs, Sequence) or len(rngs) != n or not all(isinstance(rng, np.random.Generator) for rng in rngs):
        raise ValueError(f"rngs: give one generator per image, {n} in all, such as [numpy.random.default_rng(i) for i in range({n})]")
    return model, images, targets.long(), rngs


def _checked_images(images: Images) -> Images:
    if not isinstance(images, Tensor) or not images.is_floating_point():
        kind = f"a tensor of {str(images.dtype).removeprefix('torch.')}" if isinstance(images, Tensor) else type(images).__name__
        raise TypeError(f"images: {kind}; give a tensor of floats in [0, 1], such as torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255")
    if images.ndim != 4 or images.shape[1] != 3 or 0 in images.shape:
        last = images.ndim == 4 and images.shape[3] == 3
        more = ": image[None] makes a batch of one" if images.ndim == 3 else ": images.permute(0, 3, 1, 2)" if last else ""
        raise ValueError(f"images of shape {[*images.shape]}: give [n, 3, height, width]{more}")
    images = images.detach()
    low, high = float(images.amin()), float(images.amax())
    if not (low >= 0 and high <= 1):
        told = "divide by 255" if low >= 0 and high > 2 else "give them before normalisation, which the model does, and without NaN"
        raise ValueError(f"images from {low:g} to {high:g}: they must lie in [0, 1]; {told}")
    return images


def _checked(asked: str, model: Any) -> Any:
    own = LABELS if isinstance(model, LabelView) else SCORES if isinstance(model, ScoreView) else None
    network = isinstance(model, nn.Module)
    if not callable(model) or (asked == MODULE) != network or (own is not None and own != asked):
        given = "a bare network" if network else f"a model of {own}" if own else f"a {type(model).__name__}"
        raise TypeError(f"model: this method asks for {asked}, and was given {given}: give {INSTEAD[asked]}")
    if network and model.training and any(layer.training and isinstance(layer, DIFFERENT_IN_TRAINING) for layer in model.modules()):
        raise ValueError("model: it is in training mode, where its answers are random or depend on the batch: call model.eval() first")
    return model if asked == MODULE or own else _Checking(model, asked)


class _Checking:
    """A callable of somebody else's, whose answers are checked."""

    def __init__(self, model: Any, asked: str) -> None:
        self.model, self.asked = model, asked

    def __call__(self, images: Images, /) -> Tensor:
        """Ask, and check the type and shape of the answer."""
        answer = self.model(images)
        wanted = "classes [m] as whole numbers" if self.asked == LABELS else "probabilities [m, classes]"
        right = isinstance(answer, Tensor) and answer.shape[:1] == (len(images),) and answer.is_floating_point() == (self.asked == SCORES)
        if not right or answer.ndim != (1 if self.asked == LABELS else 2):
            found = f"{str(answer.dtype)[6:]} of shape {[*answer.shape]}" if isinstance(answer, Tensor) else type(answer).__name__
            raise TypeError(f"model: it returned {found} for {len(images)} images, not {wanted}: give {INSTEAD[self.asked]}")
        return answer
