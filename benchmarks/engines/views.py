"""What a method may see of a model: labels, scores, or the module itself; every pass is counted."""

from __future__ import annotations

import inspect
import re
import sys
import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.engines.engine import Engine, reference_engine
from da.types import Images, LabelModel, ScoreModel, Scores


class NotFiniteError(ValueError):
    """The model returned NaN or infinite logits."""


class View:
    """A model behind fixed-shape forward passes: splits and pads, so an image's numbers do not move with who shares its batch.

    Parameters
    ----------
    engine : Engine
        What runs the model.

    Attributes
    ----------
    queries : int
        Images asked about so far.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.queries = 0

    def logits(self, images: Images) -> Scores:
        """Logits of any number of images; padding is not counted as queries.

        Parameters
        ----------
        images : Tensor [m, 3, h, w] in [0, 1]
            Not normalised.

        Returns
        -------
        Tensor [m, classes]
            Logits.

        Raises
        ------
        NotFiniteError
            Where they are NaN or infinite; a class that is ruled out may have -inf.
        """
        self.queries += len(images)
        batch = self.engine.batch
        out = []
        for chunk in images.split(batch):
            missing = batch - len(chunk)
            padded = torch.cat([chunk, chunk[-1:].expand(missing, -1, -1, -1)]) if missing else chunk
            out.append(self.engine.forward(padded)[: len(chunk)])
        logits = torch.cat(out)
        if not torch.isfinite(logits.amax(1)).all():  # a class that is ruled out has -inf, and a probability of 0
            raise NotFiniteError("the model returned logits that are not finite")
        if (told := getattr(self.engine, "told", None)) is not None:
            told(images, logits)
        return logits


class _Restricted:
    """What a method is given of a view: its answers and its count, which it cannot set."""

    def __init__(self, engine: Engine) -> None:
        self._view = View(engine)

    @property
    def queries(self) -> int:
        """Images asked about so far."""
        return self._view.queries


class LabelView(_Restricted):
    """Predicted classes only: no score can leak into a decision-based method.

    Parameters
    ----------
    engine : Engine
        What runs the model.

    Attributes
    ----------
    queries : int
        Images asked about so far.
    """

    def __call__(self, images: Images, /) -> Tensor:
        """Classes ``[m]``."""
        return self._view.logits(images).argmax(1)


def reference_view(engine: Engine) -> LabelView:
    """Classes by the network itself in PyTorch, to verify what another engine's exported graph was asked about."""
    return LabelView(reference_engine(engine))


class ScoreView(_Restricted):
    """Softmax probabilities.

    Parameters
    ----------
    engine : Engine
        What runs the model.

    Attributes
    ----------
    queries : int
        Images asked about so far.
    """

    def __call__(self, images: Images, /) -> Tensor:
        """Probabilities ``[m, classes]``."""
        return self._view.logits(images).softmax(1)


@dataclass
class Passes:
    """Images passed forward through a module and gradients passed back."""

    forward: int = 0
    backward: int = 0


@contextmanager
def counted(module: nn.Module) -> Iterator[Passes]:
    """Count the passes through a module, or through copies made of it, while the context lasts."""
    passes = Passes()

    def backward(gradient: Tensor) -> None:
        passes.backward += len(gradient)

    def forward(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        passes.forward += len(output)
        if output.requires_grad:
            output.register_hook(backward)

    handle = module.register_forward_hook(forward)
    try:
        yield passes
    finally:
        handle.remove()


def access(method: Callable[..., Any]) -> type:
    """What a method asks to see, from the annotation of its first parameter: LabelModel, ScoreModel, or else the module.

    method: anything that can be called. An annotation that cannot be resolved, a name imported for the type checker alone, counts by
    its name.
    """
    try:
        first = next(iter(inspect.signature(method).parameters.values()))
    except (TypeError, ValueError, StopIteration):  # built in, or without parameters
        return nn.Module
    hint = first.annotation
    if isinstance(hint, str):
        function = inspect.unwrap(method.func if isinstance(method, partial) else method)
        module = sys.modules.get(getattr(function, "__module__", None) or "")  # of an object that can be called: its class's
        with suppress(Exception):
            hint = eval(hint, getattr(function, "__globals__", None) or dict(vars(module)))
    parts = (hint, *typing.get_args(hint))
    names = " ".join(part if isinstance(part, str) else getattr(part, "__forward_arg__", "") for part in parts)
    asked = {kind for part in parts for kind in getattr(part, "__mro__", ())} & {LabelModel, ScoreModel}
    asked |= {kind for kind in (LabelModel, ScoreModel) if kind.__name__ in re.findall(r"\w+", names)}
    return asked.pop() if len(asked) == 1 else nn.Module
