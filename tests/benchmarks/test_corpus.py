"""Bad files and bad models among good ones: each gets its stated status or error, and all the others are computed."""

from __future__ import annotations

import pickle
from pathlib import Path

import pandas as pd
import pytest
import torch
from PIL import Image

from tests import corpus
from tests.commands import command

pytestmark = pytest.mark.slow

SMALL = ["method.iterations=4", "method.sp_num=20", "benchmark=[mar]", "benchmark.mar.points=2"]

MODELS = """
import torch
from torch import nn


class Net(nn.Module):
    calls = 0

    def __init__(self, classes, wrong):
        super().__init__()
        self.features = nn.Conv2d(3, 4, 3)
        self.head = nn.Linear(4, classes)
        self.wrong = wrong

    def forward(self, images):
        Net.calls += 1
        if self.wrong == "raises" and Net.calls == 37:
            raise RuntimeError("out of luck")
        logits = self.head(self.features(images).mean((2, 3)))
        return logits * float("nan") if self.wrong == "nans" else logits


def make(weights, wrong=None, classes=5):
    torch.manual_seed(0)
    net = Net(classes, wrong)
    if weights:
        from benchmarks.models.weights import load
        load(net, weights)
    return net
"""
MODEL = """
_target_: benchmarks.models.build
name: mine
weights: null
net: {_target_: models.make, weights: "${..weights}", wrong: null, classes: 5}
classes: [a, b, c, d, e]
size: 32
crop_pct: 1.0
interpolation: bilinear
mean: [0, 0, 0]
std: [1, 1, 1]
gradcam_layer: net.features
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("corpus")
    (place / "models.py").write_text(MODELS)
    (place / "conf" / "model").mkdir(parents=True)
    (place / "conf" / "model" / "mine.yaml").write_text(MODEL)
    for i in range(3):
        (place / "good").mkdir(exist_ok=True)
        corpus.gradient((40 + i, 50)).save(place / "good" / f"{i}.png")
    return place


def run(folder: Path, *arguments: str, images: str = "good"):
    given = ["--config-dir", "conf", "model=mine", "dataset=image_folder", f"dataset.root={images}", "method=da_pos", *SMALL, *arguments]
    return command("benchmarks", *given, cwd=folder)


def statuses(folder: Path, name: str) -> dict[str, str]:
    rows = pd.read_parquet(folder / "runs" / name / "rows.parquet")
    return rows.drop_duplicates("image").set_index("image")["status"].to_dict()


def test_every_kind_of_image_file_gets_its_status(folder):
    expected = corpus.make(folder / "images")
    said = run(folder, "name=images", images="images")
    assert said.returncode == 0, said.stderr
    found = statuses(folder, "images")
    assert set(found) == set(expected)
    assert {name for name, status in found.items() if status.startswith("error")} == {name for name, of in expected.items() if of}
    assert all(found[name].startswith(status) for name, status in expected.items())
    assert "decompression bomb" in found["bomb.png"]
    assert "dataset.value_range=[0,4095]" in found["twelve in sixteen.png"]
    assert "left out: " in said.stderr
    assert "2 hidden or of the system (._good.png, .ipynb_checkpoints/)" in said.stderr
    assert said.stderr.count("left out: ") == 1
    failed = sum(map(bool, expected.values()))
    assert f"computed {len(expected) - failed} of {len(expected)} images, {failed} failed" in said.stderr
    assert f"Mean over {len(expected) - failed} images" in said.stdout
    rows = pd.read_parquet(folder / "runs" / "images" / "rows.parquet")
    upright = rows[rows["image"].str.startswith("turned") | (rows["image"] == "good.png")]
    assert len(set(upright["confidence"])) == 1  # EXIF turns all of them back
    again = run(folder, "name=images", images="images")
    assert f"computed 0 of {len(expected)} images, {failed} failed" in again.stderr  # these alone are tried again
    assert (folder / "runs" / "images" / "index.html").stat().st_size > 100_000


def test_labels_that_the_model_has_no_class_for_are_named(folder):
    (folder / "wnids" / "n02124075").mkdir(parents=True)
    corpus.gradient().save(folder / "wnids" / "n02124075" / "a.png")
    said = run(folder, "dataset=wnid_folder", images="wnids")
    assert said.returncode == 1
    assert "error: dataset wnid_folder has labels 285 to 285, and model mine 5 classes: they do not belong together" in said.stderr
    (folder / "wnids" / "n99999999").mkdir()
    said = run(folder, "dataset=wnid_folder", images="wnids")
    assert said.returncode == 1
    assert "n99999999 are not among ImageNet's 1000 WordNet ids" in said.stderr


@pytest.mark.parametrize("engine", ["torch", "onnxruntime"])
def test_a_model_of_nans_is_a_status_an_image(folder, engine):
    said = run(folder, "model.net.wrong=nans", f"name=nan_{engine}", f"engine={engine}")
    assert said.returncode == 1
    if engine == "torch":
        assert "every image failed" in said.stderr
        assert set(statuses(folder, "nan_torch").values()) == {"error: NotFiniteError: the model returned logits that are not finite"}
    else:
        assert "differ from PyTorch's by nan on mine" in said.stderr


def test_a_model_with_another_number_of_classes_is_refused(folder):
    said = run(folder, "model.net.classes=4", "name=classes")
    assert said.returncode == 1
    assert "model.classes: mine returns scores of shape [8, 4] for 8 images and has 5 class names" in said.stderr


def test_a_model_that_fails_once_costs_one_image_and_that_until_the_next_run(folder):
    given = ["name=raises", "model.net.wrong=raises", "method.iterations=20", "engine.batch=1"]
    said = run(folder, *given)
    assert said.returncode == 0, said.stderr
    found = statuses(folder, "raises")
    assert sorted(status == "error: RuntimeError: out of luck" for status in found.values()) == [False, False, True]
    assert "1 x error: RuntimeError: out of luck" in said.stdout
    again = run(folder, *given, "batch_size=3")
    assert "computed 1 of 3 images" in again.stderr
    assert not any(status.startswith("error") for status in statuses(folder, "raises").values())


def test_a_wrong_layer_is_named_with_those_there_are(folder):
    given = [argument for argument in SMALL if not argument.startswith("method")]
    arguments = ["--config-dir", "conf", "model=mine", "dataset=image_folder", "dataset.root=good", "method=gradcam", *given]
    said = command("benchmarks", *arguments, "method.layer=net.layer9", "name=layer", cwd=folder)
    assert said.returncode == 1
    assert "net.layer9" in said.stderr
    assert "net.features" in said.stderr
    assert not (folder / "runs" / "layer" / "rows.parquet").exists()  # known before an image was


class Payload:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_weights_that_would_run_code_or_are_another_models_are_refused(folder):
    (folder / "evil.pt").write_bytes(pickle.dumps({"features.weight": Payload(folder / "it ran")}))
    torch.save({"features.weight": Payload(folder / "it ran")}, folder / "evil_zip.pt")
    for name in ("evil.pt", "evil_zip.pt"):
        said = run(folder, f"model.weights={name}", "name=evil")
        assert said.returncode == 1
        assert f"{name} holds more than tensors and was not opened" in said.stderr
    assert not (folder / "it ran").exists()
    torch.save({"features.weight": torch.zeros(4, 3, 5, 5), "other": torch.zeros(1)}, folder / "other.pt")
    said = run(folder, "model.weights=other.pt", "name=other")
    assert said.returncode == 1
    assert "other.pt holds weights of another architecture: it lacks features.bias" in said.stderr


def test_transparent_and_deep_images_are_what_people_see(tmp_path):
    corpus.make(tmp_path / "images")
    from benchmarks.data.sets import image_folder

    found = {photograph.id: photograph for photograph in image_folder(str(tmp_path / "images")).photographs}
    deep = found["sixteen.png"].load()
    assert (deep.getpixel((0, 0))[0], deep.getpixel((63, 47))[0]) == (0, 255)
    assert all(found[f"turned {turn}.png"].load().tobytes() == found["good.png"].load().tobytes() for turn in range(1, 9))
    assert found["one.gif"].load().convert("L").resize((1, 1), Image.Resampling.BOX).getpixel((0, 0)) > 0
