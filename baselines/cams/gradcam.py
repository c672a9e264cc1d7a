"""GradCAM."""

from __future__ import annotations

from captum.attr import LayerGradCam
from torch import nn

from baselines.cams.layers import enlarged, feature_maps
from da.arguments import MODULE, arguments
from da.passes import passes
from da.types import Attribution, Images, Rngs, Targets

__version__ = "2"


@passes(lambda **_: (0, 1))
def gradcam(
    model: nn.Module, images: Images, targets: Targets | None = None, *, rngs: Rngs | None = None, seed: int = 0, layer: str | None = None
) -> Attribution:
    """A layer's feature maps, weighted by the class logit's mean gradients, summed, negative values cut.

    One forward and one backward pass an image. Captum's ``LayerGradCam`` with ``relu_attributions=True``, enlarged bilinearly with
    ``align_corners=False``. A map with no positive value is all zero, and one of a layer of 1 x 1 is constant: it ranks the pixels at
    random, like any tie.

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
    layer : str
        Dotted name of a module whose output is spatial, ``[n, channels, height, width]`` or ``[n, height, width, channels]``, or tokens
        ``[n, tokens, channels]`` of a transformer that says how its patches lie: class and register tokens are left out. Of a module
        that runs more than once, the last run.

    Returns
    -------
    Attribution
        The map as ``saliency``.

    Raises
    ------
    TypeError, ValueError
        For arguments of another type, shape or range. Naming layers that there are: for no layer, a name that the model does not have, a
        layer that does not run or has no spatial output, one of which it cannot be said which axis is which, one on which the class does
        not depend, or one after which it depends on no token of a patch.

    References
    ----------
    Selvaraju et al., ICCV 2017.
    """
    model, images, targets, rngs = arguments(MODULE, model, images, targets, rngs, seed)
    with feature_maps(model, layer, images) as maps:
        small = LayerGradCam(model, maps[0]).attribute(images.detach().clone().requires_grad_(), target=targets, relu_attributions=True)
    return Attribution(enlarged(small.detach()[:, 0], images.shape[-2:]))
