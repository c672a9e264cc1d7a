"""Small networks for the synthetic images of ``dataset=planted``; their weights are inside this package."""

from __future__ import annotations

from pathlib import Path

from timm.models.vision_transformer import VisionTransformer
from torch import nn

from benchmarks.models.networks import unloaded
from benchmarks.models.weights import load

__version__ = "1"

OUTPUTS = 11  # ten classes, and nothing of any
SIDE = 64  # pixels


def planted_cnn(*, confounded: bool = False, weights: str | None = None) -> nn.Module:
    """Five convolutions, batch normalisation and ReLU, a mean over places and a linear layer.

    Parameters
    ----------
    confounded : bool
        Whether the shipped weights are those that were trained to go by the ground, rather than by the parts.
    weights : str, optional
        A local file, or ``"random"``; left out, those shipped.

    Returns
    -------
    torch.nn.Module
        Of images that are normalised, to logits.

    Raises
    ------
    WeightsError
        Where weights cannot be read, or do not fit.
    """

    def layout() -> nn.Module:
        widths = ((3, 24, 5, 2), (24, 48, 3, 2), (48, 64, 3, 1), (64, 64, 3, 1), (64, 64, 3, 1))  # in, out, kernel, stride
        layers: list[nn.Module] = []
        for into, out, kernel, stride in widths:
            layers += [nn.Conv2d(into, out, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, OUTPUTS))

    return load(unloaded(layout, weights), weights or shipped("planted_confounded" if confounded else "planted_cnn"))


def planted_vit(*, weights: str | None = None) -> nn.Module:
    """A vision transformer of timm: 64 patches of 8 x 8 pixels, a class token, four blocks of four heads.

    Parameters
    ----------
    weights : str, optional
        A local file, or ``"random"``; left out, those shipped.

    Returns
    -------
    torch.nn.Module
        Of images that are normalised, to logits.

    Raises
    ------
    WeightsError
        Where weights cannot be read, or do not fit.
    """

    def layout() -> nn.Module:
        return VisionTransformer(img_size=SIDE, patch_size=8, embed_dim=64, depth=4, num_heads=4, num_classes=OUTPUTS)

    return load(unloaded(layout, weights), weights or shipped("planted_vit"))


def shipped(name: str) -> str:
    """Where the weights of a network lie in this package."""
    return str(Path(__file__).with_name(f"{name}.safetensors"))
