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


# Further ways to leave a mark, each on the model, its input or the process.


def weights(model, images, targets, *, rngs):
    with torch.no_grad():
        next(model.parameters()).mul_(0.5)
    return images.sum(1)


def data(model, images, targets, *, rngs):
    next(model.parameters()).data[0, 0, 0, 0] += 1
    return images.sum(1)


def storage(model, images, targets, *, rngs):
    weight = next(model.parameters())
    weight.data = torch.zeros_like(weight)
    return images.sum(1)


def permutes(model, images, targets, *, rngs):
    weight = next(model.parameters()).data
    weight.copy_(weight.flip(0))
    return images.sum(1)


def doubles(model, images, targets, *, rngs):
    model.double()
    return images.sum(1)


def statistics(model, images, targets, *, rngs):
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.add_(1)
    return images.sum(1)


def replaces(model, images, targets, *, rngs):
    for layer in list(model.modules()):
        for name, child in layer.named_children():
            if isinstance(child, torch.nn.ReLU):
                setattr(layer, name, torch.nn.Softplus())
    return images.sum(1)


def parameter(model, images, targets, *, rngs):
    conv = next(m for m in model.modules() if isinstance(m, torch.nn.Conv2d))
    conv.bias = None
    return images.sum(1)


def forwards(model, images, targets, *, rngs):
    relu = next(m for m in model.modules() if isinstance(m, torch.nn.ReLU))
    relu.forward = lambda x: x
    return images.sum(1)


def classes(model, images, targets, *, rngs):
    torch.nn.ReLU.forward = lambda self, x: x
    return images.sum(1)


def everywhere(model, images, targets, *, rngs):
    torch.nn.modules.module.register_module_forward_hook(lambda m, i, o: o * 0 if isinstance(m, torch.nn.ReLU) else None)
    return images.sum(1)


def strides(model, images, targets, *, rngs):
    conv = next(m for m in model.modules() if isinstance(m, torch.nn.Conv2d))
    conv.stride = (4, 4)
    return images.sum(1)


def retargets(model, images, targets, *, rngs):
    targets.add_(1)
    return images.sum(1)


def settings(model, images, targets, *, rngs):
    """What is harmless once it is put back: its own numbers are as it meant them."""
    torch.manual_seed(3)
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(torch.get_num_threads() + 1)
    torch.use_deterministic_algorithms(True)
    torch.set_autocast_enabled("cpu", True)
    model.requires_grad_(True)
    model(images[:1]).sum().backward()
    torch.set_grad_enabled(False)
    return images.sum(1).float()


CULPRITS = {
    trains: "left the model in training mode",
    spoils: "wrote into its images",
    hooked: "left a hook on layer net.c2",
    weights: "changed the values of net.c1.weight",
    data: "changed the values of net.c1.weight",
    storage: "changed the values of net.c1.weight",
    permutes: "changed the values of net.c1.weight",
    doubles: "replaced buffers of the model",
    statistics: "changed the values of net.bn.running_mean",
    replaces: "replaced layers of layer net",
    parameter: "replaced weights of layer net.c1",
    forwards: "replaced forward of layer net.r1",
    classes: "replaced forward of every ReLU",
    everywhere: "left a hook on the model",
    strides: "changed stride of layer net.c1",
    retargets: "wrote into its targets",
}
