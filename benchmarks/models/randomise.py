"""Parameter randomisation, for the sanity check of attribution methods."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, remove_weight_norm
from torch.nn.utils.prune import BasePruningMethod


def randomised(net: nn.Module, first: float, last: float) -> None:
    """Destroy what some layers have learned: permute the weights of each convolution and linear layer (Adebayo et al., NeurIPS 2018).

    Layers are counted from the output: those whose place, as a share of all, lies in ``[first, last)``. From 0 on: cascading
    randomisation; a window: independent. A permutation, always the same, keeps the distribution of the weights. A weight that is
    computed from others (weight normalisation, pruning) becomes a plain one first. Raises ValueError for shares that are not rising
    within 0 to 1, and for a network whose layers cannot be changed.
    """
    if not 0 <= first <= last <= 1:
        raise ValueError(f"model.randomise=[{first}, {last}]: give two rising shares of the layers, counted from the output")
    layers = [module for module in net.modules() if isinstance(module, LAYERS)][::-1]
    fixed = [type(m).__name__ for m in net.modules() if isinstance(m, torch.jit.ScriptModule) or hasattr(m, "_packed_params")]
    if fixed or not layers:
        what = f"{fixed[0]} cannot be changed" if fixed else "the network has no convolution or linear layer"
        raise ValueError(f"model.randomise=[{first}, {last}]: {what}, so that there is nothing to randomise: use an ordinary network")
    for place, layer in enumerate(layers):
        if first <= place / len(layers) < last:
            for weight in _weights(layer):
                order = torch.randperm(weight.numel(), generator=torch.Generator().manual_seed(place))
                with torch.no_grad():
                    weight.copy_(weight.flatten()[order.to(weight.device)].view_as(weight))


LAYERS = (nn.modules.conv._ConvNd, nn.Linear, nn.Bilinear, nn.MultiheadAttention)


def _weights(layer: nn.Module) -> list[Tensor]:
    """A layer's weights, as tensors of its own. Raises ValueError where they are computed anew at each pass."""
    if isinstance(layer, nn.MultiheadAttention):  # its last layer is a linear one, and comes by itself
        return [w for w in (layer.in_proj_weight, layer.q_proj_weight, layer.k_proj_weight, layer.v_proj_weight) if w is not None]
    if parametrize.is_parametrized(layer, "weight"):
        parametrize.remove_parametrizations(layer, "weight")
        if (left := layer._buffers.pop("weight", None)) is not None:  # where gradients are off
            layer.weight = nn.Parameter(left)
    elif "weight_g" in layer._parameters:
        remove_weight_norm(layer)
    for key, hook in list(layer._forward_pre_hooks.items()):
        if isinstance(hook, BasePruningMethod) and hook._tensor_name == "weight":
            hook.remove(layer)
            del layer._forward_pre_hooks[key]
    if "weight" not in layer._parameters:
        raise ValueError(f"model.randomise: the weight of a {type(layer).__name__} is computed at each pass: give a network without that")
    return [layer._parameters["weight"]]  # type: ignore[list-item]
