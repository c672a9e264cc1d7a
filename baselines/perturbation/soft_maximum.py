"""Sums of weighted parameters over their footprints, compiled: the inner loops of ``baselines.perturbation.smooth_mask`` on a CPU."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, no_type_check

import numpy as np
import torch
from jaxtyping import Float, Int
from numba import njit
from torch import Tensor
from torch.autograd import Function

LOG2_E = np.float32(1.44269504)
LN_2, LN_2_REST = np.float32(0.693359375), np.float32(-2.12194440e-4)  # in two parts, for precision
compiled = njit(nogil=True, cache=True, fastmath={"contract"}, error_model="numpy")


@dataclass(frozen=True)
class Footprint:
    """The pixels that a parameter reaches, those of one kernel value together.

    The rows of a grid of parameters are laid out as one line, with zeros between them; so are, for each place within a cell, the
    pixels at that place. What all parameters add to the pixels at one offset is then one shifted sum of lines.

    cells: of pixels, down and along. levels: the distinct kernel values. first: where the offsets of each begin. place, shift: of each
    offset, the pixel's place within its cell and the distance along the line. zeros: for each cell of pixels, how many offsets reach
    it from beyond the line.
    """

    cells: tuple[int, int]
    levels: Float[np.ndarray, " levels"]
    first: Int[np.ndarray, " levels+1"]
    place: Int[np.ndarray, " offsets"]
    shift: Int[np.ndarray, " offsets"]
    zeros: Float[np.ndarray, " cells"]

    @classmethod
    def of(cls, kernel: Float[Tensor, "k k s"], grid: tuple[int, int]) -> Footprint:
        """The footprint of a kernel over k x k cells of s pixels each, for a grid of parameters."""
        reach, _, pixels = kernel.shape
        height, width = (side + reach - 1 for side in grid)
        levels, level = np.unique(kernel.numpy(), return_inverse=True)
        order = np.argsort(level.ravel(), kind="stable")
        cell, place = np.divmod(order, pixels)
        shift = cell // reach * width + cell % reach
        zeros, length = np.full(height * width, reach**2, np.float32), (grid[0] - 1) * width + grid[1]
        for start in shift[place == 0]:
            zeros[start : start + length] -= 1
        first = np.searchsorted(level.ravel()[order], np.arange(len(levels) + 1))
        return cls((height, width), levels, first.astype(np.int32), place.astype(np.int32), shift.astype(np.int32), zeros)

    def lines(self, parameters: Float[Tensor, "r gh gw"]) -> Float[np.ndarray, "r length"]:
        """Each grid as a line."""
        rows, gh, gw = parameters.shape
        spaced = np.zeros((rows, gh, self.cells[1]), np.float32)
        spaced[..., :gw] = parameters.detach().numpy()
        return spaced.reshape(rows, -1)[:, : (gh - 1) * self.cells[1] + gw]


def compiled_soft_maximum(parameters: Float[Tensor, "r gh gw"], footprint: Footprint, coldness: float) -> Float[Tensor, "r ch cw s"]:
    """Soft maxima of single-precision parameters on a CPU, with the derivative that ``baselines.perturbation.smooth_mask`` explains."""
    masks: Tensor = _Compiled.apply(parameters, footprint, coldness)
    return masks


class _Compiled(Function):
    @staticmethod
    def forward(ctx: Any, parameters: Float[Tensor, "r gh gw"], footprint: Footprint, coldness: float) -> Float[Tensor, "r ch cw s"]:
        lines, levels = footprint.lines(parameters), np.float32(coldness) * footprint.levels
        shape = len(lines), int(footprint.place.max()) + 1, len(footprint.zeros)
        numerator, denominator = np.zeros(shape, np.float32), np.empty(shape, np.float32)
        denominator[:] = footprint.zeros
        _each(_sums, footprint, levels, lines, numerator, denominator)
        masks = torch.from_numpy(numerator).div_(torch.from_numpy(denominator)).div_(coldness)
        ctx.footprint, ctx.coldness, ctx.grid = footprint, coldness, parameters.shape[1:]
        ctx.lines, ctx.levels = lines, levels
        ctx.save_for_backward(masks, torch.from_numpy(denominator))
        return masks.unflatten(2, footprint.cells).permute(0, 2, 3, 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        masks, denominator = ctx.saved_tensors
        q = gradients[0].permute(0, 3, 1, 2).flatten(2).contiguous() / denominator
        u = q * (1 - ctx.coldness * masks)
        (gh, gw), width = ctx.grid, ctx.footprint.cells[1]
        slopes = np.zeros((len(q), gh * width), np.float32)
        _each(_slopes, ctx.footprint, ctx.levels, ctx.lines, u.numpy(), q.numpy(), slopes[:, : ctx.lines.shape[1]])
        return torch.from_numpy(slopes).div_(ctx.coldness).view(-1, gh, width)[..., :gw].contiguous(), None, None


def _each(kernel: Callable[..., None], footprint: Footprint, levels: Float[np.ndarray, " levels"], *rows: np.ndarray) -> None:
    """Run a kernel on every row, rows side by side on PyTorch's number of threads."""
    offsets = footprint.first, footprint.place, footprint.shift
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        list(pool.map(lambda row: kernel(levels, *offsets, *row), zip(*rows, strict=True)))


