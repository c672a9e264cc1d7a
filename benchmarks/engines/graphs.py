"""Engines that run an exported ONNX graph, and the cache of these graphs."""

from __future__ import annotations

import os
import warnings
from contextlib import ExitStack
from pathlib import Path

import torch

from benchmarks.engines.control_flow import looks_at_values
from benchmarks.engines.engine import Engine, EngineError, check, in_a_line, placed, verified
from benchmarks.engines.probes import probes
from benchmarks.keys.identity import model_identity
from benchmarks.models.classifier import Model
from benchmarks.models.exported import ExportedNet
from benchmarks.models.onnx_graph import OnnxNet
from da.types import Images, Scores
from results.store.store import digest

__version__ = "1"


def onnxruntime_engine(model: Model, *, batch: int = 8, precision: str = "fp32") -> Engine:
    """ONNX Runtime on the CPU: about twice as fast as PyTorch there.

    The graph is exported once and kept in a cache.

    Parameters
    ----------
    model : Model
        A classifier, see ``benchmarks.models.build``.
    batch : int
        Images of every forward pass, from 1.
    precision : {"fp32"}
        No other is run.

    Returns
    -------
    Engine
        Ready to run.

    Raises
    ------
    EngineError
        For a model that it cannot run as PyTorch does.
    ValueError
        For a batch or precision out of range.
    """
    import onnxruntime

    check(batch, precision, ("fp32",))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # leave the cores to PyTorch between passes
    graph = exported(model, batch)
    try:
        session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # of many kinds: types and operators that it has not, such as bfloat16
        graph.unlink(missing_ok=True)
        raise EngineError(f"ONNX Runtime cannot run {model.name} ({in_a_line(error)}): choose engine=torch") from error

    def forward(images: Images) -> Scores:
        (logits,) = session.run(None, {"images": images.contiguous().numpy()})
        return torch.from_numpy(logits)

    return verified(model, forward, batch, precision)


def openvino_engine(model: Model, *, batch: int = 8, precision: str = "fp32") -> Engine:
    """OpenVINO on the CPU (the extra ``openvino``).

    Parameters
    ----------
    model : Model
        A classifier, see ``benchmarks.models.build``.
    batch : int
        Images of every forward pass, from 1.
    precision : {"fp32", "bf16"}
        ``bf16`` is the fastest where the processor has it.

    Returns
    -------
    Engine
        Ready to run.

    Raises
    ------
    EngineError
        For a model that it cannot run as PyTorch does.
    ValueError
        Where OpenVINO is missing, and for a batch or precision out of range.
    """
    try:
        import openvino
    except ImportError:
        raise ValueError("engine=openvino needs OpenVINO: pip install 'dynamic-ablation[openvino]'") from None
    check(batch, precision)
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
        raise EngineError(f"OpenVINO cannot run {model.name} ({in_a_line(error)}): choose engine=torch") from error

    def forward(images: Images) -> Scores:
        return torch.from_numpy(compiled(images.contiguous().numpy())[0].copy())

    return verified(model, forward, batch, precision)


def cache_folder() -> Path:
    """Where exported graphs and the choices of ``engine=auto`` are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "dynamic-ablation"


def exported(model: Model, batch: int) -> Path:
    """The model as an ONNX graph for one batch shape, in the user's cache, by all that decides its numbers."""
    if isinstance(getattr(model.module, "net", None), OnnxNet):
        raise EngineError(f"{model.name} is an ONNX file already: engine=torch runs it")
    if isinstance(getattr(model.module, "net", None), ExportedNet):
        raise EngineError(f"{model.name} is an exported file: engine=torch runs it")
    folder = cache_folder()
    size = model.preprocessing.size
    what = {"model": model_identity(model), "batch": batch, "torch": str(torch.__version__), "tried": "without control flow by value"}
    path = folder / f"{digest(what)}.onnx"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}")
        placed(model, torch.device("cpu"), batch)
        module = model.module.to(memory_format=torch.contiguous_format)
        if place := looks_at_values(module, probes(model.preprocessing, batch)[:batch]):
            raise EngineError(
                f"{model.name} decides by values that it computes ({place}), and an exported graph keeps one outcome: choose engine=torch"
            )
        try:
            with warnings.catch_warnings(), ExitStack() as stack:
                warnings.simplefilter("ignore")  # of its age, and of shapes, which are always the same here
                stack.callback(setattr, torch._C, "_jit_onnx_log", torch._C._jit_onnx_log)
                torch._C._jit_onnx_log = lambda *_: None  # it prints the graph of a network that it cannot export, whatever is set
                stack.callback(torch.backends.mha.set_fastpath_enabled, torch.backends.mha.get_fastpath_enabled())
                torch.backends.mha.set_fastpath_enabled(False)  # for which graphs have no operator
                torch.onnx.export(module, (torch.rand(batch, 3, size, size),), str(unfinished), dynamo=False, input_names=["images"])
        except Exception as error:  # of many kinds: operators, types and containers that a graph has none for
            unfinished.unlink(missing_ok=True)
            script = any(isinstance(part, torch.jit.ScriptModule) for part in module.modules())
            said = "it is TorchScript" if script else in_a_line(error)
            raise EngineError(f"{model.name} cannot be exported to ONNX ({said}): choose engine=torch") from error
        unfinished.replace(path)
    return path
