"""What a method must leave as it found it: the model, and the settings and random streams of the process."""

from __future__ import annotations

import copy
import ctypes
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules import module as every_module

from benchmarks.models.state import outside
from da.types import Images

LIBRARIES = ("torch", "timm", "torchvision")  # whose layers keep things of their own under names that begin with _
INSIDE = frozenset(vars(nn.Module()))
PLAIN = (bool, int, float, str, tuple, type(None))
DICTS = [key for key, held in vars(nn.Module()).items() if isinstance(held, dict)]  # a layer's parts and hooks
REPLACED = {"_modules": "replaced layers of", "_parameters": "replaced weights of", "_buffers": "replaced buffers of"}
NOTHING: dict[Any, Any] = {}
EVERY = [hooks for name, hooks in vars(every_module).items() if name.startswith("_global_") and name.endswith("_hooks")]
SETTINGS: tuple[tuple[Callable[[], Any], Callable[[Any], Any]], ...] = (
    (torch.is_grad_enabled, torch.set_grad_enabled),
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.get_default_device, torch.set_default_device),
    (torch.get_num_threads, torch.set_num_threads),
    (torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode),
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    (torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    *(
        (lambda kind=kind: torch.is_autocast_enabled(kind), lambda on, kind=kind: torch.set_autocast_enabled(kind, on))
        for kind in ("cpu", "cuda")
    ),
    *(
        (lambda kind=kind: torch.get_autocast_dtype(kind), lambda to, kind=kind: torch.set_autocast_dtype(kind, to))
        for kind in ("cpu", "cuda")
    ),
    *(
        (lambda name=name: getattr(torch.backends.cudnn, name), lambda value, name=name: setattr(torch.backends.cudnn, name, value))
        for name in ("enabled", "benchmark", "deterministic", "allow_tf32")
    ),
    (np.geterr, lambda errors: np.seterr(**errors)),
    (os.getcwd, os.chdir),
)


@contextmanager
def settings_kept(rng: np.random.Generator) -> Iterator[None]:
    """Put back the process's settings and random streams afterwards: gradients on or off, default type, threads, seeds and the like.

    The streams of PyTorch, NumPy and Python start from a copy of ``rng``: who draws from them draws the same again.
    """
    seed = int(copy.deepcopy(rng).integers(2**32))
    before = [get() for get, _ in SETTINGS]
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    streams = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    random.seed(seed)
    try:
        yield
    finally:
        for (get, put), value in zip(SETTINGS, before, strict=True):
            if get() != value:
                put(value)
        torch.set_rng_state(streams[0])
        np.random.set_state(streams[1])  # noqa: NPY002
        random.setstate(streams[2])
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)


@contextmanager
def untouched(model: nn.Module, name: str, images: Images) -> Iterator[None]:
    """Put the model back as it was afterwards. Raises ValueError, naming the method, where that changed what the model computes.

    That is: training mode, hooks, layers, functions and settings of layers, weights and buffers. What a forward pass of the model
    changes by itself is nobody's fault. Gradients left on weights, and whether they take any, are put back without a word.
    """
    before = State(model)
    try:
        yield
    except BaseException:
        before.put_back()
        raise
    if changes := before.put_back():
        with torch.no_grad(), suppress(Exception):
            model(images[:1])
        own = before.put_back()
        if blamed := [change for change in changes if change not in own]:
            raise ValueError(f"{name} {' and '.join(blamed[:3])}: it may change a copy of the model, or must put back what it changes")


@dataclass
class Values:
    """The values of a model's weights and buffers. marks: of the tensors whose values these are."""

    marks: list[tuple[int, int]]
    copies: list[Tensor]


KEPT: WeakKeyDictionary[nn.Module, Values] = WeakKeyDictionary()  # so that they are copied once per model, not once a call


