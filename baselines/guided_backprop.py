"""Guided Backpropagation."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import torch
from captum.attr import GuidedBackprop
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from da.types import Attribution, Images, Rngs, Targets

__version__ = "1"

GATED = {"relu", "relu_", "threshold", "threshold_"}
UNGATED = {"silu", "gelu", "hardswish", "leaky_relu", "elu", "selu", "celu", "mish", "softplus", "hardtanh", "_prelu_kernel"}


class ClampAtSix(nn.Module):
    """The upper half of ReLU6; its gradient is that of the clamp."""

    def forward(self, x: Tensor) -> Tensor:
        """Clamp."""
        return x.clamp(max=6)


def guided_backprop(model: nn.Module, images: Images, targets: Targets, *, rngs: Rngs) -> Attribution:
    """The gradient of the class logit with negative gradients cut at each ReLU (Springenberg et al., ICLR workshop 2015).

    Largest magnitude over the channels. One forward and one backward pass an image. Captum's ``GuidedBackprop`` on a copy of the
    model in which each ReLU6 is a ReLU and a clamp, and no ReLU works in place: Captum guides ``nn.ReLU`` modules only.

    Raises ValueError for a model with no ReLU, with activations that have no gate (SiLU, GELU and the like), or with ReLUs that
    are not modules: there the result would be a plain gradient, in part or in whole.
    """
    guided = with_plain_relus(model)
    check_guidable(guided, images[:1])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Setting backward hooks on ReLU")
        gradients = GuidedBackprop(guided).attribute(images.detach().clone().requires_grad_(), target=targets)
    return Attribution(gradients.detach().abs().amax(1))


def with_plain_relus(model: nn.Module) -> nn.Module:
    """A copy whose ReLUs and ReLU6s are ``nn.ReLU`` modules that do not work in place; hooks on the model are on the copy, too."""
    rewritten = copy.deepcopy(model)
    for parent in list(rewritten.modules()):
        for name, child in list(parent._modules.items()):  # one module may stand under several names
            if isinstance(child, nn.ReLU6) or (isinstance(child, nn.Hardtanh) and (child.min_val, child.max_val) == (0, 6)):
                setattr(parent, name, nn.Sequential(nn.ReLU(), ClampAtSix()))
            elif isinstance(child, nn.ReLU):
                setattr(parent, name, nn.ReLU())
    return rewritten


def check_guidable(model: nn.Module, image: Images) -> None:
    """Look at the operations of one pass, which is not counted as a query. Raises ValueError where guidance has no meaning."""
    hooks, model._forward_hooks = model._forward_hooks, type(model._forward_hooks)()
    inside = 0

    def count(*_: object) -> None:
        nonlocal inside
        inside += 1

    handles = [module.register_forward_hook(count) for module in model.modules() if isinstance(module, nn.ReLU)]
    try:
        with torch.no_grad(), _Activations() as seen:
            model(image)
    finally:
        for handle in handles:
            handle.remove()
        model._forward_hooks = hooks
    if seen.ungated:
        found = ", ".join(sorted(seen.ungated))
        raise ValueError(f"guided_backprop has no meaning for {found}, which this model uses: only ReLU has a gate")
    if seen.gated > inside:
        functions = seen.gated - inside
        raise ValueError(f"guided_backprop cannot guide {functions} of this model's ReLUs, which are functions, not modules")
    if not inside:
        raise ValueError("guided_backprop needs a model with ReLUs")


class _Activations(TorchDispatchMode):
    """Counts the activation functions that run."""

    def __init__(self) -> None:
        super().__init__()
        self.gated = 0
        self.ungated: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        self.gated += name in GATED
        if name.removesuffix("_") in UNGATED:
            self.ungated.add(name.removesuffix("_"))
        return func(*args, **(kwargs or {}))
