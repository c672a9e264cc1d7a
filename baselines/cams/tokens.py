"""Where the tokens of a vision transformer lie in the image: how many stand before the patches, and the grid of these."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

# Where timm, torchvision, transformers and open_clip keep what is known of patches, seen from the transformer.
PLACES = ("", "patch_embed", "stem", "embeddings", "embeddings.patch_embeddings")
ONE = ("cls_token", "class_token", "class_embedding", "distillation_token", "dist_token")
SEVERAL = ("register_tokens", "reg_token")


@dataclass(frozen=True)
class TokenGrid:
    """Tokens of a layer.

    Attributes
    ----------
    prefix : int
        Class and register tokens, which stand before those of the patches.
    height, width : int
        Patches along each side; row by row.
    """

    prefix: int
    height: int
    width: int

    def as_maps(self, tokens: Float[Tensor, "n t c"]) -> Float[Tensor, "n c h w"]:
        """The patches' tokens as feature maps."""
        return tokens[:, self.prefix :].transpose(1, 2).unflatten(2, (self.height, self.width))


def token_grid(model: nn.Module, layer: str, count: int, size: tuple[int, int]) -> TokenGrid | None:
    """The grid that so many tokens of a layer are; None where the modules around it do not say.

    layer: dotted name. size: of the images, in pixels. The nearest module around the layer that knows of patches decides.
    """
    parts = layer.split(".")
    for end in range(len(parts) - 1, -1, -1):
        around = model.get_submodule(".".join(parts[:end]))
        owners = [owner for place in PLACES if (owner := _inside(around, place)) is not None]
        grids = dict.fromkeys(grid for owner in owners for grid in _grids(owner, size))
        if not grids:
            continue
        if hasattr(around, "unroll"):  # Hiera, whose tokens are in the order of its windows
            return None
        before = {0, _prefix(around, owners)}
        grids |= dict.fromkeys(_merged(around, grids)) if before == {0} else {}
        fitting = [TokenGrid(count - h * w, h, w) for h, w in grids if count - h * w in before]
        return fitting[0] if fitting else None
    return None


def _inside(module: nn.Module, place: str) -> nn.Module | None:
    found: Any = module
    for name in filter(None, place.split(".")):
        found = getattr(found, name, None)
    return found if isinstance(found, nn.Module) else None


def _grids(owner: nn.Module, size: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """The patches along each side, as a module states them or by the size of a patch."""
    if (stated := _pair(getattr(owner, "grid_size", None))) is not None:
        yield stated
    if (patch := _pair(getattr(owner, "patch_size", None))) is not None and min(patch) > 1:
        yield size[0] // patch[0], size[1] // patch[1]


def _prefix(around: nn.Module, owners: list[nn.Module]) -> int:
    known = getattr(around, "num_prefix_tokens", None)
    if isinstance(known, int):
        return known
    held = [(name, value) for owner in owners for name, value in owner.named_parameters(recurse=False)]
    return sum(1 for name, _ in held if name in ONE) + sum(value.shape[-2] for name, value in held if name in SEVERAL)


def _merged(around: nn.Module, grids: dict[tuple[int, int], None]) -> Iterator[tuple[int, int]]:
    """The grids of later stages, where neighbouring patches are merged, two by two."""
    for h, w in grids:
        for _ in getattr(getattr(around, "config", None), "depths", ()):
            h, w = (h + 1) // 2, (w + 1) // 2
            yield h, w


def _pair(value: Any) -> tuple[int, int] | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value, value
    if isinstance(value, tuple | list) and len(value) == 2 and all(isinstance(one, int) for one in value):
        return value[0], value[1]
    return None
