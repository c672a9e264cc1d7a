"""GradCAM."""

from __future__ import annotations

import difflib

from captum.attr import LayerGradCam
from torch import nn
from torch.nn.functional import interpolate

from da.types import Attribution, Images, Rngs, Targets

__version__ = "1"


def gradcam(model: nn.Module, images: Images, targets: Targets, *, rngs: Rngs, layer: str | None) -> Attribution:
    """A layer's feature maps, weighted by the class logit's mean gradients, summed, negative values cut (Selvaraju et al., ICCV 2017).

    layer: dotted name of a module whose output is spatial, ``[n, channels, height, width]``; of a module that runs more than once,
    the last run. One forward and one backward pass an image. Captum's ``LayerGradCam`` with ``relu_attributions=True``, enlarged
    bilinearly with ``align_corners=False``. A map with no positive value is all zero: it ranks the pixels at random, like any tie.

    Raises ValueError, naming layers that there are, for a name that the model does not have, or a layer that does not run or has
    no spatial output.
    """
    module = find_layer(model, layer)
    try:
        small = LayerGradCam(model, module).attribute(images.detach().clone().requires_grad_(), target=targets, relu_attributions=True)
    except AssertionError as error:  # Captum's word for a layer that did not run
        raise ValueError(f"layer={layer!r}: {error}: choose one of {some_layers(model, layer)}") from None
    if isinstance(small, tuple) or small.ndim != 4:
        raise ValueError(f"layer={layer!r} has no spatial output: choose one of {some_layers(model, layer)}")
    return Attribution(interpolate(small.detach(), images.shape[-2:], mode="bilinear", align_corners=False)[:, 0])


def find_layer(model: nn.Module, layer: str | None) -> nn.Module:
    """The module of a dotted name. Raises ValueError, naming layers that there are."""
    named = dict(model.named_modules())
    if layer not in named or not layer:
        raise ValueError(f"layer={layer!r} is not in the model: choose one of {some_layers(model, layer)}")
    return named[layer]


def layers(model: nn.Module) -> list[str]:
    """The names of the modules that may have a spatial output: convolutions and what contains or follows them."""
    flat = (nn.Linear, nn.Flatten, nn.Dropout, nn.Identity)
    return [name for name, module in model.named_modules() if name and not isinstance(module, flat)]


def some_layers(model: nn.Module, layer: str | None, most: int = 12) -> str:
    """The names of the layers, or where they are many those most like a name."""
    known = layers(model)
    if len(known) <= most:
        return ", ".join(known)
    return f"{', '.join(difflib.get_close_matches(layer or '', known, n=most // 2, cutoff=0))}, … ({len(known)} in all)"
