"""The mask operator of Extremal Perturbation: a coarse grid of parameters to a smooth mask."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function

from baselines.perturbation.soft_maximum import Footprint, compiled_soft_maximum


class SmoothMask:
    """Masks whose every pixel is a soft maximum of the parameters near it (Fong, Patrick and Vedaldi, ICCV 2019, Section 3).

    Parameters sit on every ``step``-th pixel of an image of ``size`` (height, width). With ``v = parameter x k(d / sigma)``, ``d`` their
    distance and ``k(z) = exp(-2 max(0, z - 1/2)^2)``, a pixel is ``sum v e^(coldness v) / sum e^(coldness v)`` over the parameters at most
    ``radius = 1 + ceil(sigma / step)`` grid cells away along each axis; off the grid they are 0. Masks carry a margin of ``sigma``
    pixels around the outermost parameters, so that a region need not shrink to touch the image's edge. step, sigma: pixels.
    """

    def __init__(self, size: tuple[int, int], *, step: int, sigma: int, coldness: float, device: torch.device) -> None:
        self.size, self.step, self.margin, self.coldness = size, step, sigma, coldness
        self.radius = 1 + math.ceil(sigma / step)
        self.grid = math.ceil(size[0] / step), math.ceil(size[1] / step)
        # One parameter's footprint: per cell it reaches (cells are step x step pixels) and pixel of that cell, the kernel.
        along = step * torch.arange(-self.radius, self.radius + 1)[:, None] + torch.arange(step)
        squared = along.square()
        distance = (squared[:, None, :, None] + squared[None, :, None, :]).sqrt().flatten(2)
        kernel = torch.exp(-2 * (distance / sigma - 0.5).clamp_min(0).square())
        self.footprint = Footprint.of(kernel, self.grid) if device.type == "cpu" else None
        self.kernel = kernel.to(device)

    def __call__(self, parameters: Float[Tensor, "r gh gw"]) -> Float[Tensor, "r eh ew"]:
        """Masks in [0, 1], margin included, of parameters in [0, 1]."""
        if self.footprint and parameters.dtype == torch.float32:
            values = compiled_soft_maximum(parameters, self.footprint, self.coldness)
        else:
            values = _SoftMaximum.apply(parameters, self.kernel.to(parameters), self.coldness)
        tiles = values.view(*values.shape[:3], self.step, self.step)
        whole: Tensor = tiles.transpose(2, 3).flatten(3, 4).flatten(1, 2)
        start = self.radius * self.step
        ends = [max((cells - 1) * self.step + self.margin + 1, side) for cells, side in zip(self.grid, self.size, strict=True)]
        return whole[:, start - self.margin : start + ends[0], start - self.margin : start + ends[1]]

    def crop(self, masks: Float[Tensor, "r eh ew"]) -> Float[Tensor, "r h w"]:
        """The masks without their margin."""
        return masks[:, self.margin : self.margin + self.size[0], self.margin : self.margin + self.size[1]]


class _SoftMaximum(Function):
    """Soft maxima and their derivative, one cell of the footprint at a time.

    For one cell, what all parameters add to the pixels they reach is two shifted sums: nothing of size neighbours x pixels is ever
    stored. With ``q = g / sum e^(coldness v)`` for a pixel of value m and incoming gradient g, the derivative by a parameter is the
    sum over its pixels of ``k q e^(coldness v) (1 + coldness (v - m))``.
    """

    @staticmethod
    def forward(
        ctx: Any, parameters: Float[Tensor, "r gh gw"], kernel: Float[Tensor, "k k s"], coldness: float
    ) -> Float[Tensor, "r ch cw s"]:
        rows, gh, gw = parameters.shape
        reach, _, pixels = kernel.shape
        numerator = parameters.new_zeros(rows, gh + reach - 1, gw + reach - 1, pixels)
        denominator = torch.full_like(numerator, reach**2)
        scaled = coldness * kernel
        for y, x in _cells(kernel):
            v = parameters[..., None] * scaled[y, x]
            e = v.exp()
            numerator[:, y : y + gh, x : x + gw].addcmul_(v, e)
            denominator[:, y : y + gh, x : x + gw].add_(e).sub_(1)  # what is left are the zeros off the grid
        masks = numerator.div_(denominator).div_(coldness)
        ctx.coldness = coldness
        ctx.save_for_backward(parameters, kernel, masks, denominator)
        return masks

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        parameters, kernel, masks, denominator = ctx.saved_tensors
        gh, gw = parameters.shape[1:]
        result, scaled = torch.zeros_like(parameters), ctx.coldness * kernel
        q = gradients[0] / denominator
        u = q * (1 - ctx.coldness * masks)
        for y, x in _cells(kernel):
            v = parameters[..., None] * scaled[y, x]
            near = torch.addcmul(u[:, y : y + gh, x : x + gw], v, q[:, y : y + gh, x : x + gw])
            result += near.mul_(v.exp_()) @ kernel[y, x]
        return result, None, None


def _cells(kernel: Tensor) -> Iterator[tuple[int, int]]:
    return ((y, x) for y in range(kernel.shape[0]) for x in range(kernel.shape[1]))
