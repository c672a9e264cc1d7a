"""Whatever differs between the jobs of a run tells its records, rows and lines apart."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from results.comparability import incomplete
from results.compare import compare
from results.records import records
from results.summary import summary as streamed
from results.tables import load, summarise
from tests.commands import called
from tests.conftest import REPOSITORY
from tests.helpers import forget_sources

MODEL = """
_target_: benchmarks.models.build
name: mine
weights: null
net: {_target_: networks.make, kind: base, weights: "${..weights}"}
classes: [c0, c1, c2, c3, c4]
size: 64
crop_pct: 1.0
interpolation: bilinear
mean: [0.5, 0.5, 0.5]
std: [0.25, 0.25, 0.25]
gradcam_layer: net.c2
rise_masks: 16
"""
METHOD = """
import torch
from helper import place_of

def mine(model, images, targets, *, rngs, place="left"):
    maps = torch.zeros_like(images[:, 0])
    maps[..., place_of(place)] = 1
    return maps
"""
HELPER = """
def place_of(place):
    return slice(0, 32) if place == "left" else slice(32, None)
"""
DATA = """
from pathlib import Path
from benchmarks.data import ImageSet, Photograph

def data(root):
    return ImageSet("mine", tuple(Photograph(path.name, 0, path) for path in sorted(Path(root).glob("*.png"))))
"""
MEASURE = """
import pandas as pd
from measure_helper import SCALE

def measure(model, images, targets, labels, attribution, *, rngs):
    rows = [(i, "brightness", float("nan"), float(SCALE * attribution.saliency[i].mean())) for i in range(len(images))]
    return pd.DataFrame(rows, columns=["image", "metric", "x", "value"])
