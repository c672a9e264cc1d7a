"""How long a pass of an engine takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

from benchmarks.engines.engine import Engine


def seconds_a_pass(engine: Engine, size: int) -> tuple[float, float]:
    """Seconds of a forward pass of the engine, and of a forward and backward pass of the module, an image."""
    images = torch.rand(engine.batch, 3, size, size, device=engine.device)

    def backward() -> None:
        leaf = images.clone().requires_grad_()
        torch.autograd.grad(engine.module(leaf).sum(), leaf)

    forward = _median(lambda: engine.forward(images), engine)
    both = _median(backward, engine) if any(True for _ in engine.module.parameters()) else forward
    return forward / engine.batch, both / engine.batch


def _median(call: Callable[[], object], engine: Engine, rounds: int = 3) -> float:
    times = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        call()
        if engine.device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])
