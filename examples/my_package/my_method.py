"""A method of your own: one function."""

import torch


def input_times_gradient(model, images, targets, *, rngs, channels="sum"):
    """The image times the gradient of its class's logit.

    model: a torch.nn.Module on images in [0, 1] that returns logits. images: [n, 3, h, w]. targets: [n], the classes to explain.
    rngs: a numpy random generator for each image. Returns [n, h, w], higher is more important.
    """
    images = images.detach().clone().requires_grad_()
    logits = model(images).gather(1, targets[:, None]).sum()
    (gradient,) = torch.autograd.grad(logits, images)
    product = (gradient * images).detach().abs()
    return product.sum(1) if channels == "sum" else product.amax(1)
