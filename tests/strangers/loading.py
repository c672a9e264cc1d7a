"""Networks of strangers, loaded as the application loads them, and asked by hand."""

from __future__ import annotations

import json

import torch
from hydra.errors import InstantiationException

from benchmarks.engines.loading import load
from benchmarks.inputs.messages import cause
from tests.strangers.networks import make

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
WRITTEN = {"classes": list("abcde"), "size": 64, "crop_pct": 1.0, "interpolation": "bilinear", "mean": MEAN, "std": STD}


def model_json(kind: str, **other) -> str:
    net = {"_target_": "tests.strangers.networks.make", "kind": kind}
    return json.dumps({"_target_": "benchmarks.models.build", "name": kind, "net": net, **WRITTEN, **other})


def loaded(kind: str, engine: str = "torch", batch: int = 4, **other):
    of = {"_target_": f"benchmarks.engines.{engine}_engine", "_partial_": True, "batch": batch}
    try:
        return load(model_json(kind, **other), json.dumps(of | ({"device": "cpu"} if engine == "torch" else {})))
    except InstantiationException as error:
        raise ValueError(cause(error)) from None


def by_hand(kind: str, images: torch.Tensor, batch: int) -> torch.Tensor:
    """What the network says when it is called as its author does: in evaluation, on contiguous images of its type."""
    net = make(kind).eval()
    net = getattr(net, "_orig_mod", net)  # torch.compile would need a compiler
    shown = (images - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)
    shown = shown.to({"half": torch.float16, "bf16": torch.bfloat16}.get(kind, torch.float32))
    with torch.no_grad():
        answers = [net(part.clone()) for part in shown.split(batch)]
    tensors = [answer[0] if kind == "tuple" else answer["logits"] if kind == "dict" else answer for answer in answers]
    return torch.cat([getattr(answer, "logits", answer).float() for answer in tensors]).view(len(images), -1)
