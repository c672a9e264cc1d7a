"""Classifiers: where their weights come from, what they are shown, and how they are told apart."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from typing import Any

import torch
from timm.data import ImageNetInfo, resolve_data_config
from torch import Tensor, nn

from benchmarks.models.default_layers import default_layer
from benchmarks.models.exported import ExportedNet
from benchmarks.models.onnx_graph import OnnxNet, check_graph, onnx_net
from benchmarks.models.outputs import Outputs
from benchmarks.models.preprocessing import Preprocessing, triple
from benchmarks.models.randomise import randomised
from benchmarks.models.state import held_tensors, settings_sha256, state_sha256

__all__ = ["Model", "Normalised", "OnnxNet", "Preprocessing", "build", "onnx_net"]

__version__ = "1"

BLACK_BOXES = (OnnxNet, ExportedNet)
RECORDED = {"size": "input_size"}  # what timm calls an option


class Normalised(nn.Module):
    """A network on images in [0, 1]: the normalisation is inside, the network's own layers are under ``net``.

    A network in half precision or in double gets its images so, and its logits are made float32.

    Parameters
    ----------
    net : torch.nn.Module
        The network, of images that are normalised.
    mean, std : three floats
        Subtracted from, and divided into, images in [0, 1].
    outputs : Outputs, optional
        How its answer is read; left out, it is a tensor of logits.

    Attributes
    ----------
    contiguous : bool
        To be set for a network that computes wrongly, or not at all, channels last.
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
        """What the network says of images, see ``Outputs``.

        Parameters
        ----------
        images : Tensor [m, 3, h, w] in [0, 1]
            Not normalised.

        Returns
        -------
        Tensor [m, width]
            Before they are made logits.
        """
        shown = (images - self.mean) / self.std
        shown = shown.contiguous() if self.contiguous else shown
        returned = self.net(shown if self.cast is None else shown.to(self.cast))
        scores: Tensor = returned if self.outputs is None else self.outputs.scores(returned, len(images))
        return scores if self.cast is None else scores.float()

    def forward(self, images: Tensor) -> Tensor:
        """Images to logits.

        Parameters
        ----------
        images : Tensor [m, 3, h, w] in [0, 1]
            Not normalised.

        Returns
        -------
        Tensor [m, classes]
            Logits.
        """
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
    """A classifier and what there is to know of it.

    Attributes
    ----------
    name : str
        In the rows and records.
    module : torch.nn.Module
        Images in [0, 1] to logits.
    preprocessing : Preprocessing
        From a photograph to its input.
    class_names : tuple of str
        By class index.
    weights_sha256 : str
        Of its state, or of its graph.
    gradcam_layer : str or None
        Dotted name of the layer of class activation maps.
    differentiable : bool
        Whether it has gradients.
    parameters : int
        How many it has.
    net : mapping
        The configuration of its network, without the file of its weights.
    outputs : Outputs or None
        How its answer is read.
    settings : str or None
        Hash of what its network's library states of it beside its weights, such as the number of heads.
    """

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
    settings: str | None = None

    @property
    def identity(self) -> dict[str, Any]:
        """What can change a number: the name, network, weights and preprocessing, and its settings and outputs where they are stated."""
        known = {"name": self.name, "net": dict(self.net), "weights_sha256": self.weights_sha256}
        stated = {"outputs": self.outputs.kind, "output_name": self.outputs.key} if self.outputs else {}
        stated |= {"settings": self.settings}
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

    Preprocessing left out is what timm or torchvision records for the network.

    Parameters
    ----------
    net : torch.nn.Module
        The network, of images that are normalised.
    name : str
        Of the model, in the rows and records.
    classes : str or sequence of str
        ``imagenet``, ``cifar100``, ``planted``, ``recorded`` (what the network calls them), or the list of class names.
    size : int, optional
        Side of the input in pixels.
    crop_pct : float, optional
        That side over the resized shorter side, from 0.01 to 1.
    interpolation : str, optional
        Of the resizing, such as ``bilinear``.
    mean, std : three floats, optional
        Of red, green and blue in [0, 1].
    gradcam_layer : str, optional
        Dotted name of the layer of class activation maps; left out, that of the network's family, see ``default_layer``, or the last.
    weights, num_classes, rise_masks : optional
        For the configuration's other parts to refer to.
    randomise : two floats, optional
        ``[first, last]``, rising shares of the layers, see ``randomised``.
    outputs : str, optional
        ``logits``, ``probabilities`` or ``sigmoid``, see ``Outputs``.
    output_name : str or int, optional
        Which of several outputs, by name or place.

    Returns
    -------
    Model
        The classifier, in evaluation mode and without gradients of its weights.

    Raises
    ------
    ValueError
        For what is no network, preprocessing that is not known or cannot be, and other parameters out of range.
    """
    net = _unwrapped(name, net)
    names = class_names(classes if classes != "recorded" else getattr(net, "pretrained_cfg", {}).get("label_names") or classes)
    read = Outputs(name, len(names), outputs, output_name)
    if randomise is not None:
        randomised(net, *randomise)
        name = f"{name} randomised {randomise[0]:g} to {randomise[1]:g}"
    given = {"size": size, "crop_pct": crop_pct, "interpolation": interpolation, "mean": mean, "std": std}
    unknown = [option for option, value in given.items() if value is None]
    recorded = getattr(net, "pretrained_cfg", None) or {}
    if lacking := [f"model.{option}" for option in unknown if RECORDED.get(option, option) not in recorded]:
        raise ValueError(f"{', '.join(lacking)} of model {name}: give what its weights were trained with, which it does not record")
    known = resolve_data_config({}, model=net) if unknown else {}
    preprocessing = Preprocessing(
        size=known["input_size"][-1] if size is None else size,
        crop_pct=known["crop_pct"] if crop_pct is None else crop_pct,
        interpolation=known["interpolation"] if interpolation is None else interpolation,
        mean=triple("mean", known["mean"] if mean is None else mean),
        std=triple("std", known["std"] if std is None else std),
    )
    if isinstance(net, OnnxNet):
        check_graph(net, preprocessing)
    module = Normalised(net, preprocessing.mean, preprocessing.std, read).eval().requires_grad_(False)
    differentiable = not isinstance(net, BLACK_BOXES) and not _quantised(net)
    return Model(
        name=name,
        module=module,
        preprocessing=preprocessing,
        class_names=names,
        weights_sha256=net.sha256 if isinstance(net, BLACK_BOXES) else state_sha256(net),
        gradcam_layer=gradcam_layer or (default_layer(module, net, preprocessing.size) if differentiable else None),
        differentiable=differentiable,
        parameters=sum(p.numel() for p in net.parameters()),
        outputs=read,
        settings=settings_sha256(net),
    )


def class_names(classes: str | Sequence[str]) -> tuple[str, ...]:
    """The names of classes in the order of their indices.

    Parameters
    ----------
    classes : str or sequence of str
        ``imagenet``, ``cifar100``, ``planted``, or the names themselves.

    Returns
    -------
    tuple of str
        By class index.

    Raises
    ------
    ValueError
        For another text.
    """
    if classes == "imagenet":
        info = ImageNetInfo()
        return tuple(info.index_to_description(i).split(",")[0] for i in range(info.num_classes()))
    if classes in ("cifar100", "planted"):
        return tuple(files("benchmarks.models").joinpath(f"{classes}_classes.txt").read_text().split())
    if isinstance(classes, str):
        raise ValueError(f"model.classes={classes!r}: choose imagenet, cifar100, planted, or a list of names")
    return tuple(classes)


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
