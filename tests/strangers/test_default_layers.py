"""The layer of class activation maps where nobody says: one that can be read and comes late, or none."""

from __future__ import annotations

import json
from functools import partial

import pytest
import timm
import torch
from torch import nn
from torchvision.models import get_model

from baselines.cams.cam import cam
from baselines.cams.gradcam import gradcam
from baselines.gradients.captum_algorithms import captum
from benchmarks.models.classifier import build
from tests.helpers import rngs, textured
from tests.strangers.networks import StoreActs

SHOWN = {"crop_pct": 1.0, "interpolation": "bilinear", "mean": [0.5] * 3, "std": [0.25] * 3}
TORCHVISION = {
    "googlenet": "inception5b",
    "shufflenet_v2_x0_5": "conv5",
    "regnet_y_400mf": "trunk_output",
    "mnasnet0_5": "layers",
    "mobilenet_v3_small": "features.12",
}
STAGES = {"embedding_size": 8, "hidden_sizes": [8, 8, 8, 8], "depths": [1, 1, 1, 1]}
BLOCKS = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 64, "patch_size": 8}
TRANSFORMERS = {
    "MobileNetV1": ({"depth_multiplier": 0.25}, "mobilenet_v1.layer.25"),
    "MobileNetV2": ({"depth_multiplier": 0.35}, "mobilenet_v2.conv_1x1"),
    "ResNet": (STAGES, "resnet.encoder.stages.3"),
    "RegNet": (STAGES | {"groups_width": 8}, "regnet.encoder.stages.3"),
    "FocalNet": ({"embed_dim": 8, "depths": [1, 1], "image_size": 64}, "focalnet.layernorm"),  # its stages return tuples
    "TextNet": ({}, "textnet.encoder.stages.3"),  # the class does not read its pooler, which ends last
    "Beit": (BLOCKS, "beit.layernorm"),  # nothing says how its blocks' normalised tokens lie in the image
}
CLIP = {
    "RN": ({"layers": [1, 1, 1, 1], "width": 8, "head_width": 16, "patch_size": None}, "visual.layer4"),
    "ConvNeXt": ({"timm_model_name": "convnext_atto", "timm_pool": "", "timm_proj": "linear"}, "visual.trunk"),
}


def layer_with_a_map(net: nn.Module, size: int = 64) -> str:
    """The default layer, of which a class or another has a map."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for module in net.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
    with torch.no_grad():
        answer = net.eval()(textured(1, size, size))
    classes = getattr(answer, "logits", answer).shape[1]
    model = build(net, name="net", classes=[str(i) for i in range(classes)], size=size, **SHOWN)
    images, targets = textured(1, size, size).expand(2, -1, -1, -1), torch.tensor([0, 1])
    found = gradcam(model.module, images, targets, rngs=rngs(2), layer=model.gradcam_layer).saliency
    assert float(found.std()) > 0
    return model.gradcam_layer


@pytest.mark.parametrize("architecture", TORCHVISION)
def test_networks_of_torchvision(architecture):
    more = {"init_weights": False, "aux_logits": False} if architecture == "googlenet" else {}
    assert layer_with_a_map(get_model(architecture, **more)) == f"net.{TORCHVISION[architecture]}"


@pytest.mark.parametrize("kind", TRANSFORMERS)
def test_networks_of_transformers(kind):
    transformers = pytest.importorskip("transformers", reason="the extra transformers")
    settings, layer = TRANSFORMERS[kind]
    net = getattr(transformers, f"{kind}ForImageClassification")(getattr(transformers, f"{kind}Config")(**settings))
    assert layer_with_a_map(net) == f"net.{layer}"


@pytest.mark.parametrize("kind", CLIP)
def test_encoders_of_open_clip(kind, tmp_path):
    open_clip = pytest.importorskip("open_clip", reason="the extra open-clip")
    from benchmarks.models.clip import open_clip_net

    vision, layer = CLIP[kind]
    text = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    config = {"embed_dim": 16, "vision_cfg": vision | {"image_size": 64}, "text_cfg": text}
    (tmp_path / f"{kind}-tiny-layer.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / f"{kind}-tiny-layer.json")
    found = layer_with_a_map(open_clip_net(f"{kind}-tiny-layer", ["cat", "dog", "fox"], weights="random"))
    assert found.startswith(f"net.{layer}")


def test_a_layer_at_the_beginning_is_not_taken_for_one_at_the_end():
    """Of Hiera only the patches can be read, and what is in them says little of the class."""
    net = timm.create_model("hiera_tiny_224", num_classes=3)
    model = build(net, name="net", classes=list("abc"), size=224, **SHOWN)
    assert model.gradcam_layer is None
    with pytest.raises(ValueError, match=r"choose one of net\.patch_embed\.proj"):
        gradcam(model.module, textured(1, 224, 224), torch.tensor([1]), rngs=rngs(1), layer=model.gradcam_layer)


class Gated(nn.Module):
    """Whose last map is passed by: weights of attention pooling, a spatial gate, another output, or the smaller of two scales."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.enc = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())
        self.gate = nn.Conv2d(8, 1, 1)
        self.layer4 = nn.Conv2d(8, 8, 2, 2)
        self.head = nn.Linear(16 if kind == "scales" else 8, 5)

    def forward(self, x):
        f = self.enc(x)
        if self.kind == "pooling":
            return self.head((f.flatten(2) * self.gate(f).flatten(2).softmax(-1)).sum(-1))
        if self.kind == "gate":
            return self.head((f * self.gate(f).sigmoid()).mean((2, 3)))
        if self.kind == "scales":
            return self.head(torch.cat([f.mean((2, 3)), self.layer4(f).mean((2, 3))], 1))
        return self.head(f.mean((2, 3))), self.gate(f)


