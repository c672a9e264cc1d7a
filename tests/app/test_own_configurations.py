"""Runs with names, paths and configurations of one's own."""

from __future__ import annotations

import json
import shlex
import shutil
import sys

import pandas as pd
import pytest

import benchmarks.__main__
import results.__main__
from benchmarks.inputs import own_folders, places
from benchmarks.inputs.compose import composed
from benchmarks.jobs.selection import judges_of
from tests.app.conftest import COFFEE, FEW, TINY, own
from tests.commands import called, started


@pytest.mark.slow
def test_runs_are_named_as_given_alone_and_in_sweeps(bench, place):
    assert bench("method=sobel", "name=2024_11_28", *FEW)[0] == 0
    code, out, err = bench("method=sobel", "-m", "name=1e3,null,true", *FEW)  # and the flag in any place
    assert code == 0, err
    for name in ("2024_11_28", "1e3", "null", "true"):
        assert pd.read_csv(place / "runs" / name / "summary.csv")["images"].tolist() == [1]
        assert f"Page: runs/{name}/index.html" in out or name == "2024_11_28"
    code, _, err = bench("-m", "method=sobel", "name=1e3,007", "select.count=99", *FEW)
    assert code == 1
    assert [json.loads(next((place / "runs" / name / "failed").glob("*.json")).read_text())["error"] for name in ("1e3", "007")]
    code, _, err = bench("method=sobel", "out=runs/store", *FEW)
    assert (code, err.count("\n")) == (2, 1)
    assert "out=runs/store is in the store" in err


def test_paths_begin_at_home_wherever_they_are_given(bench, place):
    shutil.copytree(place / "conf", place / "mine")
    (place / "mine" / "dataset").mkdir()
    (place / "mine" / "dataset" / "theirs.yaml").write_text("_target_: benchmarks.data.image_folder\nroot: ~/photos\nname: theirs\n")
    arguments = ["--config-dir=~/mine", "method=sobel", "store=~/kept", "out=~/x", "benchmark=[]"]
    for dataset in (["dataset=theirs"], ["dataset=image_folder", "dataset.root=~/photos", "dataset.name=1e3"]):
        code, _, err = bench(*arguments, *dataset)
        assert code == 0, err
    assert not (place / "~").exists()
    assert not (place / "runs").exists()
    (first, second) = sorted(json.loads(path.read_text())["dataset"] for path in (place / "x" / "jobs").glob("*.json"))
    assert (first, second) == ("1e3", "theirs")
    assert results.__main__.main(["summary", "~/x"]) == 0
    assert bench("store=~nobody_here/x")[0] == 2
    with pytest.raises(ValueError, match=r"~nobody_here is no user's home here; a folder of that name is \./~nobody_here/x"):
        places.expanded("~nobody_here/x")


def test_own_configurations_come_before_the_shipped_ones(bench, place):
    sobel = "_target_: baselines.references.{}\n_partial_: true\n"
    mar = "# @package benchmark.mar\n_target_: benchmarks.measures.minimum_attribution_ratio\n_partial_: true\n"
    mar += "smallest: 0.5\npoints: 3\nfill: black\n"
    demo_of_one = "# @package _global_\nname: mine\nselect: {count: 1}\n"
    own(place / "conf", method__sobel=sobel.format("centre_disc"), benchmark__mar=mar, experiment__demo=demo_of_one, model__resnet18=TINY)
    own(place / "conf", budgets="# @package budgets\nsmoke: {}\n", tracking__none="enabled: false\n")
    (place / "conf" / "method" / "rise.yml").write_text("masks: 3\n")
    code, _, err = bench("experiment=demo", "method=sobel", "benchmark=[mar]", "select.correct_for=[model]", model="model=resnet18")
    assert code == 1
    assert "the models agree with the label on 0 images of demo" in err  # five classes, none of which is a label: their own model
    assert "note: benchmark/mar.yaml, budgets.yaml, experiment/demo.yaml, method/sobel.yaml, model/resnet18.yaml of" in err
    assert err.count("in place of the shipped") == 1
    assert "method/rise.yml" in err
    assert "name ends in .yaml" in err
    own_folders.set_search_path("conf")
    found = composed("method=sobel", "experiment=demo", "model=resnet18")
    assert (found.method._target_, found.name, found.model.name) == ("baselines.references.centre_disc", "mine", "tiny")
    assert (found.benchmark.mar.points, found.budgets.smoke) == (3, {})
    assert json.loads(judges_of({"correct_for": ["resnet18"]}, "")["resnet18"])["name"] == "tiny"


@pytest.mark.parametrize(
    "way", ["--config-dir conf", "-cd conf", "--config-dir=conf", "hydra.searchpath=[file://CONF]", "hydra.searchpath=[conf]"]
)
def test_every_way_to_name_a_folder(place, way, monkeypatch, capsys):
    own(place / "conf", method__rise="_target_: baselines.centre_disc\n_partial_: true\n")
    words = way.replace("CONF", str(place / "conf")).split()
    for order in (["method=rise", *words], [*words, "method=rise"]):
        monkeypatch.setattr(sys, "argv", ["benchmarks", *order, "--cfg", "job", "--package", "method"])
        assert benchmarks.__main__.main() == 0
        out, err = capsys.readouterr()
        assert "centre_disc" in out
        assert err.count("note: method/rise.yaml of") == 1
        assert composed("method=rise").method._target_ == "baselines.centre_disc"
    assert own_folders.set_search_path(None) == []
    assert composed("method=rise").method._target_ == "baselines.rise"


