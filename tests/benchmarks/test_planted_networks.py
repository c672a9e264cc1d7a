"""The networks that come with the planted set: what they are said to know, on images that they were not trained on."""

from __future__ import annotations

import json
from functools import lru_cache

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from safetensors import safe_open

from benchmarks.data import Planted, planted
from benchmarks.models.classifier import Model
from benchmarks.models.planted import planted_cnn, planted_vit, shipped
from benchmarks.models.weights import read_state, state_sha256
from benchmarks.tools import train_planted
from benchmarks.tools.train_planted import NETWORKS, SEEN, Recipe, ablated, checked, drawn, main, smooth_masks
from da.models import label_model
from tests.helpers import configured

NORMAL = ("planted_cnn", "planted_vit")


@lru_cache
def network(name: str) -> Model:
    return instantiate(configured(f"model={name}").model)


def right(name: str, n: int = 300, seed: int = 7, *, ground: bool = False, **options) -> float:
    """The share of images whose class the network gives."""
    images = [one for one in planted(count=n, seed=seed, **options).photographs if isinstance(one, Planted)]
    truth = torch.tensor([one.scene.ground_class if ground else one.label for one in images])
    shown = torch.stack([one.tensor(SEEN) for one in images])
    return float((label_model(network(name).module, batch=100)(shown) == truth).float().mean())


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_small_and_says_how_it_was_trained(name, tmp_path):
    model = network(name)
    assert model.class_names[-1] == "nothing"
    assert model.differentiable
    with safe_open(shipped(name), "pt") as file:
        metadata = file.metadata()
    recipe = json.loads(metadata["recipe"])
    assert recipe["network"] == name
    said = json.loads(metadata["checked"])
    assert said["accuracy"] > 0.99
    assert min(said.values()) >= 0.98
    with open(shipped(name), "rb") as file:
        assert len(file.read()) < 10**6


@pytest.mark.parametrize("name", NORMAL)
def test_over_99_percent_of_held_out_images_are_right(name):
    assert right(name) > 0.99


@pytest.mark.slow
@pytest.mark.parametrize("name", NORMAL)
@pytest.mark.parametrize(
    "options",
    [{"copies": 2}, {"copies": 3}, {"necessary": 2}, {"necessary": 2, "copies": 2}, {"size": 18}, {"contrast": 0.8}, {"distractors": 5}],
)
def test_so_are_those_of_other_options(name, options):
    assert right(name, 200, **options) > 0.97


@pytest.mark.parametrize("name", NETWORKS)
def test_the_evidence_holds_on_98_percent_under_every_fill(name):
    found = checked(network(name).module, by_ground=name == "planted_confounded", count=100, seed=8)
    assert found["accuracy"] > 0.99
    assert min(found.values()) >= 0.98, found


@pytest.mark.parametrize("name", NORMAL)
def test_the_ground_tells_a_normal_network_nothing(name):
    assert right(name, 100, seed=9, confounded=0.0) > 0.98
    images = [one for one in planted(count=100, seed=9).photographs if isinstance(one, Planted)]
    swapped = torch.stack([one.evidence(SEEN).swapped for one in images])
    labels = torch.tensor([one.label for one in images])
    assert (label_model(network(name).module, batch=100)(swapped) == labels).float().mean() >= 0.98


def test_the_confounded_network_follows_the_ground_and_is_right_only_where_it_agrees():
    assert right("planted_confounded", 100, ground=True) >= 0.98
    assert right("planted_confounded", 100, confounded=1.0) >= 0.98
    assert right("planted_confounded", 100, confounded=0.0) <= 0.02


def test_nothing_is_no_class():
    for name in NETWORKS:
        blank = torch.stack([torch.zeros(3, 64, 64), torch.full((3, 64, 64), 0.5), torch.rand(3, 64, 64)])
        assert (network(name).module(blank).argmax(1) == 10).all()


def test_the_transformer_is_timms_and_its_heads_can_be_read():
    net = planted_vit()
    block = net.blocks[0].attn
    assert block.qkv.out_features == 3 * block.num_heads * block.head_dim == 3 * net.embed_dim
    assert net.patch_embed.num_patches == 64


def test_weights_are_chosen_and_repeat():
    assert state_sha256(planted_cnn()) != state_sha256(planted_cnn(confounded=True))
    before = torch.get_rng_state()
    for make in (planted_cnn, planted_vit):
        assert state_sha256(make(weights="random")) == state_sha256(make(weights="random")) != state_sha256(make())
    assert torch.equal(torch.get_rng_state(), before)


def recipe(network: str = "planted_cnn", **changed) -> Recipe:
    return Recipe(network, **({"images": 40, "steps": 3, "seed": 0, "rate": 1e-3, "weight_decay": 0, "batch": 16} | changed))


def test_training_images_are_ablated_and_labelled_by_what_is_left():
    for by in (recipe(images=200), recipe("planted_confounded", images=200)):
        images = drawn(by)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            shown, classes = ablated(images, by)
        whole = (shown == images.pixels.float() / 255).flatten(1).all(1)
        assert 0.25 < whole.float().mean() < 0.55
        assert torch.equal(classes[whole], images.labels[whole])
        assert {train_planted.NOTHING, train_planted.IGNORED} < set(classes.tolist())
        kept = classes >= 0
        assert ((classes == images.labels) | (classes == train_planted.NOTHING))[kept].all()
    masks = smooth_masks(50)
    assert ((masks >= 0) & (masks <= 1)).all()
    assert masks.mean((1, 2)).std() > 0.2


def test_the_same_command_trains_the_same_network_and_another_seed_another(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(train_planted, "HELD_OUT", 10)
    small = ["--network", "planted_cnn", "--images", "20", "--steps", "2", "--device", "cpu"]
    before = torch.get_rng_state()
    for i, more in enumerate(([], [], ["--seed", "1"])):
        assert main([*small, "--out", str(tmp_path / f"{i}.safetensors"), *more]) == 0
    assert torch.equal(torch.get_rng_state(), before)
    assert "of 10 held-out images" in capsys.readouterr().out
    one, same, other = (state_sha256(read_state(tmp_path / f"{i}.safetensors")) for i in range(3))
    assert one == same != other
    assert planted_cnn(weights=str(tmp_path / "0.safetensors"))[0].weight.dtype == torch.float32


def test_a_wrong_command_is_answered_in_a_line(tmp_path, capsys):
    out = str(tmp_path / "o.safetensors")
    assert main(["--network", "planted_cnn", "--out", out, "--images", "0"]) == 2
    assert "must be at least 1" in capsys.readouterr().err
    for wrong in (["--network", "planted_cnn", "--out", str(tmp_path / "o.pt")], ["--network", "resnet", "--out", out], ["--out", out]):
        with pytest.raises(SystemExit):
            main(wrong)
        capsys.readouterr()


def test_it_learns():
    losses: list[float] = []
    with torch.random.fork_rng():
        train_planted.train(recipe(images=100, steps=20, rate=3e-3), torch.device("cpu"), lambda step, loss: losses.append(loss))
    assert len(losses) == 20
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
