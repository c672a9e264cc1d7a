"""Image sets made of others: mosaics of their photographs, and selections."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.data.photographs import ImageSet, Mosaic, Photograph
from da.rng import image_rng

__version__ = "1"


def mosaics(of: ImageSet, *, cells: int = 2, count: int = 1000, side: int = 224, seed: int = 0) -> ImageSet:
    """Square mosaics of ``cells`` x ``cells`` photographs of different classes, for the grid pointing game.

    Each is drawn by itself from ``of``, so that photographs recur in several, and has the label of one of its cells, drawn too: with
    ``select.correct_for=[model]`` those are left in which the model sees that one.

    Parameters
    ----------
    of : ImageSet
        The photographs to draw from.
    cells : int
        Along each side.
    count : int
        How many are drawn; equal ones are one.
    side : int
        Of a cell before the model's own resizing, in pixels.
    seed : int
        Of what is drawn.

    Returns
    -------
    ImageSet
        The mosaics.

    Raises
    ------
    ValueError
        Where there are too few photographs.
    """
    made: dict[str, Mosaic] = {}
    for i in range(count):
        rng = image_rng(seed, "mosaic", str(i))
        pieces: list[Photograph] = []
        for place in rng.permutation(len(of)):
            photograph = of.photographs[place]
            if photograph.label is None or photograph.label not in {piece.label for piece in pieces}:
                pieces.append(photograph)
            if len(pieces) == cells**2:
                break
        else:
            raise ValueError(f"dataset.cells={cells}: {of.name} has not {cells**2} photographs of different classes")
        one = pieces[rng.integers(len(pieces))]
        name = " + ".join(f"[{piece.id}]" if piece is one and one.label is not None else piece.id for piece in pieces)
        made.setdefault(name, Mosaic(name, one.label, Path(), pieces=tuple(pieces), cells=cells, side=side))
    return ImageSet(f"{of.name}_mosaics", tuple(made.values()))


def select(images: ImageSet, *, n: int | None, order: str = "first", seed: int = 0, skip: int = 0) -> ImageSet:
    """The first ``n`` photographs, or the first ``n`` of a seeded shuffle that does not depend on ``n``, after those left out.

    Parameters
    ----------
    images : ImageSet
        The photographs to select from.
    n : int or None
        How many; None takes all.
    order : {"first", "random"}
        As they are, or shuffled.
    seed : int
        Of the shuffle.
    skip : int
        How many at the beginning of the order are left out.

    Returns
    -------
    ImageSet
        Of the same name.

    Raises
    ------
    ValueError
        For another order, and where there are not that many.
    """
    if order not in ("first", "random"):
        raise ValueError(f"select.order={order!r}: choose first or random")
    if not 0 <= skip < len(images):
        raise ValueError(f"select.skip={skip}: {images.name} has {len(images)} images, give 0 to {len(images) - 1}")
    left = len(images) - skip
    if n is not None and not 1 <= n <= left:
        raise ValueError(f"select.count={n}: {images.name} has {left} images{' after those left out' if skip else ''}, give 1 to {left}")
    photographs: Sequence[Photograph] = images.photographs
    if order == "random":
        photographs = sorted(photographs, key=lambda photograph: image_rng(seed, "select", photograph.id).random())
    return replace(images, photographs=tuple(photographs[skip:][:n]))


def correct_for_all(images: ImageSet, classify: Sequence[Callable[[Photograph], int | None]], *, n: int | None) -> ImageSet:
    """The first ``n`` photographs that every classifier gives their label (the rule of the paper's Table 1).

    Parameters
    ----------
    images : ImageSet
        The photographs to select from.
    classify : sequence of callable
        A photograph to the predicted class index, None where it cannot be read.
    n : int or None
        How many; None takes all.

    Returns
    -------
    ImageSet
        Of the same name.

    Raises
    ------
    ValueError
        Where there are no labels, and where there are fewer.
    """
    if all(photograph.label is None for photograph in images.photographs):
        raise ValueError(f"select.correct_for: {images.name} has no labels; a data set with labels is cifar100_folder or wnid_folder")
    kept: list[Photograph] = []
    for photograph in images.photographs:
        if len(kept) == n:
            break
        if photograph.label is not None and all(predict(photograph) == photograph.label for predict in classify):
            kept.append(photograph)
    if not kept or (n is not None and len(kept) < n):
        raise ValueError(f"select.count={n}: the models agree with the label on {len(kept)} images of {images.name}")
    return replace(images, photographs=tuple(kept))
