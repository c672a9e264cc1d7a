"""Networks of transformers and open_clip, and of PyTorch's own attention."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

from baselines.cams.gradcam import gradcam
from benchmarks.engines.engine import torch_engine
from benchmarks.engines.graphs import onnxruntime_engine
from benchmarks.models.classifier import build
from benchmarks.models.huggingface import preprocessing_of
from benchmarks.models.weights import WeightsError
from tests.helpers import rngs, textured

NAMES = ["cat", "dog", "fox"]
PLAIN = {"size": 64, "crop_pct": 1.0, "interpolation": "bilinear", "mean": [0.0] * 3, "std": [1.0] * 3}
TINY = {
    "vit": ("ViT", {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "patch_size": 8}),
    "registers": ("Dinov2WithRegisters", {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 8}),
    "swin": ("Swin", {"embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2], "window_size": 2, "patch_size": 4}),
    "convnext": ("ConvNext", {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2}),
}
LAYERS = {
    "vit": "net.vit.layers.1.layernorm_before",
    "registers": "net.dinov2_with_registers.encoder.layer.1.norm1",
    "swin": "net.swin.layernorm",
    "convnext": "net.convnext.encoder.stages.1",
}


def checkpoint(kind: str, folder) -> str:
    """A small classifier as ``save_pretrained`` leaves it."""
    transformers = pytest.importorskip("transformers", reason="the extra transformers")
    name, settings = TINY[kind]
    config = getattr(transformers, f"{name}Config")(**settings, image_size=32, id2label=dict(enumerate(NAMES)), label2id=None)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = getattr(transformers, f"{name}ForImageClassification")(config)
        for weights in net.parameters():
            nn.init.normal_(weights, std=0.2)
    net.save_pretrained(folder)
    processor = {"do_normalize": True, "image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4], "size": {"height": 32, "width": 32}}
    processor |= {
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_resize": True,
        "resample": 2,
        "image_processor_type": "ViTImageProcessor",
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return str(folder)


@pytest.mark.parametrize("kind", TINY)
def test_a_checkpoint_of_transformers_is_what_it_is_there(kind, tmp_path):
    where = checkpoint(kind, tmp_path)
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    from benchmarks.models.huggingface import transformers_net

    model = build(transformers_net(where), name=kind, classes="recorded")
    assert model.class_names == tuple(NAMES)
    assert (model.preprocessing.size, model.preprocessing.interpolation) == (32, "bilinear")
    pixels = (textured(2, 32, 32) * 255).round()
    with torch.no_grad():
        processor = AutoImageProcessor.from_pretrained(where, backend="pil")
        shown = processor([one.permute(1, 2, 0).numpy().astype(np.uint8) for one in pixels], return_tensors="pt")["pixel_values"]
        expected = AutoModelForImageClassification.from_pretrained(where).eval()(shown).logits
        torch.testing.assert_close(model.module(pixels / 255), expected, atol=1e-4, rtol=1e-3)
    assert model.gradcam_layer == LAYERS[kind]
    found = gradcam(model.module, pixels / 255, torch.tensor([0, 2]), rngs=rngs(2), layer=model.gradcam_layer).saliency
    assert found.shape == (2, 32, 32)
    assert float(found.std()) > 0
    other = build(transformers_net(where, weights="random"), name=kind, classes="recorded")
    assert other.weights_sha256 != model.weights_sha256


def test_preprocessing_that_is_not_done_here_is_refused():
    known = {
        "size": {"shortest_edge": 256},
        "crop_size": 224,
        "do_center_crop": True,
        "resample": 3,
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }
    assert preprocessing_of(known, "x") == {
        "input_size": (3, 224, 224), "crop_pct": 0.875, "interpolation": "bicubic", "mean": (0.5,) * 3, "std": (0.5,) * 3
    }  # fmt: skip
    convnext = {"size": {"shortest_edge": 224}, "crop_pct": 0.875, "resample": 3, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    for share, found in ((0.9, 0.9), (None, 0.875)):  # its own is 224 / 256
        assert preprocessing_of(convnext | {"crop_pct": share}, "x")["crop_pct"] == found
    for more, words in (
        ({"do_flip_channel_order": True}, "do_flip_channel_order"),
        ({"rescale_factor": 1 / 127.5}, "from 0 to 1"),
        ({"crop_size": {"height": 224, "width": 192}}, r"leaves images of \(224, 192\)"),
    ):
        with pytest.raises(ValueError, match=words):
            preprocessing_of(known | more, "x")


def test_a_folder_without_a_classifier_says_so(tmp_path):
    pytest.importorskip("transformers", reason="the extra transformers")
    from benchmarks.models.huggingface import transformers_net

    with pytest.raises(WeightsError, match=r"model\.net\.checkpoint=.* finds no image classifier there") as error:
        transformers_net(str(tmp_path))
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="a checkpoint brings its own"):
        transformers_net(str(tmp_path), weights="some.pth")


@pytest.fixture
def tiny_clip(tmp_path):
    open_clip = pytest.importorskip("open_clip", reason="the extra open-clip")
    config = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 16, "patch_size": 8, "head_width": 8},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    }
    (tmp_path / "ViT-tiny-test.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / "ViT-tiny-test.json")
    return "ViT-tiny-test"


def test_clip_chooses_among_texts(tiny_clip):
    import open_clip

    from benchmarks.models.clip import open_clip_net
    from benchmarks.models.networks import unloaded

    net = open_clip_net(tiny_clip, NAMES, templates=["a photo of a {}.", "a drawing of a {}."], weights="random")
    model = build(net, name="clip", classes=NAMES)
    assert model.preprocessing.size == 32
    images = textured(2, 32, 32)
    clip = unloaded(lambda: open_clip.create_model(tiny_clip), "random").eval()
    tokens = open_clip.get_tokenizer(tiny_clip)
    with torch.no_grad():
        texts = [clip.encode_text(tokens([f"a photo of a {name}.", f"a drawing of a {name}."]), normalize=True).mean(0) for name in NAMES]
        texts = nn.functional.normalize(torch.stack(texts), dim=1)
        shown = (images - model.module.mean) / model.module.std
        expected = clip.logit_scale.exp() * clip.encode_image(shown, normalize=True) @ texts.T
        torch.testing.assert_close(model.module(images), expected, atol=1e-4, rtol=1e-4)
    assert model.gradcam_layer == "net.visual.transformer.resblocks.1.ln_1"
    found = gradcam(model.module, images, torch.tensor([0, 2]), rngs=rngs(2), layer=model.gradcam_layer).saliency
    assert float(found.std()) > 0
    other = build(open_clip_net(tiny_clip, ["cat", "dog", "cow"], weights="random"), name="clip", classes=["cat", "dog", "cow"])
    assert other.weights_sha256 != model.weights_sha256  # texts are in the key
    for more, words in (({"templates": ["a photo"]}, "give sentences with {}"), ({"pretrained": "x"}, "needs weights")):
        with pytest.raises(ValueError, match=words):
            open_clip_net(tiny_clip, NAMES, weights="random", **more)
    with pytest.raises(ValueError, match="open_clip has no such network"):
        open_clip_net("ViT-Q-32", NAMES, weights="random")


@pytest.mark.parametrize("quick", [True, False])
def test_published_weights_run_with_the_activation_that_they_were_trained_with(tiny_clip, quick, tmp_path, monkeypatch):
    import open_clip
    from open_clip import pretrained

    from benchmarks.models.clip import open_clip_net

    clip = open_clip.create_model(tiny_clip, force_quick_gelu=quick)
    for weights in clip.parameters():
        nn.init.normal_(weights, std=0.3)
    torch.save(clip.state_dict(), tmp_path / "w.pt")
    tag = {"file": str(tmp_path / "w.pt"), "quick_gelu": quick, "mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}
    monkeypatch.setitem(pretrained._PRETRAINED, tiny_clip, {"own": tag})
    images = textured(2, 32, 32)
    with torch.no_grad():
        expected = nn.functional.normalize(clip.eval().visual((images - 0.5) / 0.25), dim=1)
    file = {"weights": str(tmp_path / "w.pt")}
    for given in ({"pretrained": "own"}, file | ({"quick_gelu": True} if quick else {})):
        model = build(open_clip_net(tiny_clip, NAMES, **given), name="clip", classes=NAMES)
        with torch.no_grad():
            found = nn.functional.normalize(model.module.net.visual((images - model.module.mean) / model.module.std), dim=1)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    if quick:  # published with it, but made without it: a file could be either
        with pytest.raises(
            ValueError, match=r"weights of .* are published with QuickGELU, and made without it: give model\.net\.quick_gelu"
        ):
            open_clip_net(tiny_clip, NAMES, **file)
        plain = open_clip_net(tiny_clip, NAMES, quick_gelu=False, **file)
        assert plain.stated_settings["quick_gelu"] is False
        with torch.no_grad():
            other = nn.functional.normalize(plain.eval().visual((images - 0.5) / 0.25), dim=1)
        assert float((other - expected).abs().max()) > 1e-3
    with pytest.raises(ValueError, match=r"quick_gelu=True is of a file; of model\.net\.pretrained=own open_clip knows"):
        open_clip_net(tiny_clip, NAMES, pretrained="own", quick_gelu=True)
    with pytest.raises(ValueError, match=rf"no such weights of {tiny_clip} \(did you mean own\?\); a file is model\.weights=FILE"):
        open_clip_net(tiny_clip, NAMES, pretrained="owm")


def test_an_architecture_with_quick_gelu_is_believed_where_the_tag_does_not_say_so(tiny_clip, tmp_path, monkeypatch):
    import open_clip
    from open_clip import pretrained

    from benchmarks.models.clip import open_clip_net

    config = open_clip.get_model_config(tiny_clip) | {"quick_gelu": True}
    (tmp_path / f"{tiny_clip}.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / f"{tiny_clip}.json")
    torch.save(open_clip.create_model(tiny_clip).state_dict(), tmp_path / "w.pt")
    monkeypatch.setitem(pretrained._PRETRAINED, tiny_clip, {"own": {"file": str(tmp_path / "w.pt")}})
    for given in ({"pretrained": "own"}, {"weights": str(tmp_path / "w.pt")}):
        net = open_clip_net(tiny_clip, NAMES, **given)
        assert net.stated_settings["quick_gelu"] is True
        assert any(type(module).__name__ == "QuickGELU" for module in net.modules())


def test_preprocessing_of_a_file_is_that_of_all_published_weights_or_asked_for(tiny_clip, tmp_path, monkeypatch):
    import open_clip
    from open_clip import pretrained

    from benchmarks.models.clip import open_clip_net

    torch.save(open_clip.create_model(tiny_clip).state_dict(), tmp_path / "w.pt")
    half = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5), "interpolation": "bilinear"}
    for tags, known in (({"a": half, "b": half}, True), ({"a": half, "b": {}}, False), ({}, False)):
        monkeypatch.setitem(pretrained._PRETRAINED, tiny_clip, tags)
        net = open_clip_net(tiny_clip, NAMES, weights=str(tmp_path / "w.pt"))
        if known:
            shown = build(net, name="clip", classes=NAMES).preprocessing
            assert (shown.mean, shown.std, shown.interpolation) == ((0.5,) * 3, (0.5,) * 3, "bilinear")
            continue
        with pytest.raises(
            ValueError, match=r"model\.interpolation, model\.mean, model\.std of model clip: give what its weights were trained"
        ):
            build(net, name="clip", classes=NAMES)
        given = build(net, name="clip", classes=NAMES, mean=[0.5] * 3, std=[0.5] * 3, interpolation="bicubic")
        assert given.preprocessing.mean == (0.5,) * 3


def test_no_two_classes_have_one_text(tiny_clip):
    from benchmarks.models.clip import open_clip_net

    net = open_clip_net(tiny_clip, "imagenet", weights="random")
    assert len(torch.unique(net.texts, dim=0)) == 1000
    for names in (["cat", "dog", "cat"], [f"{'very ' * 90}{end}" for end in ("old cat", "young dog")]):  # what is cut off is not read
        with pytest.raises(ValueError, match=r"the classes '.*' and '.*' have one text for open_clip: give them names that differ"):
            open_clip_net(tiny_clip, names, weights="random")


@pytest.mark.parametrize("architecture", ["ViT-B-16-SigLIP", "xlm-roberta-base-ViT-B-32"])
def test_texts_that_cannot_be_read_are_a_line(architecture, monkeypatch, tmp_path):
    """Tokenizers and text encoders of the hub, which is not asked."""
    pytest.importorskip("open_clip", reason="the extra open-clip")
    from benchmarks.models.clip import open_clip_net

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WeightsError, match=rf"open_clip cannot (make|read texts for) {architecture}") as error:
        open_clip_net(architecture, NAMES, weights="random")
    assert "\n" not in str(error.value)


class Attentive(nn.Module):
    """Attention of PyTorch's own, in patches of 16 pixels; an untrained head that says 0 of every class, where ``zero``."""

    def __init__(self, zero: bool = False) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 16, 16)
        self.block = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.head = nn.Linear(16, 5)
        if zero:
            nn.init.zeros_(self.head.weight)
            nn.init.zeros_(self.head.bias)

    def forward(self, x):
        return self.head(self.block(self.patches(x).flatten(2).transpose(1, 2)).mean(1))


def test_attention_of_pytorch_runs_as_a_graph(capfd, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build(Attentive(), name="attentive", classes=list("abcde"), **PLAIN)
    images, fast = textured(2, 64, 64), torch.backends.mha.get_fastpath_enabled()
    found = onnxruntime_engine(model, batch=2).module(images)
    torch.testing.assert_close(found, model.module(images).detach(), atol=1e-4, rtol=1e-3)
    assert torch.backends.mha.get_fastpath_enabled() == fast
    assert capfd.readouterr().out == ""


def test_an_untrained_head_of_zeros_is_not_taken_for_sigmoids():
    torch_engine(build(Attentive(zero=True), name="zero", classes=list("abcde"), **PLAIN), batch=1, device="cpu")
