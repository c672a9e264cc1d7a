"""Call a method with the access it asks for, check what it returns, and split it by image."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.access import LabelView, Passes, ScoreView, View, access, counted
from benchmarks.engines import Engine
from benchmarks.models import Model
from benchmarks.provenance import target_name
from da.types import OK, Attribution, Images, LabelModel, Rngs, Targets
from results.store import Arrays


@dataclass(frozen=True)
class Outcome:
    """One image's attribution, ready for the store."""

    status: str
    numbers: dict[str, float]
    arrays: Arrays


def attribute(
    method: Callable[..., Attribution | Tensor], model: Model, engine: Engine, images: Images, targets: Targets, rngs: Rngs
) -> tuple[Attribution, Passes]:
    """Call a method with the access it asks for, and count the passes it makes for all the images together.

    Where it asks for the module, at most ``engine.batch`` images: they are padded to that many, padding is not counted. Raises
    ValueError for a method that needs gradients of a black box, and for a result of the wrong kind, shape or count of queries.
    """
    n, wanted, name = len(images), access(method), target_name(method).rsplit(".", 1)[-1]
    if wanted is not nn.Module:
        view: View = LabelView(engine) if wanted is LabelModel else ScoreView(engine)
        attribution = checked(method(view, images, targets, rngs=rngs), images, name)
        if attribution.queries is not None and int(attribution.queries.sum()) != view.queries:
            raise ValueError(f"{name} reports {int(attribution.queries.sum())} queries and made {view.queries}")
        return attribution, Passes(view.queries)
    if not model.differentiable:
        raise ValueError(f"{name} needs gradients, and {model.name} is a black box: choose a method that only queries")
    same = torch.arange(engine.batch, device=images.device).clamp_max(n - 1)
    padded = images[same].contiguous(memory_format=torch.channels_last)
    streams = [*rngs, *(copy.deepcopy(rngs[-1]) for _ in range(engine.batch - n))]
    with counted(engine.module) as passes:
        result = method(engine.module, padded, targets[same], rngs=streams)
    return checked(result, padded, name), Passes(passes.forward * n // engine.batch, passes.backward * n // engine.batch)


def checked(result: object, images: Images, name: str) -> Attribution:
    """What a method returned, made an Attribution. Raises TypeError or ValueError for another type or shape."""
    attribution = Attribution(result) if isinstance(result, Tensor) else result
    if not isinstance(attribution, Attribution):
        raise TypeError(f"{name} returned {type(result).__name__}: return a tensor [n, h, w] or an Attribution")
    n, _, h, w = images.shape
    for what, values in (("saliency", attribution.saliency), ("kept", attribution.kept)):
        if values is not None and tuple(values.shape) != (n, h, w):
            raise ValueError(f"{name} returned a {what} of shape {tuple(values.shape)} for {n} images of {h} x {w}")
    return replace(attribution, saliency=attribution.saliency.detach().float())


def outcomes(attribution: Attribution, n: int, passes: Passes, seconds: float) -> Iterator[Outcome | str]:
    """Split an attribution of a batch into the outcomes of its first ``n`` images."""
    saliency = attribution.saliency.cpu().numpy()
    for i in range(n):
        if not np.isfinite(saliency[i]).all():
            yield "the saliency map has values that are not finite"
            continue
        queries = float(attribution.queries[i]) if attribution.queries is not None else passes.forward / n
        numbers = {"queries": queries, "backwards": passes.backward / n, "seconds": seconds}
        numbers |= {name: float(values[i]) for name, values in attribution.extras.items()}
        arrays: Arrays = {"saliency": saliency[i]}
        if attribution.kept is not None:
            arrays["kept"] = np.packbits(attribution.kept[i].cpu().numpy())
        if attribution.trace is not None:
            arrays |= {f"trace_{name}": value[i].cpu().numpy() for name, value in vars(attribution.trace).items() if value is not None}
        yield Outcome(attribution.status[i] if attribution.status else OK, numbers, arrays)


def unpacked(bits: NDArray[np.uint8], size: Sequence[int]) -> NDArray[np.bool_]:
    """A stored mask as booleans ``[h, w]``."""
    h, w = size
    return np.unpackbits(bits, count=h * w).reshape(h, w).astype(bool)
