"""Gradient saliency."""

from __future__ import annotations

from captum.attr import Saliency
from torch import nn

from da.arguments import MODULE, arguments
from da.passes import passes
from da.types import Attribution, Images, Rngs, Targets

__version__ = "1"


@passes(lambda **_: (0, 1))
def gradient(model: nn.Module, images: Images, targets: Targets | None = None, *, rngs: Rngs | None = None, seed: int = 0) -> Attribution:
    """The magnitude of the class logit's gradient, its largest over the channels.

    One forward and one backward pass an image. Captum's ``Saliency`` with ``abs=True``.

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

    Returns
    -------
    Attribution
        The map as ``saliency``.

    Raises
    ------
    TypeError, ValueError
        For arguments of another type, shape or range.

    References
    ----------
    Simonyan, Vedaldi and Zisserman, ICLR workshop 2014.
    """
    model, images, targets, rngs = arguments(MODULE, model, images, targets, rngs, seed)
    gradients = Saliency(model).attribute(images.detach().clone().requires_grad_(), target=targets, abs=True)
    return Attribution(gradients.detach().amax(1))
