"""Sufficiency, grid pointing, mosaics, randomised layers, several rules: against answers known beforehand."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

import da.__main__
from benchmarks.data.demo_pictures import path_of
from benchmarks.data.derived import correct_for_all, mosaics
from benchmarks.data.sets import ImageSet, Photograph, UnreadableError, demo
from benchmarks.engines.views import ScoreView
from benchmarks.measures.pointing import grid_pointing
from benchmarks.measures.sufficiency import sufficient_shares
from benchmarks.models.classifier import Preprocessing
from benchmarks.models.randomise import randomised
from da import explanation
from da.types import Attribution
from results.artefacts.likeness import iou, spearman, ssim, top_pixels
from results.published.experiments import artefacts
from results.published.publish import publish
from results.published.read import read_rows
from tests.app.test_cli import COFFEE
from tests.app.test_experiments import experiment, folder, read  # noqa: F401  a fixture
from tests.commands import called, command
from tests.conftest import REPOSITORY
from tests.helpers import rngs, textured


def brightness(images):
    """Probability of class 1: the mean brightness."""
    p = images.mean((1, 2, 3))
    return torch.stack([1 - p, p], 1)


def test_sufficient_shares_by_hand():
    images = torch.full((1, 3, 10, 10), 0.8)  # p = 0.8: with the share s shown, 0.8 s on black
    saliency = torch.arange(100.0).view(1, 10, 10)
    criteria = {"top1": None, "share": 0.5, "threshold": 0.3}
    frame = sufficient_shares(
        brightness, images, torch.ones(1).long(), [None], Attribution(saliency), rngs=rngs(1), criteria=criteria,
        fills=["black", "mean"], smallest=0.1, points=10,
    )  # fmt: skip
    found = frame.set_index("metric")["value"]
    shares = np.geomspace(0.1, 1, 10)
    assert found["mar_top1_black"] == pytest.approx(shares[shares > 0.625][0])
    assert found["mar_share_black"] == pytest.approx(shares[np.round(100 * shares) >= 50][0])
    assert found["mar_threshold_black"] == pytest.approx(shares[np.round(100 * shares) * 0.008 >= 0.3][0])
    assert found["mar_top1_mean"] == pytest.approx(0.1)  # the mean colour is all there is
    dim = sufficient_shares(
        brightness, images / 4, torch.ones(1).long(), [None], Attribution(saliency), rngs=rngs(1), criteria={"threshold": 0.3},
        fills=["black"], smallest=0.1, points=4,
    )  # fmt: skip
    assert dim.empty  # the whole image does not have it
    with pytest.raises(ValueError, match="top5"):
        sufficient_shares(
            brightness, images, torch.ones(1).long(), [None], Attribution(saliency), rngs=rngs(1), criteria={"top5": 1.0},
            fills=["black"], smallest=0.1, points=4,
        )  # fmt: skip


def colours(images):
    """Probability of red, green, blue: the channels' shares."""
    total = images.mean((2, 3))
    return total / total.sum(1, keepdim=True)


def test_grid_pointing_by_hand():
    cells = torch.zeros(1, 3, 8, 8)
    cells[:, 0, :4, :4] = cells[:, 1, :4, 4:] = cells[:, 2, 4:, :4] = 1.0
    cells[:, 1, 4:, 4:] = cells[:, 2, 4:, 4:] = 0.5  # half green, half blue: not confident
    saliency = torch.full((1, 8, 8), -1.0)
    saliency[:, :4, :4] = 3
    saliency[:, 4:, 4:] = 1
    chosen = {"rngs": rngs(1), "cells": 2, "confident": 0.6}

    def played(shown: torch.Tensor) -> float:
        return grid_pointing(colours, cells, torch.tensor([0]), [None], Attribution(shown), **chosen)["value"].item()

    assert played(saliency) == 0.75
    assert np.isnan(played(-saliency.clamp_min(0)))  # nothing positive
    cells[:, :, 4:, 4:] = cells[:, :, :4, :4]
    assert np.isnan(played(saliency))  # two red cells
    with pytest.raises(ValueError, match="cells=3"):
        grid_pointing(colours, cells, torch.tensor([0]), [None], Attribution(saliency), **(chosen | {"cells": 3}))


