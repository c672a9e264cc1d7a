"""The mask operator of Extremal Perturbation: a coarse grid of parameters to a smooth mask."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import fold, pad, unfold


class SmoothMask:
    """Each pixel's value is a soft maximum of the parameters near it, each weighted by a kernel of the distance.

    Fong, Patrick and Vedaldi, ICCV 2019, Sec. 3.3. The kernel is ``exp(-2 max(0, d / sigma - 1/2)^2)``, the soft maximum the mean of
    the weighted parameters under a softmax of ``coldness`` times themselves. Parameters sit on every
    ``step``-th pixel; those further than ``1 + ceil(sigma / step)`` steps along an axis are left out. The mask is made with a margin
    of ``sigma`` pixels around the outermost parameters. step, sigma: pixels.
    """

    def __init__(self, size: tuple[int, int], *, step: int, sigma: int, coldness: float, device: torch.device) -> None:
        self.size, self.step, self.margin, self.coldness = size, step, sigma, coldness
        self.radius = 1 + math.ceil(sigma / step)
        self.grid = (math.ceil(size[0] / step), math.ceil(size[1] / step))
        self.border = math.ceil(sigma / step)  # cells that hold the margin
        inside = torch.arange(step)
        neighbours = torch.arange(-self.radius, self.radius + 1) * step
        offset = (inside[None, :] - neighbours[:, None]).square()  # [neighbour, pixel of the cell] along one axis
        distance = (offset[:, None, :, None] + offset[None, :, None, :]).sqrt().flatten(2).flatten(0, 1)
        self.weight = torch.exp(-2 * (distance / sigma - 0.5).clamp_min(0).square()).to(device)

    def __call__(self, parameters: Float[Tensor, "r gh gw"]) -> Float[Tensor, "r eh ew"]:
        """Masks in [0, 1], margin included, of parameters in [0, 1]."""
        around = self.border + self.radius
        cells = [side + 2 * self.border for side in self.grid]
        near = unfold(pad(parameters[:, None], (around,) * 4), 2 * self.radius + 1)  # [r, neighbours, cells]
        values: Tensor = _SoftMaximum.apply(near, self.weight, self.coldness)
        full = fold(values, (cells[0] * self.step, cells[1] * self.step), self.step, stride=self.step)[:, 0]
        cut = self.border * self.step - self.margin
        ends = [
            max((side - 1) * self.step + 2 * self.margin + 1, size + self.margin) for side, size in zip(self.grid, self.size, strict=True)
        ]
        return full[:, cut : cut + ends[0], cut : cut + ends[1]]

    def crop(self, masks: Float[Tensor, "r eh ew"]) -> Float[Tensor, "r h w"]:
        """The masks without their margin."""
        return masks[:, self.margin : self.margin + self.size[0], self.margin : self.margin + self.size[1]]


class _SoftMaximum(torch.autograd.Function):
    """``sum(v softmax(coldness v))`` over the neighbours, ``v = weight * near``, a row at a time so that ``v`` stays small.

    Its derivative by v is ``softmax(coldness v) (1 + coldness (v - result))``.
    """

    @staticmethod
    def forward(ctx: Any, near: Tensor, weight: Tensor, coldness: float) -> Tensor:
        results, sums = [], []
        for row in near:
            v, e = _weighted(row, weight, coldness)
            sums.append(e.sum(0))
            results.append(v.mul_(e).sum(0) / sums[-1])
        ctx.coldness = coldness
        ctx.save_for_backward(near, weight, torch.stack(sums), result := torch.stack(results))
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        near, weight, sums, results = ctx.saved_tensors
        out = torch.empty_like(near)
        for i, row in enumerate(near):
            v, e = _weighted(row, weight, ctx.coldness)
            v.sub_(results[i]).mul_(ctx.coldness).add_(1).mul_(e).mul_(gradients[0][i] / sums[i])
            out[i] = torch.einsum("kpc,kp->kc", v, weight)
        return out, None, None


def _weighted(near: Tensor, weight: Tensor, coldness: float) -> tuple[Tensor, Tensor]:
    """Weighted parameters ``[neighbours, pixels of a cell, cells]`` and their exponentials, scaled so that the largest is 1."""
    v = weight[:, :, None] * near[:, None, :]
    return v, (v * coldness).sub_(coldness).exp_()
