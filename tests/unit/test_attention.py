"""Attention rollout and transformer attribution beside their formulas, computed by hand on two layers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn.functional import interpolate

from baselines.attention.rollout import attention_rollout
from baselines.attention.transformer_attribution import transformer_attribution
from baselines.attention.weights import Attention
from benchmarks.engines.views import counted
from tests.helpers import rngs, textured
from tests.strangers.networks import make
from tests.strangers.test_tokens import TARGETS, Within, vit

METHODS = (attention_rollout, transformer_attribution)


def by_hand(net: VisionTransformer, images: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The logits and the attention of each block, written out."""
    x = net.patch_embed.proj((images - 0.5) / 0.25).flatten(2).transpose(1, 2)
    x = torch.cat([net.cls_token.expand(len(x), -1, -1), x], 1) + net.pos_embed
    weights = []
    for block in net.blocks:
        n, t, c = x.shape
        heads = block.attn.num_heads
        q, k, v = block.attn.qkv(block.norm1(x)).view(n, t, 3, heads, c // heads).permute(2, 0, 3, 1, 4)
        attention = (q @ k.transpose(2, 3) / (c // heads) ** 0.5).softmax(3)
        weights.append(attention)
        x = x + block.attn.proj((attention @ v).transpose(1, 2).reshape(n, t, c))
        x = x + block.mlp(block.norm2(x))
    return net.head(net.norm(x)[:, 0]), weights


def enlarged(row: np.ndarray) -> Tensor:
    return interpolate(torch.from_numpy(row).view(1, 1, 4, 4), (32, 32), mode="bilinear", align_corners=False)[0, 0].float()


def test_the_formulas_on_two_layers():
    model, images = vit(), textured(2, 32, 32)
    logits, weights = by_hand(model.net, images.clone().requires_grad_())
    torch.testing.assert_close(logits.detach(), model(images), atol=1e-5, rtol=1e-4)
    gradients = torch.autograd.grad(logits.gather(1, TARGETS[:, None]).sum(), weights)
    for i in range(2):
        first, second = (w[i].detach().double().numpy() for w in weights)
        of_first, of_second = (g[i].double().numpy() for g in gradients)
        half = [(a.mean(0) + np.eye(17)) / 2 for a in (first, second)]
        rollout = (half[1] @ half[0])[0, 1:]
        found = attention_rollout(model, images, TARGETS, rngs=rngs(2)).saliency[i]
        torch.testing.assert_close(found, enlarged(rollout), atol=1e-6, rtol=1e-4)
        one, two = (np.maximum(g * a, 0).mean(0) for g, a in ((of_first, first), (of_second, second)))
        relevance = np.eye(17) + one
        relevance = (relevance + two @ relevance)[0, 1:]
        found = transformer_attribution(model, images, TARGETS, rngs=rngs(2)).saliency[i]
        torch.testing.assert_close(found, enlarged(relevance), atol=1e-6, rtol=1e-3)
        assert float(found.std()) > 0


@pytest.mark.parametrize("method", METHODS)
def test_the_model_is_left_alone_and_an_image_is_the_same_alone(method):
    model, images = vit(reg_tokens=2), textured(2, 32, 32)
    fused = [block.attn.fused_attn for block in model.net.blocks]
    with counted(model) as passes:
        together = method(model, images, TARGETS, rngs=rngs(2)).saliency
    assert (passes.forward, passes.backward) == (2, 0 if method is attention_rollout else 2)
    assert fused == [block.attn.fused_attn for block in model.net.blocks]
    torch.testing.assert_close(method(model, images[1:], TARGETS[1:], rngs=rngs(1)).saliency[0], together[1])


def test_both_tokens_of_a_distilled_transformer_are_read():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = VisionTransformerDistilled(img_size=32, patch_size=8, embed_dim=12, depth=2, num_heads=2, num_classes=5, weight_init="skip")
        for weights in net.parameters():
            nn.init.normal_(weights, std=0.3)
    model, images = Within(net).eval(), textured(1, 32, 32)
    with torch.no_grad(), Attention("", model).kept() as weights:
        model(images)
    first, second = ((w[0].mean(0) + torch.eye(18)) / 2 for w in weights)
    both = (second @ first)[:2, 2:].mean(0)
    found = attention_rollout(model, images, TARGETS[:1], rngs=rngs(1)).saliency[0]
    torch.testing.assert_close(found, enlarged(both.double().numpy()), atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_what_has_no_such_attention_is_refused(method):
    for model, words in (
        (make("base"), "no vision transformers whose attention can be read"),
        (nn.Sequential(vit(class_token=False, global_pool="avg")), "reads 'avg' of its tokens"),
        (vit(class_token=True, global_pool="avg"), "reads 'avg' of its tokens"),
    ):
        with pytest.raises(ValueError, match=words) as error:
            method(model.eval(), textured(1, 32, 32), TARGETS[:1], rngs=rngs(1))
        assert "\n" not in str(error.value)
