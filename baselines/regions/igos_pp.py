"""iGOS++: masks optimised by integrated gradients, for deletion and insertion at once."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate

from da.arguments import MODULE, arguments
from da.fill import Fill, baseline_image
from da.passes import passes
from da.types import Attribution, Images, Rngs, Targets

__version__ = "1"

TOGETHER = 10  # images through the network at a time, with what its backward pass needs
LARGEST_STEP, LEAST_STEP, DECAY, SLOPE = 1000.0, 1e-5, 0.2, 1e-4  # of the backtracking

Pair = Float[Tensor, "2 1 s s"]


def _passes(iterations: int, steps: int, step_size: float | None, descent: str, **_: object) -> tuple[int, int]:
    integrals = 4 * steps * iterations
    return (integrals * len(_step_sizes(step_size or LARGEST_STEP)) if descent == "backtracking" else 0), integrals


@passes(_passes)
def igos_pp(
    model: nn.Module,
    images: Images,
    targets: Targets | None = None,
    *,
    rngs: Rngs | None = None,
    seed: int = 0,
    size: int = 28,
    iterations: int = 20,
    steps: int = 20,
    area: float = 1.0,
    variation: float = 20.0,
    sigma: float = 0.0005,
    descent: str = "backtracking",
    step_size: float | None = None,
    noise: float = 0.045,
    fill: Fill = "blur",
) -> Attribution:
    """What is hidden by two small, smooth masks, one that loses the class and one whose complement keeps it.

    The masks Mx and My, small grids enlarged bilinearly, are 1 at first: all of the image shows. With f the class's probability, averaged
    along the straight way on which a mask comes in, what is descended is half of ``f(Mx) + f(Mx My) - f(1 - My) - f(1 - Mx My)``, and
    the area and roughness of what ``Mx My`` hides. Four integrals of ``steps`` forward and backward passes an iteration; backtracking
    takes four of forward passes for each step that it tries. An image at a time.

    Parameters
    ----------
    model : torch.nn.Module
        Logits of images in [0, 1]: normalisation is inside it.
    images : Tensor [n, 3, h, w] in [0, 1]
        The images to explain, not normalised.
    targets : Tensor [n], optional
        The class to explain of each image; left out, the model's own prediction.
    rngs : sequence of numpy.random.Generator, optional
        One generator per image, of the noise; left out, made of ``seed`` and the image's content.
    seed : int
        Of the generators, where ``rngs`` is left out.
    size : int
        Side of the masks, from 2.
    iterations : int
        Of the descent, from 1.
    steps : int
        Of each integral, from 1.
    area : float
        Weight of the mean of ``1 - Mx My``.
    variation : float
        Weight of the total variation: the mean square of differences between neighbours, of the small mask and, less where the image has
        an edge, of the enlarged one.
    sigma : float
        Of the image's squared differences at which an edge counts, above 0, in pixel values: 0.01 after the usual normalisation.
    descent : {"backtracking", "nesterov"}
        Whether each step is the first of ``step_size``, a fifth of it, and so on that descends enough, or is ``step_size``, accelerated.
    step_size : float, optional
        Of the descent, from 0.00001; left out, 1000 or, with ``nesterov``, at most ``size ** 2 / (12 * variation)``: by larger steps the
        variation makes it oscillate, though the authors take 1000 at any size.
    noise : float
        Standard deviation of what is added to masked images, from 0, in pixel values: 0.2 after the usual normalisation.
    fill : str or three floats
        What shows where a mask is 0, see ``da.fill.baseline_image``.

    Returns
    -------
    Attribution
        ``1 - Mx My`` as ``saliency``, and the forward passes of each image.

    Raises
    ------
    TypeError, ValueError
        For arguments of another type, shape or range.

    References
    ----------
    - Khorram, Lawson and Fuxin, CHIL 2021.
    - Jiang, Khorram and Fuxin, BMVC 2023 (``nesterov``).

    Notes
    -----
    Deviations from the paper: noise is drawn once an iteration, for all integrals and steps that are tried, so that backtracking compares
    like with like; what it compares is what the gradient is of, where the authors' code has the scores twice. Colours count in their mean
    square for edges.
    """
    for name, value, valid in (
        ("size", size, size >= 2),
        ("iterations", iterations, iterations >= 1),
        ("steps", steps, steps >= 1),
        ("sigma", sigma, sigma > 0),
        ("area", area, 0 <= area < np.inf),
        ("variation", variation, 0 <= variation < np.inf),
        ("step_size", step_size, step_size is None or LEAST_STEP <= step_size < np.inf),
        ("noise", noise, 0 <= noise < np.inf),
        ("descent", descent, descent in ("backtracking", "nesterov")),
    ):
        if not valid:
            raise ValueError(f"igos_pp: {name}={value!r} is out of range; see its documentation")
    model, images, targets, rngs = arguments(MODULE, model, images, targets, rngs, seed)
    if step_size is None:
        step_size = LARGEST_STEP if descent == "backtracking" else size**2 / max(12 * variation, size**2 / LARGEST_STEP)
    hidden = baseline_image(images, fill)
    maps, queries = [], []
    for i, rng in enumerate(rngs):
        one = _Objective(model, images[i], hidden[i], int(targets[i]), steps, area, variation, sigma)
        masks = images.new_ones(2, 1, size, size)
        before = torch.zeros_like(masks)
        for t in range(iterations):
            added = noise * torch.from_numpy(rng.standard_normal((steps, *images.shape[1:]), np.float32)).to(images) if noise else None
            value, slope = one.slope(masks, added)
            if descent == "nesterov":
                now = masks - step_size * slope
                masks, before = (now + t / (t + 3) * (now - before)).clamp(0, 1), now
            else:
                masks = one.backtracked(masks, added, value, slope, step_size)
        maps.append(1 - one.enlarged(masks.prod(0, keepdim=True))[0, 0])
        queries.append(one.queries)
    return Attribution(torch.stack(maps).float(), queries=torch.tensor(queries))


def _step_sizes(largest: float) -> list[float]:
    """The steps that are tried: each a fifth of the one before."""
    found = []
    while largest >= LEAST_STEP:
        found.append(largest)
        largest *= DECAY
    return found


class _Objective:
    """What is descended for one image, see ``igos_pp``, and the forward passes that it has taken."""

    def __init__(
        self, model: nn.Module, image: Tensor, hidden: Tensor, target: int, steps: int, area: float, variation: float, sigma: float
    ) -> None:
        self.model, self.target, self.steps, self.area, self.variation = model, target, steps, area, variation
        self.image, self.hidden = image[None], hidden[None]
        self.level = (torch.arange(1, steps + 1) / steps).to(image).view(-1, 1, 1, 1)
        self.flat = [(-image.diff(dim=axis).square().mean(0) / sigma).exp() for axis in (1, 2)]  # 1 within an area, 0 across an edge
        self.queries = 0

    def enlarged(self, masks: Float[Tensor, "m 1 s s"]) -> Float[Tensor, "m 1 h w"]:
        """Masks as large as the image."""
        return interpolate(masks, self.image.shape[-2:], mode="bilinear", align_corners=True)

    def backtracked(self, masks: Pair, noise: Tensor | None, value: float, slope: Pair, step_size: float) -> Pair:
        """The first step that descends at least ``SLOPE`` times what the slope promises (Armijo's rule), or else the least."""
        promised = SLOPE * float(slope.square().sum())
        for size in _step_sizes(step_size):
            trial = (masks - size * slope).clamp(0, 1)
            if self.value(trial, noise) <= value - size * promised:
                return trial
        return (masks - LEAST_STEP * slope).clamp(0, 1)

    def value(self, masks: Pair, noise: Tensor | None) -> float:
        """What is descended, at a pair of masks."""
        with torch.no_grad():
            large = self.enlarged(masks)
            scores = sum(float(self._scores(large, noise, *of)) for of in self._integrals())
            return scores + float(self._cost(masks))

    def slope(self, masks: Pair, noise: Tensor | None) -> tuple[float, Pair]:
        """The same, and its gradient by the masks: first by the enlarged ones, a part of the images at a time, and then through them."""
        masks = masks.detach().requires_grad_()
        large = self.enlarged(masks)
        leaf = large.detach().requires_grad_()
        slope, value = torch.zeros_like(leaf), 0.0
        for of in self._integrals():
            score = self._scores(leaf, noise, *of)
            slope += torch.autograd.grad(score, leaf)[0]
            value += float(score.detach())
        cost = self._cost(masks)
        (found,) = torch.autograd.grad((large * slope).sum() + cost, masks)
        return value + float(cost.detach()), found

    def _integrals(self) -> list[tuple[tuple[int, ...], bool, int, int]]:
        """Which masks, whether for deletion, and the steps from and to: each term's, a part at a time."""
        terms = [((0,), True), ((0, 1), True), ((1,), False), ((0, 1), False)]
        return [(*term, start, min(start + TOGETHER, self.steps)) for term in terms for start in range(0, self.steps, TOGETHER)]

    def _scores(
        self, large: Float[Tensor, "2 1 h w"], noise: Tensor | None, which: tuple[int, ...], deletes: bool, start: int, end: int
    ) -> Tensor:
        """What the images from ``start`` to ``end`` of one integral add."""
        mask = self.level[start:end] * large[list(which)].prod(0)
        shown = torch.lerp(self.hidden, self.image, mask) if deletes else torch.lerp(self.image, self.hidden, mask)
        self.queries += end - start
        scores = self.model(shown if noise is None else shown + noise[start:end]).softmax(1)[:, self.target]
        return (0.5 if deletes else -0.5) * scores.sum() / self.steps

    def _cost(self, masks: Pair) -> Tensor:
        """Area and roughness of what both masks hide."""
        small = masks.prod(0, keepdim=True)
        large = self.enlarged(small)[0, 0]
        rough = sum(small[0, 0].diff(dim=a).square().mean() + (self.flat[a] * large.diff(dim=a).square()).mean() for a in (0, 1))
        return self.area * (1 - small).abs().mean() + self.variation * rough / 2
