"""How well a map lies where an annotation says that the object is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool
from torch import Tensor

from benchmarks.data.evidence import Evidence
from benchmarks.measures.maps import UNSIGNED, chosen, one_number_each, signed
from da.passes import passes
from da.ranking import importance_rank
from da.types import Attribution, Images, LabelModel, Rngs, Targets

__version__ = "2"

K_AREA = 224**2  # pixels of the image that ``k`` counts pixels of


@passes(lambda **_: (0, 0))
def localisation(
    model: LabelModel,
    images: Images,
    targets: Targets,
    labels: Sequence[int | None],
    attribution: Attribution,
    *,
    rngs: Rngs,
    evidence: Sequence[Evidence | None],
    tolerance: float,
    k: int,
    sign: str,
    target: str,
) -> pd.DataFrame:
    """The pointing game, relevance mass and rank, top-k intersection, and intersection over union of a region, against an image's mask.

    No forward pass. The mask is that of all parts; whether the model uses them is not asked, see ``known_evidence``.

    Parameters
    ----------
    model : LabelModel
        Not used.
    images : Tensor [n, 3, h, w] in [0, 1]
        The images that were explained.
    targets : Tensor [n]
        The class explained of each image.
    labels : sequence of int or None
        The true class of each image, None where it is not known.
    attribution : Attribution
        What the method said of the images.
    rngs : sequence of numpy.random.Generator
        One generator per image, by which ties are broken.
    evidence : sequence of Evidence or None
        The masks, given by the harness: of ``dataset=planted``, and of photographs with masks or boxes.
    tolerance : float
        Pixels of the model's input, from 1: a point hits where some pixel of the mask is nearer than this.
    k : int
        Top pixels of a 224 x 224 image, from 1 to all of them, in proportion of other sizes.
    sign : {"positive", "absolute"}
        The values of a map that count as relevance mass; absolute values also point and rank.
    target : {"label", "any"}
        Whether maps of a class that is not the label are left out, since the mask is the label's. Without a label all count.

    Returns
    -------
    pandas.DataFrame
        Rows ``image, metric, x, value``: ``pointing_hit`` and ``pointing_exact``, 1 or 0, with and without tolerance; ``relevance_mass``,
        ``relevance_rank``, ``topk_intersection``; ``region_iou`` of a method that ends in a mask. An image without a mask, or with an
        empty one, has no rows.

    Raises
    ------
    ValueError
        For a parameter out of range.

    References
    ----------
    Pointing game: Zhang et al., ECCV 2016, with the tolerance of TorchRay, whose 15 pixels are of the original photograph. Mass and rank:
    Arras, Osman and Samek, Information Fusion 2022. Top-k intersection: Theiner, Mueller-Budack and Ewerth, WACV 2022.
    """
    if tolerance < 1 or not 1 <= k <= K_AREA:
        raise ValueError(f"benchmark.localisation: tolerance={tolerance} from 1, and k={k} from 1 to the {K_AREA} pixels it counts of")
    chosen("benchmark.localisation.target", target, ("label", "any"))
    values = signed(attribution.saliency, sign, "benchmark.localisation.sign", UNSIGNED)
    rank = importance_rank(values.float() if sign == "absolute" else attribution.saliency, rngs)
    top = max(1, round(k * rank[0].numel() / K_AREA))
    frames = []
    for i, known in enumerate(evidence):
        of_another = target == "label" and labels[i] is not None and labels[i] != int(targets[i])
        if known is None or of_another or not known.union.any():
            continue
        mask, total = known.union, values[i].sum()
        size = int(mask.sum())
        found = {
            "pointing_hit": float(_distance(mask, rank[i]) < tolerance),
            "pointing_exact": float(mask[rank[i] == 0]),
            "relevance_mass": float(values[i][mask].sum() / total) if total > 0 else np.nan,
            "relevance_rank": float((mask & (rank[i] < size)).sum()) / size,
            "topk_intersection": float((mask & (rank[i] < top)).sum()) / top,
        }
        if attribution.kept is not None:
            kept = attribution.kept[i]
            found["region_iou"] = float((kept & mask).sum()) / float((kept | mask).sum())
        numbers = {name: torch.tensor([number], dtype=torch.float64) for name, number in found.items()}
        frames.append(one_number_each(numbers, attribution.saliency[i : i + 1]).assign(image=i))
    return pd.concat(frames, ignore_index=True) if frames else one_number_each({}, attribution.saliency)


def _distance(mask: Bool[Tensor, "h w"], rank: Tensor) -> float:
    """From the first pixel of a ranking to the nearest one of a mask, in pixels."""
    point = (rank == 0).nonzero()[0]
    return float((mask.nonzero() - point).double().square().sum(1).min().sqrt())
