"""How forward passes are computed: behind the model views, so that no method knows."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import shorten

import torch
from torch import Tensor, nn

from benchmarks.engines.control_flow import looks_at_values
from benchmarks.engines.probes import probes
from benchmarks.keys.identity import of_model
from benchmarks.models.classifier import Model, Normalised
from benchmarks.models.onnx_graph import OnnxNet
from da.types import Images, Scores
from results.store.store import digest

__version__ = "1"


class EngineError(ValueError):
    """An engine that cannot run a model as PyTorch does: ``engine=torch`` can."""


TOLERANCE = {"fp32": 5e-3, "bf16": 0.5}  # largest logit difference from PyTorch, as a share of the logits' range where that is below 1


@dataclass(frozen=True)
class Engine:
    """A model ready to run. forward: images ``[batch, 3, h, w]`` in [0, 1], always this many, to logits ``[batch, classes]``.

    module: the model itself, in PyTorch and on ``device``, for methods that need gradients. difference: the largest logit difference
    from PyTorch. repeatable: whether two passes over the same images give the same. scores: what the network itself said of ``probes``,
    before it was made logits, see ``Outputs``; None where it was not asked.
    """

    forward: Callable[[Tensor], Tensor]
    batch: int
    device: torch.device
    module: nn.Module
    difference: float = 0.0
    repeatable: bool = True
    scores: Tensor | None = None


def torch_engine(model: Model, *, batch: int = 8, precision: str = "fp32", device: str = "auto") -> Engine:
    """PyTorch itself, channels last where the network can, without gradients: the reference.

    precision: ``fp32``, or ``bf16`` for autocast (a decision can then flip). device: ``cpu``, ``cuda``, or ``auto``, which is CUDA
    where there is one.
    """
    _check(batch, precision)
    where = resolve_device(device)
    module, first = _placed(model, where, batch)

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


def _placed(model: Model, where: torch.device, batch: int) -> tuple[nn.Module, Tensor]:
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
            if _difference(scores, found) <= _tolerance(scores, "fp32") or scores.isnan().any():
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
    said = _said(error)
    if found := re.search(r"to have (\d+) channels?, but got 3", said):
        what = "1 channel: put torchvision.transforms.Grayscale() in front of it" if found[1] == "1" else f"{found[1]} channels"
        return f"model {model.name} takes images of {what}{', in the function that model.net names' if found[1] == '1' else ', not 3'}"
    return f"model {model.name} cannot compute images of {images.shape[-1]} x {images.shape[-1]} pixels (model.size): {said}"


def onnxruntime_engine(model: Model, *, batch: int = 8, precision: str = "fp32") -> Engine:
    """ONNX Runtime on the CPU: about twice as fast as PyTorch there. The graph is exported once and kept in a cache."""
    import onnxruntime

    _check(batch, precision, ("fp32",))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # leave the cores to PyTorch between passes
    graph = exported(model, batch)
    try:
        session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # of many kinds: types and operators that it has not, such as bfloat16
        graph.unlink(missing_ok=True)
        raise EngineError(f"ONNX Runtime cannot run {model.name} ({_said(error)}): choose engine=torch") from error

    def forward(images: Images) -> Scores:
        (logits,) = session.run(None, {"images": images.contiguous().numpy()})
        return torch.from_numpy(logits)

    return _verified(model, forward, batch, precision)


def openvino_engine(model: Model, *, batch: int = 8, precision: str = "fp32") -> Engine:
    """OpenVINO on the CPU (the extra ``openvino``). precision ``bf16`` is the fastest where the processor has it."""
    try:
        import openvino
    except ImportError:
        raise ValueError("engine=openvino needs OpenVINO: pip install 'dynamic-ablation[openvino]'") from None
    _check(batch, precision)
    hint = {"fp32": "f32", "bf16": "bf16"}[precision]
    settings: dict[str, object] = {
        "INFERENCE_PRECISION_HINT": hint,
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,  # or the processes of a sweep share the first cores
    }
    graph = exported(model, batch)
    try:
        compiled = openvino.Core().compile_model(str(graph), "CPU", settings)
    except Exception as error:
        raise EngineError(f"OpenVINO cannot run {model.name} ({_said(error)}): choose engine=torch") from error

    def forward(images: Images) -> Scores:
        return torch.from_numpy(compiled(images.contiguous().numpy())[0].copy())

    return _verified(model, forward, batch, precision)


def compile_engine(model: Model, *, batch: int = 8, precision: str = "fp32", device: str = "auto") -> Engine:
    """``torch.compile`` with frozen weights, on CUDA with CUDA graphs; needs a C++ compiler on the CPU. The first pass takes a minute."""
    reference = torch_engine(model, batch=batch, precision=precision, device=device)
    with torch._inductor.config.patch(freezing=True):
        compiled = torch.compile(model.module, mode="reduce-overhead" if reference.device.type == "cuda" else "default")

    def forward(images: Images) -> Scores:
        with torch._inductor.config.patch(freezing=True), torch.no_grad():
            with torch.autocast(reference.device.type, torch.bfloat16, enabled=precision == "bf16"):
                logits: Tensor = compiled(images.to(memory_format=torch.channels_last))
            return logits.to(torch.float32, copy=True)  # a CUDA graph writes its next answer to the same place

    return _verified(model, forward, batch, precision, reference.device)


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


def cache_folder() -> Path:
    """Where exported graphs and the choices of ``engine=auto`` are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "dynamic-ablation"


