"""How forward passes are computed: behind the model views, so that no method knows."""

from __future__ import annotations

import ctypes
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten

import torch
from torch import Tensor, nn

from benchmarks.datasets import demo
from benchmarks.identity import of_model
from benchmarks.models import Model
from da.types import Images, Scores
from results.store import digest

__version__ = "1"

TOLERANCE = {"fp32": 5e-3, "bf16": 0.5}  # largest logit difference from PyTorch on the demo photographs


@dataclass(frozen=True)
class Engine:
    """A model ready to run. forward: images ``[batch, 3, h, w]`` in [0, 1], always this many, to logits ``[batch, classes]``.

    module: the model itself for methods that need gradients, on ``device``. difference: the largest logit difference from PyTorch.
    """

    forward: Callable[[Tensor], Tensor]
    batch: int
    device: torch.device
    module: nn.Module
    difference: float = 0.0


def torch_engine(model: Model, *, batch: int = 8, precision: str = "fp32", device: str = "auto") -> Engine:
    """PyTorch itself, channels last, in inference mode: the reference.

    precision: ``fp32``, or ``bf16`` for autocast (a decision can then flip). device: ``cpu``, ``cuda``, or ``auto``, which is CUDA
    where there is one.
    """
    _check(batch, precision)
    reuse_memory()
    where = resolve_device(device)
    module = model.module.to(where, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(images: Images) -> Scores:
        with torch.inference_mode(), torch.autocast(where.type, torch.bfloat16, enabled=precision == "bf16"):
            logits: Tensor = module(images.to(memory_format=torch.channels_last))
            return logits.float()

    return Engine(forward, batch, where, module)


def onnxruntime_engine(model: Model, *, batch: int = 8, precision: str = "fp32") -> Engine:
    """ONNX Runtime on the CPU: about twice as fast as PyTorch there. The graph is exported once and kept in a cache."""
    import onnxruntime

    _check(batch, precision, ("fp32",))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # leave the cores to PyTorch between passes
    session = onnxruntime.InferenceSession(str(exported(model, batch)), options, providers=["CPUExecutionProvider"])

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
    compiled = openvino.Core().compile_model(str(exported(model, batch)), "CPU", settings)

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


def reuse_memory() -> None:
    """Let glibc keep the memory of freed tensors: returning it to the system at each pass halves the speed of eager CPU passes."""
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
        libc.mallopt(-4, 0)  # M_MMAP_MAX: large tensors come from the heap, too
    except (OSError, AttributeError):
        pass  # not glibc: nothing to set


def cache_folder() -> Path:
    """Where exported graphs and the choices of ``engine=auto`` are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "dynamic-ablation"


def exported(model: Model, batch: int) -> Path:
    """The model as an ONNX graph for one batch shape, in the user's cache, by all that decides its numbers."""
    if not model.differentiable:
        raise ValueError(f"{model.name} is an ONNX file already: engine=torch runs it")
    folder = cache_folder()
    size = model.preprocessing.size
    path = folder / f"{digest({'model': of_model(model), 'batch': batch, 'torch': str(torch.__version__)})}.onnx"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}")
        module = model.module.to("cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter that needs no further package says that it is the older one
            torch.onnx.export(module, (torch.rand(batch, 3, size, size),), str(unfinished), dynamo=False, input_names=["images"])
        unfinished.replace(path)
    return path


def _verified(model: Model, forward: Callable[[Tensor], Tensor], batch: int, precision: str, device: torch.device | None = None) -> Engine:
    """Compare with PyTorch on real photographs. Raises ValueError where a logit differs by more than the tolerance."""
    where = device or torch.device("cpu")
    reference = torch_engine(model, batch=batch, device=str(where))
    photographs = demo().photographs
    pixels = torch.stack([photographs[i % len(photographs)].tensor(model.preprocessing) for i in range(batch)]).to(where)
    difference = float((forward(pixels) - reference.forward(pixels)).abs().max())
    if not difference <= TOLERANCE[precision]:
        raise ValueError(f"the engine's logits differ from PyTorch's by {difference:.3g} on {model.name}: choose engine=torch")
    return Engine(forward, batch, where, reference.module, difference)


def _check(batch: int, precision: str, known: tuple[str, ...] = ("fp32", "bf16")) -> None:
    if precision not in known:
        raise ValueError(f"engine.precision={precision!r}: this engine runs {' or '.join(known)}")
    if batch < 1:
        raise ValueError(f"engine.batch={batch}: a forward pass needs at least one image")
