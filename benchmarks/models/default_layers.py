"""Which layer class activation maps read where nobody says: by the family of the network."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from baselines.cams.layers import last_readable
from baselines.copies import independent_copy

# Where transformers keep their blocks, and a block the normalisation before its attention: the last place at which the tokens of all
# patches still matter to the class.
BLOCKS = ("blocks", "encoder.layers", "transformer.resblocks", "layers", "layer")
BEFORE_ATTENTION = ("norm1", "ln_1", "layernorm_before", "layer_norm1")


def default_layer(model: nn.Module, net: nn.Module, size: int) -> str | None:
    """The dotted name of the layer of ``model`` whose feature map tells most of the class, None where no layer has one.

    That of the family of ``net``, the network inside, if it can be read; else the layer whose feature map is the last in a pass over an
    image of ``size`` pixels a side that nothing of the image passes by. It is looked for in a copy, for what a pass may leave behind.
    """
    likely = layer_of_family(net)
    try:
        own = independent_copy(model)
    except ValueError:
        return likely
    with torch.random.fork_rng(devices=[]):
        return last_readable(own, torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0)), likely)


def layer_of_family(net: nn.Module) -> str | None:
    """The dotted name of a layer of ``net``, as seen from the model around it; None for a network of a family that is not known.

    Of a transformer that keeps its tokens, the normalisation before the attention of its last block; else the last feature map that timm
    records, or the last part of a network of torchvision.
    """
    found = {
        ".".join(filter(None, ("net", name, norm)))
        for name, module in net.named_modules()
        for place in BLOCKS
        if (norm := _last_normalisation(module, place))
    }
    if len(found) == 1 and not hasattr(net, "unroll"):  # several are stages of other grids, and Hiera's tokens are in its own order
        return found.pop()
    info = getattr(net, "feature_info", None)
    if info:
        return f"net.{info[-1]['module']}"
    for name in ("layer4", "features", "blocks"):
        part = getattr(net, name, None)
        if isinstance(part, nn.Module):
            inner = f".{list(part._modules)[-1]}" if name != "layer4" and len(part._modules) else ""
            return f"net.{name}{inner}"
    return None


def _last_normalisation(module: nn.Module, place: str) -> str | None:
    """The name of the last block's normalisation, where a module has blocks of attention at a place."""
    blocks: Any = module
    for name in place.split("."):
        blocks = getattr(blocks, name, None)
    if not isinstance(blocks, nn.ModuleList | nn.Sequential) or not len(blocks):
        return None
    last = list(blocks._modules)[-1]
    return next((f"{place}.{last}.{norm}" for norm in BEFORE_ATTENTION if isinstance(getattr(blocks[-1], norm, None), nn.Module)), None)