"""


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A working folder as a user has one: a network, a method with a helper, a data set, a measure, and photographs."""
    shutil.copy(REPOSITORY / "tests" / "strangers" / "networks.py", tmp_path)
    files = {"method.py": METHOD, "helper.py": HELPER, "data_of_mine.py": DATA, "measure.py": MEASURE, "measure_helper.py": "SCALE = 1\n"}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "mine.yaml").write_text(MODEL)
    for name, seed in (("one", 0), ("two", 1)):
        (tmp_path / name).mkdir()
        for i, image in enumerate(np.random.default_rng(seed).integers(0, 256, (3, 64, 64, 3), np.uint8)):
            Image.fromarray(image).save(tmp_path / name / f"{i}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def run(*arguments: str, name: str = "run") -> pd.DataFrame:
    """The summary of a run in this process."""
    given = ["--config-dir", "conf", "model=mine", "dataset=image_folder", "engine.device=cpu", "engine.batch=2", f"name={name}"]
    given += ["page=false", *(() if any(argument.startswith("dataset.root") for argument in arguments) else ["dataset.root=one"])]
    said = called("benchmarks", *given, *arguments, cwd=Path.cwd())
    assert said.returncode == 0, said.stderr
    return pd.read_csv(Path("runs") / name / "summary.csv")


@pytest.mark.parametrize(
    ("sweep", "column", "values"),
    [
        ("model.size=64,32", "model.size", [64, 32]),
        ("model.mean=[0.5,0.5,0.5],[0.4,0.4,0.4]", "model.mean", ["[0.5, 0.5, 0.5]", "[0.4, 0.4, 0.4]"]),
        ("dataset.root=two,one", "dataset.root", ["two", "one"]),
        ("select.order=random,first", "select.order", ["random", "first"]),
        ("benchmark.insertion.shares=[0.0,1.0],[0.0,0.5,1.0]", "benchmark.insertion.shares", ["[0.0, 1.0]", "[0.0, 0.5, 1.0]"]),
        ("engine.batch=3,1", "engine.batch", [3, 1]),
        ("model.weights=null,random", "model.weights", [np.nan, "random"]),
    ],
)
def test_what_a_sweep_varies_is_a_line_each_in_the_order_of_the_sweep(folder, sweep, column, values):
    found = run("-m", "method=sobel,centre", "select.count=2", sweep)
    assert len(found) == 4
    assert found["method"].tolist() == ["centre"] * 2 + ["sobel"] * 2
    for shown, wanted in zip(found[column], values * 2, strict=True):
        assert shown == wanted or (pd.isna(shown) and pd.isna(wanted))  # null is the word in Parquet, which CSV reads as nothing
    assert (found["images"] == 2).all()
    rows = pd.read_parquet("runs/run/rows.parquet")
    assert rows["configuration"].nunique() == 4
    assert rows["job"].nunique() == 4 == len(list(Path("runs/run/jobs").glob("*.json")))
    short = column.removeprefix("param.")
    assert all(f" {short}=" in name for name in rows["configuration"])
    for values_of, group in rows.groupby(["method", column], dropna=False):
        line = found[
            (found["method"] == values_of[0]) & ((found[column] == values_of[1]) | (found[column].isna() & (values_of[1] == "null")))
        ]
        assert line["mar_holds"].item() == pytest.approx(group.loc[group["metric"] == "mar_holds", "value"].mean())
    pd.testing.assert_frame_equal(streamed(Path("runs/run")), summarise(rows), check_dtype=False)


def test_two_engines_are_two_lines(folder):
    given = ["--config-dir", "conf", "-m", "model=mine", "dataset=image_folder", "dataset.root=one", "method=sobel"]
    given += ["engine=onnxruntime,torch", "page=false", "name=engines", "select.count=1"]
    assert called("benchmarks", *given, cwd=folder).returncode == 0
    found = pd.read_csv("runs/engines/summary.csv")
    assert found["engine"].tolist() == ["onnxruntime-fp32", "torch-fp32"]
    assert (found["images"] == 1).all()


def test_a_hyper_parameter_that_a_job_lacks_is_another_line(folder):
    first = run("method._target_=method.mine")
    both = run("method._target_=method.mine", "+method.place=right")
    assert both["param.place"].isna().tolist() == [True, False]
    assert both["images"].tolist() == [3, 3]
    assert both["insertion_consistency_auc"][0] == first["insertion_consistency_auc"][0]
    names = pd.read_parquet("runs/run/rows.parquet")["configuration"].unique()
    assert names.tolist() == ["mine", "mine place=right"]


def test_two_methods_of_one_name_are_two_records(folder):
    found = run("-m", "method=sobel,centre", "method_name=X")
    assert found["method._target_"].tolist() == ["baselines.sobel_edges", "baselines.centre_disc"]
    assert found["insertion_consistency_auc"].notna().all()


def test_the_same_job_on_more_images_takes_the_place_of_the_one_on_fewer(folder):
    assert run("method=sobel", "select.count=1")["images"].tolist() == [1]
    assert run("method=sobel", "select.count=3")["images"].tolist() == [3]
    assert run("-m", "method=sobel", "select.count=2,1")["images"].tolist() == [2, 1]


@pytest.mark.slow
def test_two_spellings_of_a_folder_are_one_line(folder):
    run("method=sobel", "dataset.root=one")
    assert len(run("method=sobel", f"dataset.root={folder}/./one/")) == 1
    assert len(run("method=sobel", "dataset.root=two")) == 2


def test_what_only_repeats_another_setting_is_no_column(folder):
    found = run("-m", "method=rise", "seed=0,1", "model.mean=[0.5,0.5,0.5],[0.4,0.4,0.4]")
    assert [name for name in found.columns if "." in name] == ["model.mean"]  # not param.fill, which is the model's mean, nor mask_seed
    assert found["images"].tolist() == [3, 3]
    assert found["queries_n"].tolist() == [3, 3]


def test_a_deleted_part_of_the_store_is_said_and_counted(folder):
    run("method=sobel", "batch_size=1")
    record = records(Path("runs/run"))[0]
    part = next((Path("runs/store") / record["keys"]["insertion"]).glob("*.parquet"))
    part.unlink()
    line = summarise(load(Path("runs/run"))).iloc[0]
    assert (line["images"], line["insertion_consistency_auc_n"], line["mar_holds_n"]) == (3, 2, 3)
    said = "sobel: 1 of 3 images lack insertion; it is not in the store, and the same command computes it"
    assert incomplete(records(Path("runs/run"))) == [said]


def test_images_are_compared_by_their_content_whatever_their_names(folder):
    (folder / "swapped").mkdir()
    for name, other in (("0", "1"), ("1", "0"), ("2", "2")):
        shutil.copy(folder / "one" / f"{name}.png", folder / "swapped" / f"{other}.png")
    run("method=gradient", name="a")
    run("method=sobel", "dataset.root=swapped", name="b")
    found = compare([Path("runs/a"), Path("runs/b")], ["gradient", "sobel"], ["mar_holds"])
    a, b = (load(Path("runs") / name).query("metric == 'mar_holds'").set_index("digest")["value"] for name in ("a", "b"))
    assert found.differences["n"].tolist() == [3]
    assert found.differences["difference"].item() == pytest.approx((a - b).mean())
    of = found.images.set_index("image")
    assert of.loc["0.png", "value_b"] == b[load(Path("runs/a")).query("image == '0.png'")["digest"].iloc[0]]
    notes = "; ".join(found.notes)
    assert "2 images bear the same name and have different contents" in notes
    assert "2 images have other names in B, such as 0.png" in notes


@pytest.mark.slow
def test_equal_names_in_two_data_sets_are_not_paired(folder):
    found = run("-m", "method=sobel,centre", "dataset.root=one,two")
    assert len(found) == 4
    compared = compare([Path("runs/run")], ["sobel", "centre"], ["mar_holds"])
    assert compared.differences["n"].tolist() == [3, 3]  # each data set by itself


@pytest.mark.slow
@pytest.mark.slow
def test_compare_says_what_else_differs(folder):
    run("method._target_=method.mine", name="a")
    (folder / "helper.py").write_text(HELPER.replace("32", "16"))
    forget_sources()
    arguments = ["method._target_=method.mine", "+method.place=right", "model.mean=[0.4,0.4,0.4]", "seed=1", "benchmark.mar.fill=mean"]
    run(*arguments, "engine.batch=3", name="b")
    forget_sources()
    notes = "; ".join(compare([Path("runs/a"), Path("runs/b")]).notes)
    for said in (
        "seed differs: A 0; B 1",
        "mine: model.mean is [0.5, 0.5, 0.5] in A and [0.4, 0.4, 0.4] in B",
        "mine: place is not given in A and right in B",
        "engine.batch is 2 in A and 3 in B",
        "mine: its version or source differs, A sources ",
        "benchmark.mar has other settings in B",
    ):
        assert said in notes, notes
    assert "other labels" not in notes  # there are none
    run("-m", "method=da_pos", "method.iterations=3", "method.fill=black,mean", name="fills")
    run("method=da_pos", "method.iterations=3", "method.fill=blur", "model.weights=random", name="blur")
    notes = "; ".join(compare([Path("runs/fills"), Path("runs/blur")]).notes)
    assert "what the methods fill with differs: A black or mean; B blur" in notes
    assert "statuses in A: " in notes  # random weights see one class in all: vacuous


def test_methods_meet_whatever_hyper_parameters_others_have(folder):
    for name, iterations in (("a", 3), ("b", 4)):
        run("-m", "method=da_pos,sobel", f"per_method={{da_pos: {{iterations: {iterations}}}}}", name=name)
    found = compare([Path("runs/a"), Path("runs/b")], metrics=["mar_holds"])
    assert found.pairs == [("a: da_pos iterations=3", "b: da_pos iterations=4"), ("a: sobel", "b: sobel")]
    run("method=centre", name="b")
    notes = compare([Path("runs/a"), Path("runs/b")], metrics=["mar_holds"]).notes
    assert "not compared, since the other side has nothing of the same settings: b: centre of B" in notes
