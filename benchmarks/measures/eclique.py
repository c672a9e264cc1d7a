"""Insertion and deletion as the authors of RISE measure them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.nn.functional import conv2d

from da.fill import Fill, baseline_image
from da.passes import passes
from da.ranking import importance_rank
from da.types import Attribution, Images, Rngs, ScoreModel, Targets

__version__ = "2"

STEP_SIDE = 224  # of the image that ``step`` counts pixels of
CHUNK = 64  # images shown at a time, about
ENDPOINTS = ("both", "start", "end", "neither")


@passes(lambda step, **_: (2 * (1 + -(-(224**2) // step)), 0))
def rise_metrics(
    model: ScoreModel,
    images: Images,
    targets: Targets,
    labels: Sequence[int | None],
    attribution: Attribution,
    *,
    rngs: Rngs,
    step: int,
    endpoints: str,
    deletion_fill: Fill,
    substrate: Fill,
    kernel: int,
    sigma: float,
    border: Sequence[float],
    target: str,
    score: str,
    ties: str,
) -> pd.DataFrame:
    """A class's score while pixels are inserted into a substrate, or deleted from the image, the most important first.

    One forward pass a point, curve and image.

    Parameters
    ----------
    model : ScoreModel
        Probabilities of images, see ``da.score_model``.
    images : Tensor [n, 3, h, w] in [0, 1]
        The images that were explained, not normalised.
    targets : Tensor [n]
        The class explained of each image.
    labels : sequence of int or None
        The true class of each image, None where it is not known.
    attribution : Attribution
        What the method said of the images.
    rngs : sequence of numpy.random.Generator
        One generator per image, by which ties are broken.
    step : int
        Pixels a step on a 224 x 224 image, from 1, scaled with the area for other sizes.
    endpoints : str
        Whether nothing changed and everything changed are points too: ``both``, ``start``, ``end`` or ``neither``.
    deletion_fill : str or three floats
        What deleted pixels become, see ``da.fill.baseline_image``.
    substrate : str or three floats
        What insertion starts from: ``"box_blur"`` or any fill.
    kernel : int
        Side of the blur's grid in pixels, odd, see ``box_blur``.
    sigma : float
        Of the blur, from 0 to 1000 pixels.
    border : three floats
        The colour around the image that is blurred.
    target : str
        The class whose score it is: the ``predicted`` one or the ``label``.
    score : str
        Its ``probability`` or ``log_probability``.
    ties : str
        The order of pixels that tie: ``random``, each image's own permutation, or ``raster``.

    Returns
    -------
    pandas.DataFrame
        Rows ``image, metric, x, value``: ``insertion_score`` and ``deletion_score`` at each share ``x`` of changed pixels, and the areas
        ``eclique_insertion_auc`` and ``eclique_deletion_auc``: ``(sum - first / 2 - last / 2) / (points - 1)``.

    Raises
    ------
    ValueError
        For a parameter out of range, and for an image without a label where that is the target.

    Notes
    -----
    ``conf/benchmark/eclique.yaml`` sets the evaluation in the authors' repository, whose order of ties is undefined.

    References
    ----------
    Petsiuk, Das and Saenko, BMVC 2018, and their repository eclique/RISE.
    """
    n, _, h, w = images.shape
    for name, value, choices in (
        ("endpoints", endpoints, ENDPOINTS),
        ("target", target, ("predicted", "label")),
        ("score", score, ("probability", "log_probability")),
        ("ties", ties, ("random", "raster")),
    ):
        if value not in choices:
            raise ValueError(f"benchmark.eclique.{name}={value!r}: choose {', '.join(choices)}")
    pixels = changed_pixels(h * w, step, endpoints)
    classes = targets if target == "predicted" else _labels(labels).to(targets)
    rank = importance_rank(attribution.saliency, rngs) if ties == "random" else raster_rank(attribution.saliency)
    blurred = box_blur(images, kernel, sigma, border) if substrate == "box_blur" else baseline_image(images, substrate, "substrate")
    deleted = baseline_image(images, deletion_fill, "deletion_fill")
    rows: list[tuple[int, str, float, float]] = []
    for name, first, last in (("insertion", blurred, images), ("deletion", images, deleted)):
        scores = []
        # Whole rounds of the n images, so that where they fill a forward pass, every pass is full.
        for points in torch.tensor(pixels, device=rank.device).split(max(1, CHUNK // n)):
            changed = rank < points.view(-1, 1, 1, 1)
            shown = torch.where(changed[:, :, None], last, first).flatten(0, 1)
            scores.append(model(shown).gather(1, classes.repeat(len(points))[:, None]).view(-1, n))
        values = torch.cat(scores).T.double()
        if score == "log_probability":
            values = values.clamp_min(torch.finfo(torch.float32).tiny).log()
        for i, curve in enumerate(values.cpu().numpy()):
            rows += [(i, f"{name}_score", p / (h * w), float(value)) for p, value in zip(pixels, curve, strict=True)]
            rows.append((i, f"eclique_{name}_auc", np.nan, float((curve.sum() - curve[0] / 2 - curve[-1] / 2) / (len(curve) - 1))))
    return pd.DataFrame(rows, columns=["image", "metric", "x", "value"])


def changed_pixels(area: int, step: int, endpoints: str = "both") -> list[int]:
    """How many pixels of an image of ``area`` pixels are changed at each point; the last step may be shorter than the others."""
    size = max(1, -(-step * area // STEP_SIDE**2))  # rounded up: never more steps than at 224, and no sliver for a last one
    pixels = [*range(0, area, size), area]
    pixels = pixels[0 if endpoints in ("both", "start") else 1 : None if endpoints in ("both", "end") else -1]
    if step < 1 or len(pixels) < 2:
        raise ValueError(f"benchmark.eclique.step={step}: {len(pixels)} points are no curve; give fewer pixels a step, at least 1")
    return pixels


def raster_rank(saliency: Float[Tensor, "n h w"]) -> Int[Tensor, "n h w"]:
    """The place of each pixel, 0 for the most important; pixels that tie are ordered row by row."""
    order = saliency.flatten(1).argsort(dim=1, descending=True, stable=True)
    return order.argsort(1).view(saliency.shape)


def box_blur(images: Images, kernel: int, sigma: float, border: Sequence[float]) -> Images:
    """Blur with a Gaussian's answer to an impulse on a grid of ``kernel`` x ``kernel`` pixels with mirrored edges.

    Nearly a box where sigma (pixels) is large beside the kernel. border: the colour around the image; the model's mean is zero
    padding after normalisation. Raises ValueError for an even kernel, which has no centre, and for other values out of range.
    """
    if kernel < 1 or kernel % 2 == 0 or not 0 <= sigma <= 1000:
        raise ValueError(f"benchmark.eclique.kernel={kernel} must be odd, and sigma={sigma} lie between 0 and 1000 pixels")
    impulse = np.zeros((kernel, kernel))
    impulse[kernel // 2, kernel // 2] = 1
    weight = torch.from_numpy(gaussian_filter(impulse, sigma)).to(images).expand(3, 1, kernel, kernel)
    if len(border) != 3:
        raise ValueError(f"benchmark.eclique.border={list(border)}: give three numbers (red, green, blue)")
    colour = images.new_tensor(list(border)).view(1, 3, 1, 1)
    # An image at a time, so that its numbers do not depend on the batch.
    return torch.cat([conv2d(image, weight, padding=kernel // 2, groups=3) for image in (images - colour).split(1)]) + colour


def _labels(labels: Sequence[int | None]) -> Int[Tensor, " n"]:
    known = [label for label in labels if label is not None]
    if len(known) < len(labels):
        raise ValueError("benchmark.eclique.target=label: the image has no label")
    return torch.tensor(known)
