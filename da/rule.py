"""A mask to the rule "if these parts are present, the image is class y": parts, text, picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from skimage.measure import label, regionprops
from skimage.segmentation import find_boundaries

Mask = Bool[np.ndarray, "h w"]
Picture = Float[np.ndarray, "h w 3"]


@dataclass(frozen=True)
class Part:
    """One connected part of a mask. share: of the image; box: top, left, bottom, right and centre: row, column, in pixels."""

    share: float
    box: tuple[int, int, int, int]
    centre: tuple[float, float]


def parts(mask: Mask) -> list[Part]:
    """The 8-connected parts of a mask, largest first."""
    regions = sorted(regionprops(label(mask, connectivity=2)), key=lambda region: -region.area)
    return [
        Part(
            share=float(region.area) / mask.size,
            box=(int(region.bbox[0]), int(region.bbox[1]), int(region.bbox[2]), int(region.bbox[3])),
            centre=(float(region.centroid[0]), float(region.centroid[1])),
        )
        for region in regions
    ]


def text(mask: Mask, class_name: str, rule: str = "positive") -> str:
    """The rule in words."""
    count = len(parts(mask))
    share = f"{100 * mask.mean():.1f} % of the image"
    these = f"this part, {share}, is" if count == 1 else f"these {count} parts, {share}, are"
    if count == 0:
        these = "no part of the image is"
    if rule == "positive":
        return f"If {these} present, then the image is classified {class_name}."
    return f"If {these} absent, then the image is not classified {class_name}."


def picture(image: Picture, mask: Mask, colour: tuple[float, float, float] = (1.0, 0.85, 0.0)) -> NDArray[np.float32]:
    """The image with all but the mask dimmed and the mask outlined; values in [0, 1]."""
    shown = np.where(mask[..., None], image, 0.25 * image).astype(np.float32)
    shown[find_boundaries(mask, mode="outer")] = colour
    return shown
