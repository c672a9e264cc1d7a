"""Images on their way through a job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.data.evidence import Evidence
from benchmarks.data.sets import Photograph, UnreadableError
from benchmarks.models.preprocessing import Preprocessing
from results.store.store import ImageKey

UNREADABLE = "unreadable"


@dataclass(frozen=True)
class Batch:
    """Images on the device, ``[n, 3, h, w]``, with the classes y that the model gives them."""

    images: list[ImageKey]
    pixels: Tensor
    targets: Tensor

    def take(self, wanted: Sequence[bool]) -> Batch:
        """Those of the images that are wanted."""
        chosen = torch.tensor(wanted, device=self.pixels.device)
        return Batch([image for image, w in zip(self.images, wanted, strict=True) if w], self.pixels[chosen], self.targets[chosen])

    def singles(self) -> list[Batch]:
        """Each image as a batch of its own."""
        return [self.take([i == j for j in range(len(self.images))]) for i in range(len(self.images))]


def on_device(images: Tensor, device: torch.device) -> Tensor:
    """Images on a device; to a GPU from pinned memory, so that the copy goes on beside other work."""
    return images.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else images.to(device)


def image_key(photograph: Photograph) -> ImageKey:
    """An image's id and the start of its content's hash; a file that cannot be read has the hash ``unreadable``."""
    try:
        return photograph.id, photograph.digest()[:16]
    except UnreadableError:
        return photograph.id, UNREADABLE


def evidence_digest(photograph: Photograph) -> str:
    """What tells the evidence of an image from another's, ``unreadable`` where it cannot be read."""
    try:
        return photograph.evidence_digest()
    except UnreadableError:
        return UNREADABLE


def evidence_of(photograph: Photograph, digest: str, preprocessing: Preprocessing, device: torch.device) -> Evidence | None:
    """What is known of an image. Raises UnreadableError where that cannot be read, or no longer has the digest with which it was listed."""
    found = photograph.evidence(preprocessing)
    if photograph.evidence_digest() != digest:
        raise UnreadableError(f"the evidence of {photograph.id} has changed since it was listed: run the command again")
    return None if found is None else found.to(device)
