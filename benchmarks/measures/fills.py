"""What stands where a measure removes pixels: a method's fill, or an imputation from the pixels that are left."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.sparse import coo_array
from scipy.sparse.linalg import splu
from torch import Tensor

from da.fill import Fill, baseline_image, composite
from da.types import Images, Masks, Rngs

ROAD = "road"  # the fill by noisy linear imputation
ROAD_NOISE = 0.01  # standard deviation, of pixels in [0, 1]
NEIGHBOURS = [((0, 1), 1 / 6), ((1, 0), 1 / 6), ((1, 1), 1 / 12), ((1, -1), 1 / 12)]  # and those opposite


def fill_names(fills: Sequence[Fill], where: str) -> list[str]:
    """The names of fills in those of metrics. Raises ValueError for none, and for two of one name; where: what they are in messages."""
    names = [fill.partition(":")[0] if isinstance(fill, str) else "colour" for fill in fills]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"{where}={list(fills)}: give one or more of different names, of colours and folders of photographs one each")
    return names


class Removal:
    """Images without some of their pixels.

    images: ``[n, 3, h, w]``. fill: of ``da.fill.baseline_image``, or ``"road"``. rngs: one generator per image, by which the noise of
    ROAD is drawn, once for all the masks of an image. Raises ValueError for an unknown fill; name: what it is called there.
    """

    def __init__(self, images: Images, fill: Fill, rngs: Rngs, name: str) -> None:
        self.images = images
        self.imputed = isinstance(fill, str) and fill == ROAD
        if self.imputed:
            drawn = [rng.standard_normal(image.shape, dtype=np.float32) for image, rng in zip(images, rngs, strict=True)]
            self.blank = baseline_image(images, "mean")
            self.noise = ROAD_NOISE * torch.from_numpy(np.stack(drawn)).to(images)
        else:
            self.blank = baseline_image(images, fill, name)

    def __call__(self, kept: Masks) -> Images:
        """The images with what is not kept removed. With ROAD and nothing kept, there is nothing to impute from but the mean colour."""
        if not self.imputed:
            return composite(self.images, self.blank, kept)
        shown = [
            linear_imputation(image, mask, noise) if mask.any() else blank
            for image, mask, noise, blank in zip(self.images, kept, self.noise, self.blank, strict=True)
        ]
        return torch.stack(shown)


def linear_imputation(image: Float[Tensor, "3 h w"], kept: Bool[Tensor, "h w"], noise: Float[Tensor, "3 h w"]) -> Float[Tensor, "3 h w"]:
    """Each removed pixel as the weighted mean of its neighbours, all at once, plus noise: ROAD's imputation (Rong et al., ICML 2022).

    Neighbours weigh 1/6 along rows and columns and 1/12 across; at the image's edge the rest of them weigh more. noise: what is added.
    """
    if bool(kept.all()):
        return image
    h, w = kept.shape
    removed = (~kept).flatten().cpu().numpy()
    place = np.cumsum(removed) - 1  # among the unknowns
    known = image.reshape(3, -1).T.double().cpu().numpy()
    count = int(removed.sum())
    total, right = np.zeros(h * w), np.zeros((h * w, 3))
    entries: list[tuple[np.ndarray, np.ndarray, float]] = []
    for here, there, weight in _pairs(h, w):
        total[here] += weight  # a pixel comes but once in each of the lists
        given = ~removed[there]
        right[here[given]] += weight * known[there[given]]
        both = removed[here] & removed[there]
        entries.append((place[here[both]], place[there[both]], -weight))
    rows = np.concatenate([np.arange(count), *(one for one, _, _ in entries)])
    columns = np.concatenate([np.arange(count), *(one for _, one, _ in entries)])
    values = np.concatenate([total[removed], *(np.full(len(one), weight) for one, _, weight in entries)])
    system = coo_array((values, (rows, columns)), shape=(count, count)).tocsc()
    # Symmetric and dominated by its diagonal: without pivoting, which fills in what the order saves, and is hundreds of times slower.
    factors = splu(system, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    solved = factors.solve(right[removed])
    found = image.clone().reshape(3, -1)
    missing = torch.from_numpy(removed).to(image.device)
    found[:, missing] = torch.from_numpy(solved.T).to(image) + noise.reshape(3, -1)[:, missing]
    return found.view_as(image)


def _pairs(h: int, w: int) -> Iterator[tuple[np.ndarray, np.ndarray, float]]:
    """Pixels and their neighbours in one direction, as places row by row, with the neighbours' weight."""
    places = np.arange(h * w).reshape(h, w)
    for (down, right), weight in NEIGHBOURS:
        first = places[: h - down, max(0, -right) : w - max(0, right)].ravel()
        second = places[down:, max(0, right) : w - max(0, -right)].ravel()
        yield first, second, weight
        yield second, first, weight
