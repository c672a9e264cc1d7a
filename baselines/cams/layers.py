"""A layer's feature maps: which layer a name means, where its values lie in the image, and how a map becomes as large as the image."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge
from torch.nn.functional import interpolate
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.pooling import _AdaptiveAvgPoolNd, _AdaptiveMaxPoolNd, _AvgPoolNd, _MaxPoolNd

from baselines.cams.graph import Edge, axes_of, computed_of, edge
from baselines.cams.tokens import TokenGrid, token_grid
from da.types import Images

POOLING = (_AdaptiveAvgPoolNd, _AdaptiveMaxPoolNd, _AvgPoolNd, _MaxPoolNd)


class LayerError(ValueError):
    """A layer without a feature map that can be read, and why."""


Order = bool | TokenGrid  # of a layer's output: whether its channels come last, or the grid of its tokens


class FeatureMaps(nn.Sequential):
    """Where a layer's feature maps pass by as ``[n, channels, h, w]``; ``maps[0]`` is a module of which they are the output.

    The order of a layer's axes, or the grid of its tokens, is found at its first pass. unread: whether a gradient came back, and none to
    the tokens of patches.
    """

    place: Edge | None = None  # in a pass with gradients, for ``check_read``
    checked = False

    def __init__(self, model: nn.Module, layer: str, images: Images) -> None:
        super().__init__(nn.Identity())
        self.layer = layer
        self.order_of = lambda output: order(model, layer, output, len(images), (images.shape[-2], images.shape[-1]))
        self.order: Order | None = None
        self.unread = False

    def forward(self, output: Tensor) -> Tensor:
        """The output, by way of ``maps[0]``. Raises LayerError where it has no feature map, or its axes cannot be told apart."""
        if self.order is None:
            self.order = self.order_of(output)
        if isinstance(self.order, TokenGrid):
            maps = super().forward(self.order.as_maps(output))
            whole = torch.cat([output[:, : self.order.prefix], maps.flatten(2).transpose(1, 2)], 1)
            if whole.requires_grad:
                whole.register_hook(self._look)
        else:
            whole = super().forward(output.permute(0, 3, 1, 2)).permute(0, 2, 3, 1) if self.order else super().forward(output)
        self.place = edge(whole) if whole.grad_fn is not None and not self.checked else None
        return whole

    def check_read(self, logits: object) -> None:
        """After a pass, until one had gradients: raises LayerError where the logits are not computed of the layer's output."""
        place, self.place = self.place, None
        if place and isinstance(logits, Tensor) and logits.requires_grad:
            self.checked = True
            if place not in computed_of(logits):
                raise LayerError(f"layer={self.layer!r} is not read by the class, which does not depend on it")

    def _look(self, gradient: Tensor) -> None:
        assert isinstance(self.order, TokenGrid)
        self.unread |= _unread(gradient, self.order)


@contextmanager
def feature_maps(model: nn.Module, layer: str | None, images: Images) -> Iterator[FeatureMaps]:
    """Lead a layer's output through ``FeatureMaps`` while the context lasts.

    layer: dotted name. Raises ValueError, naming layers that have feature maps, for a name that the model does not have, and in the
    context's stead for a layer that has none, did not run, or of which the class needs no patch.
    """
    named = dict(model.named_modules())
    if not layer or layer not in named:
        raise ValueError(f"layer={layer!r} is not in the model: {instead(model, layer, images)}")
    if isinstance(named[layer], torch.jit.ScriptModule):
        raise ValueError(f"layer={layer!r} is TorchScript, whose layers cannot be read: use the network that it was made of")
    maps = FeatureMaps(model, layer, images)
    handle = named[layer].register_forward_hook(lambda _module, _inputs, output: maps(output))
    after = model.register_forward_hook(lambda _module, _inputs, logits: maps.check_read(logits))
    try:
        yield maps
        if maps.unread:
            raise LayerError(
                f"layer={layer!r} has tokens of patches on which the class does not depend: only another token is read after it"
            )
    except LayerError as error:
        handle.remove()
        after.remove()
        raise ValueError(f"{error}: {instead(model, layer, images)}") from None
    except Exception:
        handle.remove()
        after.remove()
        if maps.order is not None or readable(model, images[:1]) is None:  # then it is not the layer's fault
            raise
        raise ValueError(f"layer={layer!r} did not run: {instead(model, layer, images)}") from None
    finally:
        handle.remove()
        after.remove()


