"""Every configuration composes, instantiates and binds; imports go one way."""

from __future__ import annotations

import inspect

import pytest
import torch
from hydra.errors import InstantiationException
from hydra.utils import get_method, instantiate
from omegaconf import OmegaConf

from benchmarks.inputs.compose import before_loading, composed
from benchmarks.inputs.messages import cause
from benchmarks.inputs.parameters import given_by_the_harness
from benchmarks.jobs.resolve import state_model
from benchmarks.models.weights import WeightsError
from tests.conftest import REPOSITORY
from tests.helpers import configured


def configurations(group: str) -> list[str]:
    return sorted(path.stem for path in (REPOSITORY / "conf" / group).glob("*.yaml"))


@pytest.mark.parametrize("name", configurations("model"))
def test_models_instantiate_or_say_what_is_missing(name, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cfg = configured(f"model={name}")
    if name in ("timm", "torchvision"):
        cfg.model.net.architecture, cfg.model.weights = {"timm": "resnet10t", "torchvision": "resnet18"}[name], "random"
    if name in ("transformers", "open_clip"):  # what these make is in tests/strangers
        assert OmegaConf.is_missing(cfg.model.net, {"transformers": "checkpoint", "open_clip": "architecture"}[name])
        return
    if name in ("onnx", "exported"):
        cfg.model.weights = str(tmp_path / "absent.onnx")
    if name in ("timm", "torchvision", "efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2") or name.startswith("planted"):
        model = instantiate(cfg.model)
        assert model.module.get_submodule(model.gradcam_layer)
        return
    with pytest.raises(Exception, match=r"model\.weights=") as caught:
        instantiate(cfg.model)
    error = caught.value
    while isinstance(error, InstantiationException):
        error = error.__cause__
    assert isinstance(error, WeightsError)


@pytest.mark.parametrize("name", ["alexnet", "vgg11", "vgg16", "resnet18", "resnet50", "cifar100_vgg16", "cifar10_resnet32"])
def test_gradcams_layer_is_there_and_spatial(name):
    model = instantiate(configured(f"model={name}", "model.weights=random").model)
    size = model.preprocessing.size
    shapes = []
    layer = model.module.get_submodule(model.gradcam_layer)
    layer.register_forward_hook(lambda module, inputs, output: shapes.append(output.shape[-2:]))
    model.module(torch.rand(1, 3, size, size))
    known = {"alexnet": 13, "vgg11": 14, "vgg16": 14, "resnet18": 7, "resnet50": 7, "cifar100_vgg16": 2, "cifar10_resnet32": 8}
    expected = known[name]
    assert shapes == [(expected, expected)]


@pytest.mark.parametrize("name", configurations("dataset"))
def test_datasets_instantiate_or_say_what_is_missing(name, tmp_path):
    cfg = configured(f"dataset={name}")
    if "root" in cfg.dataset.keys():  # noqa: SIM118 (a missing value is not "in")
        cfg.dataset.root = str(tmp_path / "absent")
        with pytest.raises(InstantiationException) as caught:
            instantiate(cfg.dataset)
        assert cause(caught.value).startswith("dataset.root=")
    else:
        assert len(instantiate(cfg.dataset)) > 0


@pytest.mark.parametrize("group", ["method", "benchmark", "engine"])
def test_every_configuration_binds_to_its_function_and_states_every_hyper_parameter(group):
    for name in configurations(group):
        cfg = OmegaConf.load(REPOSITORY / "conf" / group / f"{name}.yaml")
        if "candidates" in cfg:  # engine=auto stands for another
            continue
        function = get_method(cfg._target_)
        parameters = inspect.signature(function).parameters.values()
        keywords = {parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY}
        composed = {str(key).partition("@")[2] for default in cfg.pop("defaults", []) for key in default}
        stated = {str(key) for key in cfg if not str(key).startswith("_")} | composed
        assert stated == keywords - given_by_the_harness(function), f"{group}/{name}.yaml"
        assert not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)


@pytest.mark.parametrize("name", configurations("experiment"))
def test_experiments_compose(name):
    cfg = configured(f"experiment={name}")
    assert cfg.name == name


def test_what_may_be_referred_to_before_a_model_is_loaded_is_what_it_states():
    cfg = configured("model=planted_cnn")
    OmegaConf.set_struct(cfg, False)
    cfg.model = {"name": "mine"}
    stated = set(before_loading(cfg).model)
    state_model(cfg, instantiate(configured("model=planted_cnn").model))
    assert stated == set(cfg.model)


@pytest.mark.parametrize("passes", [50, 500])
def test_in_the_race_a_start_is_counted(passes):
    cfg = composed("experiment=race", "scale=paper", f"passes={passes}", "method=da_reduce")
    plain, with_backward = get_method(cfg.method.start_from._target_).passes()
    assert cfg.per_method.da_reduce.budget + plain + 2 * with_backward == passes
