"""Images of which it is known what decides their class. Nothing is downloaded."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from PIL import Image

from benchmarks.data.evidence import Evidence
from benchmarks.data.photographs import ImageSet, Photograph
from benchmarks.data.preparing import prepare, prepare_mask
from benchmarks.data.scenes import CLASSES, SIDE, Scene, draw
from benchmarks.models.preprocessing import Preprocessing
from da.rng import image_rng

__version__ = "1"

MOST = 0.5  # share of the image that parts and distractors may take with the gaps between them: at random places more does not fit


def planted(
    *,
    count: int = 1000,
    seed: int = 0,
    size: int = 14,
    contrast: float = 1.0,
    copies: int = 1,
    necessary: int = 1,
    distractors: int = 3,
    confounded: float = 0.1,
) -> ImageSet:
    """Synthetic images of 64 x 64 pixels and 10 classes, whose parts, and so what decides their class, lie at known places.

    A part is a disc or a square with a pattern in a colour. Which pattern goes with which colour makes a class; distractors are the
    patterns and colours of the classes, put together otherwise. Part of the background, the ground, has one of ten textures of its own.

    Parameters
    ----------
    count : int
        How many, from 1; the classes take turns.
    seed : int
        Of what is drawn, from 0. An image depends on it, its number and the options, not on ``count``.
    size : int
        Side of a part, from 10 to 20 pixels.
    contrast : float
        How opaque parts and distractors are, above 0 up to 1.
    copies : int
        Of each part, from 1 to 3, of which each is enough.
    necessary : int
        Parts that are needed together: 1, or 2 of which either alone is of no class.
    distractors : int
        From 0 to 6.
    confounded : float
        Share of the images, from 0 to 1, whose ground is that of their class; the others' is that of another. With 0.1 it says nothing.

    Returns
    -------
    ImageSet
        With labels and evidence.

    Raises
    ------
    ValueError
        For an option out of range, and for more than fits into an image.
    """
    options = {"size": size, "copies": copies, "necessary": necessary, "distractors": distractors}
    limits = {"size": (10, 20), "copies": (1, 3), "necessary": (1, 2), "distractors": (0, 6)}
    for name, value in options.items():
        low, high = limits[name]
        if not low <= value <= high:
            raise ValueError(f"dataset.{name}={value}: give a number from {low} to {high}")
    if not 0 < contrast <= 1 or not 0 <= confounded <= 1:
        raise ValueError(f"dataset.contrast={contrast} must lie above 0 up to 1, and dataset.confounded={confounded} from 0 to 1")
    if count < 1 or seed < 0:
        raise ValueError(f"dataset.count={count} must be at least 1, and dataset.seed={seed} at least 0")
    if (copies * necessary + distractors) * (size + 1) ** 2 > MOST * (SIDE + 1) ** 2:
        raise ValueError(f"{copies * necessary} parts and {distractors} distractors of {size} pixels do not fit into {SIDE} x {SIDE}")
    drawn = (*options.items(), ("contrast", contrast), ("confounded", confounded))
    return ImageSet("planted", tuple(Planted(f"{i:05d}", i % CLASSES, Path(), seed=seed, options=drawn) for i in range(count)))


@dataclass(frozen=True)
class Planted(Photograph):
    """A synthetic image with its evidence; drawn when it is needed.

    Attributes
    ----------
    seed : int
        Of what is drawn.
    options : tuple of (str, number)
        Of ``planted``.
    """

    seed: int
    options: tuple[tuple[str, float], ...]

    @property
    def scene(self) -> Scene:
        """The drawing.

        Returns
        -------
        Scene
            The picture with all that is known of it.
        """
        return _scene(self.seed, self.id, self.label or 0, self.options)

    def digest(self) -> str:
        """SHA-256 of the pixels.

        Returns
        -------
        str
            64 hexadecimal digits.
        """
        return hashlib.sha256(self.scene.picture.tobytes()).hexdigest()

    def load(self) -> Image.Image:
        """The picture, 8-bit RGB.

        Returns
        -------
        PIL.Image.Image
            64 pixels a side.
        """
        return Image.fromarray(self.scene.picture)

    def evidence(self, preprocessing: Preprocessing) -> Evidence:
        """Where the model is shown the parts and the ground, and the image without the one or with another of the other.

        Parameters
        ----------
        preprocessing : Preprocessing
            Of the model.

        Returns
        -------
        Evidence
            All that is known.
        """
        scene = self.scene
        masks = (*scene.parts, scene.ground, scene.distractors)
        *parts, ground, distractors = (prepare_mask(Image.fromarray(mask), preprocessing) for mask in masks)
        absent, swapped = (prepare(Image.fromarray(picture), preprocessing) for picture in (scene.absent, scene.swapped))
        return Evidence(torch.stack(parts), scene.groups, absent, ground, swapped, scene.swapped_class, distractors)

    def evidence_digest(self) -> str:
        """What tells the evidence of one image from another's, for the keys of results.

        Returns
        -------
        str
            The beginning of a SHA-256.
        """
        scene = self.scene
        said = [picture.tobytes() for picture in (scene.parts, scene.ground, scene.absent, scene.swapped, scene.distractors)]
        return hashlib.sha256(b"".join([*said, str((scene.groups, scene.swapped_class)).encode()])).hexdigest()[:16]


@lru_cache(maxsize=1000)
def _scene(seed: int, name: str, label: int, options: tuple[tuple[str, float], ...]) -> Scene:
    return draw(image_rng(seed, "planted", name), label, **dict(options))  # type: ignore[arg-type]
