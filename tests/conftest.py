"""Shapes checked at run time, planted models whose answer is known, and the real small model."""

from __future__ import annotations

import os
from pathlib import Path

from jaxtyping import install_import_hook

# Two processes of two threads on two cores are slower than one. A worker has the environment of pytest's first process, set here, too.
THREADS = "1" if "PYTEST_XDIST_WORKER" in os.environ else os.environ.get("OMP_NUM_THREADS", "2")
os.environ["OMP_NUM_THREADS"] = THREADS  # also of the commands that tests start

HOOK = install_import_hook(["da", "baselines", "benchmarks", "results"], "tests.check")

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from hydra import compose, initialize_config_dir  # noqa: E402
from hydra.utils import instantiate  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from benchmarks.data.sets import demo  # noqa: E402
from benchmarks.engines.engine import Engine, torch_engine  # noqa: E402
from benchmarks.inputs.messages import CONFIGURATIONS  # noqa: E402
from benchmarks.keys import sources  # noqa: E402
from benchmarks.models.classifier import Model, build  # noqa: E402

REPOSITORY = Path(__file__).parent.parent
torch.set_num_threads(int(THREADS))


class PatchNet(nn.Module):
    """Class 1 exactly where no pixel of a known patch is ablated to black; the score of class 1 is the patch's visible share."""

    def __init__(self, top: int, left: int, height: int, width: int) -> None:
        super().__init__()
        self.patch = (slice(None), slice(None), slice(top, top + height), slice(left, left + width))
        self.queries = 0

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[m, 2]``."""
        self.queries += len(images)
        visible = (images[self.patch].amax(1) > 0).float().mean((1, 2))
        return torch.stack([torch.full_like(visible, 0.999), visible], 1)


class Labels:
    """A label model of a module, with a list of what it was shown."""

    def __init__(self, net: nn.Module) -> None:
        self.net = net
        self.shown: list[Tensor] = []

    def __call__(self, images: Tensor, /) -> Tensor:
        self.shown.append(images.clone())
        return self.net(images).argmax(1)


def textured(n: int, h: int, w: int, seed: int = 0) -> Tensor:
    """Images with structure for SLIC, nowhere black."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.uniform(0.2, 1, (n, 3, 6, 6))).float()
    return nn.functional.interpolate(coarse, (h, w), mode="bicubic", align_corners=False).clamp(0.1, 1)


def rngs(n: int, seed: int = 0) -> list[np.random.Generator]:
    return [np.random.default_rng([seed, i]) for i in range(n)]


def configured(*overrides: str):
    """The application's configuration with overrides."""
    with initialize_config_dir(CONFIGURATIONS, version_base="1.3"):
        return compose("config", overrides=list(overrides))


def forget_sources() -> None:
    """Read sources anew, as another process would."""
    for cached in (sources._hash, sources._fingerprint, sources._named_in):
        cached.cache_clear()


def planted_model(size: int = 32) -> Model:
    """A patch classifier in the harness's own clothes."""
    net = PatchNet(size // 4, size // 4, size // 4, size // 4)
    preprocessing = {"size": size, "crop_pct": 1.0, "interpolation": "bilinear", "mean": (0.0,) * 3, "std": (1.0,) * 3}
    return build(net, name="planted", classes=["absent", "present"], **preprocessing)


@pytest.fixture(scope="session")
def lite0() -> Model:
    return instantiate(configured("model=efficientnet_lite0").model)


@pytest.fixture(scope="session")
def lite0_engine(lite0: Model) -> Engine:
    return torch_engine(lite0, batch=4, device="cpu")


@pytest.fixture(scope="session")
def photographs(lite0: Model) -> Tensor:
    return torch.stack([photograph.tensor(lite0.preprocessing) for photograph in demo().photographs])


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of research-only images and weights."""
    if "DA_SHARED" not in os.environ:
        pytest.skip("DA_SHARED names no folder of research-only data")
    folder = Path(os.environ["DA_SHARED"])
    assert folder.is_dir(), f"DA_SHARED={folder} is no folder"
    return folder
