"""Planted models whose answer is known, images with structure, and the application's configuration."""

from __future__ import annotations

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from torch import Tensor, nn

from benchmarks.inputs.messages import CONFIGURATIONS
from benchmarks.keys import sources
from benchmarks.models.classifier import Model, build


class PatchNet(nn.Module):
    """Class 1 exactly where no pixel of a known patch is ablated to black; the score of class 1 is the patch's visible share."""

    def __init__(self, top: int, left: int, height: int, width: int) -> None:
        super().__init__()
        self.patch = (slice(None), slice(None), slice(top, top + height), slice(left, left + width))
        self.queries = 0

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[m, 2]``."""
        self.queries += len(images)
        visible = (images[self.patch].amax(1) > 0).float().mean((1, 2))
        return torch.stack([torch.full_like(visible, 0.999), visible], 1)


class Labels:
    """A label model of a module, with a list of what it was shown."""

    def __init__(self, net: nn.Module) -> None:
        self.net = net
        self.shown: list[Tensor] = []

    def __call__(self, images: Tensor, /) -> Tensor:
        self.shown.append(images.clone())
        return self.net(images).argmax(1)


def textured(n: int, h: int, w: int, seed: int = 0) -> Tensor:
    """Images with structure for SLIC, nowhere black."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.uniform(0.2, 1, (n, 3, 6, 6))).float()
    return nn.functional.interpolate(coarse, (h, w), mode="bicubic", align_corners=False).clamp(0.1, 1)


def rngs(n: int, seed: int = 0) -> list[np.random.Generator]:
    return [np.random.default_rng([seed, i]) for i in range(n)]


def configured(*overrides: str):
    """The application's configuration with overrides."""
    with initialize_config_dir(CONFIGURATIONS, version_base="1.3"):
        return compose("config", overrides=list(overrides))


def forget_sources() -> None:
    """Read sources anew, as another process would."""
    for cached in (sources._hash, sources._fingerprint, sources._named_in):
        cached.cache_clear()


def planted_model(size: int = 32) -> Model:
    """A patch classifier in the harness's own clothes."""
    net = PatchNet(size // 4, size // 4, size // 4, size // 4)
    preprocessing = {"size": size, "crop_pct": 1.0, "interpolation": "bilinear", "mean": (0.0,) * 3, "std": (1.0,) * 3}
    return build(net, name="planted", classes=["absent", "present"], **preprocessing)
