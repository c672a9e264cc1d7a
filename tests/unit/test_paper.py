"""The numbers that the paper prints, and what of a run may stand beside them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from results.paper import join_published, paper_value, published


def test_the_papers_numbers_are_all_there():
    frame = published()
    assert frame.groupby("source").size().to_dict() == {"Table 1": 5, "Table 2": 50, "Complexity evaluation": 6, "Fig. 5": 2}
    assert not frame.duplicated([name for name in frame.columns if name not in ("value", "unit", "n")]).any()
    assert set(zip(frame["metric"], frame["unit"], strict=True)) == {("mar", "share"), ("accuracy", "share"), ("seconds", "s")}
    table2 = frame[frame["source"] == "Table 2"]
    grid = pd.MultiIndex.from_product([["mar", "seconds"], [1, 2, 4, 8, 16], ["50", "100", "500", "1000", "pixels"]])
    assert set(zip(table2["metric"], table2["k"], table2["sp_num"], strict=True)) == set(grid)
    assert table2[table2["metric"] == "mar"]["value"].sum() == pytest.approx(3.59)
    assert table2[table2["metric"] == "seconds"]["value"].sum() == pytest.approx(9018.87)
    cell = frame.query("source == 'Table 2' and k == 4 and sp_num == '500'").set_index("metric")["value"]
    assert cell.to_dict() == {"mar": 0.094, "seconds": 23.80}
    pixels = frame.query("sp_num == 'pixels' and metric == 'seconds'")["value"]
    assert pixels.tolist() == [1301.21, 1309.48, 1586.11, 1614.29, 2723.76]
    table1 = frame[frame["source"] == "Table 1"].set_index("model")["value"].to_dict()
    assert table1 == {"alexnet": 0.1168, "resnet18": 0.0531, "resnet50": 0.035, "vgg11": 0.0456, "vgg16": 0.0402}
    runtime = frame[frame["source"] == "Complexity evaluation"].set_index("method")["value"].to_dict()
    assert runtime == {"gradcam": 0.0254, "gradient": 0.0381, "guided_backprop": 0.1072, "da_pos": 23.8, "rise": 35.9, "ep": 85.7}
    assert frame[frame["source"] == "Fig. 5"].set_index("dataset")["value"].to_dict() == {"cifar100": 0.689, "imagenet": 0.822}


def measured(**columns) -> dict[str, object]:
    return {"metric": "mar", "value": 0.05, "low": 0.04, "high": 0.06, "model": "resnet50", "dataset": "demo", "n": 7} | columns


def test_ours_stand_beside_the_papers_with_the_setup():
    table = join_published(pd.DataFrame([measured(), measured(model="efficientnet_lite0")]), "Table 1", ["model"])
    assert table["model"].tolist() == ["alexnet", "resnet18", "resnet50", "vgg11", "vgg16", "efficientnet_lite0"]
    table = table.set_index("model")
    assert table.loc["resnet50", ["paper", "ours", "low", "high"]].tolist() == [0.035, 0.05, 0.04, 0.06]
    assert table.loc["resnet50", "setup"] == "dataset: paper imagenet, ours demo; n: paper 500, ours 7"
    assert table.loc["alexnet", "setup"] == "not measured here"
    assert table.loc["efficientnet_lite0", "setup"] == "not in the paper"
    assert join_published(pd.DataFrame([measured(dataset="imagenet", n=500)]), "Table 1", ["model"])["setup"].tolist()[2] == ""


@pytest.mark.parametrize("sp_nums", [[50, 500, None], [50.0, 500.0, np.nan], ["50", "500", "pixels"]])
def test_table_2_is_joined_by_its_grid_however_superpixels_are_written(sp_nums):
    ours = pd.DataFrame([measured(k=4, sp_num=sp_num, model="lite0", value=i) for i, sp_num in enumerate(sp_nums)])
    table = join_published(ours, "Table 2", ["k", "sp_num"])
    assert len(table) == 50
    found = table[table["ours"].notna()].set_index("sp_num")
    assert found[["paper", "ours"]].to_dict("index") == {
        "50": {"paper": 0.158, "ours": 0},
        "500": {"paper": 0.094, "ours": 1},
        "pixels": {"paper": 0.125, "ours": 2},
    }
    assert found.loc["500", "setup"] == "model: paper resnet50, ours lite0; dataset: paper imagenet, ours demo; n: paper 200, ours 7"


def test_a_join_that_would_mix_numbers_is_refused():
    with pytest.raises(ValueError, match="choose Table 1, Table 2"):
        join_published(pd.DataFrame([measured()]), "Table 3", ["model"])
    with pytest.raises(ValueError, match="the paper's numbers of Table 2 are not told apart by k"):
        join_published(pd.DataFrame([measured(k=4)]), "Table 2", ["k"])
    with pytest.raises(ValueError, match="our numbers of Table 1 are not told apart by model"):
        join_published(pd.DataFrame([measured(), measured(value=0.1)]), "Table 1", ["model"])


def job(method: str = "da_pos", **changed) -> dict[str, object]:
    """A job's record as ``benchmarks.app.run`` leaves it: what of it the paper's numbers depend on, with the paper's values."""
    parameters = {"rule": "positive", "k": 4, "sp_num": 500, "alpha_step": 0.2, "fc": 0.95, "iterations": 500, "fill": "black"}
    parameters |= {"speculate": 1, "trace": False} | changed.pop("parameters", {})
    target = changed.pop("target", "da.dynamic_ablation")
    record = {"model": "resnet50", "dataset": "imagenet_val", "method": method, "parameters": parameters, "images": [["a", "d", 0]] * 500}
    dataset = {"_target_": "benchmarks.data.imagenet"}
    return record | {"config": {"method": {"_target_": target}, "dataset": dataset, "model": {"weights": None}}} | changed


