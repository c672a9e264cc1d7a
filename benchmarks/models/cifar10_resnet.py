"""The residual networks for 32 x 32 images of He et al. (2016)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.models.networks import unloaded
from benchmarks.models.weights import load

__version__ = "1"

PUBLISHED = {20: "12fca82f", 32: "d509ac18", 44: "014dd654", 56: "4bfd9763"}  # the weights' hashes, by depth
URL = "https://github.com/akamaster/pytorch_resnet_cifar10/raw/master/pretrained_models/resnet{depth}-{hash}.th"


def cifar10_resnet(depth: int, *, weights: str | None = None) -> nn.Module:
    """ResNet-20, 32, 44 or 56 for 32 x 32 images of the 10 classes of CIFAR-10, in the layout of ``akamaster/pytorch_resnet_cifar10``.

    Parameters
    ----------
    depth : int
        The number of layers with weights: 20, 32, 44 or 56.
    weights : str, optional
        A local file, or ``"random"``; left out, those of that repository from torch's cache, or downloaded.

    Returns
    -------
    torch.nn.Module
        Of images that are normalised, to logits.

    Raises
    ------
    WeightsError
        Where weights cannot be fetched or read, or do not fit.
    ValueError
        For another depth.

    References
    ----------
    He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, section 4.2, with shortcuts of option A.
    """
    if depth not in PUBLISHED:
        raise ValueError(f"model.net.depth={depth}: choose {', '.join(map(str, PUBLISHED))}")
    return load(unloaded(lambda: _ResNet((depth - 2) // 6), weights), weights, url=URL.format(depth=depth, hash=PUBLISHED[depth]))


class _ResNet(nn.Module):
    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU()
        for stage, maps in enumerate((16, 32, 64), start=1):
            first = _Block(maps if stage == 1 else maps // 2, maps)
            self.add_module(f"layer{stage}", nn.Sequential(first, *(_Block(maps, maps) for _ in range(blocks - 1))))
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.get_submodule("layer3")(self.get_submodule("layer2")(self.get_submodule("layer1")(x)))
        return self.linear(x.mean((2, 3)))


class _Block(nn.Module):
    def __init__(self, given: int, maps: int) -> None:
        super().__init__()
        self.stride, self.added = maps // given, maps - given
        self.conv1 = nn.Conv2d(given, maps, 3, stride=self.stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(maps)
        self.conv2 = nn.Conv2d(maps, maps, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(maps)
        self.relu1, self.relu2 = nn.ReLU(), nn.ReLU()  # each used once, as Guided Backprop needs it

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.added // 2, self.added // 2))
        return self.relu2(x + y)