def order(model: nn.Module, layer: str, output: object, n: int, size: tuple[int, int]) -> Order:
    """Whether a layer's output has its channels last, or the grid of its tokens. size: of the images. Raises LayerError."""
    if not isinstance(output, Tensor) or output.ndim != 3:
        return channels_last(layer, output, n, size)
    _, count, channels = shape = list(output.shape)
    grid = token_grid(model, layer, count, size) if len(output) == n else None
    if grid is None:
        raise LayerError(f"layer={layer!r} has no spatial output, it returns {shape}, and nothing says of which patches")
    if channels == 1 or (count == channels and axes_of(output.grad_fn, {}) != "last"):
        raise LayerError(f"layer={layer!r} returns {shape}, of which it cannot be said whether the channels come first or last")
    return grid


def channels_last(layer: str, output: object, n: int, size: tuple[int, int]) -> bool:
    """Whether an output is ``[n, h, w, channels]`` rather than ``[n, channels, h, w]``. size: of the images.

    What computed it says so, and else the sides, which are to one another as the images'. Raises LayerError where it is neither, or
    where it could be both.
    """
    if not isinstance(output, Tensor):
        raise LayerError(f"layer={layer!r} has no spatial output, it returns a {type(output).__name__}")
    shape = list(output.shape)
    if output.ndim != 4:
        raise LayerError(f"layer={layer!r} has no spatial output, it returns {shape}")
    if len(output) != n:
        raise LayerError(f"layer={layer!r} has no spatial output of each image, it returns {shape} for {n} images")
    _, a, b, c = shape
    computed = axes_of(output.grad_fn, {})
    if computed == "tokens":
        raise LayerError(f"layer={layer!r} has no spatial output, it returns {shape} of attention between tokens")
    fitting = {axes for axes, sides in (("first", (b, c)), ("last", (a, b))) if _alike(sides, size)}
    if computed in fitting or (computed == "first" and len(fitting) != 1):  # a normalisation's could be heads and tokens of attention
        return computed == "last"
    if not computed and len(fitting) == 1:
        return fitting == {"last"}
    raise LayerError(f"layer={layer!r} returns {shape}, of which it cannot be said whether the channels come first or last")


def enlarged(small: Float[Tensor, "n h w"], size: Sequence[int]) -> Float[Tensor, "n height width"]:
    """Maps enlarged bilinearly, pixels' corners aligned with the image's; along a side of one, and of a constant map, exactly constant."""
    h, w = small.shape[1:]
    grown = interpolate(small[:, None], (1 if h == 1 else size[0], 1 if w == 1 else size[1]), mode="bilinear", align_corners=False)[:, 0]
    constant = (small == small[:, :1, :1]).flatten(1).all(1)
    return torch.where(constant[:, None, None], small[:, :1, :1], grown).expand(len(small), *size).contiguous()


