"""Smaller regions from given ones: the search of ``da.minimal.search`` from there."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from da.arguments import LABELS, arguments
from da.minimal.cells import Mask
from da.minimal.region import __version__ as search_version
from da.minimal.region import by_label, regions
from da.minimal.search import Settings
from da.passes import passes
from da.ranking import importance_rank, prefix_shares
from da.settings import with_settings
from da.types import Attribution, Images, LabelModel, Masks, Rngs, Saliency, Targets

__version__ = f"1, search {search_version}"


@passes(lambda budget, **_: (budget, 0))
@with_settings(Settings)
def reduce(
    model: LabelModel,
    images: Images,
    targets: Targets | None = None,
    *,
    start_from: Attribution | Masks | Saliency,
    rngs: Rngs | None = None,
    seed: int = 0,
    settings: Settings,
) -> Attribution:
    """Make a region smaller, or a map's smallest sufficient share of pixels, until it is 1-minimal over superpixels.

    As ``minimal_region`` with another start than the whole image. A region is asked about once. Of a map, the share of its highest pixels
    that holds is found by bisection between 0.2 % and all of the image, in 5 queries. Where the start does not hold, it is the whole image.

    Parameters
    ----------
    model : LabelModel
        Predicted classes of images, see ``da.label_model``.
    images : Tensor [n, 3, h, w] in [0, 1]
        The images to explain, not normalised.
    targets : Tensor [n], optional
        The class to explain of each image; left out, the model's own prediction.
    start_from : Attribution, or Tensor [n, h, w]
        What a method found: its ``kept`` where it ends in a mask, else its map. A tensor of booleans is a region, of numbers a map. In a
        configuration another method, which is run first; its passes are counted, and are not of the budget.
    rngs : sequence of numpy.random.Generator, optional
        One generator per image, by which a map's ties are broken; left out, made of ``seed`` and the image's content.
    seed : int
        Of the generators, where ``rngs`` is left out.
    settings : Settings
        Given field by field: those of ``da.minimal.search.Settings`` are keyword arguments, such as ``budget=200``.

    Returns
    -------
    Attribution
        As of ``minimal_region``; below all that was verified, what lies outside the start is in the order of the map that it is of.
        ``nothing_accepted`` where nothing smaller than the whole image held. Extras besides: ``start``, the share of the image that the
        start kept; 1 where it did not hold.

    Raises
    ------
    TypeError, ValueError
        For arguments of another type, shape or range.
    """
    model, images, classes, rngs = arguments(LABELS, model, images, targets, rngs, seed)
    starts = [_growing(one, rng) for one, rng in zip(_checked(start_from, images), rngs, strict=True)]

    return regions(by_label(model, classes, settings.rule), images, classes, rngs, settings, starts=starts)


def _checked(start: Attribution | Tensor, images: Images) -> Tensor:
    found = start if not isinstance(start, Attribution) else start.saliency if start.kept is None else start.kept
    shape = [len(images), *images.shape[-2:]]
    if not isinstance(found, Tensor) or [*found.shape] != shape or not (found.dtype == torch.bool or found.is_floating_point()):
        given = f"{str(found.dtype)[6:]} of shape {[*found.shape]}" if isinstance(found, Tensor) else type(found).__name__
        raise TypeError(f"start_from: {given}; give an Attribution, or a tensor of booleans or floats of shape {shape}")
    if not torch.isfinite(found.float()).all():
        raise ValueError("start_from: the map has values that are not finite")
    return found


def _growing(start: Tensor, rng: np.random.Generator) -> list[Mask]:
    """Regions to start from, each in the next, without the whole image."""
    if start.dtype == torch.bool:
        masks = [start.cpu().numpy()]
    else:
        rank = importance_rank(start[None], [rng])[0].cpu().numpy()
        masks = [rank < round(share * rank.size) for share in prefix_shares()]
    return [mask for mask in masks if mask.any() and not mask.all()]
