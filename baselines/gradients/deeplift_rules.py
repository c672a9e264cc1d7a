"""Whether DeepLift has a rule for every activation that a network computes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from captum.attr._core.deep_lift import SUPPORTED_NON_LINEAR
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# What PyTorch calls the functions that are linear in what comes of the image: those that move values about, sum or interpolate them ...
LINEAR = {
    "_reshape_alias", "_to_copy", "_unsafe_view", "alias", "as_strided", "cat", "channel_shuffle", "clone", "col2im", "constant_pad_nd",
    "copy", "detach", "diagonal", "expand", "fill", "flip", "im2col", "index", "index_select", "lift_fresh", "native_channel_shuffle",
    "permute", "pixel_shuffle", "pixel_unshuffle", "reflection_pad1d", "reflection_pad2d", "repeat", "replication_pad2d", "reshape", "roll",
    "select", "slice", "split", "split_with_sizes", "squeeze", "stack", "t", "transpose", "unbind", "unfold", "unsqueeze", "view", "zero",
    "add", "cumsum", "mean", "neg", "rsub", "sub", "sum", "_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "adaptive_avg_pool1d",
    "avg_pool1d", "avg_pool2d", "avg_pool3d", "upsample_bicubic2d", "upsample_bilinear2d", "upsample_nearest2d",
}  # fmt: skip
# ... those that return a constant of its shape ...
LINEAR |= {name for value in ("empty", "full", "ones", "zeros") for name in (f"new_{value}", f"{value}_like")}
# ... those that are where no more than one factor comes of the image, which a divisor must not ...
PRODUCTS = {"addmm", "baddbmm", "bmm", "convolution", "div", "linear", "mm", "mul", "mv"}
# ... and those that are with statistics of their own.
NORMALISING = {
    "_batch_norm_no_update", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training", "cudnn_batch_norm", "miopen_batch_norm",
    "native_batch_norm",
}  # fmt: skip
POOLS: dict[Any, int] = {nn.MaxPool1d: 1, nn.MaxPool2d: 2, nn.MaxPool3d: 3}  # dimensions


@contextmanager
def every_activation_has_a_rule(model: nn.Module, algorithm: str) -> Iterator[None]:
    """Raise ValueError where a forward pass in the context has such a module twice, or is not linear outside of them."""
    watch = _Watch(model, algorithm)
    handles = [model.register_forward_pre_hook(watch.begin), model.register_forward_hook(watch.end)]
    for module in model.modules():
        if type(module) in SUPPORTED_NON_LINEAR:
            handles += [module.register_forward_pre_hook(watch.enter), module.register_forward_hook(watch.leave)]
    try:
        with watch:
            yield
    finally:
        for handle in handles:
            handle.remove()


def windows_apart(model: nn.Module, algorithm: str) -> None:
    """Make max pooling over windows that overlap one over windows side by side, of the same values; also where the last are cut.

    Captum's rule for it gives a place the share of one window alone, where it is the largest of several. It changes ``model``. Raises
    ValueError for pooling of which that cannot be made.
    """
    for parent in list(model.modules()):
        for name, pool in list[tuple[str, Any]](parent._modules.items()):
            if (dims := POOLS.get(type(pool))) is None:
                continue
            kernel, stride, padding, dilation = (_each(getattr(pool, of), dims) for of in ("kernel_size", "stride", "padding", "dilation"))
            apart = all(k <= s for k, s in zip(kernel, stride, strict=True)) and not pool.ceil_mode
            if dilation != (1,) * dims or pool.return_indices or (not apart and type(pool) is not nn.MaxPool2d):
                raise ValueError(f"captum: {algorithm} has no rule for {pool}: choose another algorithm, such as IntegratedGradients")
            if not apart:
                windows = _Windows(kernel, stride, padding, pool.ceil_mode)
                parent._modules[name] = nn.Sequential(windows, nn.MaxPool2d(kernel)).eval()


class _Windows(nn.Module):
    """The windows of pooling, side by side."""

    def __init__(self, kernel: tuple[int, ...], stride: tuple[int, ...], padding: tuple[int, ...], cut: bool) -> None:
        super().__init__()
        self.kernel, self.stride, self.padding, self.cut = kernel, stride, padding, cut

    def forward(self, maps: Tensor) -> Tensor:
        (h, w), (down, across) = self.padding, self.stride
        below, right = (self._beyond(maps.shape[axis], axis - 2) for axis in (2, 3))
        least = torch.finfo(maps.dtype).min / 4  # finite: the difference of two is 0
        framed = nn.functional.pad(maps, (w, w + right, h, h + below), value=least)
        apart = framed.unfold(2, self.kernel[0], down).unfold(3, self.kernel[1], across)
        return apart.permute(0, 1, 2, 4, 3, 5).flatten(4).flatten(2, 3)

    def _beyond(self, side: int, axis: int) -> int:
        """How far the last window reaches beyond the frame: it begins within the map, or the frame before it."""
        kernel, stride, padding = self.kernel[axis], self.stride[axis], self.padding[axis]
        begins = math.ceil((side + 2 * padding - kernel) / stride) * stride
        begins -= stride if begins >= side + padding else 0
        return max(0, begins + kernel - side - 2 * padding) if self.cut else 0


def _each(value: int | tuple[int, ...], dims: int) -> tuple[int, ...]:
    return (value,) * dims if isinstance(value, int) else tuple(value)


class _Watch(TorchDispatchMode):
    def __init__(self, model: nn.Module, algorithm: str) -> None:
        super().__init__()
        self.algorithm = algorithm
        self.names = {module: name for name, module in model.named_modules()}
        self.within = self.forward = 0
        self.entered: set[nn.Module] = set()
        self.without: set[str] = set()

    def begin(self, *_: object) -> None:
        self.forward += 1
        self.entered.clear()

    def enter(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        # On a tensor of its own: of one that stands between two such modules, Captum gives the first the gradient before the second's rule.
        self.within += 1
        if module in self.entered:
            raise ValueError(
                f"captum: {self.algorithm} needs each activation to be a module of its own, and {self.names.get(module)} is used more than "
                "once in a pass: choose another algorithm, such as IntegratedGradients"
            )
        self.entered.add(module)
        return (inputs[0].clone(), *inputs[1:])

    def leave(self, *_: object) -> None:
        self.within -= 1

    def end(self, *_: object) -> None:
        self.forward -= 1
        if self.without:
            found = ", ".join(sorted(map(_plainly, self.without)))
            raise ValueError(
                f"captum: {self.algorithm} has no rule for {found}, which this model computes outside of modules such as ReLU: choose "
                "another algorithm, such as IntegratedGradients"
            )

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self.forward and not self.within and (found := _not_linear(func, args, kwargs or {})):
            self.without.add(found)
        return func(*args, **(kwargs or {}))


def _not_linear(func: Any, args: Any, kwargs: dict[str, Any]) -> str:
    """What a function is called that is not linear in what comes of the image, which needs a gradient; nothing for one that is."""
    of_image = [one for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor) and one.requires_grad]
    name = func.overloadpacket.__name__
    name = name if name.startswith("_") else name.removesuffix("_")
    if not of_image or name in LINEAR:
        return ""
    if name in PRODUCTS:
        return "" if len(of_image) == 1 and (name != "div" or of_image[0] is args[0]) else "products of activations"
    given = dict(zip((argument.name for argument in func._schema.arguments), args, strict=False)) | kwargs
    return "" if name in NORMALISING and not given.get("training", name == "_native_batch_norm_legit") else name


def _plainly(name: str) -> str:
    """What a function is called without saying how PyTorch computes it."""
    if "scaled_dot_product" in name:
        return "attention"
    return name.strip("_").removeprefix("native_").removesuffix("_with_indices").removesuffix("_kernel").removesuffix("_forward")
