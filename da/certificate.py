"""Whether a region satisfies its rule, and whether any part of it could go."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from da.arguments import LABELS, arguments
from da.fill import Fill, baseline_image, composite
from da.superpixels import COMPACTNESS, superpixels
from da.types import Images, LabelModel, Masks, Targets

LEAST_PIXELS = 10  # of a superpixel, on average
TOGETHER = 8  # masked images at a time


@dataclass(frozen=True)
class Certificate:
    """What is known of one region.

    Attributes
    ----------
    verified : bool
        Whether the rule holds for it.
    minimal : bool
        Whether, besides, it is 1-minimal over superpixels: without its share of any one of them the rule is broken.
    superfluous : tuple of int
        The superpixels whose share can go, by their index.
    shares : int
        Superpixels that the region has a share of.
    queries : int
        Spent.
    """

    verified: bool
    minimal: bool
    superfluous: tuple[int, ...]
    shares: int
    queries: int


def certify(
    model: LabelModel,
    images: Images,
    kept: Masks,
    targets: Targets | None = None,
    *,
    rule: str = "positive",
    sp_num: int = 250,
    compactness: float = COMPACTNESS,
    slic_zero: bool = False,
    fill: Fill = "black",
) -> list[Certificate]:
    """Verify regions, and try each without its share of every superpixel.

    Parameters
    ----------
    model : LabelModel
        Predicted classes of images, see ``da.label_model``.
    images : Tensor [n, 3, h, w] in [0, 1]
        The images that the regions are of, not normalised.
    kept : Tensor [n, h, w] of bool
        The regions; of a negative rule, the pixels to remove.
    targets : Tensor [n], optional
        The class of each image; left out, the model's own prediction.
    rule : {"positive", "negative"}
        Pos-R: the region alone has the class; Neg-R: without it the class is lost.
    sp_num : int
        Superpixels asked of SLIC, fewer where they would have less than 10 pixels, as ``minimal_region`` does.
    compactness, slic_zero : float, bool
        Of SLIC, see ``da.superpixels``.
    fill : str or three floats
        What replaces ablated pixels, see ``da.fill.baseline_image``.

    Returns
    -------
    list of Certificate
        One per image. Queries: one, and one for each superpixel that the region has a share of.

    Raises
    ------
    TypeError, ValueError
        For arguments of another type, shape or range.
    """
    asked, images, classes, _ = arguments(LABELS, model, images, targets, None, 0)
    shape = [len(images), *images.shape[-2:]]
    if not isinstance(kept, Tensor) or kept.dtype != torch.bool or [*kept.shape] != shape:
        given = f"{str(kept.dtype)[6:]} of shape {[*kept.shape]}" if isinstance(kept, Tensor) else type(kept).__name__
        raise TypeError(f"kept: {given}; give a tensor of booleans of shape {shape}, such as what a method returns as kept")
    if rule not in ("positive", "negative"):
        raise ValueError(f"rule={rule!r}: choose positive (Pos-R) or negative (Neg-R)")
    most = min(sp_num, max(images.shape[-2] * images.shape[-1] // LEAST_PIXELS, 1))
    segments = superpixels(images, most, compactness=compactness, slic_zero=slic_zero)
    blank = baseline_image(images, fill)
    shown, hidden = (images, blank) if rule == "positive" else (blank, images)
    found = []
    for i, mask in enumerate(kept.to(images.device)):
        of_region = segments.index[i][mask].unique()
        masks = torch.stack([mask, *(mask & (segments.index[i] != one) for one in of_region)])
        pair = shown[i].expand(len(masks), -1, -1, -1), hidden[i].expand(len(masks), -1, -1, -1)
        parts = zip(*(of.split(TOGETHER) for of in (*pair, masks)), strict=True)
        answers = [asked(composite(*part)) == classes[i] for part in parts]
        holds = (torch.cat(answers) == (rule == "positive")).tolist()
        superfluous = tuple(int(one) for one, held in zip(of_region, holds[1:], strict=True) if held)
        found.append(Certificate(holds[0], holds[0] and not superfluous, superfluous, len(of_region), len(masks)))
    return found
