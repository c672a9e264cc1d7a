"""What stands between a network's layers, made fit for relevance: sums and means share it out, and what has no rule is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

# Functions that move values about, or keep the largest: their gradient is what relevance needs.
MOVED = {
    "__get__", "__getitem__", "__len__", "cat", "chunk", "clone", "concat", "contiguous", "dim", "dropout", "dropout1d", "dropout2d",
    "feature_dropout", "flatten", "float", "is_contiguous", "is_floating_point", "max_pool2d", "movedim", "ndimension", "numel", "pad",
    "permute", "pixel_shuffle", "pixel_unshuffle", "relu", "relu_", "reshape", "size", "split", "squeeze", "stride", "swapaxes", "to",
    "transpose", "type", "unbind", "unflatten", "unsqueeze", "view", "boolean_dispatch", "requires_grad_", "is_complex", "element_size",
    "channel_shuffle", "type_as", "register_hook", "retain_grad", "__hash__", "is_nested", "is_quantized",
}  # fmt: skip
# Sums: each part gets the share that it has in the sum.
SHARED = {
    "add", "add_", "__add__", "__iadd__", "__radd__", "mean", "sum", "adaptive_avg_pool2d", "avg_pool2d", "adaptive_avg_pool1d",
    "mul", "__mul__", "__rmul__", "__imul__", "div", "__truediv__", "stack",
}  # fmt: skip
PRODUCTS = {"mul", "__mul__", "__rmul__", "__imul__", "div", "__truediv__"}
IN_PLACE = {"add_": torch.add, "__iadd__": torch.add, "__imul__": torch.mul}
STABLE = 1e-6


class Between(TorchFunctionMode):
    """The functions of a forward pass outside of the layers that have a rule of their own.

    layers: those that have, and whether their rule keeps what a pass shows them, so that it may be one only. method: for the ValueError
    that is raised for a function without a rule. entry: what the first layer was shown. used: the layers in the order of the pass.
    """

    def __init__(self, method: str, layers: Mapping[nn.Module, bool]) -> None:
        super().__init__()
        self.method, self.within, self.begun = method, 0, False
        self.layers = layers
        self.entry: Tensor | None = None
        self.used: list[nn.Module] = []
        self.handles = [layer.register_forward_pre_hook(self._enter) for layer in layers]
        self.handles += [layer.register_forward_hook(self._leave) for layer in layers]

    def __exit__(self, *args: Any) -> None:
        for handle in self.handles:
            handle.remove()
        super().__exit__(*args)

    def _enter(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        self.within += 1
        if layer in self.used and self.layers[layer]:
            raise ValueError(f"{self.method}: a {type(layer).__name__} is used twice in a pass, and has one place for its relevance")
        self.used.append(layer)
        if self.begun:
            return None
        self.begun = True  # what came before made the network's input of the image
        self.entry = inputs[0].detach().requires_grad_()
        return (self.entry, *inputs[1:])

    def _leave(self, *_: object) -> None:
        self.within -= 1

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", str(func))
        if self.within or not self.begun or name in MOVED:
            return func(*args, **kwargs)
        tensors = [one for one in (*args, *kwargs.values()) if isinstance(one, Tensor) and one.requires_grad]
        if not tensors:
            return func(*args, **kwargs)
        if name not in SHARED or (name in PRODUCTS and (len(tensors) > 1 or tensors[0] is not args[0])):
            raise ValueError(f"{self.method}: there is no rule for {name}, which this model computes between its layers: {INSTEAD}")
        plain = IN_PLACE.get(name, func)
        return shared(lambda *parts: plain(*_with(args, parts), **kwargs), *[one for one in args if one is not None and _counts(one)])


INSTEAD = "choose another method, such as integrated_gradients, or transformer_attribution for a transformer"


def _counts(one: Any) -> bool:
    return isinstance(one, Tensor) and one.requires_grad


def _with(args: tuple[Any, ...], parts: tuple[Tensor, ...]) -> list[Any]:
    """Arguments with other tensors in the place of those that count."""
    rest = iter(parts)
    return [next(rest) if _counts(one) else one for one in args]


def shared(function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """A linear function whose gradient is relevance: each input value gets its own share in the output's.

    function: of the inputs, to a tensor.
    """
    found: Tensor = _Shared.apply(function, *inputs)
    return found


class _Shared(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        ctx.function, ctx.inputs = function, [one.detach() for one in inputs]
        return function(*inputs)

    @staticmethod
    def backward(ctx: Any, *relevance: Tensor) -> Any:
        with torch.enable_grad():
            inputs = [one.clone().requires_grad_() for one in ctx.inputs]
            output = ctx.function(*inputs)
        below = output.detach() + torch.where(output.detach() >= 0, STABLE, -STABLE)
        gradients = torch.autograd.grad(output, inputs, relevance[0] / below)
        return None, *(one.detach() * gradient for one, gradient in zip(inputs, gradients, strict=True))
