"""Algorithm 1: Dynamic Ablation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from da.arguments import LABELS, arguments
from da.circles import segment_masks, segments_inside
from da.fill import Fill, baseline_image, composite
from da.passes import passes
from da.settings import added_later
from da.speculate import Lookahead
from da.superpixels import COMPACTNESS, LATER, superpixels
from da.types import NOTHING_ACCEPTED, OK, UNSATISFIABLE, VACUOUS, Attribution, Images, LabelModel, Rngs, Targets, Trace

__version__ = "1"


def _passes(iterations: int = 500, speculate: int = 1, **_: Any) -> tuple[int, int]:
    if speculate > 1:
        raise TypeError("how many answers are thrown away depends on the image")
    return iterations + 1, 0


@added_later(**LATER)
@passes(_passes)
def dynamic_ablation(
    model: LabelModel,
    images: Images,
    targets: Targets | None = None,
    *,
    rngs: Rngs | None = None,
    seed: int = 0,
    rule: str = "positive",
    k: int = 4,
    sp_num: int | None = 500,
    compactness: float = COMPACTNESS,
    slic_zero: bool = False,
    alpha_step: float = 0.2,
    fc: float = 0.95,
    iterations: int = 500,
    speculate: int = 1,
    fill: Fill = "black",
    trace: bool = False,
) -> Attribution:
    """Find a small part of each image that decides its class, by k circles that walk at random and shrink.

    Parameters
    ----------
    model : LabelModel
        Predicted classes of images, see ``da.label_model``; nothing else is asked (decision-based).
    images : Tensor [n, 3, h, w] in [0, 1]
        The images to explain, not normalised.
    targets : Tensor [n], optional
        The class y to explain of each image; left out, the model's own prediction.
    rngs : sequence of numpy.random.Generator, optional
        One generator per image; left out, made of ``seed`` and the image's content.
    seed : int
        Of the generators, where ``rngs`` is left out.
    rule : {"positive", "negative"}
        Pos-R: the kept pixels alone have class y; Neg-R: without the kept pixels the class is not y, which the whole image should have:
        for a class that the model does not predict every region satisfies it.
    k : int
        Circles, from 1.
    sp_num : int or None
        Superpixels asked of SLIC, from 1; None walks over pixels.
    compactness, slic_zero : float, bool
        Of SLIC, see ``da.superpixels``: its compactness, above 0; whether SLICO adapts it, which gives nearly as many as asked.
    alpha_step : float
        Step, as a fraction from 0 to 1 of the image's sides and of the radius of a circle with the area bound.
    fc : float
        Factor of the area bound at each acceptance, from 0 to 1.
    iterations : int
        Proposals, from 1: one label query each, and one for the premise.
    speculate : int
        Proposals asked about in one batch, from 1 (see ``da.speculate``); more take fewer rounds for more queries, same result.
    fill : str or three floats
        What replaces ablated pixels, see ``da.fill.baseline_image``.
    trace : bool
        Return every proposed state, not the decisions alone.

    Returns
    -------
    Attribution
        The sum of the accepted masks divided by its maximum as the saliency, the last accepted mask as ``kept``, and a status per image:
        ``ok``, ``vacuous``, ``unsatisfiable`` or ``nothing_accepted``. Extras: ``accepted`` masks and ``superpixels`` obtained.

    Raises
    ------
    TypeError, ValueError
        For arguments of another type, shape or range.

    Notes
    -----
    Choices the paper leaves open: the mask of Eq. 3 is the union of the circles. Line 8 scales the radii so that their squares sum
    to S_bound / pi. A circle has radius ``|r|``. Each ``random(-a, a)`` is one uniform draw a circle. Centres may leave the image. The
    start is uniform: centres over the image, radii in [0, 1) before line 8. Nothing accepted: the mask stays all ones, the map zero.
    A vacuous rule keeps the empty mask, the smallest that gives y.

    References
    ----------
    An, Lai and Han, "Logic Rule Guided Attribution with Dynamic Ablation", AAAI 2022, Algorithm 1.
    """
    model, images, targets, rngs = arguments(LABELS, model, images, targets, rngs, seed)
    _check(rule=rule, k=k, alpha_step=alpha_step, fc=fc, iterations=iterations, speculate=speculate)
    n, _, h, w = images.shape
    segments = superpixels(images, sp_num, compactness=compactness, slic_zero=slic_zero)
    blank = baseline_image(images, fill)
    shown, hidden = (images, blank) if rule == "positive" else (blank, images)
    start, steps = _draw(rngs, k, iterations, images)

    x, y, r = h * start[:, 0], w * start[:, 1], start[:, 2]  # line 1
    s_bound = images.new_full((n, 1), h * w)  # line 2
    m = torch.isfinite(segments.centres[..., 0])  # line 3; masks are kept segment by segment, [n, s]
    cam = torch.zeros_like(m, dtype=torch.float32)
    states, decisions, shares = [], [], []

    def proposal(x: Tensor, y: Tensor, r: Tensor, s_bound: Tensor, step: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        reach = (s_bound / math.pi).sqrt()
        x_new = x + h * alpha_step * step[:, 0]  # line 5
        y_new = y + w * alpha_step * step[:, 1]  # line 6
        r_new = r + reach * alpha_step * step[:, 2]  # line 7
        r_new = r_new * (reach / r_new.square().sum(1, keepdim=True).sqrt().clamp_min(1e-12))  # line 8
        return x_new, y_new, r_new

    def keeps_class(m_new: Tensor, rows: Tensor | slice) -> Tensor:  # line 10
        pixels = segment_masks(m_new, segments.index[rows])
        return model(composite(shown[rows], hidden[rows], pixels)) == targets[rows]

    def ahead(x: Tensor, y: Tensor, r: Tensor, s_bound: Tensor, step: Tensor, rows: Tensor) -> Tensor:
        return segments_inside(*proposal(x, y, r, s_bound, step), segments.centres[rows])

    lookahead = Lookahead(ahead, keeps_class, steps, speculate)
    for t, step in enumerate(steps):  # line 4
        x_new, y_new, r_new = proposal(x, y, r, s_bound, step)
        m_new = segments_inside(x_new, y_new, r_new, segments.centres)  # line 9
        same = keeps_class(m_new, slice(None)) if speculate == 1 else lookahead(t, x, y, r, s_bound)
        accepted = (same if rule == "positive" else ~same)[:, None]
        x = torch.where(accepted, x_new, x)  # lines 11 to 13
        y = torch.where(accepted, y_new, y)
        r = torch.where(accepted, r_new, r)
        m = torch.where(accepted, m_new, m)  # line 14
        cam += m_new & accepted  # line 15
        s_bound = torch.where(accepted, s_bound * fc, s_bound)  # line 16
        lookahead.forget(t, accepted[:, 0])
        decisions.append(accepted[:, 0])
        if trace:
            states.append(torch.stack([x_new, y_new, r_new], 1))
            shares.append(segment_masks(m_new, segments.index).float().mean((1, 2)))

    decided = torch.stack(decisions, 1)
    count = decided.sum(1)
    premise_fails = model(blank) == targets
    if rule == "positive":
        m = m & ~premise_fails[:, None]
    failed = VACUOUS if rule == "positive" else UNSATISFIABLE
    return Attribution(
        saliency=segment_masks(cam / cam.amax(1, keepdim=True).clamp_min(1), segments.index),  # line 19
        kept=segment_masks(m, segments.index),
        status=tuple(failed if p else OK if c else NOTHING_ACCEPTED for p, c in zip(premise_fails.tolist(), count.tolist(), strict=True)),
        queries=lookahead.queries + 1 if speculate > 1 else None,
        extras={"accepted": count.float(), "superpixels": segments.count.float()},
        trace=Trace(decided, torch.stack(states, 1), torch.stack(shares, 1)) if trace else Trace(decided),
        targets=targets,
        negative=rule == "negative",
    )


def _draw(rngs: Rngs, k: int, iterations: int, images: Images) -> tuple[Float[Tensor, "n 3 k"], Float[Tensor, "t n 3 k"]]:
    """Every image's own randomness: the start in [0, 1) and the steps in [-1, 1), on the CPU whatever the device."""
    start = np.stack([rng.random((3, k)) for rng in rngs])
    steps = np.stack([rng.uniform(-1, 1, (iterations, 3, k)) for rng in rngs], 1)
    return torch.from_numpy(start).to(images), torch.from_numpy(steps).to(images)


def _check(*, rule: str, k: int, alpha_step: float, fc: float, iterations: int, speculate: int) -> None:
    if rule not in ("positive", "negative"):
        raise ValueError(f"rule={rule!r}: choose positive (Pos-R) or negative (Neg-R)")
    if k < 1:
        raise ValueError(f"k={k}: at least one circle is needed")
    if not 0 <= alpha_step <= 1:
        raise ValueError(f"alpha_step={alpha_step}: a step is a fraction of the image, from 0 to 1")
    if not 0 <= fc <= 1:
        raise ValueError(f"fc={fc}: the area bound is multiplied by fc, from 0 to 1")
    if iterations < 1:
        raise ValueError(f"iterations={iterations}: at least one is needed")
    if speculate < 1:
        raise ValueError(f"speculate={speculate}: at least one proposal at a time")
