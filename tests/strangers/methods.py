"""Methods as people write them: odd maps, and three that leave the model or the images changed."""

import torch


def constant(model, images, targets, *, rngs, value=0.0):
    return torch.full(images[:, 0].shape, float(value))


def negative(model, images, targets, *, rngs):
    return -images.sum(1) - 5


def minuszero(model, images, targets, *, rngs):
    m = torch.zeros_like(images[:, 0])
    m[:, ::2] = -0.0
    return m


def nan(model, images, targets, *, rngs):
    m = images.sum(1)
    m[:, 3, 3] = float("nan")
    return m


def integers(model, images, targets, *, rngs):
    return (images.sum(1) * 10).long()


def booleans(model, images, targets, *, rngs):
    return images.sum(1) > 1.5


def halves(model, images, targets, *, rngs):
    return images.sum(1).half()


def array(model, images, targets, *, rngs):
    return images.sum(1).numpy()


def channel(model, images, targets, *, rngs):
    return images.sum(1, keepdim=True)


def trains(model, images, targets, *, rngs):
    """Leaves the model in training mode, as a careless method does."""
    model.train()
    return images.sum(1)


def spoils(model, images, targets, *, rngs):
    """Zeroes its input in place."""
    m = images.sum(1).clone()
    images.zero_()
    return m


def hooked(model, images, targets, *, rngs):
    """Leaves a hook on a layer that changes what it returns."""
    layer = [m for m in model.modules() if isinstance(m, torch.nn.Conv2d)][-1]
    layer.register_forward_hook(lambda m, i, o: o * 0)
    return images.sum(1)


def plain(model, images, targets, *, rngs):
    return images.sum(1)
