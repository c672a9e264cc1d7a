"""Shapes checked at run time, and the real small model. What takes long to import is imported by those who need it, not by xdist's head."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from jaxtyping import install_import_hook

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from benchmarks.engines.engine import Engine
    from benchmarks.models.classifier import Model

# Two processes of two threads on two cores are slower than one. A worker has the environment of pytest's first process, set here, too.
THREADS = "1" if "PYTEST_XDIST_WORKER" in os.environ else os.environ.get("OMP_NUM_THREADS", "2")
os.environ["OMP_NUM_THREADS"] = THREADS  # also of the commands that tests start

HOOK = install_import_hook(["da", "baselines", "benchmarks", "results"], "tests.check")
REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def forgotten_modules(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What one test imported from a folder of its own is not what another test imports by that name in the same process."""
    yield
    base = str(tmp_path_factory.getbasetemp())
    for name, module in list(sys.modules.items()):
        known = getattr(module, "__dict__", {})  # not by attribute: some modules have any
        places = [known.get("__file__"), *(known.get("__path__") or ())]  # a package may have no file
        if any(str(place).startswith(base) for place in places):
            del sys.modules[name]


@pytest.fixture(scope="session")
def lite0() -> Model:
    from hydra.utils import instantiate

    from tests.helpers import configured

    return instantiate(configured("model=efficientnet_lite0").model)


@pytest.fixture(scope="session")
def lite0_engine(lite0: Model) -> Engine:
    from benchmarks.engines.engine import torch_engine

    return torch_engine(lite0, batch=4, device="cpu")


@pytest.fixture(scope="session")
def photographs(lite0: Model) -> Tensor:
    import torch

    from benchmarks.data.sets import demo

    return torch.stack([photograph.tensor(lite0.preprocessing) for photograph in demo().photographs])


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of research-only images and weights."""
    if "DA_SHARED" not in os.environ:
        pytest.skip("DA_SHARED names no folder of research-only data")
    folder = Path(os.environ["DA_SHARED"])
    assert folder.is_dir(), f"DA_SHARED={folder} is no folder"
    return folder