@pytest.mark.slow
def test_own_configurations_in_the_workers_of_a_sweep_and_in_its_plan(place):
    own(place / "conf", method__sobel="_target_: baselines.centre_disc\n_partial_: true\n")
    launcher = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    given = ["method=sobel,random", *launcher, "-m", "--config-dir", "conf", "model=tiny", *FEW, "name=1e3"]
    said = started("benchmarks", *given, cwd=place, OMP_NUM_THREADS="")
    assert said.returncode == 0, said.stderr
    targets = {
        record["method"]: record["config"]["method"]["_target_"]
        for record in (json.loads(path.read_text()) for path in (place / "runs" / "1e3" / "jobs").glob("*.json"))
    }
    assert targets["sobel"] == "baselines.centre_disc"
    assert said.stderr.count("note: method/sobel.yaml of") == 1


def test_the_line_to_run_a_failed_job_again_runs_it_alone(bench, place):
    arguments = ["method=sobel,centre", "-m", 'dataset.root="a (1), b"', "dataset=image_folder", "name=it's", "hydra.verbose=false"]
    code, _, err = bench(*arguments, *FEW[2:], "hydra.sweeper.max_batch_size=5")
    assert code == 1
    first = next(line.removeprefix("  again: ") for line in err.splitlines() if line.startswith("  again: "))
    words = shlex.split(first)
    assert words[:3] == ["python", "-m", "benchmarks"]
    assert words[3:6] == ["--config-dir", "conf", "hydra.verbose=false"]
    assert "method=sobel" in words or "method=centre" in words
    (place / "a (1), b").mkdir()
    shutil.copy(COFFEE, place / "a (1), b")
    assert called("benchmarks", *words[3:], cwd=place).returncode == 0
    records = [json.loads(path.read_text()) for path in (place / "runs" / "it's" / "jobs").glob("*.json")]
    assert [record["config"]["dataset"]["root"] for record in records] == ["a (1), b"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("benchmark.eclique.step=4", "the measure eclique is not chosen: give benchmark=[insertion,mar,eclique], too"),
        ("benchmark=[mar] benchmark.insertion.fill=mean", "the measure insertion is not chosen: give benchmark=[mar,insertion], too"),
        ("benchmark.marr.points=4", "there is no measure marr (did you mean mar?)"),
        ("benchmark.mar.pints=4", "no key benchmark.mar.pints (did you mean points?)"),
        ("select.cout=3", "no key select.cout (did you mean count?); select has count, skip, order, part, correct_for"),
        ("hydra.job.nmae=3", "no key hydra.job.nmae (did you mean name?)"),
        ("hydra.nothing=3", "no key hydra.nothing; hydra has run, sweep"),
        ("+hydra.nothing=3", "no key hydra.nothing"),
        ("experiment=demo method.masks=3", "for one method of a sweep: per_method={NAME: {masks: VALUE}}"),
        ("method=null", "method=null: no such method"),
        ("store=", "store=: there is nothing after it"),
        ("--cfgg job", "--cfgg"),
        ("--cfg jobb", "invalid choice: 'jobb'"),
    ],
)
def test_what_cannot_be_is_one_line_and_code_2(bench, given, message):
    code, out, err = bench("method=sobel", *given.split()) if "method" not in given else bench(*given.split())
    assert (code, out) == (2, "")
    assert message in err
    assert [line[:6] for line in err.splitlines()] == ["error:"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("+select.cout=3", "select.cout: there is no such key (did you mean count?)"),
        ("select=3", "select=3: give its keys one by one"),
        ("+tracking.entity=me", "tracking.entity: there is no such key"),
        ("per_method={rise:{maskss:3}}", "per_method={rise: {maskss: ...}}: rise has no such parameter (did you mean masks?)"),
        ("per_method={sobel:{masks:3}}", "method.masks: sobel_edges has no such parameter"),
    ],
)
def test_keys_that_are_not_there(bench, given, message):
    code, _, err = bench("method=sobel", given, *FEW)
    assert code == 1
    assert message in err


@pytest.mark.slow
def test_a_model_that_states_itself_needs_no_key_for_what_methods_and_measures_refer_to(bench, place):
    recorded = "_target_: benchmarks.models.build\nname: mine\nclasses: imagenet\nweights: random\n"
    own(
        place / "conf",
        model__mine=recorded
        + "net:\n  _target_: benchmarks.models.torchvision_net\n  architecture: shufflenet_v2_x0_5\n  weights: random\n",
    )
    few = ["select.count=1", "benchmark.mar.points=2", "++per_method={rise: {masks: 8}, hsic: {masks: 8}, ep: {iterations: 1}}"]
    code, _, err = bench("-m", "method=rise,hsic,ep,gradcam", "benchmark=[mar,eclique]", *few, "name=own", model="model=mine")
    assert code == 0, err
    settings = [json.loads(path.read_text())["parameters"] for path in (place / "runs/own/jobs").glob("*.json")]
    assert [one["fill"] for one in settings if "masks" in one] == [[0.485, 0.456, 0.406]] * 2
    assert len(settings) == 4
    code, _, err = called("da", "coffee", "--config-dir", "conf", "--model", "mine", "--method", "rise", "--masks", "8", cwd=place)
    assert code == 0, err
