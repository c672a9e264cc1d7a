"""What a model is tried on when it is loaded: photographs, the same with little left of them, and uniform images."""

from __future__ import annotations

from functools import lru_cache

import torch

from benchmarks.data.sets import demo
from benchmarks.models.classifier import Preprocessing
from da.types import Images

FEWEST = 6


@lru_cache(maxsize=4)
def probes(preprocessing: Preprocessing, batch: int) -> Images:
    """Images ``[m, 3, size, size]`` in [0, 1], whole batches of them and at least six: photographs, masked ones, a black one."""
    photographs = demo().photographs
    count = -(-FEWEST // batch) * batch
    shown = [photograph.tensor(preprocessing) for photograph in photographs[: max(2, count - 3)]]
    side = torch.linspace(-1, 1, preprocessing.size)
    disc = side[:, None] ** 2 + side**2 <= 0.25**2
    black = torch.zeros_like(shown[0])
    mean = shown[1].mean((1, 2), keepdim=True)
    masked = [torch.where(disc, shown[0], black), torch.where(disc, shown[1], mean), black]
    every = [shown[0], masked[0], shown[1], *masked[1:], *shown[2:]]
    return torch.stack([every[i % len(every)] for i in range(count)])
