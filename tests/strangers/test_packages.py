"""Networks of transformers and open_clip, and files without their source."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

from baselines.cams.gradcam import gradcam
from benchmarks.engines.engine import EngineError, torch_engine
from benchmarks.engines.graphs import exported, onnxruntime_engine
from benchmarks.models.classifier import build
from benchmarks.models.exported import exported_net
from benchmarks.models.huggingface import preprocessing_of
from benchmarks.models.weights import WeightsError
from tests.helpers import rngs, textured
from tests.strangers.networks import make

NAMES = ["cat", "dog", "fox"]
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


@pytest.mark.parametrize("kind", ["script", "export", "export of one"])
def test_files_without_source_are_black_boxes(kind, tmp_path):
    net, images = make("base").eval(), textured(3, 64, 64)
    if kind == "script":
        path = tmp_path / "net.pt"
        torch.jit.save(torch.jit.trace(net, images), path)
    else:
        path = tmp_path / "net.pt2"
        dynamic = {"x": {0: torch.export.Dim("n", min=2, max=64)}} if kind == "export" else None
        torch.export.save(torch.export.export(net, (images[: 3 if dynamic else 1],), dynamic_shapes=dynamic), path)
    plain = {"size": 64, "crop_pct": 1.0, "interpolation": "bilinear", "mean": [0.0] * 3, "std": [1.0] * 3}
    model = build(exported_net(str(path)), name="file", classes=list("abcde"), **plain)
    assert not model.differentiable
    with torch.no_grad():
        torch.testing.assert_close(model.module(images), net(images), atol=1e-5, rtol=1e-4)
    assert len(model.weights_sha256) == 64
    path.write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="is neither TorchScript nor a program"):
        exported_net(str(path))
    with pytest.raises(WeightsError, match="no file at"):
        exported_net(str(tmp_path / "absent.pt2"))


class Answers(nn.Module):
    """A batch-normalised network that answers with a dictionary, a tuple, or a tensor."""

    def __init__(self, kind: str, tracking: bool = True) -> None:
        super().__init__()
        self.kind = kind
        self.body = nn.Sequential(nn.Conv2d(3, 4, 8, 8), nn.BatchNorm2d(4, track_running_stats=tracking), nn.ReLU(), nn.Dropout(0.5))
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(256, 5))

    def forward(self, x):
        features = self.body(x)
        logits = self.head(features)
        return {"dict": {"features": features, "logits": logits}, "tuple": (logits, features), "tensor": logits}[self.kind]


def saved(net: nn.Module, how: str, path, batch: int) -> str:
    if how == "export":
        torch.export.save(torch.export.export(net, (torch.rand(batch, 3, 64, 64),)), path / "net.pt2")
        return str(path / "net.pt2")
    made = torch.jit.script(net) if how == "script" else torch.jit.trace(net, torch.rand(batch, 3, 64, 64), check_trace=False, strict=False)
    torch.jit.save(made, path / "net.pt")
    return str(path / "net.pt")


@pytest.mark.parametrize("kind", ["dict", "tuple"])
@pytest.mark.parametrize("batch", [1, 2])
def test_an_exported_program_of_a_fixed_batch_answers_in_its_own_form(kind, batch, tmp_path):
    net, images = Answers(kind).eval(), textured(5, 64, 64)
    model = build(exported_net(saved(net, "export", tmp_path, batch)), name="file", classes=list("abcde"), **PLAIN)
    with torch.no_grad():
        expected = net(images)["logits"] if kind == "dict" else net(images)[0]
        torch.testing.assert_close(model.module(images), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("how", ["export", "trace", "script"])
def test_a_file_that_was_exported_in_training_mode_is_refused(how, tmp_path):
    """A script is put into evaluation mode; whoever has no statistics of its own goes by the batch in any mode."""
    path = saved(Answers("tensor").train(), how, tmp_path, 2)
    if how == "script":
        exported_net(path)
    else:
        with pytest.raises(
            WeightsError, match=r"exported in training mode, in which batch_norm, dropout are: export it after net\.eval\(\)"
        ):
            exported_net(path)
    for tracking in (True, False):
        exported_net(saved(Answers("tensor", tracking).eval(), how, tmp_path, 2))


@pytest.mark.parametrize("how", ["export", "trace", "script"])
def test_instance_normalisation_is_as_it_was_exported(how, tmp_path):
    def net(tracking: bool) -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(3, 4, 8, 8), nn.InstanceNorm2d(4, track_running_stats=tracking), nn.Flatten(), nn.Linear(256, 5))

    path = saved(net(True).train(), how, tmp_path, 2)
    if how == "script":
        exported_net(path)
    else:
        with pytest.raises(WeightsError, match=r"exported in training mode, in which instance_norm are: export it after net\.eval\(\)"):
            exported_net(path)
    for tracking in (True, False):
        exported_net(saved(net(tracking).eval(), how, tmp_path, 2))


class Dropping(nn.Module):
    """Attention that drops in training: PyTorch's own, by hand, or in a branch of training mode."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.p = kind, 0.3
        self.patches = nn.Conv2d(3, 16, 16, 16)
        self.attention = nn.MultiheadAttention(16, 2, dropout=0.3, batch_first=True)
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        if self.kind == "module":
            x = self.attention(x, x, x, need_weights=False)[0]
        elif self.kind == "function":
            x = nn.functional.scaled_dot_product_attention(x, x, x, dropout_p=self.p if self.training else 0.0)
        elif self.training:
            x = nn.functional.dropout(x, 0.5, True)
        return self.head(x.mean(1))


@pytest.mark.parametrize("kind", ["module", "function", "branch"])
@pytest.mark.parametrize("how", ["export", "trace", "script"])
def test_attention_that_drops_in_training_runs_in_evaluation(kind, how, tmp_path):
    net, images = Dropping(kind).eval(), textured(2, 64, 64)
    model = build(exported_net(saved(net, how, tmp_path, 2)), name="file", classes=list("abcde"), **PLAIN)
    with torch.no_grad():
        torch.testing.assert_close(model.module(images), net(images), atol=1e-5, rtol=1e-4)
    if how != "script":
        with pytest.raises(WeightsError, match="exported in training mode"):
            exported_net(saved(net.train(), how, tmp_path, 2))


PLAIN = {"size": 64, "crop_pct": 1.0, "interpolation": "bilinear", "mean": [0.0] * 3, "std": [1.0] * 3}


def test_an_exported_file_of_one_channel_says_so(tmp_path):
    path = tmp_path / "net.pt"
    torch.jit.save(torch.jit.trace(make("gray").eval(), torch.rand(1, 1, 64, 64)), path)
    model = build(exported_net(str(path)), name="file", classes=list("abcde"), **PLAIN)
    with pytest.raises(ValueError, match=r"takes images of 1 channel: .* in front of it, before it is exported"):
        torch_engine(model, batch=1, device="cpu")
    with pytest.raises(EngineError, match="is an exported file: engine=torch runs it"):
        exported(model, 1)


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
