"""Call a method with the access it asks for, check what it returns, and split it by image."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.engines.engine import Engine
from benchmarks.engines.views import LabelView, Passes, ScoreView, access, counted
from benchmarks.inputs.parameters import given_by_the_harness
from benchmarks.jobs.result_checks import checked
from benchmarks.jobs.untouched import settings_kept, untouched
from benchmarks.keys.provenance import target_name
from benchmarks.keys.sources import is_ours
from benchmarks.models.classifier import Model
from da.types import OK, STATED_QUERIES, Attribution, Images, LabelModel, Rngs, Targets
from results.store.store import Arrays

UNREPEATABLE = "unrepeatable"  # two passes of the model over the same images differ


@dataclass(frozen=True)
class Outcome:
    """One image's attribution, ready for the store."""

    status: str
    numbers: dict[str, float]
    arrays: Arrays


def starts(method: Callable[..., Any]) -> dict[str, Callable[..., Any]]:
    """The methods whose attributions a configured method asks for: keywords that are functions where an ``Attribution`` is annotated."""
    if not isinstance(method, partial):
        return {}
    annotated = inspect.signature(method.func).parameters
    return {
        name: value
        for name, value in method.keywords.items()
        if callable(value) and name in annotated and _takes_attribution(str(annotated[name].annotation))
    }


def _takes_attribution(annotation: str) -> bool:
    """Whether an annotation is ``Attribution`` or has it among others, and not such as ``Callable[..., Attribution]``."""
    return any(one.strip().rpartition(".")[2] == "Attribution" for one in annotation.split("|"))


def needs_module(method: Callable[..., Any]) -> bool:
    """Whether a method, or one whose attribution it starts from, sees the network itself."""
    return access(method) is nn.Module or any(map(needs_module, starts(method).values()))