def exported(model: Model, batch: int) -> Path:
    """The model as an ONNX graph for one batch shape, in the user's cache, by all that decides its numbers."""
    if isinstance(getattr(model.module, "net", None), OnnxNet):
        raise EngineError(f"{model.name} is an ONNX file already: engine=torch runs it")
    folder = cache_folder()
    size = model.preprocessing.size
    what = {"model": of_model(model), "batch": batch, "torch": str(torch.__version__), "tried": "without control flow by value"}
    path = folder / f"{digest(what)}.onnx"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}")
        _placed(model, torch.device("cpu"), batch)
        module = model.module.to(memory_format=torch.contiguous_format)
        if place := looks_at_values(module, probes(model.preprocessing, batch)[:batch]):
            raise EngineError(
                f"{model.name} decides by values that it computes ({place}), and an exported graph keeps one outcome: choose engine=torch"
            )
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of its age, and of shapes, which are always the same here
                torch._C._jit_set_onnx_log_enabled(False)  # it prints the graph of a network that it cannot export
                torch.onnx.export(module, (torch.rand(batch, 3, size, size),), str(unfinished), dynamo=False, input_names=["images"])
        except Exception as error:  # of many kinds: operators, types and containers that a graph has none for
            unfinished.unlink(missing_ok=True)
            script = any(isinstance(part, torch.jit.ScriptModule) for part in module.modules())
            said = "it is TorchScript" if script else _said(error)
            raise EngineError(f"{model.name} cannot be exported to ONNX ({said}): choose engine=torch") from error
        unfinished.replace(path)
    return path


def _said(error: Exception) -> str:
    return shorten(" ".join(str(error).split()) or type(error).__name__, 200, placeholder=" …")


def _verified(model: Model, forward: Callable[[Tensor], Tensor], batch: int, precision: str, device: torch.device | None = None) -> Engine:
    """Compare with PyTorch on photographs and masked ones. Raises EngineError where a logit differs by more than the tolerance."""
    where = device or torch.device("cpu")
    reference = torch_engine(model, batch=batch, device=str(where))
    difference, module, scores = 0.0, reference.module, reference.scores
    assert scores is not None
    known = module.outputs.logits(scores) if isinstance(module, Normalised) and module.outputs else scores
    for images, logits in zip(probes(model.preprocessing, batch).to(where).split(batch), known.float().split(batch), strict=True):
        difference = max(difference, found := _difference(forward(images), logits), key=lambda value: (value != value, value))
        if not found <= _tolerance(logits, precision):
            if _difference(reference.forward(images), logits) > _tolerance(logits, "fp32"):
                raise EngineError(
                    f"{model.name} answers the same images differently each time, and an exported graph may not: choose engine=torch"
                )
            raise EngineError(f"the engine's logits differ from PyTorch's by {found:.3g} on {model.name}: choose engine=torch")
    return replace(reference, forward=forward, difference=difference)


def _difference(some: Scores, others: Scores) -> float:
    """The largest difference of logits; none where both are the same infinity, and NaN where either is NaN."""
    return float(torch.where(some == others, 0, some - others).abs().max())


def _tolerance(logits: Scores, precision: str) -> float:
    """The difference to allow: that of the precision, or its share of the logits' range where that is below 1."""
    finite = logits[torch.isfinite(logits)]
    return TOLERANCE[precision] * min(1.0, float(finite.max() - finite.min()) if finite.numel() else 1.0)


def _check(batch: int, precision: str, known: tuple[str, ...] = ("fp32", "bf16")) -> None:
    if precision not in known:
        raise ValueError(f"engine.precision={precision!r}: this engine runs {' or '.join(known)}")
    if batch < 1:
        raise ValueError(f"engine.batch={batch}: a forward pass needs at least one image")
