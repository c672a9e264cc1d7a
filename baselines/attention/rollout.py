"""Attention rollout."""

from __future__ import annotations

import torch
from torch import nn

from baselines.attention.weights import Attention
from baselines.copies import independent_copy
from da.arguments import MODULE, arguments
from da.passes import passes
from da.types import Attribution, Images, Rngs, Targets

__version__ = "1"


@passes(lambda **_: (1, 0))
def attention_rollout(
    model: nn.Module, images: Images, targets: Targets | None = None, *, rngs: Rngs | None = None, seed: int = 0
) -> Attribution:
    """How the class token's attention comes from the patches: the blocks' mean attention, half of it the token itself, multiplied.

    One forward pass an image. The map is the same for every class. With A_b the mean over the heads of block b's attention, it is the
    class token's row of the product of all (A_b + I) / 2, the last block on the left. It runs on a copy of the model whose attention is not
    fused.

    Parameters
    ----------
    model : torch.nn.Module
        Logits of images in [0, 1]: normalisation is inside it. A vision transformer of timm that reads its class token is in it.
    images : Tensor [n, 3, h, w] in [0, 1]
        The images to explain, not normalised.
    targets : Tensor [n], optional
        Not used: the map is of no class.
    rngs : sequence of numpy.random.Generator, optional
        Not used: nothing is drawn.
    seed : int
        Not used: nothing is drawn.

    Returns
    -------
    Attribution
        The map as ``saliency``, enlarged bilinearly from the patches.

    Raises
    ------
    TypeError, ValueError
        For arguments of another type, shape or range, and for a model without such a transformer, or whose attention has no weights that
        sum to 1 over all tokens.

    References
    ----------
    Abnar and Zuidema, ACL 2020.

    Deviations: they have text, and no second token that is read. Of DeiT, whose prediction is the mean of two heads, it is the mean of the
    class and the distillation token's rows.
    """
    own, images, targets, rngs = arguments(MODULE, independent_copy(model), images, targets, rngs, seed)
    attention = Attention("attention_rollout", own)
    with torch.no_grad(), attention.kept() as weights:
        own(images)
    identity = torch.eye(weights[0].shape[-1], device=images.device)
    rollout = identity.expand(len(images), -1, -1)
    for block in weights:
        rollout = (block.float().mean(1) + identity) / 2 @ rollout
    return Attribution(attention.map(rollout, images))
