"""The command lines, as a user runs them."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.app.browser import server
from benchmarks.data.sets import demo
from da.__main__ import main
from tests.commands import command, started
from tests.conftest import REPOSITORY

COFFEE = str(demo().photographs[1].source)


def test_one_photograph_in_words_and_as_json(tmp_path):
    said = started("da", COFFEE, "--iterations", "30", "--json", "--out", "c.png", cwd=tmp_path)
    assert said.returncode == 0, said.stderr
    answer = json.loads(said.stdout)
    assert (answer["class_name"], answer["class_index"]) == ("espresso", 967)
    assert answer["queries"] == 31
    assert answer["verified"] is True
    assert 0 < answer["mar"] < 1
    assert sum(part["share"] for part in answer["parts"]) == pytest.approx(answer["mar"])
    assert (answer["method"], answer["model"], answer["status"]) == ("da_pos", "efficientnet_lite0", "ok")
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
    words = command("da", COFFEE, "--iterations", "30", "--rule", "neg", cwd=tmp_path)
    assert words.returncode == 0
    assert "absent, then the image is not classified espresso." in words.stdout
    assert "Verified by one more forward pass." in words.stdout
    assert (tmp_path / "coffee_da_neg.png").exists()
    by_method = command("da", COFFEE, "--iterations", "30", "--method", "da_neg", cwd=tmp_path)
    assert by_method.stdout == words.stdout


def test_help_shows_the_methods_hyper_parameters(tmp_path):
    said = command("da", "--help", cwd=tmp_path)
    assert said.returncode == 0
    assert "--sp-num" in said.stdout
    application = command("benchmarks", "--help", cwd=tmp_path)
    assert application.returncode == 0
    assert "Examples" in application.stdout
    assert "method: " in application.stdout


SWEEP = ["benchmarks", "-m", "method=da_pos,da_neg", "method.iterations=10", "select.count=2", "name=sweep", "benchmark.mar.points=4"]


@pytest.mark.slow
def test_a_multirun_makes_tables_and_figures_and_its_repetition_computes_nothing(tmp_path):
    first = command(*SWEEP, "tracking=wandb", cwd=tmp_path, WANDB_SILENT="true")
    assert first.returncode == 0, first.stderr
    run = tmp_path / "runs" / "sweep"
    summary = pd.read_csv(run / "summary.csv")
    assert summary["method"].tolist() == ["da_neg", "da_pos"] or summary["method"].tolist() == ["da_pos", "da_neg"]
    assert (summary["queries"] == 11).all()
    rows = pd.read_parquet(run / "rows.parquet")
    assert {"image", "method", "metric", "x", "value", "status", "model", "dataset"} <= set(rows.columns)
    assert not rows.duplicated(["image", "method", "metric", "x"]).any()
    assert f"Figures: runs/sweep/figures ({len(list((run / 'figures').iterdir()))} files)" in first.stdout
    for name in ("fig1_motorcycle_da_pos.png", "fig1_coffee_da_neg.png", "insertion_demo_efficientnet_lite0.png"):
        assert (run / "figures" / name).stat().st_size > 5000
    offline = list(run.rglob("*.wandb"))
    assert len(offline) == 3  # one per job, and the sweep's
    summaries = [wandb_summary(path) for path in offline]
    assert sum(found.get("da_pos/queries") == 11 for found in summaries) == 2
    assert sum("da_pos/queries" in found and "da_neg/queries" in found for found in summaries) == 1
    assert any("fig3" in key or key.startswith("figures/") for found in summaries for key in found)
    again = command(*SWEEP, cwd=tmp_path)
    assert again.returncode == 0
    assert again.stderr.count("nothing to compute") == 2
    pd.testing.assert_frame_equal(pd.read_parquet(run / "rows.parquet"), rows)


def wandb_summary(path: Path) -> dict[str, object]:
    """The summary in an offline run's own file, a LevelDB log of protobuf records."""
    from wandb.proto import wandb_internal_pb2

    data, record, found, at = path.read_bytes(), b"", {}, 7
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:  # the end of a block is filled up
            at += 32768 - at % 32768
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        record = data[at + 7 : at + 7 + length] if kind in (1, 2) else record + data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            message = wandb_internal_pb2.Record.FromString(record)
            for update in message.summary.update:
                found[update.key or ".".join(update.nested_key)] = json.loads(update.value_json)
    return found


