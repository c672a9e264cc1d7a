"""Parameter randomisation, for the sanity check of attribution methods."""

from __future__ import annotations

import torch
from torch import nn


def randomised(net: nn.Module, first: float, last: float) -> None:
    """Destroy what some layers have learned: permute the weights of each convolution and linear layer (Adebayo et al., NeurIPS 2018).

    Layers are counted from the output: those whose place, as a share of all, lies in ``[first, last)``. From 0 on: cascading
    randomisation; a window: independent. A permutation, always the same, keeps the distribution of the weights. Raises ValueError
    for shares that are not rising within 0 to 1, and for a network with a layer whose weights are computed at each pass, or none at all.
    """
    if not 0 <= first <= last <= 1:
        raise ValueError(f"model.randomise=[{first}, {last}]: give two rising shares of the layers, counted from the output")
    layers = [module for module in net.modules() if isinstance(module, nn.Conv2d | nn.Linear)][::-1]
    closed = any("quantized" in type(module).__module__ for module in net.modules())
    if closed or not layers or not all("weight" in layer._parameters for layer in layers):
        raise ValueError("model.randomise: this network's weights cannot be permuted (weight normalisation, quantisation, TorchScript)")
    for place, layer in enumerate(layers):
        if first <= place / len(layers) < last:
            order = torch.randperm(layer.weight.numel(), generator=torch.Generator().manual_seed(place))
            with torch.no_grad():
                layer.weight.copy_(layer.weight.flatten()[order].view_as(layer.weight))