@pytest.mark.parametrize("kind", ["pooling", "gate", "mask", "scales"])
def test_a_layer_that_the_class_passes_by_is_not_chosen(kind):
    net = Gated(kind).eval()
    model = build(net, name="net", classes=list("abcde"), size=64, outputs="logits", **SHOWN)
    assert model.gradcam_layer == "net.enc"
    if kind == "mask":
        methods = [gradcam, partial(cam, variant="ScoreCAM"), partial(captum, algorithm="LayerActivation")]
        for method in [*methods, partial(cam, variant="GradCAM"), partial(captum, algorithm="LayerGradCam")]:
            with pytest.raises(ValueError, match=r"^layer='net\.gate' is not read by the class.*: choose one of") as error:
                method(model.module, textured(1, 64, 64), torch.tensor([1]), rngs=rngs(1), layer="net.gate")
            assert "\n" not in str(error.value)
            assert "gate" not in str(error.value).split("choose one of")[1]


class Plain(nn.Module):
    """Three convolutions and a head of many layers; ``shared``: one ReLU, and a coarser map after the last."""

    def __init__(self, shared: bool) -> None:
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv2d(3 if i == 0 else 8, 8, 3, 2, 1) for i in range(3)])
        self.relus = nn.ModuleList([nn.ReLU()] * 3 if shared else [nn.ReLU() for _ in range(3)])
        self.pool = nn.AdaptiveAvgPool2d(4)
        hidden = [[nn.Linear(128 if i == 0 else 16, 16), nn.BatchNorm1d(16), nn.ReLU()] for i in range(4)]
        self.head = nn.Sequential(*(layer for three in hidden for layer in three), nn.Linear(16, 5))

    def forward(self, x):
        for conv, relu in zip(self.convs, self.relus, strict=True):
            x = relu(conv(x))
        return self.head(self.pool(x).flatten(1))


@pytest.mark.parametrize(("shared", "layer"), [(False, "net.relus.2"), (True, "net.convs.2")])
def test_a_head_of_many_layers_leaves_the_last_map(shared, layer):
    assert layer_with_a_map(Plain(shared)) == layer


def test_a_network_is_as_it_was_after_its_layer_was_looked_for():
    net, stream = StoreActs(), torch.get_rng_state()
    model = build(net, name="net", classes=list("abcde"), size=64, **SHOWN)
    assert model.gradcam_layer == "net.r2"
    assert not hasattr(net, "features")
    assert torch.equal(stream, torch.get_rng_state())