def instead(model: nn.Module, layer: str | None, images: Images, most: int = 12) -> str:
    """Which layers can be given in a layer's stead: those with feature maps of more than a pixel, or where they are many the likest.

    One forward pass of one image.
    """
    known = readable(model, images[:1])
    if not known:
        return "no layer of this model has feature maps; choose a method that needs none"
    if len(known) <= most:
        return f"choose one of {', '.join(known)}"
    near = difflib.get_close_matches(layer, known, n=most // 2, cutoff=0) if layer else known[-most // 2 :]
    return f"choose one of {', '.join(near)}, … ({len(known)} in all)"


def readable(model: nn.Module, images: Images) -> list[str] | None:
    """The layers with feature maps of more than a pixel that the class reads, in the order of the model; None where it does not run at all.

    One forward pass, and a backward pass where there are tokens: those of patches must matter to the class.
    """
    found = _readable(model, images)
    return None if found is None else [name for name, _ in model.named_modules() if found[0].get(name)]


def last_readable(model: nn.Module, images: Images, likely: str | None = None) -> str | None:
    """Of the ``readable`` layers that run once, and that nothing of the image passes by, the one whose pass ends last.

    ``likely`` if it is such a layer, or one of tokens, which a residual connection may pass by, or the model does not run at all. Pooling
    is left out, for what it pools; and None also where much comes after it: of the layers with weights that are shown something spatial
    more than three, and more than a tenth.
    """
    runs, spatial, named = Counter[str](), set[str](), _named(model)

    def count(name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Any, ...], _output: object) -> None:
            runs.update([name])
            channels: Any = getattr(module, "in_features", getattr(module, "in_channels", None))
            if isinstance(module, nn.Linear | _ConvNd) and inputs[0].numel() > len(inputs[0]) * channels:
                spatial.add(name)

        return hook

    handles = [module.register_forward_hook(count(name)) for name, module in named.items()]
    try:
        read = _readable(model, images)
    finally:
        for handle in handles:
            handle.remove()
    if read is None:
        return likely
    found, tokens, passed_by = read
    if likely and found.get(likely) and (likely in tokens or not passed_by(likely)):
        return likely
    later = 0
    for name in reversed(found):
        if later > max(3, len(spatial) / 10):
            break
        if found[name] and runs[name] == 1 and not isinstance(named[name], POOLING) and not passed_by(name):
            return name
        later += name in spatial
    return None


def _readable(model: nn.Module, images: Images) -> tuple[dict[str, bool], Set[str], Callable[[str], bool]] | None:
    """Whether each layer is ``readable``, in the order of their ends; which have tokens; and whether something passes one by."""
    found: dict[str, bool] = {}
    places: dict[str, Edge] = {}
    tokens: dict[str, tuple[Tensor, TokenGrid]] = {}

    def look(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: object, output: object) -> None:
            found.pop(name, None)
            try:
                read = order(model, name, output, len(images), (images.shape[-2], images.shape[-1]))
            except LayerError:
                found[name] = False
                return
            assert isinstance(output, Tensor)
            sides = (read.height, read.width) if isinstance(read, TokenGrid) else output.shape[1:3] if read else output.shape[2:]
            found[name], places[name] = min(sides) > 1, edge(output)
            if isinstance(read, TokenGrid) and output.requires_grad:
                tokens[name] = output, read

        return hook

    handles = [module.register_forward_hook(look(name)) for name, module in _named(model).items()]
    try:
        with torch.enable_grad():
            shown = images.detach().clone().requires_grad_()
            logits = model(shown)
            outputs = [output for output, _ in tokens.values()]
            gradients = torch.autograd.grad(logits.amax(1).sum(), outputs, allow_unused=True) if outputs else ()
    except Exception:
        return None
    finally:
        for handle in handles:
            handle.remove()
    for (name, (_, grid)), gradient in zip(tokens.items(), gradients, strict=True):
        found[name] &= gradient is not None and not _unread(gradient, grid)
    whole, begin = computed_of(logits), get_gradient_edge(shown)
    for name, place in places.items():
        found[name] &= not logits.requires_grad or place in whole

    def passed_by(name: str) -> bool:  # also where nothing is known
        return places.get(name) not in whole or (begin.node, begin.output_nr) in computed_of(logits, places[name])

    return found, tokens.keys(), passed_by


def _named(model: nn.Module) -> dict[str, nn.Module]:
    """The layers that can be looked at, by name."""
    return {name: module for name, module in model.named_modules() if name and not isinstance(module, torch.jit.ScriptModule)}


def _unread(gradient: Tensor, grid: TokenGrid) -> bool:
    """Whether the class depends on tokens before those of the patches alone."""
    return bool(gradient[:, : grid.prefix].any()) and not bool(gradient[:, grid.prefix :].any())


def _alike(sides: tuple[int, int], size: tuple[int, int]) -> bool:
    """Whether sides can be an image's divided by one stride and rounded, or cut by one margin."""
    (a, b), (h, w) = sides, size
    if h == w:
        return a == b
    overlap = h * (b - 1) < w * (a + 1) and w * (a - 1) < h * (b + 1)
    return overlap or h - a == w - b
