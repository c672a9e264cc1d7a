"""A copy of a network to work on: the weights' memory is shared, the layers are its own."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn


def copied(model: nn.Module, *, frozen: bool = False) -> nn.Module:
    """A copy of a network that computes the same. frozen: the copy's weights take no gradients.

    What a forward pass has left behind with a graph (activations that a network keeps) is copied without its graph; hooks on the
    model are on the copy, too. Raises ValueError, naming what is in the way, for a network that cannot be copied, or whose copy would
    still use layers of the original: a hook or a forward of its own that is a closure over them.
    """
    layers = set(model.modules())
    if any(isinstance(layer, torch.jit.ScriptModule) for layer in layers):
        raise ValueError("a TorchScript module has no layers to copy or change: use the network that it was made of")
    for name, layer in model.named_modules():
        for what, function in _functions(layer):
            if any(_holds(cell.cell_contents, layers) for cell in function.__closure__ or () if _filled(cell)):
                place = f" of layer {name}" if name else ""
                raise ValueError(f"the network cannot be copied: {what}{place} is a function that holds on to the network's own layers")
    memo: dict[int, Any] = {id(w): nn.Parameter(w.detach(), requires_grad=False) if frozen else w for w in model.parameters()}
    for layer in layers:
        memo |= {id(kept): kept.detach() for kept in _activations(vars(layer), set())}
    try:
        return copy.deepcopy(model, memo)
    except Exception as error:
        why = " ".join(str(error).split())[:120]
        raise ValueError(f"the network cannot be copied ({why}): choose a method that needs no copy") from None


def independent_copy(model: nn.Module) -> nn.Module:
    """A copy in evaluation mode that shares the weights' memory, takes no gradients of them and does nothing in place.

    What is no network comes back as it is, for its type to be refused where arguments are checked.
    """
    if not isinstance(model, nn.Module):
        return model
    own = copied(model, frozen=True).eval()
    for module in own.modules():
        if getattr(module, "inplace", False) is True:
            module.inplace = False  # type: ignore[assignment]
    return own


def _functions(layer: nn.Module) -> Iterator[tuple[str, FunctionType]]:
    """The plain functions that a layer calls."""
    for name, value in vars(layer).items():
        if isinstance(value, FunctionType):
            yield name, value
        elif name.endswith("_hooks") and isinstance(value, Mapping):
            yield from (("a hook", hook) for hook in value.values() if isinstance(hook, FunctionType))


def _filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False


def _holds(value: object, layers: set[nn.Module]) -> bool:
    return (isinstance(value, nn.Module) and value in layers) or (isinstance(value, list | tuple) and any(_holds(v, layers) for v in value))


def _activations(value: object, seen: set[int]) -> Iterator[Tensor]:
    """The tensors of a graph among what a layer holds, in lists, tuples, dictionaries and plain objects, too."""
    if id(value) in seen or isinstance(value, nn.Module | type | FunctionType):
        return
    seen.add(id(value))
    if isinstance(value, Tensor):
        if value.grad_fn is not None:
            yield value
    elif isinstance(value, Mapping):
        for inner in list(value.values()):
            yield from _activations(inner, seen)
    elif isinstance(value, list | tuple | set):
        for inner in value:
            yield from _activations(inner, seen)
    elif hasattr(value, "__dict__"):
        yield from _activations(vars(value), seen)
