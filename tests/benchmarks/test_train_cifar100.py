"""Training from nothing to a file that loads, interrupted and not; and the accuracy of trained weights."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from PIL import Image
from safetensors import safe_open

from benchmarks.data.sets import class_folder
from benchmarks.engines.engine import torch_engine
from benchmarks.models.classifier import class_names
from benchmarks.models.networks import cifar100_vgg16_bn
from benchmarks.models.weights import read_state, state_sha256
from benchmarks.tools import train_cifar100
from benchmarks.tools.train_cifar100 import MEAN, STD, Recipe, accuracy, arrays, augmented, main, train
from tests.helpers import configured

CLASSES = ("apple", "bus", "worm")


@pytest.fixture
def folder(tmp_path) -> Path:
    """Sixty generated images of three classes that differ in colour."""
    rng = np.random.default_rng(0)
    for i in range(60):
        path = tmp_path / "images" / CLASSES[i % 3] / f"{i:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 120, (32, 32, 3), dtype=np.uint8)
        pixels[..., i % 3] += 120
        Image.fromarray(pixels).save(path)
    return tmp_path / "images"


@pytest.mark.slow
def command(folder: Path, out: Path, *more: str) -> list[str]:
    small = ["--epochs", "3", "--batch", "12", "--limit-batches", "2", "--precision", "fp32", "--device", "cpu"]
    return ["--folder", str(folder), "--test-folder", str(folder), "--out", str(out), *small, *more]


def test_interrupted_and_resumed_equals_uninterrupted_and_the_file_loads(folder, tmp_path, monkeypatch, capsys):
    whole, parts = tmp_path / "whole.safetensors", tmp_path / "parts.safetensors"
    before = torch.get_rng_state(), torch.backends.cudnn.deterministic
    assert main(command(folder, whole)) == 0
    assert torch.equal(torch.get_rng_state(), before[0])
    assert torch.backends.cudnn.deterministic == before[1]
    said = capsys.readouterr()
    assert "of 60 test images, in float32" in said.out
    assert said.err.splitlines()[-1].startswith("epoch 3 of 3: loss")

    def stopping_at(stop: int):
        def stopped(*arguments):
            *rest, report = arguments

            def reporting(steps: int, loss: float) -> None:
                report(steps, loss)
                if steps == stop and not np.isnan(loss):
                    raise KeyboardInterrupt

            return train(*rest, reporting)

        return stopped

    for stop in (1, 3, 6):  # in the first epoch, in the second, and after the last step
        monkeypatch.setattr(train_cifar100, "train", stopping_at(stop))
        assert main(command(folder, parts)) == 130
        assert "goes on after the last finished epoch" in capsys.readouterr().err
        torch.rand(7)  # the world's random numbers do not matter
    assert not parts.exists()
    monkeypatch.setattr(train_cifar100, "train", train)
    assert main(command(folder, parts)) == 0
    assert "epoch 2 of 3: found in the checkpoint" in capsys.readouterr().err
    assert state_sha256(read_state(parts)) == state_sha256(read_state(whole))
    assert sorted(path.name for path in tmp_path.glob("*.*")) == ["parts.safetensors", "whole.safetensors"]

    images = class_folder(str(folder), class_names=class_names("cifar100"))
    model = instantiate(configured("model=cifar100_vgg16", f"model.weights={whole}").model)
    with safe_open(whole, "pt") as file:
        metadata = file.metadata()
    assert accuracy(model.module, *arrays(images)) == pytest.approx(float(metadata["test_accuracy"]), abs=5e-5)
    assert json.loads(metadata["recipe"])["batches"] == 2
    assert not torch.equal(cifar100_vgg16_bn(weights=str(whole)).features[0].weight, cifar100_vgg16_bn(weights="random").features[0].weight)


@pytest.mark.slow
def test_another_seed_gives_other_weights(folder, tmp_path):
    names = [tmp_path / f"{seed}.safetensors" for seed in (0, 1)]
    for seed, out in enumerate(names):
        assert main(command(folder, out, "--epochs", "1", "--limit-batches", "1", "--seed", str(seed))) == 0
    assert state_sha256(read_state(names[0])) != state_sha256(read_state(names[1]))


def test_it_learns(folder, tmp_path):
    pixels, labels = arrays(class_folder(str(folder), class_names=class_names("cifar100")))
    losses = []
    recipe = Recipe("", epochs=4, batch=12, batches=4, precision="fp32", device="cpu", seed=0, peak_rate=0.02, label_smoothing=0)
    train(pixels, labels, recipe, tmp_path / "checkpoint", lambda steps, loss: losses.append(loss))
    assert len(losses) == 1 + 4 * 4
    assert np.mean(losses[-4:]) < 0.5 * losses[1]


def test_torchvisions_files_are_read(tmp_path, monkeypatch, folder):
    images = tmp_path / "cifar-100-python"
    images.mkdir()
    pixels, labels = arrays(class_folder(str(folder), class_names=class_names("cifar100")))
    for name in ("train", "test"):
        (images / name).write_bytes(pickle.dumps({"data": pixels.reshape(60, -1), "fine_labels": labels.tolist()}))
    (images / "meta").write_bytes(pickle.dumps({"fine_label_names": list(class_names("cifar100"))}))
    monkeypatch.setattr("torchvision.datasets.CIFAR100._check_integrity", lambda self: True)  # of the real files' MD5
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda path, md5=None: True)
    seen = []
    monkeypatch.setattr(train_cifar100, "train", lambda *arguments: seen.append(arguments) or train(*arguments))
    given = ["--root", str(tmp_path), "--out", str(tmp_path / "o.safetensors"), "--epochs", "1", "--batch", "12", "--limit-batches", "1"]
    assert main([*given, "--device", "cpu"]) == 0
    np.testing.assert_array_equal(seen[0][0], pixels)
    np.testing.assert_array_equal(seen[0][1], labels)


def test_errors_are_one_line(folder, tmp_path, capsys):
    def said(arguments: list[str]) -> str:
        assert main(arguments) == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1
        return lines[0]

    out = tmp_path / "o.safetensors"
    root = ["--root", str(tmp_path / "absent"), "--out", str(out)]
    assert "there is no folder cifar-100-python in it" in said(root)
    assert "--batch at most the 60 images" in said(command(folder, out, "--batch", "61"))
    assert "must be at least 1" in said(command(folder, out, "--epochs", "0"))
    assert "is not a folder" in said(command(tmp_path / "absent", out))
    checkpoint = tmp_path / "o.checkpoint"
    checkpoint.write_text("not a checkpoint")
    assert "is no checkpoint of this command: remove it" in said(command(folder, out))
    torch.save({"recipe": {"seed": 5}, "epoch": 1}, checkpoint)
    assert "is of another training" in said(command(folder, out))
    Image.new("RGB", (33, 32)).save(folder / "apple" / "wide.png")
    assert "apple/wide.png is not 32 x 32" in said(command(folder, out))
    out.touch()
    for arguments in (command(folder, out), command(folder, tmp_path / "o.pt"), command(folder, tmp_path / "p.safetensors")[2:]):
        with pytest.raises(SystemExit):
            main(arguments)


def test_the_schedule_and_the_normalisation():
    recipe = Recipe("", epochs=16, batch=250, batches=200, precision="fp32", device="cpu", seed=0)
    rates = [recipe.rate(step) for step in range(16 * 200)]
    assert int(np.argmax(rates)) == 4 * 200
    assert max(rates) == pytest.approx(0.1)
    assert rates[0] == pytest.approx(0.004)
    assert 0 < rates[-1] < 1e-4
    model = configured("model=cifar100_vgg16").model
    assert (tuple(model.mean), tuple(model.std)) == (MEAN, STD)


def test_augmentation_crops_flips_and_nothing_else():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (400, 3, 32, 32), dtype=np.uint8)
    changed = augmented(pixels, rng)
    padded = np.pad(pixels, ((0, 0), (0, 0), (4, 4), (4, 4)), mode="reflect")
    seen = set()
    for image, around in zip(changed, padded, strict=True):
        places = [
            (y, x, flip)
            for y in range(9)
            for x in range(9)
            for flip in (1, -1)
            if np.array_equal(around[:, y : y + 32, x : x + 32][..., ::flip], image)
        ]
        assert len(places) == 1
        seen.add(places[0])
    assert {y for y, _, _ in seen} == {x for _, x, _ in seen} == set(range(9))
    assert {flip for _, _, flip in seen} == {1, -1}


@pytest.mark.data
def test_the_shared_weights_have_their_accuracy(shared):
    model = instantiate(configured("model=cifar100_vgg16", f"model.weights={shared}/weights/cifar100_vgg16_bn.safetensors").model)
    images = class_folder(str(shared / "data" / "cifar100-test"), class_names=class_names("cifar100"))
    pixels, labels = arrays(images)
    assert len(labels) == 2000
    assert accuracy(model.module, pixels, labels) == pytest.approx(0.6335, abs=1e-9)
    prepared = torch.stack([photograph.tensor(model.preprocessing) for photograph in images.photographs[:250]])
    assert torch.equal(prepared, torch.from_numpy(pixels[:250]).float() / 255)
    engine = torch_engine(model, batch=250, device="cpu")
    assert (engine.forward(prepared).argmax(1).numpy() == labels[:250]).mean() == accuracy(model.module, pixels[:250], labels[:250])


@pytest.mark.data
def test_real_images_train_a_little(shared, tmp_path):
    folder = shared / "data" / "cifar100-test"
    assert main(command(folder, tmp_path / "o.safetensors", "--epochs", "1", "--precision", "auto", "--limit-batches", "1")) == 0
    assert len(cifar100_vgg16_bn(weights=str(tmp_path / "o.safetensors")).features) == 44
