"""What is found out about a model when it is loaded, so that no number is wrong in silence."""

from __future__ import annotations

import logging
from dataclasses import replace

import torch

from benchmarks.engines.engine import Engine
from benchmarks.engines.probes import probes
from benchmarks.models.classifier import Model

LOG = logging.getLogger(__name__)
NOISE = 1e-4  # of the largest logit: what the rounding of one pass may differ by from another's


def examined(model: Model, engine: Engine) -> Engine:
    """The engine, if its answers can be used: scores of every class, of the kind that is stated, and of each image by itself.

    Two passes over the same images that differ are said and marked, ``repeatable=False``. Raises ValueError for the rest.
    """
    images = probes(model.preprocessing, engine.batch)[: engine.batch].to(engine.device)
    black = torch.zeros_like(images)
    alone = torch.cat([images[:1], black[1:]])
    logits = engine.forward(images)
    if tuple(logits.shape) != (engine.batch, len(model.class_names)):
        raise ValueError(f"model.classes: {model.name} returns scores of shape {list(logits.shape)} for {engine.batch} images and has "
                         f"{len(model.class_names)} class names: give as many names as it has classes")  # fmt: skip
    if model.outputs is not None and engine.scores is not None:
        model.outputs.check(engine.scores)
    other = engine.forward(alone)
    same = alike(logits[:1], other[:1])
    if same and engine.batch > 1:
        same = alike(engine.forward(black)[1:2], other[1:2])
    if not same and alike(engine.forward(alone), other):
        raise ValueError(
            f"model {model.name} answers an image differently by the others of its batch (as batch normalisation without "
            "running statistics, dynamic quantisation, or code that looks at the whole batch do): give engine.batch=1"
        )
    if not same:
        LOG.warning(
            "model %s answers the same images differently each time (dropout that eval() does not end?): numbers cannot be repeated",
            model.name,
        )
        return replace(engine, repeatable=False)
    return engine


def alike(some: torch.Tensor, others: torch.Tensor) -> bool:
    """Whether logits are the same but for rounding, also where they are not finite."""
    finite = some[torch.isfinite(some)]
    scale = float(finite.abs().max()) if finite.numel() else 1.0
    return bool(torch.isclose(some, others, rtol=0, atol=NOISE * scale, equal_nan=True).all())
