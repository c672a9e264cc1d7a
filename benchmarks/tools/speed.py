"""How near each part comes to the bare forward pass: ``python -m benchmarks.tools.speed``."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from hydra.utils import instantiate
from rich.console import Console
from torch import Tensor, nn

from baselines.perturbation.rise import rise
from benchmarks.data.sets import demo
from benchmarks.engines.engine import Engine
from benchmarks.engines.loading import load
from benchmarks.engines.views import LabelView, ScoreView
from benchmarks.inputs.compose import as_json, composed
from benchmarks.inputs.messages import cause
from benchmarks.jobs.memory import peak_memory
from benchmarks.measures.insertion import insertion_game
from benchmarks.models.classifier import Model
from benchmarks.tools.timing import Rate, Timer, Value, Work, table
from da.rng import image_rng
from da.superpixels import superpixels
from da.types import Attribution, Images, Targets
from da.walk import dynamic_ablation

ENGINES = {
    "torch": {},
    "onnxruntime": {},
    "openvino": {},
    "openvino bf16": {"precision": "bf16"},
    "compile": {},
    "compile bf16": {"precision": "bf16"},
}
ON_DEVICE = ("torch", "compile")  # the engines that run where they are told
START_UP = """
import time, torch, sys
start = time.perf_counter()
from benchmarks.engines.views import View
logits = View.logits
def first(*arguments):
    print("START-UP", time.perf_counter() - start, flush=True)
    View.logits = logits
    return logits(*arguments)
View.logits = first
from da.__main__ import main
main(sys.argv[1:])
"""
EAGER = """
import json, sys, torch
from hydra.utils import instantiate
model = instantiate(json.loads(sys.argv[1])).module
batch, passes = int(sys.argv[2]), int(sys.argv[3])
images = torch.rand(batch, 3, int(sys.argv[4]), int(sys.argv[4]))
for _ in sys.stdin:
    with torch.inference_mode():
        for _ in range(passes):
            model(images)
    print(batch * passes, flush=True)
