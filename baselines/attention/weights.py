"""The attention weights of a vision transformer, and what the token that is read attends to as a map of the image."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from baselines.cams.layers import enlarged
from baselines.cams.tokens import token_grid
from da.types import Images, Saliency

WANTED = "give a vision transformer of timm (ViT, DeiT) whose class token is read, or choose a method that needs no attention"


class Attention:
    """The weights of each block at a pass, ``[n, heads, tokens, tokens]``, in the order of the blocks.

    Raises ValueError, naming the method, for a model that is no such transformer, or whose attention is another kind.
    """

    def __init__(self, method: str, model: nn.Module) -> None:
        self.method, self.model = method, model
        found = [(name, module) for name, module in model.named_modules() if _is_transformer(module)]
        if len(found) != 1:
            raise ValueError(f"{method}: {len(found) or 'no'} vision transformers whose attention can be read are in this model: {WANTED}")
        self.name, self.net = found[0]
        self.blocks: list[Any] = list(self.net.blocks)
        pooled = getattr(self.net, "global_pool", None)
        if pooled != "token" or not self.net.num_prefix_tokens:
            raise ValueError(f"{method}: this transformer reads {pooled!r} of its tokens rather than the class token: {WANTED}")
        self.read = [0, 1] if isinstance(getattr(self.net, "head_dist", None), nn.Module) else [0]  # DeiT's two heads, averaged
        self.weights: list[Tensor] = []

    @contextmanager
    def kept(self) -> Iterator[list[Tensor]]:
        """Keep the weights of the pass in the context; for it, no attention is fused."""
        self.weights.clear()
        fused = [block.attn.fused_attn for block in self.blocks]
        handles = [block.attn.attn_drop.register_forward_hook(self._keep) for block in self.blocks]
        try:
            for block in self.blocks:
                block.attn.fused_attn = False
            yield self.weights
        finally:
            for block, was in zip(self.blocks, fused, strict=True):
                block.attn.fused_attn = was
            for handle in handles:
                handle.remove()
        if len(self.weights) != len(self.blocks):
            raise ValueError(f"{self.method}: {len(self.weights)} of {len(self.blocks)} blocks show their attention: {WANTED}")

    def map(self, relevance: Float[Tensor, "n t t"], images: Images) -> Saliency:
        """The rows of the tokens that are read, at the patches, enlarged bilinearly."""
        size = (images.shape[-2], images.shape[-1])
        layer = ".".join(filter(None, (self.name, "blocks", "0")))
        grid = token_grid(self.model, layer, relevance.shape[1], size)
        if grid is None or grid.prefix < len(self.read):
            raise ValueError(f"{self.method}: nothing says how {relevance.shape[1]} tokens lie in the image: {WANTED}")
        rows = relevance[:, self.read, grid.prefix :].mean(1)
        return enlarged(rows.unflatten(1, (grid.height, grid.width)).float(), size)

    def _keep(self, _module: nn.Module, _inputs: Any, weights: Tensor) -> None:
        square = weights.ndim == 4 and weights.shape[2] == weights.shape[3]
        if not square or not torch.allclose(weights.detach().float().sum(3), torch.ones((), device=weights.device), atol=1e-3):
            raise ValueError(f"{self.method}: this attention's weights do not sum to 1 over all tokens: {WANTED}")
        self.weights.append(weights)


def _is_transformer(module: nn.Module) -> bool:
    blocks = getattr(module, "blocks", None)
    if not isinstance(blocks, nn.Sequential | nn.ModuleList) or not len(blocks) or not hasattr(module, "num_prefix_tokens"):
        return False
    attention = [getattr(block, "attn", None) for block in blocks]
    return all(hasattr(one, "fused_attn") and isinstance(getattr(one, "attn_drop", None), nn.Module) for one in attention) and not any(
        getattr(one, "gate", None) is not None for one in attention
    )
