"""Any algorithm of Captum that attributes images, by its name."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from captum import attr
from captum.attr import LayerAttribution
from torch import Tensor, nn

from baselines.cams.layers import enlarged, feature_maps
from baselines.copies import independent_copy
from baselines.gradients.deeplift_rules import every_activation_has_a_rule, windows_apart
from da.arguments import MODULE, arguments
from da.fill import Fill, baseline_image
from da.superpixels import superpixels
from da.types import Attribution, Images, Rngs, Targets

__version__ = "3"

MEMORY = 2**24  # bytes of images that are shown at a time: 27 of 224 x 224
ROUNDING = 3e-4  # of the values' magnitude: of that a hundredth, ten times what float32 was seen to miss (TF32 misses more)
MOST = 7  # features of which every order is asked about

KNOWN = (
    "DeepLift", "DeepLiftShap", "FeatureAblation", "GradientShap", "InputXGradient", "IntegratedGradients", "InternalInfluence",
    "KernelShap", "LayerActivation", "LayerConductance", "LayerGradCam", "LayerGradientShap", "LayerGradientXActivation",
    "LayerIntegratedGradients", "Lime", "Occlusion", "Saliency", "ShapleyValueSampling", "ShapleyValues",
)  # fmt: skip
COMPLETE = ("DeepLift", "DeepLiftShap")  # by their rules, but for rounding
INSTEAD = {
    "GuidedBackprop": "choose method=guided_backprop, which refuses what it cannot guide",
    "Deconvolution": "it is a plain gradient wherever an activation is not a ReLU module; choose method=guided_backprop",
    "GuidedGradCam": "multiply the maps of method=guided_backprop and method=gradcam",
    "NoiseTunnel": "choose method=smoothgrad",
    "FeaturePermutation": "it exchanges parts between images; choose FeatureAblation",
    "LRP": "it takes what is no module for linear; choose method=lrp",
    "LayerLRP": "it takes what is no module for linear; choose method=lrp",
    "LayerDeepLift": "choose DeepLift",
    "LayerDeepLiftShap": "choose DeepLiftShap",
}
OURS = ("inputs", "target", "baselines", "feature_mask", "additional_forward_args", "return_convergence_delta", "show_progress")


def captum(
    model: nn.Module,
    images: Images,
    targets: Targets | None = None,
    *,
    rngs: Rngs | None = None,
    seed: int = 0,
    algorithm: str = "InputXGradient",
    options: Mapping[str, Any] | None = None,
    layer: str | None = None,
    sp_num: int = 50,
    fill: Fill = "black",
) -> Attribution:
    """Attributions of the class logit by a class of ``captum.attr``, an image at a time, summed over the channels with their sign.

    Of an algorithm that ablates superpixels, or windows of all channels, the map is the part's value: it is no sum of three. It runs on a
    copy of the model. What is shown together is bounded by its size in memory, so that memory does not grow with the number of superpixels,
    samples or steps. Its draws come from PyTorch's and NumPy's generators, seeded from the image's own stream and put back afterwards.

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
    algorithm : str
        The class's name: InputXGradient, DeepLift, GradientShap, FeatureAblation, ShapleyValueSampling and so on. A wrong name lists all.
    options : mapping, optional
        Keyword arguments of its ``attribute``, such as ``n_samples``; left out, Captum's own.
    layer : str, optional
        As of ``gradcam``, for the algorithms of a layer: their map is enlarged.
    sp_num : int
        Superpixels asked of SLIC, from 1, for the algorithms that ablate parts.
    fill : str or three floats
        The ablated image, where the algorithm has a baseline: ``"black"``, ``"mean"``, ``"blur"`` or an RGB colour.

    Returns
    -------
    Attribution
        The map as ``saliency``. Where there is a baseline and a value for each pixel, ``incompleteness`` in ``extras``: how far the values'
        sum is from the difference of the logits, as a share of that difference, or of what rounding the values can make where that is
        more: two further forward passes per image. One is spent on finding the axes of a layer.

    Raises
    ------
    TypeError, ValueError
        For arguments of another type, shape or range, an algorithm that is not known or explains something else, options that it does not
        take, and a model that it cannot explain: DeepLift has no rule for products of activations, ReLU6, GELU, SiLU and whatever is not
        linear, other than ReLU, ELU, LeakyReLU, Sigmoid, Tanh, Softplus, Softmax and max pooling, and only for modules that are used once;
        where its values do not sum to the difference they are no DeepLift.

    References
    ----------
    - Kokhlikyan et al., 2020.
    - DeepLift: Shrikumar et al., ICML 2017.
    - GradientShap: Lundberg and Lee, NeurIPS 2017; Erion et al., 2021, with one baseline image.
    - ShapleyValueSampling: Strumbelj and Kononenko, 2010.
    """
    own, images, targets, rngs = arguments(MODULE, independent_copy(model), images, targets, rngs, seed)
    kind = _kind(algorithm)
    takes = inspect.signature(kind.attribute).parameters
    given = _options(algorithm, options, takes)
    hidden = baseline_image(images, fill)
    together = max(1, MEMORY // (images[0].numel() * images.element_size()))
    of_layer = issubclass(kind, LayerAttribution)
    parts = superpixels(images, sp_num) if "feature_mask" in takes else None
    if algorithm == "ShapleyValues" and parts is not None and int(parts.count.max()) > MOST:
        raise ValueError(
            f"captum: ShapleyValues asks about every order of {int(parts.count.max())} superpixels: give sp_num={MOST} or fewer"
        )
    if algorithm in COMPLETE:
        windows_apart(own, algorithm)
    found, misses = [], []
    precise = _without_tf32() if algorithm in COMPLETE else nullcontext()
    with precise, feature_maps(own, layer, images[:1]) if of_layer else nullcontext() as maps:
        for i, rng in enumerate(rngs):
            one, target = images[i : i + 1].detach().clone(), int(targets[i])
            known: dict[str, Any] = {"baselines": hidden[i : i + 1], "internal_batch_size": together, "perturbations_per_eval": together}
            known["feature_mask"] = parts.index[i : i + 1, None] if parts is not None else None
            known |= {"sliding_window_shapes": _window(one, 8), "strides": _window(one, 16), "abs": True}
            if algorithm == "DeepLiftShap":
                known["baselines"] = hidden[i : i + 1].expand(2, -1, -1, -1)  # it insists on more than one
            if of_layer:  # so that its axes are known, whatever the algorithm shows first
                own(one.requires_grad_())
            with _seeded(rng, one.device), _said_in_a_line(algorithm), torch.enable_grad():
                explain = kind(own, maps[0]) if maps is not None else kind(own)
                watched = every_activation_has_a_rule(own, algorithm) if algorithm in COMPLETE else nullcontext()
                keywords = {name: value for name, value in (known | given).items() if name in takes}
                with watched:
                    values = _values(explain, one.requires_grad_(), target, keywords, takes, together)
            small = _of_channels(values.detach(), parts is not None, keywords).float()
            found.append(enlarged(small, images.shape[-2:])[0] if of_layer else small[0])
            if "baselines" in takes and not of_layer and parts is None and algorithm != "Occlusion":
                misses.append(_missed(own, values.detach(), one.detach(), hidden[i : i + 1], target))
                if algorithm in COMPLETE and not misses[-1] <= 1e-2:  # of what is not a number, neither is less
                    narrow = any(one.dtype in (torch.float16, torch.bfloat16) for one in own.parameters()) or misses[-1] != misses[-1]
                    why = "computes in a precision that is too low: give it in float32, or" if narrow else "has functions without a rule:"
                    raise ValueError(
                        f"captum: the values of {algorithm} miss the difference of the logits by {misses[-1]:.2g} of it: this "
                        f"model {why} choose another algorithm, such as IntegratedGradients"
                    )
    extras = {"incompleteness": torch.tensor(misses)} if misses else {}
    return Attribution(torch.stack(found), extras=extras)


def _values(
    explain: Any, image: Images, target: int, keywords: Mapping[str, Any], takes: Mapping[str, inspect.Parameter], together: int
) -> Tensor:
    """What an algorithm says; of one that shows all its noisy samples at once, the mean of parts."""
    if "stdevs" not in takes:
        found: Tensor = explain.attribute(image, **({"target": target} if "target" in takes else {}), **keywords)
        return found
    samples = int(keywords.get("n_samples", takes["n_samples"].default))
    if samples < 1:
        raise ValueError(f"captum: options.n_samples={samples} must be at least 1")
    parts = [min(together, samples - start) for start in range(0, samples, together)]
    means = [explain.attribute(image, target=target, **{**keywords, "n_samples": part}).detach() * (part / samples) for part in parts]
    return torch.stack(means).sum(0)


def _kind(algorithm: str) -> Any:
    """The class of a name. Raises ValueError for one that is not there, or attributes no image."""
    if algorithm in INSTEAD:
        raise ValueError(f"captum: algorithm={algorithm} is not run: {INSTEAD[algorithm]}")
    if algorithm not in KNOWN:
        there = isinstance(getattr(attr, algorithm, None), type)
        why = "does not attribute an image to a class" if there else "is not in captum.attr"
        raise ValueError(f"captum: algorithm={algorithm} {why}: choose one of {', '.join(KNOWN)}")
    return getattr(attr, algorithm)


def _options(algorithm: str, options: Mapping[str, Any] | None, takes: Mapping[str, Any]) -> dict[str, Any]:
    """Options as Captum takes them: sequences are tuples. Raises ValueError for one that is not the user's to give."""
    given = {
        str(name): tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
        for name, value in (options or {}).items()
    }
    free = [name for name in takes if name not in (*OURS, "self", "kwargs")]
    for name in given:
        if name not in free:
            raise ValueError(f"captum: options.{name} is not taken by {algorithm}; it takes {', '.join(free) or 'none'}")
    return given


