"""Networks of torchvision are shown what their published weights are."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision.models import WeightsEnum, get_model, get_model_weights
from torchvision.transforms.functional import normalize

from benchmarks.models.classifier import build
from benchmarks.models.networks import torchvision_net
from benchmarks.models.weights import WeightsError, state_sha256
from tests.helpers import textured


@pytest.mark.parametrize("architecture", ["inception_v3", "googlenet", "squeezenet1_1"])
def test_a_network_is_that_of_torchvisions_builder_with_weights(architecture, monkeypatch, tmp_path):
    """Only the download is another: of a file, in its stead."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        state = get_model(architecture, weights=None, **{} if architecture == "squeezenet1_1" else {"init_weights": False}).state_dict()
        for weights in state.values():
            if weights.ndim > 1:
                nn.init.kaiming_normal_(weights, nonlinearity="relu")  # else nothing depends on the image
    monkeypatch.setattr(WeightsEnum, "get_state_dict", lambda self, **_: state)
    theirs = get_model(architecture, weights="IMAGENET1K_V1").eval()
    torch.save(state, tmp_path / "w.pth")
    model = build(torchvision_net(architecture, weights=str(tmp_path / "w.pth")), name=architecture, classes="imagenet")
    images, shown = textured(1, 80, 80), get_model_weights(architecture)["IMAGENET1K_V1"].transforms()
    with torch.no_grad():
        torch.testing.assert_close(model.module(images), theirs(normalize(images, shown.mean, shown.std)), atol=1e-4, rtol=1e-3)
    assert model.preprocessing.size == shown.crop_size[0]


@pytest.mark.parametrize("architecture", ["inception_v3", "googlenet"])
def test_a_fine_tuned_network_loads_with_its_auxiliary_heads_and_without(architecture, tmp_path):
    """Torchvision drops those of googlenet where its own weights are loaded; the head that is fine-tuned may be the last alone."""
    net = get_model(architecture, weights=None, init_weights=False)
    net.fc = nn.Linear(net.fc.in_features, 4)
    whole = net.state_dict()
    bare = {name: value for name, value in whole.items() if not name.lower().startswith("aux")}
    assert len(bare) < len(whole)
    found = []
    for state in (whole, bare, {"state_dict": {f"module.{name}": value for name, value in whole.items()}}):
        torch.save(state, tmp_path / "w.pth")
        found.append(torchvision_net(architecture, weights=str(tmp_path / "w.pth"), num_classes=4).eval())
    images = textured(1, 80, 80)
    net.transform_input = False
    with torch.no_grad():
        for one in found:
            torch.testing.assert_close(one(images), net.eval()(images), atol=1e-4, rtol=1e-3)
    assert len({state_sha256(one) for one in found}) == 1


def test_a_network_without_the_usual_weights_has_the_size_that_it_is_built_for():
    with torch.device("meta"):
        net = torchvision_net("vit_h_14", weights="random")
    assert net.pretrained_cfg["input_size"] == (3, 224, 224) == (3, net.image_size, net.image_size)
    for architecture in ("vit_h_14", "regnet_y_128gf"):
        with pytest.raises(
            WeightsError, match=rf"weights of {architecture}, but IMAGENET1K_SWAG_E2E_V1, .*LINEAR_V1: .*model\.weights=FILE"
        ):
            torchvision_net(architecture)
