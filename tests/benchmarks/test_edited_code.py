"""Code and labels that have changed are computed anew."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from results.records import records
from results.tables import load
from tests.commands import command
from tests.results.test_configurations import HELPER, folder, run

__all__ = ["folder"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "before", "after", "changed"),
    [
        ("networks.py", "return self.fc(torch.flatten(self.pool(self.body", "return -self.fc(torch.flatten(self.pool(self.body", ""),
        ("helper.py", "slice(0, 32)", "slice(0, 16)", "attribution"),
        ("data_of_mine.py", "path.name, 0", "path.name, 1", "measure"),
        ("measure_helper.py", "SCALE = 1", "SCALE = 2", "measure"),
        ("measure.py", "float(SCALE", "1 + float(SCALE", "measure"),
    ],
)  # fmt: skip
def test_edited_code_is_computed_anew(folder, file, before, after, changed):
    arguments = [
        "--config-dir",
        "conf",
        "model=mine",
        "method._target_=method.mine",
        "dataset._target_=data_of_mine.data",
        "+dataset.root=one",
    ]
    arguments += ["benchmark=[]", "+benchmark.measure._target_=measure.measure", "+benchmark.measure._partial_=true", "engine=onnxruntime"]
    arguments += ["page=false"]
    first = command("benchmarks", *arguments, cwd=folder, XDG_CACHE_HOME=str(folder / "cache"))
    assert "computed 3 of 3 images" in first.stderr, first.stderr
    assert "nothing to compute" in command("benchmarks", *arguments, cwd=folder, XDG_CACHE_HOME=str(folder / "cache")).stderr
    keys = records(folder / "runs" / "default")[0]["keys"]
    text = (folder / file).read_text()
    assert before in text
    (folder / file).write_text(text.replace(before, after))
    again = command("benchmarks", *arguments, cwd=folder, XDG_CACHE_HOME=str(folder / "cache"))
    assert "computed 3 of 3 images" in again.stderr
    fresh = command("benchmarks", *arguments, "store=elsewhere", "name=fresh", cwd=folder, XDG_CACHE_HOME=str(folder / "other"))
    assert fresh.returncode == 0
    here, there = (load(folder / "runs" / name) for name in ("default", "fresh"))
    same = ["image", "prediction", "confidence", "label", "metric", "value"]
    measured = [rows.loc[rows["metric"] == "brightness", same] for rows in (here, there)]
    assert len(measured[0]) == 3
    pd.testing.assert_frame_equal(*measured)
    key = changed or "prediction"
    assert records(folder / "runs" / "default")[0]["keys"][key] != keys[key]


def test_corrected_labels_are_measured_anew_and_nothing_else(folder):
    for name in ("cat", "dog"):
        (folder / "classes" / name).mkdir(parents=True)
    shutil.copy(folder / "one" / "0.png", folder / "classes" / "cat")
    shutil.copy(folder / "one" / "1.png", folder / "classes" / "dog")
    arguments = ["method=sobel", "dataset._target_=benchmarks.data.class_folder", "dataset.root=classes", "dataset.name=pets"]
    run(*arguments, "+dataset.class_names=[cat,dog]", name="labels")
    before = load(Path("runs/labels")).query("metric == 'insertion_accuracy'")
    run(*arguments, "+dataset.class_names=[dog,cat]", name="other")
    after = load(Path("runs/other")).query("metric == 'insertion_accuracy'")
    assert (before["label"].tolist(), after["label"].tolist()) == ([0] * 14 + [1] * 14, [1] * 14 + [0] * 14)
    for rows in (before, after):
        whole = rows[rows["x"] == 1]
        assert (whole["value"] == (whole["label"] == whole["prediction"])).all()
    keys = [records(Path("runs") / name)[0]["keys"]["attribution"] for name in ("labels", "other")]
    assert keys[0] == keys[1]


@pytest.mark.slow
def test_verify_compares_versions_before_numbers(folder):
    arguments = ["--config-dir", "conf", "model=mine", "method._target_=method.mine", "dataset=image_folder", "dataset.root=one"]
    assert command("benchmarks", *arguments, cwd=folder).returncode == 0
    assert command("results", "verify", "runs/default", "--sample", "1", cwd=folder, PYTHONPATH=str(folder)).returncode == 0
    (folder / "helper.py").write_text(HELPER + "\n# nothing that changes a number\n")
    said = command("results", "verify", "runs/default", "--sample", "1", cwd=folder, PYTHONPATH=str(folder))
    assert said.returncode == 1
    assert "method.function.sources changed since" in said.stdout
