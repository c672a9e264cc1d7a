"""How forward passes are computed: behind the model views, so that no method knows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.models import Model


@dataclass(frozen=True)
class Engine:
    """A model ready to run. forward: images ``[batch, 3, h, w]`` in [0, 1], always this many, to logits ``[batch, classes]``."""

    forward: Callable[[Tensor], Tensor]
    batch: int
    device: torch.device
    module: nn.Module


def resolve_device(device: str) -> torch.device:
    """``auto`` is CUDA where there is one, else the CPU."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(device)


def torch_engine(model: Model, *, batch: int = 8, precision: str = "fp32", device: str = "auto") -> Engine:
    """PyTorch itself, channels last, in inference mode: the reference.

    precision: ``fp32``, or ``bf16`` for autocast (a decision can then flip). Raises ValueError for another.
    """
    if precision not in ("fp32", "bf16"):
        raise ValueError(f"engine.precision={precision!r}: torch runs fp32 or bf16")
    if batch < 1:
        raise ValueError(f"engine.batch={batch}: a forward pass needs at least one image")
    where = resolve_device(device)
    module = model.module.to(where, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(images: Tensor) -> Tensor:
        with torch.inference_mode(), torch.autocast(where.type, torch.bfloat16, enabled=precision == "bf16"):
            logits: Tensor = module(images.to(memory_format=torch.channels_last))
            return logits.float()

    return Engine(forward, batch, where, module)