def test_mosaics_are_drawn_from_different_classes_and_labelled_by_one_cell(tmp_path):
    plain = [Photograph(f"{i}", i // 2, Image.new("RGB", (20, 30), (i, i, i))) for i in range(9)]
    found = mosaics(ImageSet("set", tuple(plain)), cells=2, side=8, count=50)
    assert found == mosaics(ImageSet("set", tuple(plain)), cells=2, side=8, count=50)
    assert [mosaic.id for mosaic in found.photographs[:20]] != [
        mosaic.id for mosaic in mosaics(ImageSet("set", tuple(plain)), cells=2, side=8, count=20, seed=1).photographs
    ]
    marked = set()
    for mosaic in found.photographs:
        picture = np.asarray(mosaic.load())
        assert picture.shape == (16, 16, 3)
        shown = picture[::8, ::8, 0].ravel().tolist()
        names = mosaic.id.split(" + ")
        assert [name.strip("[]") for name in names] == [str(i) for i in shown]
        assert len({i // 2 for i in shown}) == 4
        (one,) = [place for place, name in enumerate(names) if name.startswith("[")]
        assert mosaic.label == shown[one] // 2
        marked.add(one)
    assert marked == {0, 1, 2, 3}  # no place is favoured
    nine = mosaics(ImageSet("set", tuple(plain[::2] + [replace(one, label=9 + i) for i, one in enumerate(plain[1::2])])), cells=3, side=8)
    cropping = Preprocessing(24, 0.875, "nearest", (0.0,) * 3, (1.0,) * 3)
    cells = nine.photographs[0].tensor(cropping)[0].unfold(0, 8, 8).unfold(1, 8, 8).flatten(2)
    assert torch.equal(cells.amin(2), cells.amax(2))  # the model's crop does not move their borders
    with pytest.raises(ValueError, match="set_mosaics has no labels"):
        correct_for_all(mosaics(ImageSet("set", tuple(replace(one, label=None) for one in plain)), count=3), [lambda one: 1], n=1)
    with pytest.raises(ValueError, match="has not 9 photographs of different classes"):
        mosaics(demo(), cells=3)
    (tmp_path / "broken.png").write_bytes(b"no image")
    broken = ImageSet("set", (*plain[:6:2], Photograph("broken", 7, tmp_path / "broken.png")))
    with pytest.raises(UnreadableError, match="broken cannot be read"):
        mosaics(broken, count=1, side=8).photographs[0].load()


def test_randomised_layers_are_permuted_from_the_output():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(4, 2))
    before = [layer.weight.clone() for layer in (net[0], net[2], net[4])]
    randomised(net, 0, 0.5)  # the last two of three
    same = [torch.equal(layer.weight, old) for layer, old in zip((net[0], net[2], net[4]), before, strict=True)]
    assert same == [True, False, False]
    assert torch.equal(net[2].weight.flatten().sort().values, before[1].flatten().sort().values)
    randomised(net, 0.5, 1)
    assert not torch.equal(net[0].weight, before[0])
    with pytest.raises(ValueError, match="randomise"):
        randomised(net, 0.5, 0.2)


@pytest.mark.slow
def test_likeness_of_maps():
    a = textured(1, 16, 16)[0, 0].numpy()
    assert spearman(a, 3 * a + 1) == pytest.approx(1)
    assert spearman(a, -a) == pytest.approx(-1)
    assert np.isnan(spearman(a, np.zeros_like(a)))
    assert ssim(a, 3 * a + 1) == pytest.approx(1)
    assert ssim(a, -a) < 0.5
    assert np.isnan(ssim(a, np.zeros_like(a)))
    tops = [top_pixels(np.array([[1, 2], [2, 0]], dtype=np.float32), 0.25, np.random.default_rng(seed)) for seed in range(20)]
    assert {int(top.argmax()) for top in tops} == {1, 2}
    assert {int(top.sum()) for top in tops} == {1}
    assert iou(np.array([True, True, False]), np.array([False, True, True])) == pytest.approx(1 / 3)


def test_several_rules_are_disjoint_and_verified(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    masks, text = [], explanation.text
    monkeypatch.setattr(explanation, "text", lambda mask, *of: masks.append(mask) or text(mask, *of))
    assert da.__main__.main([COFFEE, "--method", "da_minimal", "--budget", "150", "--rules", "2", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert len(answer["rules"]) == len(masks) == 2
    assert not (masks[0] & masks[1]).any()
    assert [reason["mar"] for reason in answer["rules"]] == [pytest.approx(mask.mean()) for mask in masks]
    assert all(reason["verified"] for reason in answer["rules"])
    assert answer["mar"] == answer["rules"][0]["mar"]
    assert sum(reason["queries"] for reason in answer["rules"]) == answer["queries"]
    assert isinstance(answer["certified"], bool)
    assert answer["queries"] <= 2 * 150 + 1
    assert da.__main__.main(["chelsea", "--method", "da_minimal", "--budget", "20", "--rules", "2", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["no_more"]
    assert answer["queries"] == sum(reason["queries"] for reason in answer["rules"])


def test_several_rules_by_score_have_the_share_of_the_whole_image(lite0_engine, photographs, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    masks, text = [], explanation.text
    monkeypatch.setattr(explanation, "text", lambda mask, *of: masks.append(torch.from_numpy(mask)) or text(mask, *of))
    assert da.__main__.main(["motorcycle", "--method", "da_minimal_share", "--budget", "150", "--rules", "2", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    reasons, whole = answer["rules"], photographs[:1]
    assert len(reasons) == 2
    of_class = ScoreView(lite0_engine)(torch.cat([whole, *(whole * mask for mask in masks)]))[:, answer["class_index"]]
    for reason, p in zip(reasons, of_class[1:], strict=True):
        assert reason["status"] == "unsatisfiable" or p >= 0.9 * of_class[0]


def test_what_several_rules_refuse_and_say(tmp_path):
    alone = called("da", "chelsea", "--method", "da_minimal", "--budget", "20", "--rules", "2", cwd=tmp_path)
    assert "Not certified: the budget" in alone.stdout
    assert "No more: what is left without the above is not this class." in alone.stdout
    refused = called("da", COFFEE, "--rules", "2", "--rule", "neg", cwd=tmp_path)
    assert refused.returncode == 2
    assert "goes with --rule pos" in refused.stderr
    refused = called("da", COFFEE, "--rules", "2", "--method", "da_minimal", "--fill", "mean", cwd=tmp_path)
    assert refused.returncode == 2
    assert "give a colour, such as --fill black" in refused.stderr
    refused = called("da", COFFEE, "--method", "da_minimal_share", "--budget", "20", "--rule", "neg", cwd=tmp_path)
    assert refused.returncode == 2
    assert "the regions of da_minimal_share are of rule pos" in refused.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", ["stability", "criteria", "sanity", "grid_pointing"])
def test_experiments_beyond_the_paper(folder, name, tmp_path):  # noqa: F811
    methods = "da_pos,da_minimal,gradcam,random,sobel"
    (folder / "two").mkdir(exist_ok=True)
    for photograph in ("chelsea", "coffee"):
        shutil.copy(path_of(photograph), folder / "two")
    fewer = {
        "stability": ["dataset=image_folder", "dataset.root=two"],
        "criteria": ["benchmark.sufficiency.points=5", f"method={methods}"],
        "sanity": [f"method={methods}"],
    }
    frame = read(experiment(folder, name, *fewer.get(name, [])), name)
    assert {"da_pos", "da_minimal", "random"} <= set(frame["method"])
    if name != "grid_pointing":  # published rows, which have no maps, make the same tables
        publish([folder / "runs" / name], name, tmp_path)
        again = artefacts(read_rows(tmp_path / f"{name}.json"), name, REPOSITORY)
        assert {path.stem: path.read_text() for path in (folder / "runs" / name).glob("*.md")} == again.tables
    if name == "stability":
        assert (frame["seeds"] == 2).all()
        random = frame.set_index("method").loc["random"]
        assert abs(float(random["Spearman of maps"].split()[0])) < 0.05
        rows = pd.read_parquet(folder / "runs" / "stability" / "rows.parquet")
        of = rows[(rows["method"] == "da_minimal") & (rows["metric"] == "queries")]
        assert set(of.loc[of["status"] == "nothing_accepted", "image"]) == {"chelsea.png"}  # both whole images: no likeness of regions
        assert float(frame.set_index("method").loc["da_minimal", "IoU of regions"].split()[0]) < 0.5
    if name == "criteria":  # another model in the same run has a line of its own
        other = read(experiment(folder, name, *fewer[name], "method=random", "model=efficientnet_lite1"), name).set_index("method")
        assert other.loc["random model=efficientnet_lite0"].tolist() == frame.set_index("method").loc["random"].tolist()
        assert "random model=efficientnet_lite1" in other.index
    if name == "grid_pointing":  # the model sees the labelled cell
        counts = frame.set_index("method")[["mosaics", "of"]]
        rows = pd.read_parquet(folder / "runs" / "grid_pointing" / "rows.parquet")
        found_nothing = set(rows.loc[rows["status"] == "nothing_accepted", "method"])  # ten steps of a walk may
        assert found_nothing <= {"da_pos", "da_neg"}
        assert (counts["of"] == 1).all()
        assert set(counts.index[counts["mosaics"] == 0]) == {"centre"} | found_nothing
        said = command("results", "summary", "runs/grid_pointing", cwd=folder)
        assert "grid pointing" in said.stdout
        assert "MAR" not in said.stdout
        assert (rows["label"] == rows["prediction"]).all()
        assert float(frame.set_index("method").loc["random", "share"]) == pytest.approx(0.25, abs=0.01)
    if name == "sanity":  # knows nothing of the model, so nothing changes, under any seed
        experiment(folder, name, "method=random", "seed=1")
        images = pd.read_csv(folder / "runs" / "sanity" / "sanity_images.csv")
        assert images.loc[images["method"].isin(["random", "sobel"]), "spearman"].min() == pytest.approx(1)
        assert images.loc[images["method"] == "gradcam", "spearman"].max() < 0.9
        with_map = images[images["spearman"].notna()].groupby("method")["image"].nunique()
        shown = read(folder / "runs" / name, name).set_index("method")
        assert shown["with a map"].to_dict() == {method: with_map.get(method, 0) for method in shown.index}
        assert (shown.loc[["da_pos", "da_minimal"], "status ok"] == 0).all()  # black has the class of a randomised network
        rises = read(folder / "runs" / name, "randomisation").set_index("method")
        assert (rises.loc[["random", "sobel"], "learned"] == rises.loc[["random", "sobel"], "random"]).all()
        assert rises.loc["gradcam", "learned"] != rises.loc["gradcam", "random"]
        assert rises.loc["random", "images"] == 2  # of two seeds each
