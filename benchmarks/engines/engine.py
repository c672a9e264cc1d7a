"""How forward passes are computed: behind the model views, so that no method knows."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from textwrap import shorten

import torch
from torch import Tensor, nn

from benchmarks.engines.probes import probes
from benchmarks.models.classifier import Model, Normalised
from benchmarks.models.exported import ExportedNet
from da.types import Images, Scores

__version__ = "1"


class EngineError(ValueError):
    """An engine that cannot run a model as PyTorch does: ``engine=torch`` can."""


TOLERANCE = {"fp32": 5e-3, "bf16": 0.5}  # largest logit difference from PyTorch, as a share of the logits' range where that is below 1


@dataclass(frozen=True)
class Engine:
    """A model ready to run.

    Attributes
    ----------
    forward : callable
        Images ``[batch, 3, h, w]`` in [0, 1], always this many, to logits ``[batch, classes]``.
    batch : int
        Images of every forward pass.
    device : torch.device
        Where ``module`` is.
    module : torch.nn.Module
        The model itself, in PyTorch, for methods that need gradients.
    difference : float
        The largest logit difference from PyTorch.
    repeatable : bool
        Whether two passes over the same images give the same.
    scores : Tensor or None
        What the network itself said of ``probes``, before it was made logits, see ``Outputs``; None where it was not asked.
    told : callable or None
        Given the images that a view was asked about and their logits, without padding, for somebody who looks on.
    """

    forward: Callable[[Tensor], Tensor]
    batch: int
    device: torch.device
    module: nn.Module
    difference: float = 0.0
    repeatable: bool = True
    scores: Tensor | None = None
    told: Callable[[Tensor, Tensor], None] | None = None


def torch_engine(model: Model, *, batch: int = 8, precision: str = "fp32", device: str = "auto") -> Engine:
    """PyTorch itself, channels last where the network can, without gradients: the reference.

    Parameters
    ----------
    model : Model
        A classifier, see ``benchmarks.models.build``.
    batch : int
        Images of every forward pass, from 1.
    precision : {"fp32", "bf16"}
        ``bf16`` is autocast (a decision can then flip).
    device : str
        ``cpu``, ``cuda``, or ``auto``, which is CUDA where there is one.

    Returns
    -------
    Engine
        Ready to run.

    Raises
    ------
    ValueError
        For a batch or precision out of range, a device that is not there, and a network that cannot compute images of its size.
    """
    check(batch, precision)
    where = resolve_device(device)
    module, first = placed(model, where, batch)

    def forward(images: Images) -> Scores:
        # not in inference mode: what a network keeps of a pass could then not be used with gradients
        with torch.no_grad(), torch.autocast(where.type, torch.bfloat16, enabled=precision == "bf16"):
            logits: Tensor = module(images.to(memory_format=torch.channels_last))
            return logits.float()

    others = probes(model.preprocessing, batch)[batch:].to(where, memory_format=torch.channels_last)
    with torch.no_grad():
        scores = torch.cat([first, *(_scores(module, part) for part in others.split(batch) if len(part))])
    return Engine(forward, batch, where, module, scores=scores)


def reference_engine(engine: Engine) -> Engine:
    """The network itself in PyTorch, whatever the engine: what an answer is verified with."""

    def forward(images: Images) -> Scores:
        was = engine.module.training
        engine.module.eval()
        try:
            with torch.no_grad():
                logits: Tensor = engine.module(images.to(memory_format=torch.channels_last))
        finally:
            engine.module.train(was)
        return logits.float()

    return replace(engine, forward=forward, difference=0.0)


def placed(model: Model, where: torch.device, batch: int) -> tuple[nn.Module, Tensor]:
    """The module on a device, channels last, or contiguous where the network computes otherwise, or fails, channels last.

    Also its scores of the first batch of ``probes``. Raises ValueError for a network that cannot compute the images that it is to be shown.
    """
    module = model.module
    if isinstance(module, Normalised):
        module.contiguous = False
    module.to(where, memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    images = probes(model.preprocessing, batch)[:batch].to(where)
    with torch.no_grad():
        try:
            scores = _scores(module, images)
        except ValueError:  # says what is wrong
            raise
        except Exception as error:
            raise ValueError(_why(model, error, images)) from error
        try:
            found = _scores(module.to(memory_format=torch.channels_last), images.to(memory_format=torch.channels_last))
            if _difference(scores, found) <= _tolerance(scores, "fp32", _rounding(module)) or scores.isnan().any():
                return module, found
        except RuntimeError:
            pass  # such as a view of what is not contiguous
    if isinstance(module, Normalised):
        module.contiguous = True
    return module.to(memory_format=torch.contiguous_format), scores


def _scores(module: nn.Module, images: Images) -> Tensor:
    """What the network itself says of images, before it is made logits."""
    scores: Tensor = module.scores(images) if isinstance(module, Normalised) else module(images)
    return scores


def _why(model: Model, error: Exception, images: Images) -> str:
    """What to say of a network that fails on images."""
    said = in_a_line(error)
    if found := re.search(r"to have (\d+) channels?, but got 3", str(error)):
        if found[1] != "1":
            return f"model {model.name} takes images of {found[1]} channels, not 3"
        where = (
            "before it is exported"
            if isinstance(getattr(model.module, "net", None), ExportedNet)
            else "in the function that model.net names"
        )
        return f"model {model.name} takes images of 1 channel: put torchvision.transforms.Grayscale() in front of it, {where}"
    return f"model {model.name} cannot compute images of {images.shape[-1]} x {images.shape[-1]} pixels (model.size): {said}"


def compile_engine(model: Model, *, batch: int = 8, precision: str = "fp32", device: str = "auto") -> Engine:
    """``torch.compile`` with frozen weights, on CUDA with CUDA graphs; needs a C++ compiler on the CPU.

    The first pass takes a minute.

    Parameters
    ----------
    model : Model
        A classifier, see ``benchmarks.models.build``.
    batch : int
        Images of every forward pass, from 1.
    precision : {"fp32", "bf16"}
        ``bf16`` is autocast (a decision can then flip).
    device : str
        ``cpu``, ``cuda``, or ``auto``, which is CUDA where there is one.

    Returns
    -------
    Engine
        Ready to run.

    Raises
    ------
    EngineError
        For a model that it cannot run as PyTorch does.
    ValueError
        As of ``torch_engine``.
    """
    reference = torch_engine(model, batch=batch, precision=precision, device=device)
    with torch._inductor.config.patch(freezing=True):
        compiled = torch.compile(model.module, mode="reduce-overhead" if reference.device.type == "cuda" else "default")

    def forward(images: Images) -> Scores:
        with torch._inductor.config.patch(freezing=True), torch.no_grad():
            with torch.autocast(reference.device.type, torch.bfloat16, enabled=precision == "bf16"):
                logits: Tensor = compiled(images.to(memory_format=torch.channels_last))
            return logits.to(torch.float32, copy=True)  # a CUDA graph writes its next answer to the same place

    return verified(model, forward, batch, precision, reference.device)


def resolve_device(device: str) -> torch.device:
    """``auto`` is CUDA where there is one, else the CPU. Raises ValueError for a device that is not there."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        where = torch.device(device)
        torch.empty(0, device=where)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = shorten(str(error).split(". ")[0], 80, placeholder=" …")
        raise ValueError(f"device {device!r} cannot be used here ({reason}): try cpu or auto") from None
    return where


