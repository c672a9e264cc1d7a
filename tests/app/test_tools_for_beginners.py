"""``benchmarks.tools.new`` and ``benchmarks.tools.doctor``, as somebody new uses them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from benchmarks.data.sets import demo
from benchmarks.tools import doctor, new
from tests.commands import command
from tests.conftest import REPOSITORY

NAME = "mine_of_a_longer_name"
RUN = {
    "method": ["-m", f"method={NAME},random"],
    "model": [f"model={NAME}", "method=gradcam", "dataset=image_folder", "dataset.root=photos"],
    "dataset": [f"dataset={NAME}", "dataset.root=photos", "method=sobel"],
    "measure": ["-m", "method=sobel,random", f"benchmark=[mar,{NAME}]"],
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", new.KINDS)
def test_what_is_begun_works_as_it_is(kind, tmp_path, capsys):
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    assert new.main([kind, NAME, "--folder", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert f"python -m pytest test_{NAME}.py" in said
    assert "python -m benchmarks --config-dir conf " in said
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{REPOSITORY}", "MYPYPATH": str(REPOSITORY)}
    for tool in (["ruff", "check"], ["ruff", "format", "--check"], ["mypy", "--strict", "--follow-imports=silent"]):
        done = subprocess.run(
            [sys.executable, "-m", *tool, f"{NAME}.py", f"test_{NAME}.py"], cwd=tmp_path, capture_output=True, text=True, env=environment
        )
        assert done.returncode == 0, (tool, done.stdout, done.stderr)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", f"test_{NAME}.py"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
    (tmp_path / "photos").mkdir()
    shutil.copy(str(demo().photographs[1].source), tmp_path / "photos" / "967_coffee.png")
    few = ["select.count=1", f"name={NAME}", "benchmark.mar.points=3"]
    ran = command(
        "benchmarks", "--config-dir", "conf", *RUN[kind], *few, *(() if kind == "measure" else ("benchmark=[mar]",)), cwd=tmp_path
    )
    assert ran.returncode == 0, ran.stderr
    rows = (tmp_path / "runs" / NAME / "summary.csv").read_text()
    assert NAME in rows


@pytest.mark.parametrize("kind", new.KINDS)
def test_it_is_written_as_the_settings_of_its_folder_want_it(kind, tmp_path):
    (tmp_path / "ruff.toml").write_text('line-length = 100\nlint.select = ["E", "F", "I", "W"]\n')
    assert new.main([kind, NAME, "--folder", str(tmp_path)]) == 0
    for tool in (["check"], ["format", "--check"]):
        done = subprocess.run([sys.executable, "-m", "ruff", *tool, "."], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, (tool, done.stdout, done.stderr)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["method", "rise"], "there is a method rise already"),
        (["measure", "json"], "json is a module already"),
        (["model", "2nd"], "'2nd' is no name of a function"),
        (["dataset", "My_set"], "such as my_dataset"),
    ],
)
def test_a_name_that_cannot_be_is_refused(arguments, said, tmp_path, capsys):
    assert new.main([*arguments, "--folder", str(tmp_path)]) == 2
    assert said in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_nothing_is_overwritten(tmp_path, capsys):
    (tmp_path / "test_mine.py").write_text("kept")
    assert new.main(["method", "mine", "--folder", str(tmp_path)]) == 2
    assert "is there already" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["test_mine.py"]


def test_the_doctor_knows_every_extra():
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(doctor.EXTRAS) == set(extras) - {"all", "cluster"}


def test_the_doctor_finds_what_is_here_and_says_what_to_do(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor, "EXTRAS", {"dev": ("pytest", "make test"), "other": ("nowhere.inside", "something")})
    assert doctor.main(["--quick", "--json"]) == 0
    found = {(one["kind"], one["name"]): one for one in json.loads(capsys.readouterr().out)}
    assert found["Extras", "dev"]["works"]
    assert not found["Extras", "other"]["works"]
    assert "dynamic-ablation[other]" in found["Extras", "other"]["advice"]
    assert found["Places", "store"]["said"].startswith(str(tmp_path / "runs" / "store"))
    assert found["Versions", "torch"]["works"] is None
    assert not any(tmp_path.iterdir())  # it leaves nothing behind


def test_the_doctor_measures_engines_and_says_why_one_does_not_run():
    one, other = doctor.engines(("torch", "torch"), "engine.batch=1", "model=efficientnet_lite0", "engine.precision=fp32")
    assert one.works
    assert "images/s, efficientnet_lite0 at 224 x 224" in one.said
    assert other.works
    (broken,) = doctor.engines(("torch",), "engine.precision=fp8")
    assert not broken.works
    assert "fp32 or bf16" in broken.said
    assert broken.advice


def test_the_doctor_says_a_place_that_cannot_be_written(monkeypatch):
    monkeypatch.setattr(doctor, "writable", lambda folder: False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(Path.cwd()))
    runs = [one for one in doctor.places() if one.name == "runs"]
    assert runs[0].works is False
    assert runs[0].advice == "out=DIR names a folder that can be written"
