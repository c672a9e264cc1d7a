"""Models load safely, are normalised as their weights expect, and are told apart."""

from __future__ import annotations

import json
import os
import pickle
from dataclasses import replace

import pytest
import torch
from hydra.utils import instantiate
from safetensors.torch import save_file
from torch import nn

from benchmarks.data.derived import select
from benchmarks.data.sets import demo, wnid_folder
from benchmarks.engines.engine import torch_engine
from benchmarks.engines.views import LabelView
from benchmarks.inputs.messages import cause
from benchmarks.models.cifar10_resnet import cifar10_resnet
from benchmarks.models.classifier import Normalised, build, class_names
from benchmarks.models.networks import timm_net
from benchmarks.models.weights import WeightsError, read_state, state_sha256
from tests.conftest import REPOSITORY
from tests.helpers import configured

REFERENCE = REPOSITORY / "tests" / "reference"


def loaded(*overrides: str):
    try:
        return instantiate(configured(*overrides).model)
    except Exception as error:
        raise ValueError(cause(error)) from None


def test_logits_equal_those_of_an_independent_implementation(lite0, photographs):
    recorded = json.loads((REFERENCE / "efficientnet_lite0_demo.json").read_text())
    logits = lite0.module(photographs)
    for photograph, values in zip(demo().photographs, logits, strict=True):
        top = values.topk(5)
        assert top.indices.tolist() == recorded[photograph.id]["top5"]
        assert top.values.tolist() == pytest.approx(recorded[photograph.id]["logits"], abs=2e-3)


@pytest.mark.data
def test_the_normalisation_is_the_one_the_weights_were_trained_with(lite0, shared):
    images = select(wnid_folder(str(shared / "data" / "imagenet-sample")), n=200, order="random")
    pixels = torch.stack([photograph.tensor(lite0.preprocessing) for photograph in images.photographs])
    labels = torch.tensor([photograph.label for photograph in images.photographs])

    def accuracy(module):
        view = LabelView(torch_engine(replace(lite0, module=module), batch=8, device="cpu"))
        return float((view(pixels) == labels).float().mean())

    ours = accuracy(lite0.module)
    assert ours == pytest.approx(0.88, abs=0.02)
    usual = Normalised(lite0.module.net, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)).eval()
    assert accuracy(usual) < ours - 0.06


def test_a_file_of_an_old_version_without_the_counters_of_batch_normalisation_loads_behind_its_prefix(tmp_path):
    net = cifar10_resnet(20, weights="random")
    state = {f"module.{name}": value + 1 for name, value in net.state_dict().items() if not name.endswith("num_batches_tracked")}
    torch.save({"state_dict": state}, tmp_path / "old.th")
    for name, value in cifar10_resnet(20, weights=str(tmp_path / "old.th")).state_dict().items():
        assert name.endswith("num_batches_tracked") or torch.equal(value, state[f"module.{name}"])


@pytest.mark.data
@pytest.mark.parametrize(("depth", "parameters", "expected"), [(20, 0.27, 0.8), (32, 0.46, 0.81), (44, 0.66, 0.79), (56, 0.85, 0.83)])
def test_the_published_residual_networks_of_cifar10_load(depth, parameters, expected, shared):
    (file,) = (shared / "weights" / "cifar10-resnets").glob(f"resnet{depth}-*.th")
    model = loaded(f"model=cifar10_resnet{depth}", f"model.weights={file}")
    assert sum(one.numel() for one in model.module.parameters()) / 1e6 == pytest.approx(parameters, abs=0.006)
    images = instantiate(configured("dataset=cifar10_folder", f"dataset.root={shared}/data/cifar10-test").dataset)
    photographs = images.photographs[::4]  # 50 of each class, compressed once more by their publisher
    view = LabelView(torch_engine(model, batch=100, device="cpu"))
    found = view(torch.stack([one.tensor(model.preprocessing) for one in photographs])).tolist()
    right = [label == one.label for label, one in zip(found, photographs, strict=True)]
    assert sum(right) / len(right) == pytest.approx(expected, abs=0.005)


def test_imagenet_and_cifar_class_names():
    imagenet, cifar = class_names("imagenet"), class_names("cifar100")
    assert (len(imagenet), imagenet[285], imagenet[967]) == (1000, "Egyptian cat", "espresso")
    assert (len(cifar), cifar[0], cifar[99]) == (100, "apple", "worm")
    assert list(cifar) == sorted(cifar)
    with pytest.raises(ValueError, match="classes"):
        class_names("imagenet22k")


