"""Guided Backpropagation."""

from __future__ import annotations

import warnings
from typing import Any

from captum.attr import GuidedBackprop
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from baselines.copies import copied
from da.arguments import MODULE, arguments
from da.passes import passes
from da.types import Attribution, Images, Rngs, Targets

INSTEAD = "choose smoothgrad or integrated_gradients"

__version__ = "2"

RELU = {"relu", "threshold"}
UNGATED = {
    "silu", "gelu", "hardswish", "mish", "softplus", "leaky_relu", "rrelu_with_noise", "_prelu_kernel", "elu", "selu", "celu",
    "hardtanh", "tanh", "glu", "softshrink", "hardshrink", "log_sigmoid_forward", "maximum",
}  # fmt: skip
GATES = {"sigmoid", "hardsigmoid"}


@passes(lambda **_: (0, 1))
def guided_backprop(
    model: nn.Module, images: Images, targets: Targets | None = None, *, rngs: Rngs | None = None, seed: int = 0
) -> Attribution:
    """The gradient of the class logit with negative gradients cut at each ReLU, its largest magnitude over the channels.

    One forward and one backward pass an image. Captum's ``GuidedBackprop`` on a copy of the model (its weights are shared) in which ReLU6
    is a ReLU and a clamp, and no ReLU works in place: Captum guides ``nn.ReLU`` modules only. Unlike Captum, only what comes through the
    ReLU is cut where its input is used elsewhere, too.

    Parameters
    ----------
    model : torch.nn.Module
        Logits of images in [0, 1]: normalisation is inside it.
    images : Tensor [n, 3, h, w] in [0, 1]
        The images to explain, not normalised.
    targets : Tensor [n], optional
        The class to explain of each image; left out, the model's own prediction.
    rngs : sequence of numpy.random.Generator, optional
        Not used: nothing is drawn.
    seed : int
        Not used: nothing is drawn.

    Returns
    -------
    Attribution
        The map as ``saliency``.

    Raises
    ------
    TypeError, ValueError
        For arguments of another type, shape or range, and for a model with no ReLU, with activations that have no gate (SiLU, GELU and the
        like), or with ReLUs that are not modules: there the result would be a plain gradient, in part or in whole. Sigmoids of pooled
        features, as in squeeze-and-excitation, are weights rather than activations: they pass.

    References
    ----------
    Springenberg et al., ICLR workshop 2015.
    """
    model, images, targets, rngs = arguments(MODULE, model, images, targets, rngs, seed)
    watch = _Activations()
    guided = with_plain_relus(model)
    for module in guided.modules():
        if isinstance(module, nn.ReLU):
            module.register_forward_pre_hook(watch.enter)
    guided.register_forward_hook(watch.leave)
    with warnings.catch_warnings(), watch:
        warnings.filterwarnings("ignore", message="Setting backward hooks on ReLU")
        gradients = GuidedBackprop(guided).attribute(images.detach().clone().requires_grad_(), target=targets)
    return Attribution(gradients.detach().abs().amax(1))


class ClampedReLU(nn.ReLU):
    """ReLU6 as Captum recognises it."""

    def forward(self, x: Tensor) -> Tensor:
        """ReLU, then the clamp."""
        return super().forward(x).clamp(max=6)


def with_plain_relus(model: nn.Module) -> nn.Module:
    """A copy whose ReLUs and ReLU6s are ``nn.ReLU`` modules that do not work in place; hooks on the model are on the copy, too."""
    rewritten = copied(model)
    for parent in list(rewritten.modules()):
        for name, child in list(parent._modules.items()):  # one module may stand under several names
            if isinstance(child, nn.Hardtanh) and (child.min_val, child.max_val) == (0, 6):  # a ReLU6 is a Hardtanh
                parent._modules[name] = ClampedReLU()
            elif isinstance(child, nn.ReLU):
                child.inplace = False
    return rewritten


class _Activations(TorchDispatchMode):
    """Watches the forward pass that Captum makes, so that none is spent on looking; afterwards it is silent."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = 0
        self.relus = 0
        self.ungated: set[str] = set()
        self.forward = True

    def enter(self, _module: nn.Module, inputs: tuple[Tensor]) -> Tensor:
        """Count the module, and give it an input of its own: Captum cuts the whole gradient of the tensor it is given."""
        self.inside += 1
        return inputs[0].view_as(inputs[0])

    def leave(self, *_: object) -> None:
        """Judge what the pass used."""
        self.forward = False
        if self.ungated:
            found = ", ".join(sorted(self.ungated))
            raise ValueError(f"guided_backprop has no meaning for {found}, which this model uses: only ReLU has a gate; {INSTEAD}")
        if self.relus > self.inside:
            functions = self.relus - self.inside
            raise ValueError(f"guided_backprop cannot guide {functions} of this model's ReLUs, which are functions, not modules; {INSTEAD}")
        if not self.inside:
            raise ValueError(f"guided_backprop needs a model with ReLUs; {INSTEAD}")

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self.forward:
            name = func.overloadpacket.__name__.removesuffix("_")
            low = kwargs.get("min", args[1] if len(args) > 1 else None) if name in ("clamp", "clamp_min") else None
            self.relus += name in RELU or (isinstance(low, int | float) and low == 0)
            if name in UNGATED or (name in GATES and args[0].ndim == 4 and args[0][0, 0].numel() > 1):
                self.ungated.add(name)
        return func(*args, **kwargs)
