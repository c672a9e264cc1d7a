"""Transformer attribution: attention weighted with its gradients (ICCV 2021), not the method by relevance of CVPR 2021."""

from __future__ import annotations

import torch
from torch import nn

from baselines.attention.weights import Attention
from baselines.copies import independent_copy
from da.arguments import MODULE, arguments
from da.passes import passes
from da.types import Attribution, Images, Rngs, Targets

__version__ = "1"


@passes(lambda **_: (0, 1))
def transformer_attribution(
    model: nn.Module, images: Images, targets: Targets | None = None, *, rngs: Rngs | None = None, seed: int = 0
) -> Attribution:
    """How relevant each patch is to the class token by attention weighted with the class logit's gradient.

    The generic method of Chefer et al. (ICCV 2021). What the authors' code calls transformer attribution is another one, theirs of CVPR
    2021 by layer-wise relevance propagation, which is not here.

    One forward and one backward pass an image. With A_b the attention of block b and G_b the gradient of the class logit by it, from the
    first block to the last: R becomes R + mean over the heads of (G_b * A_b)+ times R, where R begins as the identity. The map is the
    class token's row. It runs on a copy of the model whose attention is not fused.

    Parameters
    ----------
    model : torch.nn.Module
        Logits of images in [0, 1]: normalisation is inside it. A vision transformer of timm that reads its class token is in it.
    images : Tensor [n, 3, h, w] in [0, 1]
        The images to explain, not normalised.
    targets : Tensor [n], optional
        The class to explain of each image; left out, the model's own prediction.
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
    Chefer, Gur and Wolf, Generic attention-model explainability, ICCV 2021, for attention of a transformer to itself.

    Deviations: of DeiT, whose prediction is the mean of two heads, it is the mean of the class and the distillation token's rows.
    """
    own, images, targets, rngs = arguments(MODULE, independent_copy(model), images, targets, rngs, seed)
    attention = Attention("transformer_attribution", own)
    with torch.enable_grad(), attention.kept() as weights:
        logits = own(images.detach().clone().requires_grad_())
        gradients = torch.autograd.grad(logits.gather(1, targets[:, None]).sum(), weights)
    relevance = torch.eye(weights[0].shape[-1], device=images.device).expand(len(images), -1, -1)
    for block, gradient in zip(weights, gradients, strict=True):
        relevance = relevance + (gradient * block).detach().float().clamp_min(0).mean(1) @ relevance
    return Attribution(attention.map(relevance, images))
