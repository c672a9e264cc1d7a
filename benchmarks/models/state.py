"""What a network holds, hashed: the weights' identity, whatever they are kept in."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

NAMES = frozenset({"_name_or_path", "transformers_version", "dtype", "id2label", "label2id"})  # of a configuration, what computes nothing
OWN = frozenset(vars(nn.Module())) | {"_compiled_call_impl", "_forward_pre_hooks_with_kwargs"}  # attributes of PyTorch's own


def state_sha256(of: nn.Module | Mapping[str, Any]) -> str:
    """SHA-256 of the names, types, shapes and values of a network's state, or of a state dict.

    Of a network also what it holds outside of its state dict: tensors that are plain attributes, and modules in plain lists.
    """
    state = {**of.state_dict(), **outside(of)} if isinstance(of, nn.Module) else of
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        for part in _bytes(name, value):
            digest.update(part)
    return digest.hexdigest()


def settings_sha256(net: nn.Module) -> str | None:
    """SHA-256 of what a network states of itself beside its weights, such as the number of heads; None where it states nothing.

    That is the ``stated_settings``, a dictionary, that one of its modules has, and each ``config`` that one of transformers keeps.
    """
    configs: list[Any] = [vars(module).get("config") for module in net.modules()]
    stated = {id(one): one.to_dict() for one in configs if isinstance(getattr(one, "model_type", None), str)}
    known = [*(vars(module).get("stated_settings") for module in net.modules()), *stated.values()]
    kept = [{str(name): value for name, value in one.items() if name not in NAMES} for one in known if one]
    return hashlib.sha256(json.dumps(kept, sort_keys=True, default=str).encode()).hexdigest() if kept else None


def outside(net: nn.Module) -> dict[str, Any]:
    """Tensors, arrays and modules that a network's modules hold as plain attributes, at any depth of lists and dictionaries, by name."""
    seen = {id(of) for of in (*net.modules(), *net.parameters(), *net.buffers())}  # a list may hold what is registered, too
    return {path: value for place, module in net.named_modules() for path, value in _held_by(place, module, seen)}


def held_tensors(net: nn.Module) -> Iterator[Tensor]:
    """Tensors that a network's modules hold as plain attributes, such as activations that a forward pass keeps."""
    return (value for value in outside(net).values() if isinstance(value, Tensor))


def _held_by(place: str, module: nn.Module, seen: set[int]) -> Iterator[tuple[str, Any]]:
    if not isinstance(module, torch.jit.ScriptModule):
        for name, value in vars(module).items():
            if name not in OWN:
                yield from _held(f"{place}.{name}", value, seen)


def _held(path: str, value: Any, seen: set[int]) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Tensor | np.ndarray | nn.Module | list | tuple | dict):
        if id(value) in seen:
            return
        seen.add(id(value))
    if isinstance(value, Tensor | np.ndarray):
        yield path, value
    elif isinstance(value, nn.Module):
        seen |= {id(module) for module in value.modules()}
        yield from ((f"{path}.{name}", held) for name, held in value.state_dict(keep_vars=True).items())
        for name, module in value.named_modules():
            yield from _held_by(f"{path}.{name}", module, seen)
    elif isinstance(value, list | tuple):
        for i, part in enumerate(value):
            yield from _held(f"{path}.{i}", part, seen)
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from _held(f"{path}.{key}", part, seen)


def _bytes(name: str, value: Any) -> Iterator[bytes]:
    """A named value of a state, made bytes: tensors of every kind, packed weights, and whatever else can be pickled."""
    if isinstance(value, Tensor):
        yield f"{name} {value.dtype} {tuple(value.shape)}".encode()
        value = value.detach().cpu()
        if value.is_quantized:
            yield f" {value.qscheme()}".encode()
            per_channel = value.qscheme() in (torch.per_channel_affine, torch.per_channel_affine_float_qparams)
            scales = (
                (value.q_per_channel_scales(), value.q_per_channel_zero_points())
                if per_channel
                else (value.q_scale(), value.q_zero_point())
            )
            yield from _bytes("", [scale.tolist() if isinstance(scale, Tensor) else scale for scale in scales])
            value = value.int_repr()
        value = value.to_dense() if value.layout != torch.strided else value
        yield value.resolve_conj().resolve_neg().contiguous().flatten().view(torch.uint8).numpy().tobytes()
    elif isinstance(value, np.ndarray):
        yield f"{name} {value.dtype} {value.shape}".encode()
        yield np.ascontiguousarray(value).tobytes()
    elif isinstance(value, list | tuple):
        yield f"{name} {len(value)}".encode()
        for i, part in enumerate(value):
            yield from _bytes(str(i), part)
    elif isinstance(value, Mapping):
        yield f"{name} {len(value)}".encode()
        for key, part in value.items():
            yield from _bytes(str(key), part)
    elif isinstance(value, str | bytes | int | float | bool | torch.dtype | None):
        yield f"{name} {value!r}".encode()
    else:
        try:
            yield f"{name} ".encode() + pickle.dumps(value, protocol=4)
        except Exception as error:
            raise ValueError(f"the network holds {name}, {type(value).__name__}, which cannot be told apart by content: {error}") from None
