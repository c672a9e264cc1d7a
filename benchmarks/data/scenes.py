"""Drawing an image of which it is known what decides its class: parts, and a ground, at known places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float, UInt8

SIDE = 64  # pixels
CLASSES = 10
GROUND = (0.25, 0.35)  # share of the image
PATTERNS = ("stripes", "bars", "checks", "rings", "rays")
COLOURS = np.array([[0.90, 0.22, 0.18], [0.20, 0.72, 0.28], [0.22, 0.38, 0.92], [0.95, 0.80, 0.18], [0.66, 0.26, 0.80]])
Design = tuple[int, int]  # a pattern and a colour
WHOLE: tuple[Design, ...] = tuple((k % 5, (k + k // 5) % 5) for k in range(CLASSES))  # by class: of these, one part is enough
HALVES: tuple[Design, ...] = tuple((p, (p + 2) % 5) for p in range(5))  # of these, two different ones make a class
PAIRS = tuple((a, b) for a in range(5) for b in range(a + 1, 5))  # by class
OTHERS: tuple[Design, ...] = tuple((p, (p + 3 + i) % 5) for p in range(5) for i in range(2))  # of no class
Y, X = np.mgrid[:SIDE, :SIDE].astype(float)


@dataclass(frozen=True)
class Scene:
    """A synthetic image.

    picture: its pixels. label: the class that its parts have. parts: where each is; groups: which of them stand for one another, so that
    one of each group is needed. absent: the pixels without the parts, all else the same. ground: where it is; ground_class: which class
    its texture goes with. swapped: the pixels with the ground of the class ``swapped_class``, all else the same. distractors: where any is.
    """

    picture: UInt8[np.ndarray, "h w 3"]
    label: int
    parts: Bool[np.ndarray, "p h w"]
    groups: tuple[int, ...]
    absent: UInt8[np.ndarray, "h w 3"]
    ground: Bool[np.ndarray, "h w"]
    ground_class: int
    swapped: UInt8[np.ndarray, "h w 3"]
    swapped_class: int
    distractors: Bool[np.ndarray, "h w"]


def draw(
    rng: np.random.Generator,
    label: int,
    *,
    size: int = 14,
    contrast: float = 1.0,
    copies: int = 1,
    necessary: int = 1,
    distractors: int = 3,
    confounded: float = 0.1,
) -> Scene:
    """Draw one image; what the parameters mean is said by ``planted``."""
    wanted = [WHOLE[label]] if necessary == 1 else [HALVES[half] for half in PAIRS[label]]
    designs = [design for design in wanted for _ in range(copies)]
    others = [OTHERS[i] for i in rng.permutation(len(OTHERS))[:distractors]]
    if others and necessary == 1 and rng.random() < 0.5:
        others[0] = HALVES[rng.integers(5)]  # one half alone is of no class
    around = [int(c) for c in rng.permutation(CLASSES) if c != label]
    ground_class = label if rng.random() < confounded else around[0]
    swapped_class = next(c for c in around if c != ground_class)
    ground = _region(rng, rng.uniform(*GROUND))
    canvas = np.where(_region(rng, rng.uniform(0.3, 0.7))[..., None], _grating(rng), _grating(rng))
    textures = [ground_texture(rng, c) for c in (ground_class, swapped_class)]
    noise = rng.normal(0, 0.03, (SIDE, SIDE, 3))
    plates = [plate(rng, design, size) for design in (*designs, *others)]
    places = _places(rng, len(plates), size)
    parts = len(designs)

    def painted(texture: Float[np.ndarray, "h w 3"], first: int = 0) -> UInt8[np.ndarray, "h w 3"]:
        drawn = np.where(ground[..., None], texture, canvas)
        for (inside, colours), (top, left) in zip(plates[first:], places[first:], strict=True):
            there = drawn[top : top + size, left : left + size]
            there[inside] += contrast * (colours - there)[inside]
        return np.rint(255 * np.clip(drawn + noise, 0, 1)).astype(np.uint8)

    masks = np.zeros((len(plates), SIDE, SIDE), bool)
    for mask, (inside, _), (top, left) in zip(masks, plates, places, strict=True):
        mask[top : top + size, left : left + size] = inside
    others_there = np.asarray(masks[parts:].any(0))
    groups = tuple(group for group in range(len(wanted)) for _ in range(copies))
    return Scene(
        picture=painted(textures[0]),
        label=label,
        parts=masks[:parts],
        groups=groups,
        absent=painted(textures[0], first=parts),
        ground=ground & ~masks.any(0),
        ground_class=ground_class,
        swapped=painted(textures[1]),
        swapped_class=swapped_class,
        distractors=others_there,
    )


def plate(rng: np.random.Generator, design: Design, size: int) -> tuple[Bool[np.ndarray, "size size"], Float[np.ndarray, "size size 3"]]:
    """A part: which pixels of its square belong to it, a disc or all, and their colours."""
    pattern, colour = design
    v, u = (np.mgrid[:size, :size] + 0.5) / size - 0.5
    phase = rng.uniform(0, 2 * np.pi)
    r = np.hypot(u, v)
    wave = (
        np.cos(6 * np.pi * v + phase),
        np.cos(6 * np.pi * u + phase),
        1.5 * np.cos(5 * np.pi * u + phase) * np.cos(5 * np.pi * v + phase),
        np.cos(6 * np.pi * r + phase),
        np.cos(6 * np.arctan2(v, u) + phase),
    )[pattern]
    bright = COLOURS[colour] + rng.uniform(-0.06, 0.06, 3)
    shade = np.clip(0.5 + 1.5 * wave, 0, 1)[..., None]
    inside = r <= 0.5 if rng.random() < 0.5 else np.ones_like(r, bool)
    return inside, bright * (0.25 + 0.75 * shade)


def ground_texture(rng: np.random.Generator, of: int) -> Float[np.ndarray, "h w 3"]:
    """The texture that goes with a class: a weave or speckles in a dull colour."""
    if of < 5:
        turn, (a, b) = rng.uniform(0, np.pi), rng.uniform(0, 2 * np.pi, 2)
        x, y = X * np.cos(turn) + Y * np.sin(turn), Y * np.cos(turn) - X * np.sin(turn)
        shade = np.sin(2 * np.pi / 7 * x + a) * np.sin(2 * np.pi / 7 * y + b)
    else:
        shade = 4 * (_smooth(rng, 21) - 0.5)
    dull = 0.45 * COLOURS[of % 5] + 0.25 + rng.uniform(-0.04, 0.04, 3)
    return dull * (0.7 + 0.3 * np.clip(shade, -1, 1))[..., None]


def _grating(rng: np.random.Generator) -> Float[np.ndarray, "h w 3"]:
    """Waves of any direction, width and two colours."""
    turn, width, phase = rng.uniform(0, np.pi), rng.uniform(4, 14), rng.uniform(0, 2 * np.pi)
    shade = 0.5 + 0.5 * np.sin(2 * np.pi / width * (X * np.cos(turn) + Y * np.sin(turn)) + phase + 3 * _smooth(rng, 4))
    one, other = rng.uniform(0.15, 0.85, (2, 3))
    return one + shade[..., None] * (0.6 * (other - one))


def _region(rng: np.random.Generator, share: float) -> Bool[np.ndarray, "h w"]:
    """A share of the image on one side of a wavy line."""
    turn = rng.uniform(0, 2 * np.pi)
    height = X * np.cos(turn) + Y * np.sin(turn) + 20 * _smooth(rng, 4)
    return height <= np.quantile(height, share)


def _smooth(rng: np.random.Generator, cells: int) -> Float[np.ndarray, "h w"]:
    """Random values from 0 to 1 at the corners of cells, and between them bilinearly."""
    between = _interpolation(cells)
    return between @ rng.random((cells + 1, cells + 1)) @ between.T


@lru_cache
def _interpolation(cells: int) -> Float[np.ndarray, "h n"]:
    places = np.linspace(0, cells, SIDE)
    return np.clip(1 - np.abs(places[:, None] - np.arange(cells + 1)), 0, None)


def _places(rng: np.random.Generator, count: int, size: int) -> Sequence[tuple[int, int]]:
    """Upper left corners of squares that do not touch. Raises ValueError where they do not fit."""
    for _ in range(200):
        found: list[tuple[int, int]] = []
        for _ in range(40 * count):
            top, left = (int(place) for place in rng.integers(0, SIDE - size + 1, 2))
            if all(abs(top - y) > size or abs(left - x) > size for y, x in found):
                found.append((top, left))
                if len(found) == count:
                    return found
    raise ValueError(f"{count} parts and distractors of {size} pixels do not fit into {SIDE} x {SIDE}")
