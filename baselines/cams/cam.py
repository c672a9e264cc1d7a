"""Any class activation map of the package pytorch-grad-cam."""

from __future__ import annotations

import inspect
import io
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from baselines.cams.layers import feature_maps
from baselines.copies import independent_copy
from da.arguments import MODULE, arguments
from da.types import Attribution, Images, Rngs, Targets

__version__ = "3"


def cam(
    model: nn.Module,
    images: Images,
    targets: Targets | None = None,
    *,
    rngs: Rngs | None = None,
    seed: int = 0,
    variant: str = "ScoreCAM",
    layer: str | None = None,
) -> Attribution:
    """A class activation map of ``pytorch-grad-cam`` (the extra ``grad-cam``), an image at a time.

    The package scales each map to [0, 1]. It runs on a copy of the model, because it changes the training mode, writes gradients and swaps
    layers, and with no activation in place, because it keeps the layer's output without copying it.

    Parameters
    ----------
    model : torch.nn.Module
        Logits of images in [0, 1]: normalisation is inside it.
    images : Tensor [n, 3, h, w] in [0, 1]
        The images to explain, not normalised.
    targets : Tensor [n], optional
        The class to explain of each image; left out, the model's own prediction.
    rngs : sequence of numpy.random.Generator, optional
        One generator per image; left out, made of ``seed`` and the image's content.
    seed : int
        Of the generators, where ``rngs`` is left out.
    variant : str
        The class's name in the package: ScoreCAM, AblationCAM, GradCAMPlusPlus, EigenCAM and so on. FullGrad reads every layer with a bias
        rather than ``layer``, and FinerCAM weighs the class against the three whose logits are nearest.
    layer : str
        As of ``gradcam``.

    Returns
    -------
    Attribution
        The map as ``saliency``.

    Raises
    ------
    TypeError, ValueError
        For arguments of another type, shape or range, a variant or layer that there is not, and where the package is missing. FullGrad, for
        a network with biases that the package leaves out: those of other layers than ``Conv2d`` and ``BatchNorm2d``, before the places
        are pooled.

    References
    ----------
    - ScoreCAM: Wang et al., CVPR workshops 2020.
    - AblationCAM: Ramaswamy et al., WACV 2020.
    """
    own, images, targets, rngs = arguments(MODULE, independent_copy(model), images, targets, rngs, seed)
    try:
        import pytorch_grad_cam
        from pytorch_grad_cam.base_cam import BaseCAM
        from pytorch_grad_cam.finer_cam import FinerCAM
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget, FinerWeightedTarget
    except ImportError:
        raise ValueError("cam needs pytorch-grad-cam: pip install 'dynamic-ablation[grad-cam]'") from None
    kinds: dict[str, Any] = {
        name: kind for name, kind in vars(pytorch_grad_cam).items() if inspect.isclass(kind) and issubclass(kind, BaseCAM | FinerCAM)
    }
    if variant not in kinds:
        raise ValueError(f"variant={variant!r}: choose one of {', '.join(sorted(kinds))}")
    own.requires_grad_(variant == "ShapleyCAM")  # whose second derivatives of a linear head are 0, not missing
    if variant == "FullGrad":
        _every_bias_counts(own)
    found = []
    with ExitStack() as stack, feature_maps(own, layer, images[:1]) as maps, torch.enable_grad():
        for redirected in (redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO())):
            stack.enter_context(redirected)
        explain = kinds[variant](model=_Network(own, maps), target_layers=[maps[0]])  # it prints a progress bar per image
        maps[0].register_forward_hook(_apart)  # after the package's hooks
        stack.callback(_forget, explain)
        for image, target, rng in zip(images, targets.tolist(), rngs, strict=True):
            with _numpy_seeded(rng), _twice_differentiable(variant == "ShapleyCAM"):
                asked = ClassifierOutputTarget(target)
                if variant == "FinerCAM":
                    asked = FinerWeightedTarget(target, _nearest(own, image, target), alpha=1)
                one = explain(input_tensor=image[None].detach().clone().requires_grad_(), targets=[asked])
            found.append(torch.from_numpy(one[0]).float())
            _forget(explain)
    return Attribution(torch.stack(found).to(images.device))


class _Network(nn.Module):
    """A network with its feature maps among its modules, where AblationCAM looks for what it replaces."""

    def __init__(self, net: nn.Module, maps: nn.Module) -> None:
        super().__init__()
        self.net, self.maps = net, maps

    def forward(self, images: Tensor) -> Any:
        """The network's own output."""
        return self.net(images)


def _nearest(model: nn.Module, image: Tensor, target: int) -> list[int]:
    """The three classes whose logits are nearest to the target's, by one forward pass."""
    with torch.no_grad():
        logits = model(image[None])[0]
    order = (logits - logits[target]).abs().argsort(stable=True).tolist()
    return [other for other in order if other != target][:3]


def _every_bias_counts(model: nn.Module) -> None:
    """See to it that a bias that FullGrad does not add is an error, once the layer runs on what has places."""

    def refuse(layer: nn.Module, _inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim > 2 and output[0, ..., 0].numel() > 1:
            raise ValueError(
                f"cam: FullGrad of the package leaves out the bias of {type(layer).__name__}, which this model has: choose another variant"
            )

    for layer in model.modules():
        biased = layer._parameters.get("bias") is not None or isinstance(layer, nn.modules.batchnorm._BatchNorm)
        counted = type(layer) in (nn.Conv2d, nn.BatchNorm2d) and layer._parameters.get("bias") is not None
        if (biased and not counted) or isinstance(layer, nn.MultiheadAttention):
            layer.register_forward_hook(refuse)


def _apart(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
    """What follows the layer gets a tensor of its own, so that an addition in place there does not reach the package's."""
    return output.clone()


def _forget(explain: Any) -> None:
    """Let go of what the package keeps of a pass: it would detach that in place, which fails for views."""
    kept = getattr(explain, "base_cam", explain).activations_and_grads
    kept.activations, kept.gradients = [], []


@contextmanager
def _twice_differentiable(wanted: bool) -> Iterator[None]:
    """Attention by plain operations: the fused one has no second derivative."""
    if not wanted:
        yield
        return
    with sdpa_kernel(SDPBackend.MATH):
        yield


@contextmanager
def _numpy_seeded(rng: np.random.Generator) -> Iterator[None]:
    """Some variants draw from NumPy's global stream: give them the image's, and put the global one back."""
    before = np.random.get_state()  # noqa: NPY002
    np.random.seed(int(rng.integers(2**32)))  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(before)  # noqa: NPY002
