"""Any value of any key either runs or is answered by an error that names the key."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf, open_dict
from torch import nn

from benchmarks.inputs.compose import composed
from benchmarks.inputs.messages import cause
from benchmarks.jobs.resolve import make_job, resolve
from tests.corpus import gradient

pytestmark = pytest.mark.slow

FEW = {
    "iterations": 3, "masks": 3, "samples": 3, "budget": 12, "walk": 4, "steps": 2, "areas": [0.2], "sp_num": 12, "points": 3, "levels": 2,
    "layer": "net.features",
}  # fmt: skip
METHODS = (
    "da_pos",
    "da_minimal",
    "da_minimal_share",
    "rise",
    "ep",
    "gradcam",
    "integrated_gradients",
    "smoothgrad",
    "occlusion",
    "kernel_shap",
)
MEASURES = "benchmark=[insertion,mar,sufficiency,eclique]"
NOT_FUZZED = {"store", "out", "model.net", "dataset.root", "dataset._target_", "engine._target_", "method._target_", "model._target_"}

small = st.one_of(
    st.integers(-2, 9),
    st.sampled_from([0.0, -0.0, 0.5, -0.5, 1.0, 1.5, 1e-9, 1e9, float("nan"), float("inf"), -float("inf")]),
    st.sampled_from(
        ["", "black", "positive", "random", "first", "1/2", "null", "../x", "a b", "é\n", "${seed}", "${nowhere}", "???", "net.head"]
    ),
    st.booleans(),
    st.none(),
    st.lists(st.one_of(st.integers(-1, 3), st.floats(-1, 2), st.none(), st.text(max_size=2)), max_size=3),
    st.dictionaries(st.text("ab", max_size=1), st.integers(0, 1), max_size=1),
)


class Net(nn.Module):
    """A network small enough to be asked thousands of times."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3, stride=4), nn.ReLU())
        self.head = nn.Linear(4, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(images).mean((2, 3)))


def make() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return Net()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("fuzz")
    for i in range(2):
        gradient((40 + i, 40)).save(place / f"{i}.png")
    return place


def configuration(method: str, folder: Path) -> DictConfig:
    cfg = composed(
        f"method={method}", "dataset=image_folder", f"dataset.root={folder}", MEASURES, "engine.batch=2", f"store={folder}/store"
    )
    with open_dict(cfg):
        cfg.model = {
            "_target_": "benchmarks.models.build", "name": "tiny", "net": {"_target_": "tests.app.test_fuzz.make"}, "weights": None,
            "classes": ["a", "b", "c"], "size": 16, "crop_pct": 1.0, "interpolation": "bilinear", "mean": [0.1, 0.1, 0.1],
            "std": [1.0, 1.0, 1.0], "gradcam_layer": "net.features", "rise_masks": 3,
        }  # fmt: skip
    for node in (cfg.method, *cfg.benchmark.values()):
        node.update({name: value for name, value in FEW.items() if name in node})
    return cfg


def keys(cfg: DictConfig) -> list[str]:
    """Every key that can be given, the leaves of the configuration."""
    leaves = [f"{group}.{name}" for group in ("model", "dataset", "engine", "method", "select") for name in cfg[group]]
    leaves += [f"benchmark.{name}.{key}" for name, benchmark in cfg.benchmark.items() for key in benchmark]
    leaves += ["seed", "batch_size", "shard", "method_name", "per_method", "variation", "measure_memory"]
    return [leaf for leaf in leaves if leaf not in NOT_FUZZED and not leaf.rsplit(".", 1)[-1].startswith("_")]


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(st.data())
def test_any_value_runs_or_is_an_error_that_names_its_key(folder, data):
    method = data.draw(st.sampled_from(METHODS))
    cfg = configuration(method, folder)
    key, value = data.draw(st.sampled_from(keys(cfg))), data.draw(small)
    OmegaConf.update(cfg, key, value, merge=False, force_add=True)
    name = f"(method|{key})" if key in ("per_method", "variation") else key.rsplit(".", 1)[-1]
    try:
        job = make_job(resolve(cfg))
        job.run()
    except Exception as error:
        said = cause(error)
        assert re.search(rf"\b{name}\b", said), f"{method} {key}={value!r}: {said}"
        return
    for result in job.keys:
        for status in set(job.rows(result).get("status", [])):
            if status.startswith("error"):
                assert re.search(rf"\b{name}\b", status), f"{method} {key}={value!r}: {status}"