def in_a_line(error: Exception) -> str:
    """What an error says, 200 characters of it at most."""
    return shorten(" ".join(str(error).split()) or type(error).__name__, 200, placeholder=" …")


def verified(model: Model, forward: Callable[[Tensor], Tensor], batch: int, precision: str, device: torch.device | None = None) -> Engine:
    """Compare with PyTorch on photographs and masked ones. Raises EngineError where a logit differs by more than the tolerance."""
    where = device or torch.device("cpu")
    reference = torch_engine(model, batch=batch, device=str(where))
    difference, module, scores = 0.0, reference.module, reference.scores
    assert scores is not None
    rounding = _rounding(module)
    known = module.outputs.logits(scores) if isinstance(module, Normalised) and module.outputs else scores
    for images, logits in zip(probes(model.preprocessing, batch).to(where).split(batch), known.float().split(batch), strict=True):
        difference = max(difference, found := _difference(forward(images), logits), key=lambda value: (value != value, value))
        if not found <= _tolerance(logits, precision, rounding):
            if _difference(reference.forward(images), logits) > _tolerance(logits, "fp32", rounding):
                raise EngineError(
                    f"{model.name} answers the same images differently each time, and an exported graph may not: choose engine=torch"
                )
            raise EngineError(f"the engine's logits differ from PyTorch's by {found:.3g} on {model.name}: choose engine=torch")
    return replace(reference, forward=forward, difference=difference)


def _difference(some: Scores, others: Scores) -> float:
    """The largest difference of logits; none where both are the same infinity, and NaN where either is NaN."""
    return float(torch.where(some == others, 0, some - others).abs().max())


def _rounding(module: nn.Module) -> float:
    """The rounding of 1 by a network's weights, which may be of half precision."""
    return max((torch.finfo(tensor.dtype).eps for tensor in module.parameters() if tensor.is_floating_point()), default=0.0)


def _tolerance(logits: Scores, precision: str, rounding: float) -> float:
    """The difference to allow: that of the precision, or its share of the logits' range where that is below 1; or four roundings."""
    finite = logits[torch.isfinite(logits)]
    if not finite.numel():
        return TOLERANCE[precision]
    return max(TOLERANCE[precision] * min(1.0, float(finite.max() - finite.min())), 4 * rounding * float(finite.abs().max()))


def check(batch: int, precision: str, known: tuple[str, ...] = ("fp32", "bf16")) -> None:
    """Raise ValueError for a batch or precision that an engine does not run."""
    if precision not in known:
        raise ValueError(f"engine.precision={precision!r}: this engine runs {' or '.join(known)}")
    if batch < 1:
        raise ValueError(f"engine.batch={batch}: a forward pass needs at least one image")
