"""What is built from a checkout is what a user imports: a wheel and an editable install, each in an environment of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from benchmarks.data.sets import demo
from tests.conftest import REPOSITORY

COFFEE = str(demo().photographs[1].source)
pytestmark = pytest.mark.slow


def source(tmp_path: Path) -> Path:
    """A copy of the files that git knows or would add, so that building leaves no trace here."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(listed, cwd=REPOSITORY, capture_output=True, check=True, text=True).stdout.split("\0")
    copy = tmp_path / "source"
    for file in filter(None, files):
        if (REPOSITORY / file).is_file():
            (copy / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / file, copy / file)
    return copy


def installed(tmp_path: Path, *what: str) -> Path:
    """An environment with this project installed as a user would, which borrows this one's libraries but not its project."""
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=False)
    site = environment / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")  # a path alone: .pth files in it do not count
    python = str(environment / "bin" / "python")
    pip = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--ignore-installed", *what]
    done = subprocess.run(pip, cwd=tmp_path, env=clean(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return environment


def clean() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"COLUMNS": "120"}


def run(environment: Path, cwd: Path, *command: str) -> str:
    words = [str(environment / "bin" / command[0]), *command[1:]]
    done = subprocess.run(words, cwd=cwd, env=clean(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_wheel_works_from_an_empty_folder(tmp_path):
    copy = source(tmp_path)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), str(copy)]
    subprocess.run(build, check=True, timeout=300)
    (wheel,) = tmp_path.glob("*.whl")
    environment = installed(tmp_path, str(wheel))
    empty = tmp_path / "empty"
    empty.mkdir()
    places = "import da, baselines, benchmarks, results; print(*(m.__file__ for m in (da, baselines, benchmarks, results)))"
    for place in run(environment, empty, "python", "-c", places).split():
        assert Path(place).is_relative_to(environment)
        assert "source" not in Path(place).parts
    answer = json.loads(run(environment, empty, "python", "-m", "da", COFFEE, "--iterations", "10", "--json", "--out", "c.png"))
    assert answer["class_name"] == "espresso"
    assert (empty / "c.png").exists()
    sweep = ["python", "-m", "benchmarks", "-m", "method=sobel,da_pos", "select.count=1", "benchmark.mar.points=3", "name=w"]
    assert "da_pos" in run(environment, empty, *sweep, "per_method={da_pos: {iterations: 5}}")
    assert (empty / "runs" / "w" / "summary.csv").exists()
    records = [json.loads(path.read_text()) for path in (empty / "runs" / "w" / "jobs").glob("*.json")]
    assert [set(record["configs"]["attribution"]["method"]["function"]) for record in records] == [{"name", "version"}] * 2  # not edited
    verified = json.loads(run(environment, empty, "python", "-m", "results", "verify", "runs/w", "--sample", "1", "--json"))
    assert [verdict["matches"] for verdict in verified] == [True]
    run(environment, empty, "python", "-m", "benchmarks", "experiment=table1", "scale=smoke", "select.count=1", "name=t")
    assert "0.1168" in (empty / "runs" / "t" / "table1.csv").read_text()  # the paper's numbers came along
    drawn = ["dataset=planted", "model=planted_cnn", "benchmark=[evidence]", "method=sobel", "select.count=1", "name=d"]
    run(environment, empty, "python", "-m", "benchmarks", *drawn)
    assert "evidence_mass" in (empty / "runs" / "d" / "summary.csv").read_text()  # its weights came along
    for script, word in (("da-explain", "photograph"), ("da-bench", "Examples"), ("da-results", "verify")):
        assert word in run(environment, empty, script, "--help")


def test_an_editable_install_follows_the_source(tmp_path):
    copy = source(tmp_path)
    environment = installed(tmp_path, "--editable", str(copy))
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "Examples" in run(environment, empty, "da-bench", "--help")
    (copy / "conf" / "method" / "newly_written.yaml").write_text("_target_: my_package.newly_written\n_partial_: true\n")
    assert "newly_written" in run(environment, empty, "python", "-m", "benchmarks", "--help")
    theirs = tmp_path / "theirs"  # whose folder of configurations has the name of ours
    shutil.copytree(copy / "examples" / "conf", theirs / "conf")
    compose = ["--config-dir", "conf", "method=input_times_gradient", "--cfg", "job", "--package", "method"]
    assert "input_times_gradient" in run(environment, theirs, "python", "-m", "benchmarks", *compose)
    assert "--sp-num" in run(environment, theirs, "python", "-m", "da", "--config-dir", "conf", "--help")
    install, ask = 'eval "$(da-bench -sc install=bash)"', 'COMP_LINE="da-bench method=newl" COMP_CWORD=1'
    typed = f'{install}; {ask}; hydra_bash_completion; echo "${{COMPREPLY[@]}}"'
    completed = subprocess.run(
        ["bash", "-c", typed],
        cwd=empty,
        env=clean() | {"PATH": f"{environment / 'bin'}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert completed.stdout.strip() == "method=newly_written", completed.stderr
