"""Published rows are a run's rows, and what is unfinished, failed, altered or of one machine alone is not published unsaid."""

from __future__ import annotations

import io
import json
import platform
import shutil
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.data.sets import demo
from results.published.experiments import artefacts
from results.published.manifest import Manifest
from results.published.pages import recompute
from results.published.places import arguments_of, portable_command, without_folders
from results.published.publish import publish
from results.published.read import read_rows
from results.records import records
from results.summary import summary
from results.tables import curves, load, paired
from tests.commands import command
from tests.conftest import REPOSITORY

SMALL = ("model=planted_cnn", "page=false")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the runs ``p``, of three methods on synthetic images, and ``broken``, in which one of three files is no image."""
    here = tmp_path_factory.mktemp("published")
    methods = ("method=da_pos,gradcam,random", "per_method={da_pos: {iterations: 20}}", "benchmark=[insertion,mar,evidence]")
    said = command("benchmarks", "-m", *methods, "dataset=planted", "dataset.count=4", "name=p", *SMALL, cwd=here)
    assert said.returncode == 0, said.stderr
    (here / "photos").mkdir()
    for photograph in demo().photographs[:2]:
        photograph.load().save(here / "photos" / f"{photograph.id}.png")
    (here / "photos" / "torn.png").write_bytes(b"no image")
    of_folder = ("dataset=image_folder", "dataset.root=photos", "method=sobel", "benchmark=[mar]")
    command("benchmarks", *of_folder, "name=broken", *SMALL, cwd=here)
    assert (here / "runs" / "broken" / "jobs").is_dir()
    return here


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """A copy of the folder, to be changed."""
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def part_of(run: Path, method: str, what: str) -> Path:
    record = next(record for record in records(run) if record["method"] == method)
    return next((Path(record["store"]) / record["keys"][what]).glob("*.parquet"))


def test_published_rows_are_read_as_the_run_is(folder, tmp_path):
    publish([folder / "runs" / "p"], "p", tmp_path)
    path, run = tmp_path / "p.json", folder / "runs" / "p"
    here, there = load(path), load(run).drop(columns="provenance")
    order = ["method", "metric", "x", "image"]
    pd.testing.assert_frame_equal(
        here.sort_values(order, ignore_index=True)[list(there.columns)], there.sort_values(order, ignore_index=True), check_dtype=False
    )
    pd.testing.assert_frame_equal(summary(path), summary(run))
    pd.testing.assert_frame_equal(curves(here), curves(there))
    pd.testing.assert_frame_equal(paired(here, "mar_holds"), paired(there, "mar_holds"))


def test_a_manifest_says_what_computed_the_rows_and_nothing_of_the_machine_but_its_processor(folder, tmp_path):
    found = publish([folder / "runs" / "p"], "p", tmp_path)
    assert found.commands[0].startswith("python -m benchmarks -m method=da_pos,gradcam,random ")
    assert found.functions["evidence"] == ["known_evidence version 2"]
    assert set(found.weights) == {"planted_cnn"}
    assert len(found.weights["planted_cnn"]) == 64
    (computed,) = found.computed_by
    assert {"git", "clean", "torch", "processor", "cores", "threads"} <= set(computed)
    assert "host" not in computed
    text = (tmp_path / "p.json").read_text()
    assert str(folder) not in text
    assert platform.node() not in json.loads(text)["computed_by"][0].values()
    assert [len(images) for images in found.images.values()] == [4]
    assert found.seconds > 0
    assert found.first <= found.last


def test_a_run_that_is_not_finished_is_refused(copy, tmp_path):
    part_of(copy / "runs" / "p", "gradcam", "mar").unlink()
    with pytest.raises(ValueError, match="not finished"):
        publish([copy / "runs" / "p"], "p", tmp_path)
    assert not list(tmp_path.glob("*.json"))


def test_a_failed_image_is_published_only_if_it_is_stated_and_then_it_is_a_row(folder, tmp_path):
    run = folder / "runs" / "broken"
    with pytest.raises(ValueError, match=r"1 failed.*--with-failures"):
        publish([run], "broken", tmp_path)
    found = publish([run], "broken", tmp_path, with_failures=True)
    assert [(one["method"], one["images"]) for one in found.failures] == [("sobel", 1)]
    assert found.failures[0]["status"].startswith("error: unreadable")
    rows = load(tmp_path / "broken.json")
    assert rows.loc[rows["image"].str.startswith("torn"), "status"].str.startswith("error").all()
    line = summary(tmp_path / "broken.json").iloc[0]
    assert (line["images"], line["failed"]) == (2, 1)
    assert str(folder) not in (tmp_path / "broken.json").read_text()


def test_rows_of_a_metric_are_left_out_where_that_is_said(folder, copy):
    run, rows = copy / "runs" / "p", copy / "docs" / "rows"
    whole, found = publish([run], "whole", rows), publish([run], "p", rows, without=["insertion_accuracy"])
    assert (whole.without, found.without) == ([], ["insertion_accuracy"])
    assert '"without"' not in (rows / "whole.json").read_text()
    both = [load(rows / f"{name}.json") for name in ("whole", "p")]
    assert len(both[0]) - len(both[1]) == (both[0]["metric"] == "insertion_accuracy").sum() > 0
    said = command("results", "verify", str(rows / "p.json"), "--sample", "1", "--trust", cwd=copy)
    assert said.returncode == 0, said.stdout + said.stderr
    with pytest.raises(ValueError, match=r"there are no rows of insertion_acuracy to leave out: choose "):
        publish([run], "p", rows, without=["insertion_acuracy"])
    for metrics in (["queries"], ["prediction", "confidence"]):
        with pytest.raises(ValueError, match="nothing would be left of some results"):
            publish([run], "p", rows, without=metrics)
    assert publish([run], "p", rows, without=["seconds", "seconds"]).seconds == whole.seconds > 0


def test_altered_rows_and_lost_rows_are_refused(folder, tmp_path):
    publish([folder / "runs" / "p"], "p", tmp_path)
    rows = tmp_path / "p.parquet"
    altered = pd.read_parquet(rows)
    altered.loc[altered["metric"] == "mar_holds", "value"] = 0.01
    altered.to_parquet(rows)
    with pytest.raises(ValueError, match=r"is not the file that p\.json describes"):
        load(tmp_path / "p.json")
    rows.unlink()
    with pytest.raises(ValueError, match="is not there"):
        load(tmp_path / "p.json")


def test_publishing_again_replaces_what_was_there(folder, tmp_path):
    publish([folder / "runs" / "broken"], "p", tmp_path, with_failures=True)
    publish([folder / "runs" / "p"], "p", tmp_path)
    assert {record["method"] for record in records(tmp_path / "p.json")} == {"da_pos", "gradcam", "random"}
    assert Manifest.read(tmp_path / "p.json").failures == []


def test_runs_that_agree_are_published_together_and_runs_that_disagree_are_refused(folder, copy, tmp_path):
    runs = [folder / "runs" / "p", copy / "runs" / "p"]
    assert len(publish(runs, "both", tmp_path).jobs) == 3
    assert publish([*runs, folder / "runs" / "broken"], "all", tmp_path, with_failures=True).runs == ["p", "broken"]
    part = part_of(copy / "runs" / "p", "da_pos", "mar")
    rows = pd.read_parquet(part)
    rows.loc[rows["metric"] == "mar_holds", "value"] += 0.1
    rows.to_parquet(part)
    records_of = {record["method"]: record for record in records(runs[1])}
    with pytest.raises(ValueError, match="disagree"):
        publish(runs, "both", tmp_path)
    path = runs[1] / "jobs" / f"{records_of['gradcam']['job']}.json"
    content = json.loads(path.read_text())
    content["configs"]["attribution"]["method"]["function"]["version"] = "1"
    content["keys"]["attribution"] = "0" * 20
    path.write_text(json.dumps(content))
    store = copy / "runs" / "store"
    shutil.copytree(store / records_of["gradcam"]["keys"]["attribution"], store / ("0" * 20))
    with pytest.raises(ValueError, match=r"disagree about gradcam, attribution: method\.function\.version differs"):
        publish(runs, "both", tmp_path)


def test_commands_are_as_anybody_types_them(monkeypatch):
    monkeypatch.delenv("DA_SHARED", raising=False)
    told = [
        "/usr/bin/python3",
        "/home/me/benchmarks/__main__.py",
        "dataset.root=/data/all/photos",
        "out=/tmp/x",
        "method=rise",
        "shard=1/4",
    ]
    with pytest.raises(ValueError, match="on this machine alone"):
        portable_command(told)
    monkeypatch.setenv("DA_SHARED", "/data/all")
    said = portable_command(told)
    assert said == "python -m benchmarks 'dataset.root=$DA_SHARED/photos' method=rise"
    assert arguments_of(said) == ["dataset.root=/data/all/photos", "method=rise"]
    monkeypatch.delenv("DA_SHARED")
    with pytest.raises(ValueError, match="DA_SHARED"):
        arguments_of(said)


def test_folders_are_left_out_of_texts():
    assert without_folders({"a": ["/home/me/x.png", "error: no such file: '/home/me/my data/x.png'"]})["a"][0] == "x.png"
    for text in ("https://example.org/a/b", "shard=1/4", "a/b", "conf/model/x.yaml", "1 / 2", "/"):
        assert without_folders(text) == text


def test_what_a_command_needs_is_missed_before_anything_is_computed(tmp_path):
    rows = tmp_path / "docs" / "rows"
    rows.mkdir(parents=True)
    for suffix in (".json", ".parquet"):
        shutil.copy((REPOSITORY / "docs" / "rows" / "demo").with_suffix(suffix), rows)
    of = json.loads((rows / "demo.json").read_text())
    of["commands"].append("python -m benchmarks method=precomputed method.maps=mine/maps")
    (rows / "demo.json").write_text(json.dumps(of))
    with pytest.raises(ValueError, match=r"demo needs method\.maps=mine/maps, which is not there"):
        next(recompute(tmp_path))
    (tmp_path / "mine" / "maps").mkdir(parents=True)
    assert next(recompute(tmp_path)) == of["commands"][0]


def test_the_command_publishes_and_says_why_not(folder, tmp_path):
    said = command("results", "publish", "runs/p", "--as", "p", "--out", str(tmp_path), cwd=folder)
    assert said.returncode == 0, said.stderr
    assert (tmp_path / "p.parquet").stat().st_size < 20_000
    assert "3 jobs" in said.stdout
    again = command("results", "summary", str(tmp_path / "p.json"), "--json", cwd=folder)
    assert {line["method"] for line in json.loads(again.stdout)} == {"da_pos", "gradcam", "random"}
    for wrong in (["runs/p", "--as", "../p"], ["runs/broken", "--as", "b"], ["runs/none", "--as", "b"]):
        said = command("results", "publish", *wrong, "--out", str(tmp_path), cwd=folder)
        assert (said.returncode, said.stderr.count("\n")) == (2, 1), said.stderr


def test_rows_are_recomputed_by_their_commands(copy):
    rows = copy / "docs" / "rows"
    publish([copy / "runs" / "p"], "p", rows)
    before = load(rows / "p.json")
    shutil.rmtree(copy / "runs")
    said = command("results", "pages", "--recompute", "--only", "p", cwd=copy)
    assert said.returncode == 0, said.stderr
    assert "$ python -m benchmarks -m method=da_pos,gradcam,random" in said.stderr
    timed = before["metric"] == "seconds"
    pd.testing.assert_frame_equal(load(rows / "p.json")[~timed], before[~timed])
    said = command("results", "pages", "--recompute", "--check", cwd=copy)
    assert (said.returncode, said.stderr.count("\n")) == (2, 1)


def test_table_1_compares_the_pairs_of_its_own_run(tmp_path):
    models = ("models=[planted_cnn,planted_confounded]", "pairs=[[planted_confounded,planted_cnn]]")
    few = ("scale=smoke", "dataset=planted", "select.count=3", "select.correct_for=null", "benchmark.mar.points=2", "page=false")
    few += ("method=da_pos,da_minimal", "per_method={da_pos: {iterations: 10}, da_minimal: {budget: 10}}")
    said = command("benchmarks", "-m", "experiment=table1", *models, *few, cwd=tmp_path)
    assert said.returncode == 0, said.stderr
    publish([tmp_path / "runs" / "table1"], "t", tmp_path)
    made = artefacts(read_rows(tmp_path / "t.json"), "table1", REPOSITORY)
    shown, others, tested = (
        pd.read_csv(io.StringIO(made.data[name])) for name in ("table1_da_pos", "table1_da_minimal", "table1_tests_da_pos")
    )
    assert tested[["A", "B"]].to_numpy().tolist() == [["planted_confounded", "planted_cnn"]]
    assert shown["model"].tolist() == ["planted_cnn", "planted_confounded", "alexnet", "resnet18", "resnet50", "vgg11", "vgg16"]
    assert others["model"].tolist() == ["planted_cnn", "planted_confounded"]  # the paper has no numbers of this method
