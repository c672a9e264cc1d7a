"""Class activation maps of transformers: tokens laid out as the patches they are of."""

from __future__ import annotations

import pytest
import timm
import torch
import torchvision
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn.functional import interpolate

from baselines.cams.cam import cam
from baselines.cams.gradcam import gradcam
from baselines.cams.tokens import TokenGrid, token_grid
from benchmarks.engines.views import counted
from benchmarks.models.default_layers import layer_of_family
from tests.helpers import rngs, textured
from tests.strangers.test_layers import VARIANTS

TARGETS = torch.tensor([3, 1])
KINDS = {"class token": {}, "registers": {"reg_tokens": 3}, "mean": {"class_token": False, "global_pool": "avg"}}


class Within(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net((x - 0.5) / 0.25)


def vit(size: int | tuple[int, int] = 32, **more) -> Within:
    """Patches of 8 x 8 pixels."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        net = VisionTransformer(img_size=size, patch_size=8, embed_dim=12, depth=2, num_heads=2, num_classes=5, weight_init="skip", **more)
        for weights in net.parameters():
            nn.init.normal_(weights, std=0.3)
    return Within(net).eval().requires_grad_(False)


def by_definition(model: nn.Module, layer: str, images: Tensor, prefix: int, grid: tuple[int, int]) -> Tensor:
    """GradCAM of tokens, by the output of a hook."""
    seen = []
    handle = model.get_submodule(layer).register_forward_hook(lambda _m, _i, o: seen.append(o))
    logits = model(images.clone().requires_grad_())
    handle.remove()
    (gradient,) = torch.autograd.grad(logits.gather(1, TARGETS[: len(images), None]).sum(), seen[0])
    patches, weights = seen[0][:, prefix:], gradient[:, prefix:].mean(1, keepdim=True)
    small = (patches * weights).sum(2).relu().detach().view(len(images), *grid)
    return interpolate(small[:, None], images.shape[-2:], mode="bilinear", align_corners=False)[:, 0]


@pytest.mark.parametrize("size", [(32, 32), (32, 48)])
@pytest.mark.parametrize(("kind", "prefix"), [("class token", 1), ("registers", 4), ("mean", 0)])
def test_gradcam_of_tokens_is_its_definition(kind, prefix, size):
    model, images = vit(size, **KINDS[kind]), textured(2, *size)
    layer, grid = layer_of_family(model.net), (size[0] // 8, size[1] // 8)
    assert layer == "net.blocks.1.norm1"
    for name in (layer, "net.blocks.0", "net.blocks.1.attn.qkv"):
        expected = by_definition(model, name, images, prefix, grid)
        with counted(model) as passes:
            found = gradcam(model, images, TARGETS, rngs=rngs(2), layer=name).saliency
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
        assert (passes.forward, passes.backward) == (2, 2)
    assert float(found.std()) > 0


def test_what_is_after_the_last_patch_is_refused_and_not_offered():
    model, images = vit(), textured(2, 32, 32)
    for method in (
        lambda layer: gradcam(model, images, TARGETS, rngs=rngs(2), layer=layer).saliency,
        lambda layer: cam(model, images, TARGETS, rngs=rngs(2), variant="LayerCAM", layer=layer).saliency,
    ):
        with pytest.raises(ValueError, match="on which the class does not depend: only another token is read") as error:
            method("net.blocks.1")
        said = str(error.value)
        offered = said.split("choose one of ")[1].split(", … (")[0].split(", ")
        assert "\n" not in said
        assert "net.blocks.1" not in offered
        for layer in offered:
            assert method(layer).shape == (2, 32, 32)
    mean = vit(**KINDS["mean"])  # where the last block's patches are read
    assert float(gradcam(mean, images, TARGETS, rngs=rngs(2), layer="net.blocks.1").saliency.std()) > 0


@pytest.mark.parametrize("variant", [*VARIANTS, "FinerCAM"])
def test_every_cam_of_tokens(variant):
    model, images = vit(), textured(2, 32, 32)
    if variant == "FullGrad":
        with pytest.raises(ValueError, match=r"leaves out the bias of (LayerNorm|Linear)"):
            cam(model, images, TARGETS, rngs=rngs(2), variant=variant, layer="net.blocks.1.norm1")
        return
    together = cam(model, images, TARGETS, rngs=rngs(2), variant=variant, layer="net.blocks.1.norm1").saliency
    alone = cam(model, images[1:], TARGETS[1:], rngs=rngs(2)[1:], variant=variant, layer="net.blocks.1.norm1").saliency
    assert torch.equal(alone[0], together[1])
    assert together.shape == (2, 32, 32)
    assert torch.isfinite(together).all()
    assert float(together.std()) > 0  # of an image alone no sum may be positive


def test_the_class_is_told_from_those_nearest_to_it():
    """FinerCAM is GradCAM of the difference; with two classes, of one logit minus the other."""
    model, images = vit(), textured(1, 32, 32)
    two = nn.Sequential(model, nn.Linear(5, 2)).eval().requires_grad_(False)
    one = nn.Sequential(two, nn.Linear(2, 2, bias=False)).eval().requires_grad_(False)
    with torch.no_grad():
        one[1].weight.copy_(torch.tensor([[1.0, -1.0], [-1.0, 1.0]]))
    finer = cam(two, images, torch.tensor([1]), rngs=rngs(1), variant="FinerCAM", layer="0.net.blocks.1.norm1").saliency
    plain = cam(one, images, torch.tensor([1]), rngs=rngs(1), variant="GradCAM", layer="0.0.net.blocks.1.norm1").saliency
    assert float(plain.std()) > 0
    # the weight of the other class is its probability over itself and a constant of 1e-9
    torch.testing.assert_close(finer, plain, atol=1e-3, rtol=1e-3)


def test_torchvisions_transformer():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = torchvision.models.VisionTransformer(32, 8, num_layers=2, num_heads=2, hidden_dim=12, mlp_dim=24, num_classes=5)
        nn.init.normal_(net.heads.head.weight)
    model, images = Within(net).eval().requires_grad_(False), textured(2, 32, 32)
    layer = layer_of_family(net)
    assert layer == "net.encoder.layers.encoder_layer_1.ln_1"
    expected = by_definition(model, layer, images, 1, (4, 4))
    torch.testing.assert_close(gradcam(model, images, TARGETS, rngs=rngs(2), layer=layer).saliency, expected, atol=1e-5, rtol=1e-4)
    assert float(expected.std()) > 0


@pytest.mark.parametrize(
    ("architecture", "layer"),
    [
        ("vit_tiny_patch16_224", "net.blocks.11.norm1"),
        ("deit_tiny_distilled_patch16_224", "net.blocks.11.norm1"),
        ("eva02_tiny_patch14_224", "net.blocks.11.norm1"),
        ("swin_tiny_patch4_window7_224", "net.layers.3"),
        ("convnext_atto", "net.stages.3"),
        ("pvt_v2_b0", "net.stages.3"),
        ("test_efficientnet", "net.blocks.4"),
    ],
)
def test_the_layer_of_a_family(architecture, layer):
    with torch.device("meta"):
        assert layer_of_family(timm.create_model(architecture)) == layer


def test_grids_are_read_from_what_modules_state():
    with torch.device("meta"):
        distilled, cait = timm.create_model("deit_tiny_distilled_patch16_224"), timm.create_model("cait_xxs24_224")
        hiera = timm.create_model("hiera_tiny_224")
    assert token_grid(distilled, "blocks.3.norm1", 198, (224, 224)) == TokenGrid(2, 14, 14)
    assert token_grid(cait, "blocks.3", 196, (224, 224)) == TokenGrid(0, 14, 14)  # its class token comes later
    assert token_grid(distilled, "blocks.3.norm1", 196 + 7, (224, 224)) is None
    assert token_grid(hiera, "blocks.0", 3136, (224, 224)) is None  # in the order of its windows
    assert token_grid(nn.Sequential(nn.Linear(3, 3)), "0", 16, (32, 32)) is None


def test_a_map_of_as_many_tokens_as_channels_is_refused():
    """Attention of one head is [n, tokens, tokens]."""
    with torch.random.fork_rng(devices=[]):
        net = VisionTransformer(
            img_size=32, patch_size=8, embed_dim=16, depth=1, num_heads=2, num_classes=5, class_token=False, global_pool="avg"
        )
    model = Within(net).eval().requires_grad_(False)
    with pytest.raises(ValueError, match="cannot be said whether the channels come first or last"):
        gradcam(model, textured(2, 32, 32), TARGETS, rngs=rngs(2), layer="net.blocks.0")
