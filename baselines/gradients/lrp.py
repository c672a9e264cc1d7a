"""Layer-wise relevance propagation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.modules.pooling import _AdaptiveAvgPoolNd, _AdaptiveMaxPoolNd, _AvgPoolNd, _MaxPoolNd

from baselines.copies import independent_copy
from baselines.gradients.relevance import INSTEAD, Between
from da.arguments import MODULE, arguments
from da.passes import passes
from da.types import Attribution, Images, Rngs, Targets

__version__ = "2"

COMPOSITES = ("epsilon_plus_flat", "epsilon_gamma_box", "epsilon_alpha2_beta1")
RULED = (_ConvNd, nn.Linear, _AvgPoolNd, _AdaptiveAvgPoolNd)
ELEMENTWISE = (
    nn.ReLU, nn.ReLU6, nn.Hardtanh, nn.ELU, nn.LeakyReLU, nn.PReLU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Softplus, nn.Tanh,
    nn.Hardswish,
)  # fmt: skip
# Those that compute with their weights as they are; timm's standardise or normalise them in others.
PLAIN = {f"{kind}{dims}d" for kind in ("Conv", "ConvTranspose") for dims in (1, 2, 3)} | {"Linear", "Conv2dSame"}
PASSING = (_DropoutNd, nn.Identity, nn.Flatten, nn.Unflatten, _MaxPoolNd, _AdaptiveMaxPoolNd, nn.PixelShuffle)
EMPTY = (nn.Sequential, nn.ModuleList, nn.ModuleDict)  # where they have no layers


@passes(lambda **_: (1, 1))
def lrp(
    model: nn.Module,
    images: Images,
    targets: Targets | None = None,
    *,
    rngs: Rngs | None = None,
    seed: int = 0,
    composite: str = "epsilon_plus_flat",
) -> Attribution:
    """The class logit shared out over the pixels, layer by layer, by the rules of ``zennit`` (the extra ``zennit``).

    Two forward passes and one backward pass an image. It runs on a copy of the model, brought into the form that the rules are for: batch
    normalisation is merged into the convolution before it (timm's ``BatchNormAct2d`` is taken apart first), and sums, means and residual
    connections between layers share relevance out in proportion. That the copy computes the same is checked. Relevance is that of the
    network's input: what makes it of the image, such as a normalisation, has none. Values are summed over the channels, with their sign.

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
    composite : str
        Linear layers have the rule epsilon in each. ``epsilon_plus_flat``: convolutions z-plus, the first layer flat;
        ``epsilon_gamma_box``: convolutions gamma (0.25), the first layer the box of the pixels' range, for networks such as VGG;
        ``epsilon_alpha2_beta1``: convolutions alpha 2, beta 1.

    Returns
    -------
    Attribution
        The map as ``saliency``, and in ``extras`` its sum as a share of the logit, ``conserved``: 1 where no bias takes a part.

    Raises
    ------
    TypeError, ValueError
        For arguments of another type, shape or range, where the package is missing, and for a network with layers or functions for which
        there is no rule: attention, layer normalisation, gates such as squeeze-and-excitation, batch normalisation of what no convolution
        returns. For one that uses a layer with weights, or average pooling, twice, or the image elsewhere than in its first layer, and one
        that defines another layer before that, to which the first layer's rule would go.

    References
    ----------
    - Bach et al., PLOS ONE 2015.
    - Composites: Montavon et al., 2019; Kohlbrenner et al., IJCNN 2020.
    """
    own, images, targets, rngs = arguments(MODULE, independent_copy(model), images, targets, rngs, seed)
    if composite not in COMPOSITES:
        raise ValueError(f"lrp: composite={composite!r}: choose one of {', '.join(COMPOSITES)}")
    try:
        from zennit.canonizers import SequentialMergeBatchNorm
        from zennit.composites import COMPOSITES as KNOWN
    except ImportError:
        raise ValueError("lrp needs zennit: pip install 'dynamic-ablation[zennit]'") from None
    _taken_apart(own)
    with torch.no_grad(), _normalised(own) as pairs:
        expected = own(images)
    layers = _layers(own)
    for norm, layer in pairs.items():  # the copy's own weights: they stay merged
        SequentialMergeBatchNorm().register((layer,), norm)
        norm.eps = 0.0  # else what is left shrinks its input
    _merged(own)
    more = {"low": _entry(own, layers, images, 0), "high": _entry(own, layers, images, 1)} if composite == "epsilon_gamma_box" else {}
    rules = KNOWN[composite](**more)
    between = Between("lrp", layers)
    shown = images.detach().clone().requires_grad_()
    with rules.context(own), torch.enable_grad():
        with between:
            logits = own(shown.clone())
        if between.entry is None or not logits.requires_grad:
            raise ValueError(f"lrp: no layer of this model has a rule: {INSTEAD}")
        _check_first(own, rules, between.used)
        logit = logits.gather(1, targets[:, None])
        found, elsewhere = torch.autograd.grad(logit, [between.entry, shown], logit.detach(), allow_unused=True)
    if found is None or elsewhere is not None:
        raise ValueError(f"lrp: this model uses the image elsewhere than in its first layer, where its relevance has no place: {INSTEAD}")
    relevance = found.detach()
    if not torch.allclose(logits.detach(), expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max())):
        raise ValueError(f"lrp: with its batch normalisation merged, this network computes something else: {INSTEAD}")
    if relevance.shape[-2:] != images.shape[-2:] or relevance.ndim != 4:
        raise ValueError(f"lrp: the first layer is shown {[*relevance.shape]}, which is not the image: {INSTEAD}")
    conserved = relevance.double().sum((1, 2, 3)) / logit.detach().double()[:, 0]
    return Attribution(relevance.sum(1).float(), extras={"conserved": conserved.float()})


def _taken_apart(model: nn.Module) -> None:
    """Batch normalisation with an activation inside, as timm has it, becomes the two of them."""
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if isinstance(child, nn.BatchNorm2d) and isinstance(getattr(child, "act", None), nn.Module):
                plain = nn.BatchNorm2d(child.num_features, child.eps, affine=child.affine, track_running_stats=child.track_running_stats)
                plain._parameters, plain._buffers = child._parameters, child._buffers
                parts = [plain, *(part for part in (child._modules.get("drop"), child.act) if isinstance(part, nn.Module))]
                parent._modules[name] = nn.Sequential(*parts).eval()


@contextmanager
def _normalised(model: nn.Module) -> Iterator[dict[Any, nn.Module]]:
    """Batch normalisation, by the passes in the context, and the layer whose output it is shown."""
    pairs: dict[Any, nn.Module] = {}

    def mark(layer: nn.Module, _inputs: object, output: Any) -> None:
        output.layer = layer

    def look(norm: Any, inputs: tuple[Any, ...]) -> None:
        layer = getattr(inputs[0], "layer", None)
        whole = all(one is not None for one in (norm.weight, norm.bias, norm.running_mean, norm.running_var))
        if layer is not None and whole and norm.num_features == getattr(layer, "out_channels", getattr(layer, "out_features", None)):
            pairs[norm] = layer

    handles = [layer.register_forward_hook(mark) for layer in model.modules() if isinstance(layer, (_ConvNd, nn.Linear))]
    handles += [norm.register_forward_pre_hook(look) for norm in model.modules() if isinstance(norm, _BatchNorm)]
    try:
        yield pairs
    finally:
        for handle in handles:
            handle.remove()


def _layers(model: nn.Module) -> dict[nn.Module, bool]:
    """The layers with a rule, and whether it keeps a pass. Raises ValueError for a layer that has none, and computes something."""
    ruled = (*RULED, *ELEMENTWISE, _BatchNorm)
    leaves = [layer for layer in model.modules() if not layer._modules or isinstance(layer, nn.MultiheadAttention)]
    for layer in leaves:
        if isinstance(layer, (_ConvNd, nn.Linear)) and (type(layer).__name__ not in PLAIN or "weight" not in layer._parameters):
            raise ValueError(f"lrp: there is no rule for a {type(layer).__name__} whose weights are computed at each pass: {INSTEAD}")
        known = (isinstance(layer, (*ruled, *PASSING)) and not isinstance(layer, nn.MultiheadAttention)) or type(layer) in EMPTY
        if not known and (list(layer.parameters()) or type(layer).__module__.startswith("torch.nn")):
            raise ValueError(f"lrp: there is no rule for {type(layer).__name__}, a layer of this model: {INSTEAD}")
    return {layer: isinstance(layer, RULED) or bool(list(layer.parameters())) for layer in leaves if isinstance(layer, ruled)}


def _check_first(model: nn.Module, rules: Any, used: list[nn.Module]) -> None:
    """Raises ValueError where zennit, which goes by the order of definition, gives the first layer's rule to another than the first."""
    kinds = tuple(kind for kind, _ in getattr(rules, "first_map", ()))
    theirs = next((layer for layer in model.modules() if isinstance(layer, kinds)), None)
    first = next((layer for layer in used if isinstance(layer, (_ConvNd, nn.Linear))), None)
    if kinds and theirs is not first:
        raise ValueError(
            f"lrp: the rule of the first layer would not go to the first, {type(first).__name__}, that this model computes: define its "
            "layers in their order, or give composite=epsilon_alpha2_beta1, which has none"
        )


def _merged(model: nn.Module) -> None:
    """Raises ValueError for batch normalisation that is still one."""
    for layer in model.modules():
        if isinstance(layer, _BatchNorm):
            shift = [layer.running_mean, layer.bias]
            scale = [layer.running_var, layer.weight]
            if any(one is None or bool(one.any()) for one in shift) or any(one is None or bool((one != 1).any()) for one in scale):
                raise ValueError(f"lrp: batch normalisation of what no convolution returns has no rule: {INSTEAD}")


class _EnteredError(Exception):
    """The first layer was reached."""


def _entry(model: nn.Module, layers: Iterable[nn.Module], images: Images, value: float) -> Tensor:
    """What the first layer is shown of an image of one value."""
    seen: list[Tensor] = []

    def look(_layer: nn.Module, inputs: Any) -> None:
        seen.append(inputs[0].detach())
        raise _EnteredError

    handles = [layer.register_forward_pre_hook(look) for layer in layers]
    try:
        with torch.no_grad():
            model(torch.full_like(images, value))
    except _EnteredError:
        pass
    finally:
        for handle in handles:
            handle.remove()
    return seen[0]
