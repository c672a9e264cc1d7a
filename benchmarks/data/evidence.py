"""Where in an image lies what its class depends on: known of synthetic images, said by masks and boxes of photographs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor


@dataclass(frozen=True)
class Evidence:
    """What an image's class depends on, at a model's input size.

    One part of each group is needed, and enough: with the groups ``(0, 0, 1)`` the first part or the second, together with the third.

    Attributes
    ----------
    parts : Tensor [p, h, w] of bool
        Where each part is.
    groups : tuple of int
        The group of each part, from 0 on.
    absent : Tensor [3, h, w] or None
        The image without the parts, all else the same.
    ground : Tensor [h, w] of bool or None
        Where a background lies that a network may have learned instead.
    swapped : Tensor [3, h, w] or None
        The image with the ground of another class, all else the same.
    swapped_class : int or None
        That class.
    distractors : Tensor [h, w] of bool or None
        Where something looks like a part, and is of no class.
    """

    parts: Bool[Tensor, "p h w"]
    groups: tuple[int, ...]
    absent: Float[Tensor, "3 h w"] | None = None
    ground: Bool[Tensor, "h w"] | None = None
    swapped: Float[Tensor, "3 h w"] | None = None
    swapped_class: int | None = None
    distractors: Bool[Tensor, "h w"] | None = None

    @property
    def union(self) -> Bool[Tensor, "h w"]:
        """All parts together.

        Returns
        -------
        Tensor [h, w] of bool
            Where any part is.
        """
        return self.parts.any(0)

    def sufficient(self) -> Bool[Tensor, "s h w"]:
        """The smallest sets of parts that are enough: one part of each group.

        Returns
        -------
        Tensor [s, h, w] of bool
            Where the parts of each set are.
        """
        return torch.stack([self.parts[list(chosen)].any(0) for chosen in product(*self._members())])

    def necessary(self) -> Bool[Tensor, "g h w"]:
        """The smallest sets of parts without which the rest is not enough: all of one group.

        Returns
        -------
        Tensor [g, h, w] of bool
            Where the parts of each set are.
        """
        return torch.stack([self.parts[list(members)].any(0) for members in self._members()])

    def found(self, region: Bool[Tensor, "h w"]) -> float:
        """The recall of a region: how much of the evidence it holds.

        Parameters
        ----------
        region : Tensor [h, w] of bool
            Such as what a method keeps.

        Returns
        -------
        float
            The share of a part that lies in the region: of each group's most covered part, and the mean over groups.
        """
        shares = (self.parts & region).sum((1, 2)) / self.parts.sum((1, 2))
        return float(torch.stack([shares[list(members)].max() for members in self._members()]).mean())

    def to(self, device: torch.device) -> Evidence:
        """The same on a device.

        Parameters
        ----------
        device : torch.device
            Such as the images'.

        Returns
        -------
        Evidence
            Itself or a copy.
        """
        there = (self.absent, self.ground, self.swapped, self.distractors)
        absent, ground, swapped, distractors = (None if one is None else one.to(device) for one in there)
        return replace(self, parts=self.parts.to(device), absent=absent, ground=ground, swapped=swapped, distractors=distractors)

    def _members(self) -> list[list[int]]:
        return [[part for part, of in enumerate(self.groups) if of == group] for group in sorted(set(self.groups))]


@runtime_checkable
class Annotation(Protocol):
    """What says where the object of a photograph is, see ``benchmarks.data.annotations``."""

    def digest(self) -> str:
        """SHA-256 of what it says. Raises UnreadableError where it cannot be read."""
        ...

    def masks(self, source: Path | Image.Image, name: str) -> list[Image.Image]:
        """A mask each object, white on black, of the upright picture's size.

        source: the photograph's; name: its id. Raises UnreadableError where they cannot be read, or are of another picture.
        """
        ...
