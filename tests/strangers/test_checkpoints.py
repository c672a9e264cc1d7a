"""Checkpoints of transformers: trained whole, with preprocessing that is done here, and told apart by their settings; by the YAML."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.data import coffee

from benchmarks.data.preparing import prepare
from benchmarks.engines.loading import load
from benchmarks.inputs.compose import as_json, composed
from benchmarks.keys.identity import model_identity
from benchmarks.models.classifier import Model, build
from benchmarks.models.weights import WeightsError
from tests.strangers.test_packages import NAMES, checkpoint, tiny_clip  # noqa: F401

transformers = pytest.importorskip("transformers", reason="the extra transformers")
from benchmarks.models.huggingface import transformers_net

NORMAL = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4]}
CROPPED = NORMAL | {"size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}}
PLAIN = {
    "CLIP": CROPPED,
    "Bit": CROPPED | {"resample": 2},
    "MobileNetV2": CROPPED | {"do_normalize": False},
    "ConvNext": NORMAL | {"size": {"shortest_edge": 32}, "crop_pct": 0.8},
    "EfficientNet": NORMAL | {"size": {"height": 32, "width": 32}, "include_top": False},  # what is squeezed is square here
    "ViT": NORMAL | {"size": {"height": 32, "width": 32}, "resample": 0},
}
OTHER = {
    "EfficientNet": NORMAL | {"size": {"height": 32, "width": 32}},  # normalises twice
    "PoolFormer": CROPPED | {"crop_pct": 0.8},
    "Levit": CROPPED,  # resizes by 256 / 224 first
    "TextNet": CROPPED,
    "Bit": NORMAL | {"size": {"shortest_edge": 32}, "do_center_crop": False},
    "ViT": NORMAL | {"size": {"height": 32, "width": 32}, "image_mean": None},
}


def with_processor(folder: Path, kind: str, processor: dict) -> str:
    where = checkpoint("convnext", folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(processor | {"image_processor_type": f"{kind}ImageProcessor"}))
    return where


@pytest.mark.parametrize("kind", PLAIN)
def test_a_photograph_is_shown_as_its_processor_shows_it(kind, tmp_path):
    where = with_processor(tmp_path, kind, PLAIN[kind])
    model = build(transformers_net(where), name=kind, classes="recorded")
    photograph = Image.fromarray(coffee()[:, :400] if "height" in PLAIN[kind]["size"] else coffee())
    theirs = transformers.AutoImageProcessor.from_pretrained(where, backend="pil")(photograph, return_tensors="pt")["pixel_values"][0]
    ours = (prepare(photograph, model.preprocessing) - model.module.mean[0]) / model.module.std[0]
    assert theirs.shape == ours.shape
    assert float((ours - theirs).abs().mean()) < 0.05 * float(theirs.std())


def of_timm(folder: Path, **settings) -> str:
    """A small network of timm as ``save_pretrained`` of transformers leaves it."""
    config = transformers.TimmWrapperConfig(architecture="test_vit", id2label=dict(enumerate(NAMES)), label2id=None)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformers.TimmWrapperForImageClassification(config).save_pretrained(folder)
    shown = {"input_size": [3, 160, 160], "crop_pct": 0.8, "interpolation": "bicubic", "mean": [0.4] * 3, "std": [0.3] * 3}
    return edited(folder, pretrained_cfg=shown | settings)


@pytest.mark.parametrize("crop_mode", ["center", "squash"])
def test_a_checkpoint_of_timm_is_shown_what_it_states(crop_mode, tmp_path):
    where = of_timm(tmp_path, crop_mode=crop_mode)
    model = build(transformers_net(where), name="timm", classes="recorded")
    assert model.class_names == tuple(NAMES)
    assert model.gradcam_layer == "net.timm_model.blocks.5.norm1"
    photograph = Image.fromarray(coffee()[:, :400])  # a square
    shown = transformers.AutoImageProcessor.from_pretrained(where)(photograph)["pixel_values"]
    ours = prepare(photograph, model.preprocessing)[None]
    assert float(((ours - 0.4) / 0.3 - shown).abs().mean()) < 0.05 * float(shown.std())
    with torch.no_grad():
        expected = transformers.AutoModelForImageClassification.from_pretrained(where).eval()((ours - 0.4) / 0.3).logits
        torch.testing.assert_close(model.module(ours), expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(("more", "words"), [({"crop_mode": "border"}, "has crop_mode=border"), ({"input_size": [3, 160, 128]}, "leaves")])
def test_a_checkpoint_of_timm_that_is_shown_otherwise_is_refused(more, words, tmp_path):
    with pytest.raises(ValueError, match=rf"its preprocessing {words}.*, which is not done here"):
        transformers_net(of_timm(tmp_path, **more))


@pytest.mark.parametrize("kind", OTHER)
def test_a_processor_that_does_more_than_it_states_is_refused(kind, tmp_path):
    where = with_processor(tmp_path, kind, OTHER[kind])
    with pytest.raises(ValueError, match=r"its (.*ImageProcessor.* does something else|preprocessing normalises by)") as error:
        transformers_net(where)
    assert "\n" not in str(error.value)


def test_a_classifier_without_its_head_is_refused(tmp_path):
    where = checkpoint("registers", tmp_path)
    transformers.AutoModel.from_pretrained(where).save_pretrained(where)
    with pytest.raises(WeightsError, match=r"has no weights for classifier\.bias, classifier\.weight: give a checkpoint whose classifier"):
        transformers_net(where)
    assert transformers_net(where, weights="random").config.num_labels == len(NAMES)


def test_weights_of_another_shape_are_a_line(tmp_path):
    where = checkpoint("vit", tmp_path)
    edited(tmp_path, hidden_size=24)
    with pytest.raises(WeightsError, match=r"has no weights for .* and \d+ more: give a checkpoint") as error:
        transformers_net(where)
    assert "\n" not in str(error.value)


def edited(folder: Path, **settings) -> str:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | settings))
    return str(folder)


def configured(*overrides: str) -> Model:
    cfg = composed(*overrides, "engine=torch", "engine.batch=1", "engine.device=cpu")
    return load(as_json(cfg.model), as_json(cfg.engine))[0]


def test_checkpoints_are_told_apart_by_their_settings_and_not_by_their_place(tmp_path):
    where = tmp_path / "one"
    where.mkdir()
    checkpoint("vit", where)
    given = {"heads": {"num_attention_heads": 4}, "activation": {"hidden_act": "relu"}, "epsilon": {"layer_norm_eps": 0.5}, "moved": {}}
    models = {}
    for name, settings in {"one": {}, **given}.items():
        if name != "one":
            shutil.copytree(where, tmp_path / name)
        edited(tmp_path / name, **settings)
        models[name] = configured("model=transformers", f"model.net.checkpoint={tmp_path / name}", "model.name=m")
    assert models["one"].class_names == tuple(NAMES)
    assert len({model.weights_sha256 for model in models.values()}) == 1
    keys = {name: json.dumps(model_identity(model), sort_keys=True) for name, model in models.items()}
    assert keys["one"] == keys.pop("moved")
    assert len(set(keys.values())) == len(keys)
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    logits = [models[name].module(images) for name in keys]
    assert all(float((one - logits[0]).abs().max()) > 1e-6 for one in logits[1:])


def test_settings_are_found_in_a_network_of_ones_own_around_it(tmp_path):
    where, hashes = checkpoint("vit", tmp_path), []
    for heads in (2, 4):
        inside = transformers.AutoModelForImageClassification.from_pretrained(edited(Path(where), num_attention_heads=heads))
        around = torch.nn.Sequential(torch.nn.Identity(), inside)
        shown = {"size": 32, "crop_pct": 1.0, "interpolation": "bilinear", "mean": [0.5] * 3, "std": [0.5] * 3}
        hashes.append(build(around, name="own", classes=NAMES, **shown).identity["settings"])
    assert hashes[0] != hashes[1]


def test_settings_of_clip_are_found_in_a_network_of_ones_own_around_it(tiny_clip):  # noqa: F811
    from benchmarks.models.clip import open_clip_net

    shown = {"size": 32, "crop_pct": 1.0, "interpolation": "bilinear", "mean": [0.5] * 3, "std": [0.5] * 3}
    nets = [open_clip_net(tiny_clip, NAMES, weights="random", quick_gelu=quick) for quick in (True, False)]
    models = [build(torch.nn.Sequential(net), name="own", classes=NAMES, **shown) for net in nets]
    assert len({model.identity["settings"] for model in models}) == 2


def test_clip_by_its_yaml_is_told_apart_by_texts_and_settings(tiny_clip, tmp_path):  # noqa: F811
    import open_clip

    def key(*overrides: str) -> str:
        load.cache_clear()
        model = configured("model=open_clip", f"model.net.architecture={tiny_clip}", "model.weights=random", *overrides)
        return json.dumps(model_identity(model), sort_keys=True)

    names = "model.classes=[cat,dog]"
    keys = [key(names), key("model.classes=[cat,cow]"), key(names, "model.net.templates=['a drawing of a {}.']")]
    config = open_clip.get_model_config(tiny_clip)
    assert key(names) == keys[0]
    config["vision_cfg"]["head_width"] = 16
    (tmp_path / f"{tiny_clip}.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / f"{tiny_clip}.json")
    assert len({*keys, key(names)}) == 4


def test_numbers_of_a_photograph_do_not_depend_on_how_often_it_is_loaded(tmp_path):
    where = checkpoint("convnext", tmp_path)
    images = torch.from_numpy(np.asarray(Image.fromarray(coffee()).resize((32, 32)), dtype=np.float32) / 255).permute(2, 0, 1)[None]
    found = [build(transformers_net(where, weights="random"), name="m", classes="recorded").module(images) for _ in range(2)]
    assert torch.equal(*found)