class State:
    """All of a model that decides what it computes, at one moment. Few objects a layer, or the collection of garbage takes longer."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.layers = [(name, layer, dict(vars(layer)), layer.training) for name, layer in model.named_modules()]
        self.filled = {id(held): dict(held) for held in self._dicts() if held}
        self.classes = {kind: kind.forward for kind in {type(layer) for _, layer, _, _ in self.layers}}
        named = [*model.named_parameters(), *model.named_buffers()]
        self.tensors = [(name, tensor, tensor.detach(), tensor.requires_grad, tensor.grad) for name, tensor in named]
        values = KEPT.get(model)
        if values is None or values.marks != self._marks():
            values = KEPT[model] = Values(self._marks(), [tensor.clone() for _, _, tensor, _, _ in self.tensors])
        self.values = values
        held = outside(model).items()
        self.held = [(path, value, _copied(value)) for path, value in held if isinstance(value, Tensor | np.ndarray)]
        self.lists = [
            (f"{key} of {_called(name)}", value, copy.copy(value))
            for name, _, had, _ in self.layers
            for key, value in had.items()
            if key not in INSIDE and isinstance(value, list | dict)
        ]

    def put_back(self) -> list[str]:
        """Put everything back, and say in words what was changed."""
        said: dict[str, None] = {}
        for name, layer, had, training in self.layers:
            if layer.training != training:
                said[f"left the model in {'training' if layer.training else 'evaluation'} mode"] = None
                layer.training = training
            said |= dict.fromkeys(self._attributes(name, layer, had))
        for kind, forward in self.classes.items():
            if kind.forward is not forward:
                said[f"replaced forward of every {kind.__name__}"] = None
                kind.forward = forward
        for what, holder, had_in_it in self.lists:
            if len(holder) != len(had_in_it) or any(now is not then for now, then in zip(_values(holder), _values(had_in_it), strict=True)):
                said[f"changed {what}"] = None
                holder.clear()
                holder.update(had_in_it) if isinstance(holder, dict) else holder.extend(had_in_it)
        for path, value, copied in self.held:
            if not (_same(value.detach(), copied) if isinstance(value, Tensor) else np.array_equal(value, copied)):
                said[f"changed the values of {path.lstrip('.')}"] = None
                with torch.no_grad():
                    value.copy_(copied) if isinstance(value, Tensor) else np.copyto(value, copied)
        for number, held in enumerate(self._dicts()):
            had = self.filled.get(id(held), {})
            if len(held) != len(had) or (had and any(held.get(key, held) is not value for key, value in had.items())):
                layer_of, key = divmod(number, len(DICTS))
                name = self.layers[layer_of][0] if layer_of < len(self.layers) else ""
                what = REPLACED.get(DICTS[key], "left a hook on") if layer_of < len(self.layers) else "left a hook on"
                said[f"{what} {_called(name)}"] = None
                held.clear()
                held.update(had)
        for (name, tensor, storage, needs, gradient), value in zip(self.tensors, self.values.copies, strict=True):
            if not _same(tensor.detach(), value):
                said[f"changed the values of {name}"] = None
                with torch.no_grad():
                    tensor.data = storage
                    tensor.copy_(value)
            if tensor.requires_grad != needs and tensor.is_leaf:
                tensor.requires_grad_(needs)
            if tensor.is_leaf and tensor.grad is not gradient:
                tensor.grad = gradient
        self.values.marks = self._marks()
        return list(said)

    def _dicts(self) -> Iterator[dict[Any, Any]]:
        """Each layer's parts and hooks, in the order of DICTS, and then the hooks of every module that there is."""
        for _, _, had, _ in self.layers:
            for key in DICTS:
                held = had.get(key)
                yield NOTHING if held is None else held
        yield from EVERY

    def _attributes(self, name: str, layer: nn.Module, had: dict[str, Any]) -> Iterator[str]:
        """Put back a layer's own functions, its settings, and what it holds of tensors that are no weights."""
        now, library = vars(layer), type(layer).__module__.split(".")[0] in LIBRARIES
        changed = [key for key, old in had.items() if now.get(key, State) is not old]
        added = [key for key in now if key not in had] if len(now) > len(had) - len(changed) else []
        for key in changed + added:
            old, new = had.get(key, State), now.get(key, State)
            function = callable(getattr(type(layer), key, None))
            setting = isinstance(old, PLAIN) and isinstance(new, PLAIN) and not (library and key[0] == "_") and _differ(old, new)
            if function or (key not in INSIDE and (setting or isinstance(old, Tensor | np.ndarray | list | dict))):
                yield f"replaced {key} of {_called(name)}" if function else f"changed {key} of {_called(name)}"
                if old is State:
                    delattr(layer, key)
                else:
                    layer.__dict__[key] = old

    def _marks(self) -> list[tuple[int, int]]:
        return [(tensor.data_ptr(), -1 if tensor.is_inference() else tensor._version) for _, tensor, _, _, _ in self.tensors]


def _values(holder: Any) -> Iterator[Any]:
    yield from holder.values() if isinstance(holder, dict) else holder


def _copied(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, Tensor) else value.copy()


def _differ(old: Any, new: Any) -> bool:
    try:
        return bool(old != new)
    except (RuntimeError, ValueError):  # tuples of tensors
        return old is not new


def _called(name: str) -> str:
    return f"layer {name}" if name else "the model"


def _same(now: Tensor, before: Tensor) -> bool:
    """Whether two tensors have the same bits."""
    if now.shape != before.shape or now.dtype != before.dtype or now.device != before.device:
        return False
    dense = now.is_contiguous() or (now.ndim == 4 and now.is_contiguous(memory_format=torch.channels_last))
    if COMPARE and now.device.type == "cpu" and dense and now.stride() == before.stride():
        return bool(COMPARE(now.data_ptr(), before.data_ptr(), now.nbytes) == 0)
    return torch.equal(now.reshape(-1).view(torch.uint8), before.reshape(-1).view(torch.uint8))


def _memcmp() -> Callable[[int, int, int], int] | None:
    """The C library's comparison, three times as fast as PyTorch's."""
    try:
        compare = ctypes.CDLL(None).memcmp
    except (OSError, AttributeError, TypeError):
        return None
    compare.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
    found: Callable[[int, int, int], int] = compare
    return found


COMPARE = _memcmp()