def test_the_papers_number_where_all_is_the_papers():
    assert paper_value(job()) == (0.035, "")
    assert paper_value(job(dataset="wnid_folder")) == (0.035, "")
    folder = job(dataset="mine")
    folder["config"]["dataset"]["_target_"] = "benchmarks.data.wnid_folder"
    assert paper_value(folder) == (0.035, "")
    assert paper_value(job(images=[["a", "d", 0]] * 200), "Table 2") == (0.094, "")
    assert paper_value(job(images=[["a", "d", 0]] * 200), "Table 2", "seconds") == (23.8, "")
    assert paper_value(job(images=[["a", "d", 0]] * 200, parameters={"k": 8, "sp_num": None}), "Table 2") == (0.137, "")
    assert paper_value(job("gradcam", target="baselines.gradcam"), "Complexity evaluation", "seconds") == (0.0254, "")
    assert paper_value(job("my_name")) == (0.035, "")  # a method is what it does, not what it is called
    assert paper_value(job(parameters={"speculate": 8, "trace": True})) == (0.035, "")  # the same numbers


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"dataset": "demo", "images": [["a", "d", 0]] * 7}, "data set demo, paper imagenet; n 7, paper 500"),
        ({"dataset": "imagenet_val_mosaics"}, "data set imagenet_val_mosaics, paper imagenet"),
        ({"dataset": "imagenet_train"}, "data set imagenet_train, paper imagenet"),
        ({"parameters": {"k": 8}}, "k 8, paper 4"),
        ({"parameters": {"sp_num": 100}}, "sp_num 100, paper 500"),
        ({"parameters": {"sp_num": None}}, "sp_num pixels, paper 500"),
        ({"parameters": {"alpha_step": 0.5}}, "alpha_step 0.5, paper 0.2"),
        ({"parameters": {"fc": 0.9}}, "fc 0.9, paper 0.95"),
        ({"parameters": {"iterations": 50, "fill": "mean"}}, "iterations 50, paper 500; fill mean, paper black"),
        ({"parameters": {"fill": [0.5, 0.5, 0.5]}}, "fill [0.5, 0.5, 0.5], paper black"),
        ({"images": [["a", "d", 0]] * 499}, "n 499, paper 500"),
    ],
)
def test_what_differs_from_the_paper_is_said(changed, words):
    assert paper_value(job(**changed)) == (0.035, words)


def test_random_weights_are_not_the_papers_model():
    for model in ({"weights": "random"}, {"weights": None, "randomise": [0, 0.25]}):
        record = job()
        record["config"]["model"] = model
        assert paper_value(record) == (0.035, "weights random, paper trained")


@pytest.mark.parametrize(
    "record",
    [
        job(model="efficientnet_lite0"),
        job("rise", target="baselines.rise"),  # the paper gives no MAR of others
        job("da_neg", parameters={"rule": "negative"}),
        job("da_pos", parameters={"rule": "negative"}),
        job("da_minimal", target="da.minimal_region"),
        job("da_pos", target="my_package.mine"),
    ],
)
def test_what_the_paper_does_not_print_has_no_number(record):
    assert paper_value(record) == (None, "not in the paper")


def test_cells_that_the_paper_has_not():
    assert paper_value(job(parameters={"k": 3}), "Table 2") == (None, "not in the paper")
    assert paper_value(job(), "Table 1", "seconds") == (None, "not in the paper")
    assert paper_value(job("gradcam", target="my.gradcam"), "Complexity evaluation", "seconds") == (None, "not in the paper")
    with pytest.raises(ValueError, match="choose Table 1, Table 2"):
        paper_value(job(), "Table 9")
    bare = {"model": "resnet50", "dataset": "imagenet", "method": "da_pos", "parameters": {"k": 2}}
    assert paper_value(bare) == (0.035, "k 2, paper 4")


def test_settings_are_compared_where_ours_have_them():
    ours = pd.DataFrame([measured(dataset="imagenet_val", n=500, k=4, sp_num=500, alpha_step=0.2, iterations=50, fill="black")])
    table = join_published(ours, "Table 1", ["model"]).set_index("model")
    assert table.loc["resnet50", "setup"] == "iterations: paper 500, ours 50"
    ours = pd.DataFrame([measured(dataset="wnid_folder", n=500, k=8, sp_num=None)])
    assert (
        join_published(ours, "Table 1", ["model"]).set_index("model").loc["resnet50", "setup"]
        == "k: paper 4, ours 8; sp_num: paper 500, ours pixels"
    )
    ours = pd.DataFrame([measured(dataset="imagenet_val", n=200, k=4, sp_num=500, fc=0.9, rule="positive")])
    table = join_published(ours, "Table 2", ["k", "sp_num"]).set_index(["k", "sp_num", "metric"])
    assert table.loc[(4, "500", "mar"), "setup"] == "fc: paper 0.95, ours 0.9"