@pytest.mark.parametrize("name", ["alexnet", "vgg11", "vgg16", "resnet18", "resnet50", "cifar100_vgg16", "cifar10_resnet56"])
def test_missing_weights_say_which_file_and_where(name, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(ValueError, match=r"the weights \S+\.p?th? .*https://.*model\.weights=/path/to/"):
        loaded(f"model={name}")


def test_lite1_and_lite2_load():
    for version, size in ((1, 240), (2, 260)):
        model = loaded(f"model=efficientnet_lite{version}")
        assert model.preprocessing.size == size
        photograph = demo().photographs[1]
        assert int(model.module(photograph.tensor(model.preprocessing)[None]).argmax()) == photograph.label


def test_a_local_file_loads_and_is_hashed_by_its_values(tmp_path):
    random = loaded("model=resnet18", "model.weights=random")
    state = {name: value.clone() for name, value in random.module.net.state_dict().items()}
    torch.save(state, tmp_path / "weights.pth")
    save_file(state, tmp_path / "weights.safetensors")
    pth = loaded("model=resnet18", f"model.weights={tmp_path}/weights.pth")
    safetensors = loaded("model=resnet18", f"model.weights={tmp_path}/weights.safetensors")
    assert random.weights_sha256 == pth.weights_sha256 == safetensors.weights_sha256
    state["fc.bias"][0] += 1
    assert state_sha256(state) != random.weights_sha256


def test_random_weights_leave_the_global_generator():
    before = torch.get_rng_state()
    first, second = (loaded("model=resnet18", "model.weights=random") for _ in range(2))
    assert first.weights_sha256 == second.weights_sha256
    assert torch.equal(torch.get_rng_state(), before)


def test_weights_of_another_architecture_are_refused(tmp_path):
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"another architecture.*lacks"):
        loaded("model=resnet18", f"model.weights={tmp_path}/w.pth")


def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(tmp_path):
    class Payload:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    (tmp_path / "w.pth").write_bytes(pickle.dumps({"x": Payload()}))
    torch.save({"x": Payload()}, tmp_path / "zip.pth")
    for file in ("w.pth", "zip.pth"):
        with pytest.raises(WeightsError):
            read_state(tmp_path / file)
    assert not (tmp_path / "ran").exists()


def test_no_file_and_a_broken_file(tmp_path):
    with pytest.raises(WeightsError, match="no weights at"):
        read_state(tmp_path / "absent.pth")
    (tmp_path / "text.safetensors").write_text("not tensors")
    with pytest.raises(WeightsError, match="not a readable file"):
        read_state(tmp_path / "text.safetensors")


def test_any_timm_network_brings_its_preprocessing_and_last_feature_layer():
    model = loaded("model=timm", "model.net.architecture=resnet10t", "model.weights=random")
    assert model.name == "resnet10t"
    assert model.preprocessing.size > 0
    assert model.gradcam_layer == "net.layer4"
    assert model.module.get_submodule(model.gradcam_layer) is not None


def test_a_timm_network_out_of_reach_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises(WeightsError, match=r"model\.weights="):
        timm_net("resnet10t")


@pytest.fixture(scope="session")
def onnx_file(lite0, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "lite0.onnx"
    torch.onnx.export(lite0.module, (torch.rand(1, 3, 224, 224),), str(path), dynamo=False, input_names=["images"])
    return path


def test_an_onnx_file_is_a_black_box_with_the_same_answers(lite0, photographs, onnx_file):
    model = loaded("model=onnx", f"model.weights={onnx_file}", "model.interpolation=bicubic")
    assert not model.differentiable
    assert len(model.weights_sha256) == 64
    torch.testing.assert_close(model.module(photographs), lite0.module(photographs), atol=2e-3, rtol=1e-3)


def test_an_onnx_file_that_is_none(tmp_path):
    with pytest.raises(ValueError, match="no ONNX file"):
        loaded("model=onnx", f"model.weights={tmp_path}/absent.onnx")
    (tmp_path / "bad.onnx").write_text("bad")
    with pytest.raises(ValueError, match="not a graph"):
        loaded("model=onnx", f"model.weights={tmp_path}/bad.onnx")


def test_preprocessing_left_out_needs_timm():
    net = nn.Sequential(nn.Flatten(), nn.Linear(3, 2))
    model = build(net, name="own", classes=["a", "b"], size=1, crop_pct=1.0, interpolation="bilinear", mean=[0.5] * 3, std=[0.5] * 3)
    torch.testing.assert_close(model.module(torch.full((1, 3, 1, 1), 0.5)), net[1].bias[None])
