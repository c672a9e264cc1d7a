"""Every table and figure of the paper at its smallest scale, by the command line."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from rich.console import Console

from benchmarks.app.progress import Bar
from benchmarks.jobs.plan import duration, job_cost, table
from benchmarks.models.classifier import class_names
from results.artefacts.paper import Run, fig6
from results.paper import published
from tests.commands import command
from tests.helpers import configured


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("experiments")


def experiment(folder: Path, name: str, *more: str) -> Path:
    said = command("benchmarks", f"experiment={name}", "scale=smoke", "page=false", *more, cwd=folder)
    assert said.returncode == 0, said.stderr
    assert "Plan" in said.stderr
    assert "Expected in all:" in said.stderr
    for path in (out := folder / "runs" / name).rglob("*.png"):
        assert np.asarray(Image.open(path).convert("L")).std() > 5, f"{path} is blank"
        assert path.with_suffix(".pdf").read_bytes().startswith(b"%PDF")
    return out


def read(out: Path, name: str) -> pd.DataFrame:
    """A table that is there in all its forms, with the same cells."""
    frame = pd.read_parquet(out / f"{name}.parquet")
    assert list(pd.read_csv(out / f"{name}.csv").columns) == list(frame.columns)
    assert (out / f"{name}.md").read_text().count("\n|") == len(frame) + 2
    assert r"\toprule" in (out / f"{name}.tex").read_text()
    return frame


@pytest.mark.slow
def test_table1(folder):
    out = experiment(folder, "table1")
    frame = read(out, "table1").set_index("model")
    assert frame.loc["resnet50", "paper"] == 0.035
    assert frame.loc["resnet50", "setup"] == "not measured here"
    assert frame.loc["efficientnet_lite1", "parameters, M"] > frame.loc["efficientnet_lite0", "parameters, M"]
    assert (frame.loc[["efficientnet_lite0", "efficientnet_lite1"], "images"] == 2).all()
    rows = pd.read_parquet(out / "rows.parquet")
    assert (rows["label"] == rows["prediction"]).all()  # the selection
    mean = rows[(rows["metric"] == "mar") & (rows["model"] == "efficientnet_lite0")]["value"].mean()
    assert frame.loc["efficientnet_lite0", "ours"].startswith(f"{mean:.3f} [")
    assert read(out, "table1_tests")["verdict"].tolist() == ["no difference shown"]  # two images show nothing


@pytest.mark.slow
def test_table2(folder):
    frame = read(experiment(folder, "table2"), "table2")
    assert set(frame["sp_num"]) == {"50", "pixels"}
    paper = published().query("source == 'Table 2' and metric == 'mar' and k == 4 and sp_num == '50'")["value"].item()
    assert frame.query("k == 4 and sp_num == '50' and metric == 'mar'")["paper"].item() == paper == 0.158
    assert set(frame["metric"]) == {"mar", "seconds", "queries"}
    assert (folder / "runs" / "table2" / "figures" / "table2.png").exists()


# A column is 320 pixels wide, a row of pictures 360 high.
@pytest.mark.slow
@pytest.mark.parametrize(("name", "columns", "rows"), [("fig1", 3, 2), ("fig2", None, 2), ("fig3", 1 + 7, 2), ("fig4", 1 + 2, 2)])
def test_pictures_have_their_rows_and_columns(folder, name, columns, rows):
    drawn = list((experiment(folder, name) / "figures").glob("*.png"))
    assert drawn
    for path in drawn:
        width, height = Image.open(path).size
        assert height == 360 * rows
        assert width >= 2 * 320 if columns is None else width == 320 * columns


@pytest.mark.slow
def test_fig5_imagenet_and_its_verification(folder):
    out = experiment(folder, "fig5_imagenet", "benchmark.mar.points=4")
    frame = read(out, "fig5_auc")
    assert len(frame) == 10
    assert "eclique deletion" in frame
    assert set(read(out, "fig5_tests")["A"]) == {"da_pos"}
    said = command("results", "verify", "runs/fig5_imagenet", "--sample", "3", "--json", cwd=folder)
    assert said.returncode == 0, said.stderr
    assert [verdict["matches"] for verdict in json.loads(said.stdout)] == [True] * 3
    record = json.loads(next((out / "jobs").glob("*.json")).read_text())
    assert {"config", "command", "provenance", "weights_sha256", "dataset_sha256", "seed"} <= set(record)
    for path in (out / "jobs").glob("*.json"):
        for part in (folder / "runs" / "store" / json.loads(path.read_text())["keys"]["attribution"]).glob("*.parquet"):
            rows = pd.read_parquet(part)
            rows.assign(value=rows["value"] + 1).to_parquet(part, index=False)
    said = command("results", "verify", "runs/fig5_imagenet", "--sample", "2", cwd=folder)
    assert said.returncode == 1
    assert "DOES NOT MATCH (other values of " in said.stdout
    assert command("results", "verify", "runs/none", cwd=folder).returncode == 2


@pytest.mark.slow
def test_fig5_cifar100(folder):
    rng = np.random.default_rng(0)
    for name in class_names("cifar100")[:2]:
        (folder / "cifar" / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(folder / "cifar" / name / "0.png")
    own = ["dataset=cifar100_folder", "dataset.root=cifar", "model.weights=random"]
    frame = read(experiment(folder, "fig5_cifar100", "benchmark.mar.points=4", *own), "fig5_auc")
    assert (frame["images"] == 2).all()
    assert "paper: 0.689" in (folder / "runs" / "fig5_cifar100" / "fig5_auc.md").read_text()


@pytest.mark.slow
def test_fig6(folder):
    out = experiment(folder, "fig6", "benchmark.mar.points=4")
    curves = pd.read_csv(out / "fig6_curves.csv")
    assert len(curves) == 2 * 2 * 3  # rules, parameters, points
    least = read(out, "fig6_minima")
    for line in least.to_dict("records"):
        curve = curves[(curves["method"] == line["method"]) & (curves["parameter"] == line["parameter"])]
        assert curve.loc[curve["mean"].idxmin(), "x"] == line["least at"]


@pytest.mark.slow
def test_runtime(folder):
    frame = read(experiment(folder, "runtime"), "runtime").set_index("method")
    assert frame.loc["da_pos", "paper"] == 23.8
    assert frame.loc["da_pos", "forward passes"] == 11
    assert (frame["images"] == 1).all()  # of two, the first is warm-up
    assert (frame["seconds, median"] > 0).all()
    assert frame.loc["gradient", "peak MB"] > 1


def test_the_bar_counts_images_queries_and_what_is_there_already():
    console = Console(force_terminal=True, width=160, file=io.StringIO())
    bar = Bar(console)
    bar.expect(10)
    bar.job("first", 5, done=2)
    bar.advance(0, 300)
    bar.advance(3, 0)
    bar.job("second", 5, done=5)
    bar.stop()
    (task,) = bar.progress.tasks
    assert (task.completed, task.total, task.description) == (10, 10, "second")
    assert "images/s" in task.fields["rate"]
    assert "queries/s" in console.file.getvalue()
    quiet = Console(file=io.StringIO())
    Bar(quiet).job("nobody looks", 5, done=0)
    assert quiet.file.getvalue() == ""


def test_the_plan_counts_passes():
    cfg = configured("method=ep")
    ep = {name: value for name, value in cfg.method.items() if name not in ("border", "levels")}
    mar = {"_target_": "benchmarks.measures.minimum_attribution_ratio", "points": 32}
    job = job_cost("m", "torch", 10, {**ep, "areas": [0.1, 0.2], "iterations": 800, "variant": "dual"}, [mar])
    assert (job.passes, job.backward_passes) == (1 + 2 + 32, 3200)
    unknown = job_cost("m", "torch", 10, {"_target_": "mine.method"}, [mar])
    assert unknown.passes is None
    shown = table([job, unknown], {("m", "torch"): (0.01, 0.03)})
    assert "+ 1 unknown" in str(list(shown.columns[4].cells))
    assert str(shown.caption).startswith(f"Expected in all: {duration(10 * 35 * 0.01 + 10 * 3200 * 0.03)} less what is in the store")
    assert [duration(seconds) for seconds in (3, 300, 7200, 864000)] == ["3 s", "5 min", "2.0 h", "10.0 days"]


def test_fig6_compares_its_least_value_with_the_papers(tmp_path):
    values = {0.1: 0.0, 0.2: 0.2, 0.5: 0.4}
    common = {"dataset": "d", "model": "m", "method": "da_pos", "engine": "torch", "seed": 0}
    records = [{**common, "job": f"a{alpha_step}", "parameters": {"alpha_step": alpha_step, "fc": 0.95}} for alpha_step in values]
    rows = pd.DataFrame(
        {
            "job": record["job"],
            "method": "da_pos",
            "metric": "mar",
            "image": f"{i}",
            "digest": f"{i}",
            "seed": 0,
            "value": 0.1 + 0.01 * i + values[record["parameters"]["alpha_step"]],
            "hyperparameters": json.dumps(record["parameters"]),
        }
        for record in records
        for i in range(12)
    )
    written = list(fig6(Run(tmp_path, rows, records, {})))
    assert tmp_path / "fig6_tests.csv" in written
    (line,) = read(tmp_path, "fig6_tests").to_dict("records")
    assert (line["A"], line["B"]) == ("da_pos alpha_step=0.1", "da_pos alpha_step=0.2")
    assert line["A - B"].startswith("-0.200")
    assert line["verdict"] == "da_pos alpha_step=0.1 smaller"
