"""Rules of images: the regions that decide a class, verified, in words; one region, or several that are disjoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from da.arguments import LABELS, arguments
from da.fill import Fill, baseline_image, composite
from da.ranking import importance_rank, prefix_shares
from da.rng import image_rng
from da.rule import Part, parts, text
from da.types import OK, Attribution, Images, LabelModel, Targets
from da.walk import dynamic_ablation

Attribute = Callable[[Images, Targets], Attribution]  # images [1, 3, h, w] and the class [1] to explain


@dataclass(frozen=True)
class Region:
    """One region of an image that decides its class.

    Attributes
    ----------
    mask : ndarray [h, w] of bool
        Its pixels.
    mar : float
        Their share of the image, the Minimum Attribution Ratio.
    verified : bool
        Whether the masked image satisfies the rule, by one more query.
    certified : bool or None
        Whether it is 1-minimal over superpixels: its share of none of them can go. None of a method that does not say.
    status : str
        See ``Attribution``.
    queries : int or None
        Spent on it, without the last one; None where the method does not say.
    attribution : Attribution
        All that the method said.
    """

    mask: Bool[np.ndarray, "h w"]
    mar: float
    verified: bool
    certified: bool | None
    status: str
    queries: int | None
    attribution: Attribution

    @property
    def parts(self) -> list[Part]:
        """Its connected parts, largest first."""
        return parts(self.mask)


@dataclass(frozen=True)
class Explanation:
    """The rules of one image.

    Attributes
    ----------
    target : int
        The class.
    negative : bool
        Whether the regions are what must be absent.
    regions : tuple of Region
        In the order in which they were found.
    exhausted : bool
        Whether what is left without the last region is not of the class any more, so that there are no further ones.
    """

    target: int
    negative: bool
    regions: tuple[Region, ...]
    exhausted: bool = False

    def rules(self, class_name: str | None = None) -> list[str]:
        """The rule of each region in words.

        Parameters
        ----------
        class_name : str, optional
            What to call the class; left out, by its number.

        Returns
        -------
        list of str
            One a region.
        """
        name = f"class {self.target}" if class_name is None else class_name
        return [text(region.mask, name, "negative" if self.negative else "positive") for region in self.regions]


def explain(
    model: LabelModel,
    images: Images,
    targets: Targets | None = None,
    *,
    attribute: Attribute | None = None,
    rule: str = "positive",
    fill: Fill = "black",
    seed: int = 0,
    verifier: LabelModel | None = None,
) -> list[Explanation]:
    """Find the region of each image that decides its class, and verify it.

    Parameters
    ----------
    model : LabelModel
        Predicted classes of images, see ``da.label_model``.
    images : Tensor [n, 3, h, w] in [0, 1]
        The images to explain, not normalised.
    targets : Tensor [n], optional
        The class to explain of each image; left out, the model's own prediction.
    attribute : callable, optional
        The method: images and targets to an ``Attribution``, such as ``lambda images, targets: baselines.rise(scores, images, targets)``.
        Of one that ends in no mask, the region is the smallest tried share of its highest pixels that satisfies the rule. Left out:
        ``dynamic_ablation`` with the given rule, fill and seed.
    rule : {"positive", "negative"}
        Pos-R: the region alone has the class; Neg-R: without it the class is lost.
    fill : str or three floats
        What replaces the other pixels, see ``da.fill.baseline_image``; the method's own should be the same.
    seed : int
        Of the default method, and of how ties between equally important pixels are broken.
    verifier : LabelModel, optional
        What verifies the regions, where it is not ``model`` itself.

    Returns
    -------
    list of Explanation
        One per image.

    Raises
    ------
    TypeError, ValueError
        For arguments of another type, shape or range.
    """
    return disjoint_regions(model, images, targets, most=1, attribute=attribute, rule=rule, fill=fill, seed=seed, verifier=verifier)


def disjoint_regions(
    model: LabelModel,
    images: Images,
    targets: Targets | None = None,
    *,
    most: int = 3,
    attribute: Attribute | None = None,
    rule: str = "positive",
    fill: Fill = "black",
    seed: int = 0,
    verifier: LabelModel | None = None,
) -> list[Explanation]:
    """Find up to ``most`` regions of each image that are disjoint and each suffice.

    The region of the image, then of what is left without it, and so on while that still has the class.

    Parameters
    ----------
    model : LabelModel
        Predicted classes of images, see ``da.label_model``.
    images : Tensor [n, 3, h, w] in [0, 1]
        The images to explain, not normalised.
    targets : Tensor [n], optional
        The class to explain of each image; left out, the model's own prediction.
    most : int
        Regions an image, from 1.
    attribute : callable, optional
        The method, see ``explain``.
    rule : {"positive", "negative"}
        As of ``explain``; further regions are of the positive rule.
    fill : str or three floats
        As of ``explain``; further regions are of a fill that does not depend on the image: a colour.
    seed : int
        Of the default method, and of how ties between equally important pixels are broken.
    verifier : LabelModel, optional
        What verifies the regions, where it is not ``model`` itself.

    Returns
    -------
    list of Explanation
        One per image.

    Raises
    ------
    TypeError, ValueError
        For arguments of another type, shape or range.
    """
    if most < 1:
        raise ValueError(f"most={most}: at least 1 region")
    if rule not in ("positive", "negative"):
        raise ValueError(f"rule={rule!r}: choose positive (Pos-R) or negative (Neg-R)")
    if most > 1 and rule == "negative":
        raise ValueError("rule='negative': several regions are looked for that each suffice, which is the positive rule")
    if most > 1 and isinstance(fill, str) and fill != "black":
        raise ValueError(f"fill={fill!r} is not the same of what is left of an image: give a colour, such as black")
    asked, images, classes, _ = arguments(LABELS, model, images, targets, None, seed)
    verifying = asked if verifier is None else arguments(LABELS, verifier, images, classes, None, seed)[0]
    rows = [slice(i, i + 1) for i in range(len(images))]
    return [_of_image(asked, images[row], classes[row], most, attribute, rule, fill, seed, verifying) for row in rows]


def _of_image(
    model: LabelModel,
    image: Images,
    target: Targets,
    most: int,
    attribute: Attribute | None,
    rule: str,
    fill: Fill,
    seed: int,
    verifier: LabelModel,
) -> Explanation:
    counting = _Counting(model)

    def walk(images: Images, targets: Targets) -> Attribution:
        return dynamic_ablation(counting, images, targets, rule=rule, fill=fill, seed=seed)

    method = attribute or walk
    blank, positive = baseline_image(image, fill), rule == "positive"
    rest, regions, exhausted = image, list[Region](), False
    whole = bool(verifier(image) == target)
    while len(regions) < most:
        before = counting.queries
        found = method(rest, target)
        kept = found.kept if found.kept is not None else smallest_share(counting, rest, target, found, rule=rule, fill=fill, seed=seed)
        kept = kept & (rest != blank).any(1) if regions else kept
        rest = composite(blank, rest, kept)
        more = len(regions) + 1 < most and bool(kept.any())
        exhausted = more and not bool(counting(rest) == target)
        shown = composite(image, blank, kept) if positive else composite(blank, image, kept)
        certified, own = found.extras.get("certified"), 0 if found.queries is None else int(found.queries[0])
        regions.append(
            Region(
                mask=kept[0].cpu().numpy(),
                mar=float(kept.float().mean()),
                verified=whole and bool(verifier(shown) == target) == positive,
                certified=None if certified is None else bool(certified[0]),
                status=found.status[0] if found.status else OK,
                queries=None if attribute and found.queries is None else counting.queries - before + own,
                attribution=found,
            )
        )
        if not more or exhausted:
            break
    return Explanation(int(target), not positive, tuple(regions), exhausted)


class _Counting:
    """A label model whose queries are counted."""

    def __init__(self, model: LabelModel) -> None:
        self.model, self.queries = model, 0

    def __call__(self, images: Images, /) -> Tensor:
        """Ask."""
        self.queries += len(images)
        return self.model(images)


def smallest_share(
    model: LabelModel, image: Images, target: Targets, found: Attribution, *, rule: str, fill: Fill, seed: int
) -> Bool[Tensor, "1 h w"]:
    """For a method that only ranks pixels: the smallest tried share of its top pixels that satisfies the rule, else all."""
    rank = importance_rank(found.saliency[:1], [image_rng(seed, "ties", "")])
    blank = baseline_image(image, fill)
    shown, hidden = (image, blank) if rule == "positive" else (blank, image)
    for share in prefix_shares():
        kept = rank < round(share * rank[0].numel())
        if bool(model(composite(shown, hidden, kept)) == target) == (rule == "positive"):
            return kept
    return torch.ones_like(kept)