def _of_channels(values: Tensor, parts: bool, keywords: Mapping[str, Any]) -> Tensor:
    """Values of pixels ``[1, h, w]``: the channels' sum, or the one value that all channels of an ablated part have. Raises ValueError."""
    window = keywords.get("sliding_window_shapes")
    if window is not None and (not isinstance(window, tuple) or window[0] not in (1, values.shape[1])):
        raise ValueError(f"captum: options.sliding_window_shapes={window}: give channels, 3 together or 1, height and width")
    return values[:, 0] if parts or (window is not None and window[0] != 1) else values.sum(1)


def _window(image: Tensor, share: int) -> tuple[int, int, int]:
    return 3, max(1, image.shape[2] // share), max(1, image.shape[3] // share)


def _missed(model: nn.Module, values: Tensor, image: Images, hidden: Images, target: int) -> float:
    """How far the sum of values is from the difference of the logits, as a share of it, or of what they can be rounded by."""
    with torch.no_grad():
        shown, ablated = (float(model(one)[0, target].double()) for one in (image, hidden))
    size = max(abs(shown - ablated), ROUNDING * max(float(values.double().abs().sum()), abs(shown), abs(ablated)))
    return abs(float(values.double().sum()) - (shown - ablated)) / size if size else 0.0


@contextmanager
def _without_tf32() -> Iterator[None]:
    """Convolutions on a GPU in float32, as on the CPU: by default they round to three digits."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


@contextmanager
def _seeded(rng: np.random.Generator, device: torch.device) -> Iterator[None]:
    """Captum draws from the global streams of NumPy and PyTorch: give them the image's, and put them back."""
    before = np.random.get_state()  # noqa: NPY002
    drawn = int(rng.integers(2**31))
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.default_generator.manual_seed(drawn)
            if device.type == "cuda":
                torch.cuda.manual_seed(drawn)
            np.random.seed(drawn)  # noqa: NPY002
            yield
    finally:
        np.random.set_state(before)  # noqa: NPY002


@contextmanager
def _said_in_a_line(algorithm: str) -> Iterator[None]:
    """What Captum cannot do with a model as a ValueError of one line, and no warnings of hooks that it sets."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Setting|Input Tensor|.*backward hook")
            yield
    except torch.OutOfMemoryError:
        raise
    except (AssertionError, AttributeError, IndexError, RuntimeError, TypeError) as error:
        said = " ".join(str(error).split())[:300] or type(error).__name__
        raise ValueError(f"captum: {algorithm} cannot explain this model with these options: {said}") from None
