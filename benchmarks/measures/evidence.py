"""Known evidence: whether the model uses what an image is known to show, and whether a method finds it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from benchmarks.data.evidence import Evidence
from da.fill import Fill, baseline_image, composite
from da.passes import passes
from da.ranking import importance_rank
from da.types import Attribution, Images, LabelModel, Rngs, Targets

__version__ = "2"

CHUNK = 256  # images shown at a time, at most


def _of_the_image(fills: Sequence[Fill], **_: object) -> tuple[int, int]:
    raise TypeError("the passes depend on the parts of the image")


@passes(_of_the_image)
def known_evidence(
    model: LabelModel,
    images: Images,
    targets: Targets,
    labels: Sequence[int | None],
    attribution: Attribution,
    *,
    rngs: Rngs,
    evidence: Sequence[Evidence | None],
    fills: Sequence[Fill],
) -> pd.DataFrame:
    """Whether the class depends on an image's parts, or on its ground, and how well a map and a region find the one that it depends on.

    A label proves nothing of what a model uses, so the model is asked. *The parts hold* where under each fill the class is kept by every
    smallest set of them that should be enough, shown alone, and lost without any smallest set that should be needed, and lost in the image
    without parts, where there is one. *The ground holds* where the same goes for it, and the image with the ground of another class has
    that class. What a method says is scored where one of the two holds, against that one. A forward pass a fill and set, and one for each
    such image.

    Parameters
    ----------
    model : LabelModel
        Predicted classes of images, see ``da.label_model``.
    images : Tensor [n, 3, h, w] in [0, 1]
        The images that were explained, not normalised.
    targets : Tensor [n]
        The class explained of each image.
    labels : sequence of int or None
        Not used.
    attribution : Attribution
        What the method said of the images.
    rngs : sequence of numpy.random.Generator
        One generator per image, by which ties are broken.
    evidence : sequence of Evidence or None
        What is known of each image, given by the harness: of ``dataset=planted``, and of photographs with masks or boxes.
    fills : sequence of str or three floats
        What replaces the rest, see ``da.fill.baseline_image``.

    Returns
    -------
    pandas.DataFrame
        Rows ``image, metric, x, value``. Of each fill, ``x`` being its place among ``fills``: ``parts_keep``, ``parts_lose``,
        ``ground_keep`` and ``ground_lose``, 1 or 0. Of the image: ``parts_changed``, 1 where the class is lost without parts,
        ``ground_changed``, 1 where it follows another ground, ``evidence_parts`` and ``evidence_ground``, 1 where they hold. Where one of
        the two holds: ``evidence_share``, its share of the image, which is what chance would give; ``evidence_mass``, its share of the
        positive attribution; ``evidence_rank``, its share of as many top pixels as it has; ``evidence_told``, 1 where its pixels have more
        positive attribution on average than those of the other one and than those of the distractors, 0.5 where as much;
        ``evidence_recall`` and ``evidence_precision`` of the
        region that a method ends in, see ``Evidence.found``. An image of which nothing is known has no row, one whose evidence does not
        hold no scores, and a map without positive values no mass.

    Raises
    ------
    ValueError
        For no fills, and for an unknown one.

    References
    ----------
    Relevance mass and rank: Arras, Osman and Samek, Information Fusion 2022.
    """
    if not fills:
        raise ValueError("benchmark.evidence.fills=[]: give at least one fill, such as black")
    rank = importance_rank(attribution.saliency, rngs)
    known = {i: one for i, one in enumerate(evidence) if one is not None}
    asked = [question for i, one in known.items() for question in _questions(i, one, images[i : i + 1], fills)]
    shown = torch.cat([question.shown for question in asked]) if asked else images[:0]
    answers = torch.cat([model(chunk) for chunk in shown.split(CHUNK)]) if asked else targets[:0]
    rows: list[tuple[int, str, float, float]] = []
    holds: dict[tuple[int, str], bool] = {}
    for question, found in zip(asked, answers.split([len(question.shown) for question in asked]), strict=True):
        class_there = found == (targets[question.image] if question.expected is None else question.expected)
        right = bool(class_there.all() if question.kept else not class_there.any())
        rows.append((question.image, f"{question.source}_{question.what}", question.x, float(right)))
        holds[question.image, question.source] = holds.get((question.image, question.source), True) and right
    rows += [(i, f"evidence_{source}", np.nan, float(right)) for (i, source), right in holds.items()]
    for i, one in known.items():
        held = [source for (image, source), right in holds.items() if image == i and right]
        if len(held) == 1:
            kept = None if attribution.kept is None else attribution.kept[i]
            scores = _scores(one, held[0], attribution.saliency[i], rank[i], kept)
            rows += [(i, f"evidence_{name}", np.nan, value) for name, value in scores]
    return pd.DataFrame(rows, columns=["image", "metric", "x", "value"])


class _Question(NamedTuple):
    """What the model is asked. shown: images ``[s, 3, h, w]`` that all keep, or all lose, the class explained, or the ``expected`` one."""

    image: int
    source: str
    what: str
    x: float
    shown: Images
    kept: bool
    expected: int | None = None


def _questions(i: int, known: Evidence, image: Images, fills: Sequence[Fill]) -> Iterator[_Question]:
    """All that decides whether the parts of an image hold, or the ground."""
    blanks = [baseline_image(image, fill, "benchmark.evidence.fills") for fill in fills]
    sources = {"parts": (known.sufficient(), known.necessary())}
    if known.ground is not None:
        sources["ground"] = (known.ground[None], known.ground[None])
    for source, (enough, needed) in sources.items():
        for x, blank in enumerate(blanks):
            yield _Question(i, source, "keep", float(x), _shown(image, blank, enough), True)
            yield _Question(i, source, "lose", float(x), _shown(image, blank, ~needed), False)
    if known.absent is not None:
        yield _Question(i, "parts", "changed", np.nan, known.absent[None], False)
    if known.swapped is not None:
        yield _Question(i, "ground", "changed", np.nan, known.swapped[None], True, known.swapped_class)


def _shown(image: Images, blank: Images, masks: Bool[Tensor, "s h w"]) -> Float[Tensor, "s 3 h w"]:
    """What each mask shows of one image."""
    many = len(masks), -1, -1, -1
    return composite(image.expand(many), blank.expand(many), masks)


def _scores(known: Evidence, source: str, saliency: Tensor, rank: Tensor, kept: Bool[Tensor, "h w"] | None) -> Iterator[tuple[str, float]]:
    """What is found of the evidence, by name."""
    candidates = {"parts": known.union, "ground": known.ground, "distractors": known.distractors}
    there = candidates.pop(source)
    assert there is not None
    positive = saliency.clamp_min(0).double()
    total, size = float(positive.sum()), int(there.sum())
    yield "share", size / there.numel()
    yield "mass", float(positive[there].sum()) / total if total > 0 else np.nan
    yield "rank", float((there & (rank < size)).sum()) / size
    others = [float(positive[other].mean()) for other in candidates.values() if other is not None and other.any()]
    if others:
        here = float(positive[there].mean())
        yield "told", np.nan if total == 0 else 0.5 if here == max(others) else float(here > max(others))
    if kept is not None:
        inside = float((kept & there).sum())
        yield "recall", known.found(kept) if source == "parts" else inside / size
        yield "precision", inside / float(kept.sum()) if kept.any() else np.nan
