"""Whether a network's Python code looks at what it computes: an exported graph keeps only the branch that was taken."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from da.types import Images

TO_PYTHON = {"__bool__", "__int__", "__float__", "__complex__", "__index__", "item", "tolist", "numpy", "__array__", "__contains__"}
TO_PYTHON |= {"is_nonzero", "equal", "allclose", "__dlpack__"}
OF_ANY_LENGTH = {"nonzero", "argwhere", "masked_select", "unique", "unique_consecutive", "_unique2", "bincount", "repeat_interleave"}
LENGTHS = {"size", "numel", "nelement", "__len__"}


def looks_at_values(net: nn.Module, images: Images) -> str | None:
    """Where a network's code turns what it computes of the images into a Python value, as in ``if x.mean() > 0``: ``FILE:LINE``.

    Shapes are no such values: they are the same at each pass, unless they are of a selection by value. What is computed of the weights
    alone is none, either. None where there is no such place.
    """
    with torch.no_grad(), _Watch(net) as watch:
        net(images)
    return watch.found


class _Watch(TorchFunctionMode):
    """Knows the tensors that depend on the weights alone; every other one may depend on the images."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        held = [value for module in net.modules() for value in _tensors(list(vars(module).values()))]
        self.fixed = {id(tensor): tensor for tensor in (*net.parameters(), *net.buffers(), *held)}  # held, so that no id is used again
        self.selected = dict[int, Tensor]()
        self.found: str | None = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = list(_tensors([*args, *(kwargs or {}).values()]))
        of_images = any(id(tensor) not in self.fixed for tensor in given)
        selected = any(id(tensor) in self.selected for tensor in given)
        name = getattr(func, "__name__", "")
        length = name in LENGTHS or func == Tensor.shape.__get__  # type: ignore[attr-defined]
        if self.found is None and ((of_images and name in TO_PYTHON) or (selected and length)):
            self.found = _place()
        result = func(*args, **(kwargs or {}))
        if of_images:
            self._forget(_written_to(name, args, kwargs or {}))
        by_mask = name == "__getitem__" and any(tensor.dtype in (torch.bool, torch.uint8) for tensor in given[1:])
        for tensor in _tensors([result]):
            if not of_images:
                self.fixed[id(tensor)] = tensor
                continue
            self.fixed.pop(id(tensor), None)
            if selected or by_mask or name in OF_ANY_LENGTH or (name == "where" and len(given) == 1):
                self.selected[id(tensor)] = tensor
        return result

    def _forget(self, written: Iterable[Tensor]) -> None:
        """What was written to, also through a view, holds values of the images from now on."""
        places = {tensor.untyped_storage().data_ptr() for tensor in written}
        if places:
            self.fixed = {key: tensor for key, tensor in self.fixed.items() if tensor.untyped_storage().data_ptr() not in places}


def _written_to(name: str, args: Any, kwargs: Any) -> Iterator[Tensor]:
    """The tensors that a call changes in place."""
    in_place = name == "__setitem__" or (name.startswith("__i") and name.endswith("__") and name != "__invert__") or _is_in_place(name)
    yield from _tensors([*(args[:1] if in_place else ()), kwargs.get("out")])


def _is_in_place(name: str) -> bool:
    return name.endswith("_") and not name.endswith("__")


def _tensors(values: Any) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, tuple | list):
            yield from _tensors(value)
        elif isinstance(value, dict):
            yield from _tensors(value.values())


def _place() -> str:
    """The innermost line that is neither PyTorch's nor of this file."""
    frame = sys._getframe(1)
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).split(".")[0] in ("torch", "jaxtyping", __name__.split(".")[0]):
        frame = frame.f_back
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