def attribute(
    method: Callable[..., Any],
    model: Model,
    engine: Engine,
    images: Images,
    targets: Targets,
    rngs: Rngs,
    measured: Callable[[], AbstractContextManager[object]] = nullcontext,
    given: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> tuple[Attribution, Passes]:
    """Call a method with the access it asks for, and count the passes it makes for all the images together.

    Where it asks for the module, at most ``engine.batch`` images: they are padded to that many, padding is not counted. The images
    are a copy, and the model and the process's settings are put back afterwards. A method that it starts from (``starts``) is called
    before it with the same random streams, and its passes are counted, too. measured: entered around each call alone. given:
    keywords of the harness's own, for the methods that have them.

    Raises ValueError for a method that needs gradients of a black box, one that changes the model or its input, and for a result of
    the wrong kind, shape or count of queries.
    """
    before: list[tuple[Attribution, Passes]] = []
    for name, start in starts(method).items():
        if needs_module(start) and not model.differentiable:
            own, other = _function(method), _function(start)
            raise ValueError(f"{own} starts from {other}, which {_black_box(model)}: choose another, such as method@method.{name}=rise")
        before.append(attribute(start, model, engine, images, targets, copy.deepcopy(rngs), measured, given))
        method = _with(method, {name: _first(before[-1][0], len(images))})
    method = _with(method, {name: value for name, value in given.items() if name in given_by_the_harness(method)})
    attribution, spent = _attribute(method, model, engine, images, targets, rngs, measured)
    for earlier, passes in before:
        n = len(images)
        stated = torch.stack([_queries(one, cost, n) for one, cost in ((earlier, passes), (attribution, spent))]).sum(0)
        attribution = replace(attribution, extras={**attribution.extras, STATED_QUERIES: stated})
        spent = Passes(spent.forward + passes.forward, spent.backward + passes.backward)
    return attribution, spent


def _with(method: Callable[..., Any], more: Mapping[str, Any]) -> Callable[..., Any]:
    """A configured method with more keywords, whose function is found as before: Hydra's partial objects do not flatten."""
    if isinstance(method, partial):
        return partial(method.func, *method.args, **{**method.keywords, **more})
    return partial(method, **more) if more else method


def _function(method: Callable[..., Any]) -> str:
    return target_name(method).rsplit(".", 1)[-1]


def _black_box(model: Model) -> str:
    return f"needs the network's layers or gradients, and {model.name} is a black box"


def _queries(attribution: Attribution, spent: Passes, n: int) -> Tensor:
    """Of the first ``n`` images, NaN where a method that starts from files does not know; where none are told apart, their mean."""
    if STATED_QUERIES in attribution.extras:
        return attribution.extras[STATED_QUERIES][:n].double()
    return torch.full((n,), spent.forward / n).double() if attribution.queries is None else attribution.queries[:n].double()


def _first(attribution: Attribution, n: int) -> Attribution:
    """What is said of the first images, without those of padding."""
    kept = None if attribution.kept is None else attribution.kept[:n]
    return replace(attribution, saliency=attribution.saliency[:n], kept=kept)


def _attribute(
    method: Callable[..., Any],
    model: Model,
    engine: Engine,
    images: Images,
    targets: Targets,
    rngs: Rngs,
    measured: Callable[[], AbstractContextManager[object]],
) -> tuple[Attribution, Passes]:
    n, wanted, name = len(images), access(method), _function(method)
    if wanted is nn.Module and not model.differentiable:
        raise ValueError(f"{name} {_black_box(model)}: choose a method that only queries, such as da_minimal, rise or kernel_shap")
    if wanted is nn.Module:
        same = torch.arange(engine.batch, device=images.device).clamp_max(n - 1)
        images, targets = images[same].contiguous(memory_format=torch.channels_last), targets[same]
        rngs = [*rngs, *(copy.deepcopy(rngs[-1]) for _ in range(engine.batch - n))]
    shown, asked = images.clone(), targets.clone()
    with untouched(engine.module, name, images), settings_kept(rngs[0]):
        if wanted is nn.Module:
            with counted(engine.module) as passes, measured():
                result = method(engine.module, shown, asked, rngs=rngs)
            spent = Passes(passes.forward * n // engine.batch, passes.backward * n // engine.batch)
        else:
            view: LabelView | ScoreView = LabelView(engine) if wanted is LabelModel else ScoreView(engine)
            with measured():
                result = method(view, shown, asked, rngs=rngs)
            passes = spent = Passes(view.queries)
    for what, given, kept in (("images", shown, images), ("targets", asked, targets)):
        if not torch.equal(given, kept):
            raise ValueError(f"{name} wrote into its {what}: it may change a copy, {what}.clone()")
    theirs = not is_ours(target_name(method).rpartition(".")[0])
    attribution = checked(result, images, name, theirs)
    if STATED_QUERIES in attribution.extras and passes.forward:
        raise ValueError(f"{name} states its queries ({STATED_QUERIES}) and made {passes.forward}: these are counted")
    if STATED_QUERIES in attribution.extras and theirs and not torch.isnan(attribution.extras[STATED_QUERIES]).all():
        raise ValueError(
            f"{name} states its queries ({STATED_QUERIES}): of maps made elsewhere method=precomputed does; here they are counted"
        )
    if attribution.queries is not None and int(attribution.queries.sum()) != passes.forward:
        raise ValueError(f"{name} reports {int(attribution.queries.sum())} queries and made {passes.forward}")
    if not getattr(engine, "repeatable", True):
        said = attribution.status or (OK,) * len(images)
        attribution = replace(attribution, status=tuple(UNREPEATABLE if status == OK else status for status in said))
    return attribution, spent


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
        numbers["queries"] = numbers.pop(STATED_QUERIES, numbers["queries"])
        arrays: Arrays = {"saliency": saliency[i]}
        if attribution.kept is not None:
            arrays["kept"] = np.packbits(attribution.kept[i].cpu().numpy())
        if attribution.trace is not None:
            arrays |= {f"trace_{name}": value[i].cpu().numpy() for name, value in vars(attribution.trace).items() if value is not None}
        yield Outcome(attribution.status[i] if attribution.status else OK, numbers, arrays)