@no_type_check
@compiled
def _sums(levels, first, place, shift, line, numerator, denominator):
    """Add each parameter's ``v e^v`` to the numerators and ``e^v`` to the denominators of the pixels that it reaches."""
    length = len(line)
    v, e = np.empty(length, np.float32), np.empty(length, np.float32)
    for i in range(len(levels)):
        _exponential(levels[i], line, v, e)
        for j in range(length):
            v[j] *= e[j]
        for offset in range(first[i], first[i + 1]):
            above = numerator[place[offset], shift[offset] : shift[offset] + length]
            below = denominator[place[offset], shift[offset] : shift[offset] + length]
            for j in range(length):
                above[j] += v[j]
                below[j] += e[j]


@no_type_check
@compiled
def _slopes(levels, first, place, shift, line, u, q, slopes):
    """Add up ``level e^v (u + v q)`` of the pixels that each parameter reaches."""
    length = len(line)
    v, e = np.empty(length, np.float32), np.empty(length, np.float32)
    near_u, near_q = np.empty(length, np.float32), np.empty(length, np.float32)
    for i in range(len(levels)):
        near_u[:] = 0
        near_q[:] = 0
        for offset in range(first[i], first[i + 1]):
            some_u = u[place[offset], shift[offset] : shift[offset] + length]
            some_q = q[place[offset], shift[offset] : shift[offset] + length]
            for j in range(length):
                near_u[j] += some_u[j]
                near_q[j] += some_q[j]
        _exponential(levels[i], line, v, e)
        for j in range(length):
            slopes[j] += levels[i] * e[j] * (near_u[j] + v[j] * near_q[j])


@no_type_check
@compiled
def _exponential(level, line, v, e):
    """``v = level line`` and ``e = exp(v)``, v from 0 to 88, in loops that become vector instructions: Cephes' expf (netlib.org/cephes)."""
    bits = e.view(np.int32)
    for j in range(len(v)):
        v[j] = level * line[j]
    for j in range(len(v)):
        bits[j] = (np.int32(np.floor(v[j] * LOG2_E + np.float32(0.5))) + 127) << 23  # the float 2 ** n
    for j in range(len(v)):
        n = np.floor(v[j] * LOG2_E + np.float32(0.5))
        r = v[j] - n * LN_2 - n * LN_2_REST
        p = np.float32(1.9875691500e-4) * r + np.float32(1.3981999507e-3)
        p = (p * r + np.float32(8.3334519073e-3)) * r + np.float32(4.1665795894e-2)
        p = (p * r + np.float32(1.6666665459e-1)) * r + np.float32(5.0000001201e-1)
        e[j] *= p * r * r + r + np.float32(1)
