"""Extremal Perturbation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from baselines.perturbation.smooth_mask import SmoothMask
from da.arguments import MODULE, arguments
from da.fill import IMAGENET_MEAN
from da.passes import passes
from da.settings import with_settings
from da.types import Attribution, Images, Rngs, Targets

__version__ = "4"

SIDE = 224  # step and sigma are pixels of an image of this side
Perturb = Callable[[Tensor], Tensor]
Border = str | Sequence[float]


@dataclass(frozen=True)
class Settings:
    """The hyper-parameters of ``extremal_perturbation``.

    Attributes
    ----------
    areas : sequence of float
        Fractions of the image and its margin, between 0 and 1.
    perturbation : {"blur", "fade"}
        To a blurred image, by a pyramid of ``levels`` Gaussians up to ``blur`` pixels, the last the image; or to black, in [0, 1] pixel
        space.
    levels : int
        Of the blur's pyramid, from 2.
    blur : float
        The largest sigma, in pixels of an image of side 224.
    border : str or three floats
        Around the image that is blurred lies this RGB colour, or with ``"reflect"`` its mirrored edge.
    variant : {"preserve", "delete", "dual"}
        Keep the class, lose it, or both.
    reward : {"simple", "contrastive"}
        The class's logit, or that less the largest other.
    iterations : int
        Steps of the optimisation, from 1.
    step, sigma : int
        Of the mask's grid and kernel, in pixels of an image of side 224, from 1.
    coldness : float
        Of the mask's soft maximum, above 0, at most 80.
    learning_rate : float
        Of the optimisation.
    momentum : float
        Of the optimisation.
    dampening : float
        Of the momentum.
    area_weight : float
        Of the area's loss beside the reward.
    area_growth : float
        Factor of ``area_weight`` at each iteration.
    jitter : bool
        Mirror the images in every other iteration.
    smooth : float
        Sigma of the final blur over the shorter side.

    Raises
    ------
    ValueError
        For a hyper-parameter out of range.
    """

    areas: Sequence[float] = (0.025, 0.05, 0.1, 0.2)
    perturbation: str = "blur"
    levels: int = 8
    blur: float = 20
    border: Border = IMAGENET_MEAN
    variant: str = "preserve"
    reward: str = "simple"
    iterations: int = 800
    step: int = 7
    sigma: int = 21
    coldness: float = 20
    learning_rate: float = 0.01
    momentum: float = 0.9
    dampening: float = 0.9
    area_weight: float = 300
    area_growth: float = 1.0035
    jitter: bool = True
    smooth: float = 0.09

    def __post_init__(self) -> None:
        if not self.areas or not all(0 < area < 1 for area in self.areas):
            raise ValueError(f"areas={list(self.areas)}: give fractions of the image between 0 and 1")
        for name, value, known in (
            ("perturbation", self.perturbation, ("blur", "fade")),
            ("variant", self.variant, ("preserve", "delete", "dual")),
            ("reward", self.reward, ("simple", "contrastive")),
        ):
            if value not in known:
                raise ValueError(f"{name}={value!r}: choose {', '.join(known)}")
        if isinstance(self.border, str) and self.border != "reflect":
            raise ValueError(f"border={self.border!r}: choose reflect, or three numbers (red, green, blue)")
        if min(self.iterations, self.step, self.sigma) < 1 or self.levels < 2:
            found = f"iterations={self.iterations}, step={self.step}, sigma={self.sigma}"
            raise ValueError(f"{found} must be at least 1 and levels={self.levels} at least 2")
        if not 0 < self.coldness <= 80:
            raise ValueError(f"coldness={self.coldness}: more than 0 and at most 80, where its exponentials still are finite")


def _passes(areas: Sequence[float], iterations: int, variant: str, **_: Any) -> tuple[int, int]:
    return len(areas), iterations * len(areas) * (2 if variant == "dual" else 1)


@passes(_passes)
@with_settings(Settings)
def extremal_perturbation(
    model: nn.Module,
    images: Images,
    targets: Targets | None = None,
    *,
    rngs: Rngs | None = None,
    seed: int = 0,
    settings: Settings,
) -> Attribution:
    """The smooth mask of a given area under which the class scores highest, summed over areas.

    Rows of images and areas are optimised together, each on its own: one forward and one backward pass an iteration, image and area, twice
    that for ``dual``.

    Parameters
    ----------
    model : torch.nn.Module
        Logits of images in [0, 1]: normalisation is inside it.
    images : Tensor [n, 3, h, w] in [0, 1]
        The images to explain, not normalised.
    targets : Tensor [n], optional
        The class to explain of each image; left out, the model's own prediction.
    rngs : sequence of numpy.random.Generator, optional
        Not used: nothing is drawn.
    seed : int
        Not used: nothing is drawn.
    settings : Settings
        Given field by field: those of ``baselines.perturbation.extremal_perturbation.Settings`` are keyword arguments, such as
        ``iterations=200``.

    Returns
    -------
    Attribution
        The map as ``saliency``. Extras: ``probability_A``, the class's softmax probability under the final mask of each area A.

    Raises
    ------
    TypeError, ValueError
        For arguments of another type, shape or range.

    References
    ----------
    Fong, Patrick and Vedaldi, ICCV 2019.
    """
    model, images, targets, rngs = arguments(MODULE, model, images, targets, rngs, seed)
    masks = extremal_masks(model, images, targets, settings)
    areas, show = settings.areas, perturber(images, settings)
    with torch.no_grad():
        rows = targets.repeat_interleave(len(areas))
        scores = model(show(masks.flatten(0, 1))).softmax(1).gather(1, rows[:, None]).view(len(images), -1)
    sd = settings.smooth * min(images.shape[-2:])
    total = masks.sum(1)
    return Attribution(
        gaussian(total[:, None], sd, (0.0,))[:, 0],
        extras={f"probability_{area:g}": scores[:, a] for a, area in enumerate(areas)},
    )


def extremal_masks(model: nn.Module, images: Images, targets: Targets, s: Settings) -> Float[Tensor, "n areas h w"]:
    """The optimised masks in [0, 1]; see ``extremal_perturbation``."""
    n, _, h, w = images.shape
    scale = min(h, w) / SIDE
    pixels = max(1, round(s.step * scale)), max(1, round(s.sigma * scale))
    smooth = SmoothMask((h, w), step=pixels[0], sigma=pixels[1], coldness=s.coldness, device=images.device)
    show = perturber(images, s)
    rows = targets.repeat_interleave(len(s.areas))
    share = images.new_tensor(list(s.areas)).repeat(n)
    parameters = images.new_ones(n * len(s.areas), *smooth.grid)
    velocity = torch.zeros_like(parameters)
    for t in range(s.iterations):
        parameters.requires_grad_()
        masks = smooth(parameters)
        inner = smooth.crop(masks)
        gain = masks.new_zeros(())
        for kept, sign in ((inner, 1), (1 - inner, -1)):
            if s.variant == ("delete" if sign == 1 else "preserve"):
                continue
            shown = show(kept)
            gain = gain + sign * _reward(model(shown.flip(-1) if s.jitter and t % 2 == 0 else shown), rows, s.reward).sum()
        loss = s.area_weight * s.area_growth**t * _area_loss(masks.flatten(1), share).sum() - gain
        (gradient,) = torch.autograd.grad(loss, parameters)
        velocity = gradient if t == 0 else s.momentum * velocity + (1 - s.dampening) * gradient
        parameters = (parameters.detach() - s.learning_rate * velocity).clamp(0, 1)
    with torch.no_grad():
        return smooth.crop(smooth(parameters)).reshape(n, len(s.areas), h, w)


def perturber(images: Images, s: Settings) -> Perturb:
    """A function of masks ``[n * areas, h, w]`` to perturbed images: where a mask is 1 the image shows, where it is 0 nothing of it."""
    areas, levels = len(s.areas), s.levels
    if s.perturbation == "fade":
        return lambda masks: masks[:, None] * images.repeat_interleave(areas, 0)
    top = s.blur * min(images.shape[-2:]) / SIDE
    pyramid = torch.stack([gaussian(images, top * (1 - level / (levels - 1)), s.border) for level in range(levels)], 1)
    # For each image, level and pixel three channels and their differences to the next level: a mask reads one row a pixel.
    table = torch.cat([pyramid[:, :-1], pyramid.diff(dim=1)], 2).permute(0, 1, 3, 4, 2).reshape(-1, 6)
    n, _, h, w = images.shape
    first = torch.arange(n, device=images.device).repeat_interleave(areas)[:, None] * (levels - 1) * h * w
    pixel = first + torch.arange(h * w, device=images.device)

    def blurred(masks: Tensor) -> Tensor:
        at = (masks * (levels - 1)).flatten(1)
        low = at.detach().long().clamp_(0, levels - 2)
        row = table.index_select(0, torch.add(pixel, low, alpha=h * w).flatten()).view(len(masks), h * w, 6)
        shown = torch.addcmul(row[..., :3], row[..., 3:], (at - low)[..., None])
        return shown.view(-1, h, w, 3).permute(0, 3, 1, 2)

    return blurred


def gaussian(images: Float[Tensor, "m c h w"], sigma: float, border: Border) -> Float[Tensor, "m c h w"]:
    """Gaussian blur, cut at four sigma. border: the colour around the image, a number per channel, or ``reflect``."""
    if sigma <= 0:
        return images
    mode, colour = ("reflect", 0.0) if isinstance(border, str) else ("constant", images.new_tensor(list(border)).view(1, -1, 1, 1))
    blurred = gaussian_filter((images - colour).cpu().numpy(), (0, 0, sigma, sigma), mode=mode, truncate=4)
    return torch.from_numpy(blurred).to(images) + colour


def _area_loss(masks: Float[Tensor, "r p"], share: Float[Tensor, " r"]) -> Float[Tensor, " r"]:
    """Mean squared difference of the sorted mask and a step that is 1 on its largest ``share`` of values.

    Without sorting: ``sum(m^2) + sum over the largest (1 - 2 m)``. Of values that tie at the edge the last in raster order are in.
    """
    p = masks.shape[1]
    values = masks.detach()
    largest = p - (p * (1 - share)).long()
    edge = values.new_empty(len(values), 1)
    for k in set(largest.tolist()):
        edge[largest == k] = values[largest == k].kthvalue(p - k + 1, dim=1, keepdim=True).values
    above, tied = values > edge, values == edge
    room = largest[:, None] - above.sum(1, keepdim=True)
    inside = above | (tied & (tied.flip(1).cumsum(1).flip(1) <= room))
    return (masks.square() + inside * (1 - 2 * masks)).sum(1) / p


def _reward(logits: Float[Tensor, "r classes"], rows: Int[Tensor, " r"], reward: str) -> Float[Tensor, " r"]:
    score = logits.gather(1, rows[:, None])[:, 0]
    if reward == "simple":
        return score
    return score - logits.scatter(1, rows[:, None], -torch.inf).amax(1)
