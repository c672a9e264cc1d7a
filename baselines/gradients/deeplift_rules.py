"""Whether DeepLift has a rule for every activation that a network computes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from captum.attr._core.deep_lift import SUPPORTED_NON_LINEAR
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

# What PyTorch calls the functions that are not linear.
CURVED = {
    "relu", "threshold", "silu", "gelu", "hardswish", "hardsigmoid", "mish", "softplus", "leaky_relu", "rrelu_with_noise", "_prelu_kernel",
    "elu", "selu", "celu", "hardtanh", "tanh", "sigmoid", "glu", "softshrink", "hardshrink", "log_sigmoid_forward", "maximum", "minimum",
    "clamp", "clamp_min", "clamp_max", "_softmax", "_log_softmax", "max_pool2d_with_indices", "native_layer_norm", "native_group_norm",
    "_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_efficient_attention", "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_attention_math", "exp", "log", "sqrt", "rsqrt", "pow", "abs", "amax", "adaptive_max_pool2d",
}  # fmt: skip


@contextmanager
def every_activation_has_a_rule(model: nn.Module, algorithm: str) -> Iterator[None]:
    """Raise ValueError where a forward pass in the context computes an activation outside of the modules that have a rule, or one twice."""
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


def windows_apart(model: nn.Module) -> None:
    """Make max pooling over windows that overlap one over windows side by side, of the same values.

    Captum's rule for it gives a place the share of one window alone, where it is the largest of several. It changes ``model``.
    """
    for parent in list(model.modules()):
        for name, pool in list(parent._modules.items()):
            if type(pool) is nn.MaxPool2d and not pool.ceil_mode and _pair(pool.dilation) == (1, 1) and not pool.return_indices:
                kernel, stride, padding = _pair(pool.kernel_size), _pair(pool.stride), _pair(pool.padding)
                if kernel[0] > stride[0] or kernel[1] > stride[1]:
                    parent._modules[name] = nn.Sequential(_Windows(kernel, stride, padding), nn.MaxPool2d(kernel)).eval()


class _Windows(nn.Module):
    """The windows of pooling, side by side."""

    def __init__(self, kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]) -> None:
        super().__init__()
        self.kernel, self.stride, self.padding = kernel, stride, padding

    def forward(self, maps: Tensor) -> Tensor:
        (h, w), (down, across) = self.padding, self.stride
        least = torch.finfo(maps.dtype).min / 4  # finite: the difference of two is 0
        framed = nn.functional.pad(maps, (w, w, h, h), value=least)
        apart = framed.unfold(2, self.kernel[0], down).unfold(3, self.kernel[1], across)
        return apart.permute(0, 1, 2, 4, 3, 5).flatten(4).flatten(2, 3)


def _pair(value: int | tuple[int, ...]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


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
        if self.forward and not self.within:
            name = (
                func.overloadpacket.__name__.removesuffix("_")
                if not func.overloadpacket.__name__.startswith("_")
                else func.overloadpacket.__name__
            )
            if name in CURVED:
                self.without.add(name)
        return func(*args, **(kwargs or {}))


def _plainly(name: str) -> str:
    """What a function is called without saying how PyTorch computes it."""
    if "scaled_dot_product" in name:
        return "attention"
    return name.strip("_").removeprefix("native_").removesuffix("_with_indices").removesuffix("_kernel").removesuffix("_forward")