@pytest.mark.slow
def test_a_job_that_fails_does_not_stop_the_others_and_is_named(tmp_path):
    said = command(
        "benchmarks", "-m", "method=da_pos", "method.iterations=5", "select.count=1,99", "benchmark=[mar]", "name=half", cwd=tmp_path
    )
    assert said.returncode == 1
    assert "select.count=99: demo has 7 images" in said.stderr
    (again,) = [line for line in said.stderr.splitlines() if "again: python -m benchmarks" in line]
    assert "benchmark=[mar]" in again  # brackets are no markup
    assert "computed 1 of 1 images" in said.stderr
    assert (tmp_path / "runs" / "half" / "summary.csv").exists()


def test_photographs_without_labels_have_a_curve_too(tmp_path):
    (tmp_path / "photos").mkdir()
    shutil.copy(COFFEE, tmp_path / "photos")
    run = ["method=sobel", "dataset=image_folder", "dataset.root=photos", "benchmark=[insertion]", "name=mine", "engine=onnxruntime"]
    assert command("benchmarks", *run, cwd=tmp_path).returncode == 0
    assert (tmp_path / "runs" / "mine" / "figures" / "insertion_image_folder_efficientnet_lite0.png").exists()


@pytest.mark.slow
def test_a_strangers_method_in_a_package_of_their_own(tmp_path):
    shutil.copytree(REPOSITORY / "examples", tmp_path, dirs_exist_ok=True)
    (tmp_path / "my_package" / "broken.py").write_text(
        "def broken(model, images, targets, *, rngs):\n    raise RuntimeError('a bug of theirs')\n"
    )
    common = ["select.count=2", "name=theirs", "benchmark.mar.points=4"]
    paths = os.pathsep.join([str(REPOSITORY), str(tmp_path)])
    runs = (
        ["method._target_=my_package.my_method.input_times_gradient", "+method.channels=max", "method_name=by_target"],
        ["method._target_=my_package.broken.broken"],
        ["--config-dir", "conf", "-m", "method=input_times_gradient,gradient"],
    )
    codes = [command("benchmarks", *run, *common, cwd=tmp_path, PYTHONPATH=paths).returncode for run in runs]
    assert codes == [0, 1, 0]  # every image failed in the second
    rows = pd.read_parquet(tmp_path / "runs" / "theirs" / "rows.parquet")
    status = rows.drop_duplicates(["method", "image"]).groupby("method")["status"].agg(set).to_dict()
    assert status == {
        "by_target": {"ok"},
        "broken": {"error: RuntimeError: a bug of theirs"},
        "input_times_gradient": {"ok"},
        "gradient": {"ok"},
    }
    assert set(rows.loc[rows["method"] == "by_target", "hyperparameters"]) == {'{"channels": "max"}'}
    summary = pd.read_csv(tmp_path / "runs" / "theirs" / "summary.csv")
    assert summary["method"].tolist()[0] == "gradient"
    assert summary.set_index("method")["insertion_auc"].notna().sum() == 3
    assert (tmp_path / "runs" / "theirs" / "figures" / "maps_demo_efficientnet_lite0.png").exists()


def test_without_gradio_it_says_what_to_install(monkeypatch, capsys):
    import builtins

    import da.__main__

    real = builtins.__import__

    def without(name, *rest):
        if name == "gradio":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    assert da.__main__.main(["--app"]) == 2
    assert "pip install 'dynamic-ablation[app]'" in capsys.readouterr().err


@pytest.mark.parametrize("port", ["0", "70000", "-1", "x"])
def test_a_port_that_cannot_be_is_refused(port, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--app", f"--port={port}"])
    assert ended.value.code == 2
    assert "is no port: give a whole number from 1 to 65535" in capsys.readouterr().err


def test_help_serves_nothing(monkeypatch, capsys):
    monkeypatch.setattr(server, "serve", lambda port: pytest.fail("served"))
    assert main(["--app", "--help"]) == 0
    assert "--port" in capsys.readouterr().out
