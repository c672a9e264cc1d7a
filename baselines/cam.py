"""Any class activation map of the package pytorch-grad-cam."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn

from baselines.gradcam import find_layer
from da.types import Attribution, Images, Rngs, Targets

__version__ = "1"


def cam(model: nn.Module, images: Images, targets: Targets, *, rngs: Rngs, variant: str, layer: str | None) -> Attribution:
    """A class activation map of ``pytorch-grad-cam`` (the extra ``grad-cam``), an image at a time.

    variant: the class's name there: ScoreCAM (Wang et al., CVPR workshops 2020), AblationCAM (Ramaswamy et al., WACV 2020),
    GradCAMPlusPlus, EigenCAM and so on. layer: dotted name of a module with a spatial output.

    Raises ValueError where the package is missing, and for a variant or layer that there is not.
    """
    try:
        import pytorch_grad_cam
        from pytorch_grad_cam.base_cam import BaseCAM
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
    except ImportError:
        raise ValueError("cam needs pytorch-grad-cam: pip install 'dynamic-ablation[grad-cam]'") from None
    kinds: dict[str, Any] = {
        name: kind for name, kind in vars(pytorch_grad_cam).items() if inspect.isclass(kind) and issubclass(kind, BaseCAM)
    }
    if variant not in kinds:
        raise ValueError(f"variant={variant!r}: choose one of {', '.join(sorted(kinds))}")
    maps = []
    with torch.enable_grad(), kinds[variant](model=model, target_layers=[find_layer(model, layer)]) as explain:
        for image, target in zip(images, targets.tolist(), strict=True):
            found = explain(input_tensor=image[None].detach().clone().requires_grad_(), targets=[ClassifierOutputTarget(target)])
            maps.append(torch.from_numpy(found[0]).float())
    return Attribution(torch.stack(maps).to(images.device))