"""


@dataclass(frozen=True)
class Setup:
    """What the lines are measured on."""

    model: Model
    model_json: str
    engine: Engine
    reference: Engine
    images: Images
    targets: Targets
    timer: Timer
    size: int  # queries per image and round
    device: str = "auto"

    def floor(self) -> int:
        """The bare forward pass of the engine, as many images as a round has queries."""
        for _ in range(self.size):
            self.engine.forward(self.images)
        return self.size * len(self.images)


def walk(setup: Setup) -> Iterator[Rate]:
    """Dynamic Ablation beside the bare forward pass, and over pixels beside superpixels."""

    def walks(sp_num: int | None) -> int:
        view = LabelView(setup.engine)
        rngs = [image_rng(0, "method", str(i)) for i in range(len(setup.images))]
        dynamic_ablation(view, setup.images, setup.targets, rngs=rngs, sp_num=sp_num, iterations=setup.size)
        return view.queries

    yield setup.timer.compare("da, 500 superpixels / forward", "queries/s", partial(walks, 500), setup.floor)
    yield setup.timer.compare("da, pixels / da, 500 superpixels", "queries/s", partial(walks, None), partial(walks, 500))


def masks(setup: Setup) -> Iterator[Rate | Value]:
    """RISE beside the bare forward pass, and its memory."""

    def maps(count: int) -> int:
        view = ScoreView(setup.engine)
        rise(
            view, setup.images[:1], setup.targets[:1], rngs=[image_rng(0, "method", "0")],
            masks=count, cells=7, probability=0.5, fill="black", mask_seed=0, chunk=setup.engine.batch,
        )  # fmt: skip
        return view.queries

    yield setup.timer.compare("rise / forward", "masks/s", partial(maps, setup.size * setup.engine.batch), setup.floor)
    for count in (1000, 8000):
        with peak_memory(setup.engine.device) as peak:
            maps(count)
        yield Value(f"rise, {count} masks, peak memory", peak.get("peak_mb", float("nan")), "MB")


def optimisation(setup: Setup) -> Iterator[Rate]:
    """Extremal Perturbation beside the bare forward and backward pass of PyTorch."""
    net, images, targets = setup.reference.module, setup.images, setup.targets

    def optimise(iterations: int) -> int:
        cfg = composed("method=ep", "method.areas=[0.1]", "method.border=reflect", f"method.iterations={iterations}")
        instantiate(cfg.method)(net, images, targets)
        return (iterations - 1) * len(images)

    work, spare = partial(optimise, setup.size + 1), partial(optimise, 1)
    yield setup.timer.compare("ep / forward and backward", "iterations/s", work, partial(passes_back, net, images, setup.size), spare)


def passes_back(net: nn.Module, images: Images, steps: int) -> int:
    """Forward and backward passes to the input."""
    shown = images.contiguous(memory_format=torch.channels_last).requires_grad_()
    for _ in range(steps):
        torch.autograd.grad(net(shown).amax(1).sum(), shown)
    return steps * len(images)


def insertion(setup: Setup) -> Iterator[Rate]:
    """The insertion game beside the bare forward pass."""
    shares = [i / setup.size for i in range(1, setup.size + 1)]
    saliency = torch.stack([torch.from_numpy(image_rng(1, "map", str(i)).random(image.shape[1:])) for i, image in enumerate(setup.images)])

    def play() -> int:
        view, rngs = LabelView(setup.engine), [image_rng(0, "ties", str(i)) for i in range(len(setup.images))]
        insertion_game(view, setup.images, setup.targets, setup.targets.tolist(), Attribution(saliency.float()), rngs=rngs, shares=shares)
        return view.queries

    yield setup.timer.compare("insertion game / forward", "points/s", play, setup.floor)


def engines(setup: Setup) -> Iterator[Rate]:
    """Every engine that can run here beside PyTorch as it is: contiguous, and in a process of its own, with memory as it comes."""
    passes = max(1, setup.size // 4)
    with naive(setup, passes) as eager:
        for name, settings in ENGINES.items():
            kind = name.split()[0]
            given = [f"engine={kind}", f"engine.batch={len(setup.images)}", *(f"engine.{key}={value}" for key, value in settings.items())]
            given += [f"engine.device={setup.device}"] if kind in ON_DEVICE else []
            try:
                engine: Engine = instantiate(composed(*given).engine)(setup.model)
                engine.forward(setup.images)
            except Exception as error:  # such as no compiler, or a package that is not installed: the others can be measured
                print(f"engine {name} does not run here: {cause(error).splitlines()[0]}", file=sys.stderr, flush=True)
                continue

            def forward(engine: Engine = engine) -> int:
                for _ in range(passes):
                    engine.forward(setup.images)
                return passes * len(setup.images)

            yield setup.timer.compare(f"{setup.model.name}: {name} / torch, contiguous", "images/s", forward, eager)


@contextmanager
def naive(setup: Setup, passes: int) -> Iterator[Work]:
    """Forward passes of eager, contiguous PyTorch in another process, which works when it is asked to."""
    command = [sys.executable, "-c", EAGER, setup.model_json, str(len(setup.images)), str(passes), str(setup.model.preprocessing.size)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        to, back = child.stdin, child.stdout
        assert to is not None
        assert back is not None

        def work() -> int:
            print("go", file=to, flush=True)
            return int(back.readline())

        yield work


def preparation(setup: Setup) -> Iterator[Value]:
    """Decoding and segmenting a photograph, and segmenting it again."""
    photograph, preprocessing = demo().photographs[0], setup.model.preprocessing
    start = time.perf_counter()
    image: Tensor = photograph.tensor(preprocessing)
    decoded = time.perf_counter()
    yield Value("decode and resize a photograph", decoded - start, "s")
    noise = torch.from_numpy(image_rng(0, "noise", "0").random(image.shape)).float() / 512
    for line in ("SLIC of a photograph", "SLIC of it again"):
        start = time.perf_counter()
        superpixels((image + noise)[None], 500)
        yield Value(line, time.perf_counter() - start, "s")


def start_up(setup: Setup) -> Iterator[Value]:
    """From the end of ``import torch`` to the first forward pass of ``python -m da photo.jpg``."""
    photograph = demo().photographs[0]
    times = []
    for _ in range(setup.timer.rounds):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-c", START_UP, str(photograph.source), "--iterations", "1", "--out", f"{folder}/picture.png"]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
        times += [float(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("START-UP")]
    yield Value("python -m da, from torch's import to the first pass", statistics.median(times), "s")


LINES: dict[str, Callable[[Setup], Iterator[Rate | Value]]] = {
    "da": walk,
    "rise": masks,
    "ep": optimisation,
    "insertion": insertion,
    "engines": engines,
    "preparation": preparation,
    "start_up": start_up,
}


def prepared_setup(
    model_name: str, weights: str | None, engine_name: str, batch: int, rounds: int, size: int, device: str = "auto"
) -> Setup:
    """Load a model, its engine and PyTorch, with photographs for one batch."""
    given = [f"model={model_name}", f"engine.batch={batch}", *([f"model.weights={weights}"] if weights else [])]
    on = [f"engine.device={device}"]
    cfg = composed(f"engine={engine_name}", *given, *(on if engine_name in ON_DEVICE else []))
    model, engine = load(as_json(cfg.model), as_json(cfg.engine))
    _, reference = load(as_json(cfg.model), as_json(composed("engine=torch", *given, *on).engine))
    photographs = demo().photographs
    pixels = [photographs[i % len(photographs)].tensor(model.preprocessing) for i in range(batch)]
    images = torch.stack(pixels).to(engine.device)
    return Setup(
        model, as_json(cfg.model), engine, reference, images, LabelView(engine)(images), Timer(rounds, engine.device), size, device
    )


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.tools.speed",
        description="Time each part beside the bare forward pass of the same engine, in turns, and print the ratios.",
        epilog="Example:  python -m benchmarks.tools.speed --engine openvino --lines da rise --json speed.json",
    )
    parser.add_argument("--lines", nargs="+", choices=LINES, default=list(LINES), metavar="LINE", help=f"of {', '.join(LINES)}")
    parser.add_argument("--model", default="efficientnet_lite0", help="a configuration of conf/model")
    parser.add_argument("--weights", help="a local file of the model's weights, or random")
    parser.add_argument("--engine", default="torch" if torch.cuda.is_available() else "onnxruntime", help="a configuration of conf/engine")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda, of the engines torch and compile")
    parser.add_argument("--batch", type=int, default=16, help="images a forward pass")
    parser.add_argument("--rounds", type=int, default=5, help="turns; medians are printed")
    parser.add_argument("--size", type=int, default=24, help="passes a turn")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write what was measured")
    return parser


def main(arguments: Sequence[str]) -> int:
    """Measure, print, and return the exit code."""
    args = options().parse_args(arguments)
    try:
        here = prepared_setup(args.model, args.weights, args.engine, args.batch, args.rounds, args.size, args.device)
    except Exception as error:
        print(f"error: {cause(error)}", file=sys.stderr)
        return 2
    found: list[Rate | Value] = []
    for i, line in enumerate(args.lines):
        print(f"measuring {line} ({i + 1} of {len(args.lines)}) ...", file=sys.stderr, flush=True)  # a line takes up to minutes
        found += LINES[line](here)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, PyTorch {torch.__version__}"
    device = torch.cuda.get_device_name() if here.engine.device.type == "cuda" else machine
    caption = f"{here.model.name}, {args.engine}, batch {args.batch}, {args.rounds} rounds; {device}"
    Console(width=120).print(table(found, caption))
    if args.json:
        args.json.write_text(json.dumps({"caption": caption, "lines": [asdict(one) for one in found]}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
