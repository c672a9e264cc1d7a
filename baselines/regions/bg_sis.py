"""Batched gradient SIS: sufficient pixels by backward selection with gradients."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from baselines.regions.criterion import Criterion, premises
from da.arguments import MODULE, arguments
from da.fill import IMAGENET_MEAN, Fill, baseline_image
from da.passes import passes
from da.types import NOTHING_ACCEPTED, OK, VACUOUS, Attribution, Images, Rngs, Targets

__version__ = "1"


@passes(lambda steps, **_: (1, steps))
def bg_sis(
    model: nn.Module,
    images: Images,
    targets: Targets | None = None,
    *,
    rngs: Rngs | None = None,
    seed: int = 0,
    steps: int = 894,
    criterion: str = "threshold",
    level: float = 0.9,
    fill: Fill = IMAGENET_MEAN,
) -> Attribution:
    """Remove the pixels that by the gradient the class's probability gains most without, in equal rounds; the fewest left that are enough.

    One forward and one backward pass a round, and one forward pass of the ablated image. All images go side by side.

    Parameters
    ----------
    model : torch.nn.Module
        Logits of images in [0, 1]: normalisation is inside it.
    images : Tensor [n, 3, h, w] in [0, 1]
        The images to explain, not normalised.
    targets : Tensor [n], optional
        The class to explain of each image; left out, the model's own prediction.
    rngs : sequence of numpy.random.Generator, optional
        One generator per image, by which pixels of equal gradients are chosen; left out, made of ``seed`` and the image's content.
    seed : int
        Of the generators, where ``rngs`` is left out.
    steps : int
        Rounds, from 2 to the number of pixels. With 894, 100 pixels of 299 x 299 go in each, as in the paper, and 56 of 224 x 224.
    criterion : {"top1", "share", "threshold"}
        Whether pixels are enough where the target is the predicted class, or by its probability: ``level`` is a share of the whole
        image's, or a probability.
    level : float
        What the pixels alone must have at least, above 0, at most 1; not used by ``top1``.
    fill : str or three floats
        What replaces removed pixels, see ``da.fill.baseline_image``; the data set's
        mean colour, which is zero after normalisation, is the authors'.

    Returns
    -------
    Attribution
        The last of the sets of pixels that was enough as ``kept``, its status (``ok``, ``vacuous``, ``unsatisfiable`` or
        ``nothing_accepted``), and the round of removal as the map: what went last is on top.

    Raises
    ------
    TypeError, ValueError
        For arguments of another type, shape or range.

    References
    ----------
    Carter, Jain, Mueller and Gifford, NeurIPS 2021.

    Notes
    -----
    Deviations from the paper: one set of pixels an image, not the further ones that are disjoint from it. Ties of the gradient are broken
    by a random order of the pixels, where the authors' code adds noise of variance 1e-12 to it: where the network is sure, gradients are
    smaller than that, and their first rounds are random. Rounds are of equal size, where theirs leave a smaller last one.
    """
    needed = Criterion(criterion, level)
    model, images, targets, rngs = arguments(MODULE, model, images, targets, rngs, seed)
    n, _, h, w = images.shape
    if not 2 <= steps <= h * w:
        raise ValueError(f"steps={steps}: give from 2 to {h * w} rounds for images of {h} x {w} pixels")
    hidden = baseline_image(images, fill)
    pixels = torch.from_numpy(np.stack([rng.permutation(h * w) for rng in rngs])).to(images.device)
    last = torch.full((n, h * w), steps, device=images.device)  # the round in which a pixel goes
    probability, decided = np.empty((steps + 1, n), np.float32), np.empty((steps + 1, n), bool)
    for t in range(steps + 1):
        shown = (last == steps).to(images.dtype).view(n, 1, h, w).requires_grad_(t < steps)
        with torch.set_grad_enabled(t < steps):
            logits = model(torch.lerp(hidden, images, shown))
            of_class = logits.softmax(1).gather(1, targets[:, None])[:, 0]
        probability[t], decided[t] = of_class.detach().float().cpu().numpy(), (logits.argmax(1) == targets).cpu().numpy()
        if t < steps:
            (slope,) = torch.autograd.grad(of_class.sum(), shown)
            slope = slope.flatten(1).masked_fill(last < steps, torch.inf).gather(1, pixels)
            least = slope.argsort(dim=1, stable=True)[:, : h * w * (t + 1) // steps - h * w * t // steps]
            last.scatter_(1, pixels.gather(1, least), t)
    enough = np.stack([needed.accepts(probability[t], decided[t], probability[0]) for t in range(steps + 1)])
    status, fewest = [], []
    for i in range(n):
        word = premises(bool(enough[0, i]), bool(enough[-1, i]))
        rounds = np.flatnonzero(enough[:steps, i]) if word == OK else np.array([steps if word == VACUOUS else 0])
        fewest.append(int(rounds[-1]))
        status.append(NOTHING_ACCEPTED if word == OK and fewest[-1] == 0 else word)
    kept = last >= torch.tensor(fewest, device=images.device)[:, None]
    return Attribution((last / (steps - 1)).float().view(n, h, w), kept.view(n, h, w), tuple(status), targets=targets)
