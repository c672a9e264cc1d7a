"""Insertion and deletion as the authors of RISE measure them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.nn.functional import conv2d

from benchmarks.insertion import importance_rank
from da.fill import Fill, filled
from da.types import Attribution, Images, Rngs, ScoreModel, Targets

__version__ = "1"


def rise_metrics(
    model: ScoreModel,
    images: Images,
    targets: Targets,
    labels: Sequence[int | None],
    attribution: Attribution,
    *,
    rngs: Rngs,
    step: int,
    deletion_fill: Fill,
    kernel: int,
    sigma: float,
    border: Sequence[float],
    target: str,
) -> pd.DataFrame:
    """The class's probability while pixels are inserted into a blurred image, or deleted from the image, the most important first.

    Petsiuk, Das and Saenko, BMVC 2018, and the evaluation in their repository (eclique/RISE). step: pixels a step, both ends
    included. deletion_fill: what deleted pixels become. kernel, sigma: the blur of the insertion's start (see ``box_blur``), in pixels;
    border: the colour around the image, the model's mean there. target: ``predicted`` class or ``label``.

    Returns rows ``image, metric, x, value``: ``insertion_score`` and ``deletion_score`` at each share ``x`` of changed pixels, and
    the areas ``rise_insertion_auc`` and ``rise_deletion_auc``: ``(sum - first / 2 - last / 2) / (points - 1)``. Pixels that tie are ordered
    by each image's permutation, where the repository's order is undefined.
    """
    h, w = images.shape[-2:]
    if target not in ("predicted", "label"):
        raise ValueError(f"target={target!r}: choose predicted or label")
    if not 1 <= step <= h * w:
        raise ValueError(f"step={step}: from 1 to the image's {h * w} pixels")
    classes = targets
    if target == "label":
        classes = torch.tensor([int(y) if label is None else label for y, label in zip(targets, labels, strict=True)]).to(targets)
    rank = importance_rank(attribution.saliency, rngs)
    blurred = box_blur(images, kernel, sigma, border)
    pixels = [min(i * step, h * w) for i in range(-(-h * w // step) + 1)]
    rows: list[tuple[int, str, float, float]] = []
    for name, first, last in (("insertion", blurred, images), ("deletion", images, filled(images, deletion_fill))):
        scores = [model(torch.where((rank < p)[:, None], last, first)).gather(1, classes[:, None])[:, 0] for p in pixels]
        curves = torch.stack(scores, 1).double().cpu().numpy()
        for i, curve in enumerate(curves):
            rows += [(i, f"{name}_score", p / (h * w), float(score)) for p, score in zip(pixels, curve, strict=True)]
            rows.append((i, f"rise_{name}_auc", np.nan, float((curve.sum() - curve[0] / 2 - curve[-1] / 2) / (len(curve) - 1))))
    return pd.DataFrame(rows, columns=["image", "metric", "x", "value"])


def box_blur(images: Images, kernel: int, sigma: float, border: Sequence[float]) -> Float[Tensor, "n 3 h w"]:
    """Blur with a Gaussian's answer to an impulse on a small grid with mirrored edges: nearly a box where sigma is large."""
    impulse = np.zeros((kernel, kernel))
    impulse[kernel // 2, kernel // 2] = 1
    weight = torch.from_numpy(gaussian_filter(impulse, sigma)).to(images).expand(3, 1, kernel, kernel)
    colour = images.new_tensor(list(border)).view(1, 3, 1, 1)
    return torch.cat([conv2d(image, weight, padding=kernel // 2, groups=3) for image in (images - colour).split(1)]) + colour
