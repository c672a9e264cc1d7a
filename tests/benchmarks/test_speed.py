"""Engines chosen by measurement, and the program that measures."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from benchmarks.engines.auto import fastest_engine
from benchmarks.engines.engine import compile_engine
from benchmarks.jobs.resolve import make_job, resolve
from benchmarks.tools import decisions
from benchmarks.tools.speed import LINES, main
from tests.helpers import configured, planted_model, textured


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "dynamic-ablation"


def test_the_fastest_engine_is_chosen_once_and_its_results_are_its_own(cache):
    cfg = configured("engine=auto", "engine.candidates=[torch,onnxruntime]", "engine.batch=2")
    _, said = fastest_engine(cfg.engine, cfg.model)
    (kept,) = cache.glob("auto-*.json")
    name, found = json.loads(kept.read_text())
    rates = {engine: int(rate.split()[0]) for engine, rate in found.items()}
    assert rates[name] == max(rates.values())
    assert said.startswith(f"engine=auto: {name} for efficientnet_lite0 (")
    assert make_job(resolve(cfg)).keys == make_job(resolve(configured(f"engine={name}", "engine.batch=2"))).keys
    slower = min(rates, key=rates.__getitem__)
    kept.write_text(json.dumps([slower, found]))
    assert resolve(cfg).engine_choice.startswith(f"engine=auto: {slower} ")  # remembered, not measured again


def test_an_engine_that_cannot_run_is_passed_over():
    cfg = configured("engine=auto", "engine.candidates=[onnxruntime,torch]", "engine.precision=bf16", "engine.batch=2")
    engine, said = fastest_engine(cfg.engine, cfg.model)
    assert "onnxruntime does not run: engine.precision='bf16'" in said
    assert engine._target_ == "benchmarks.engines.torch_engine"
    assert (engine.precision, engine.batch) == ("bf16", 2)
    cfg = configured("engine=auto", "engine.candidates=[onnxruntime]", "engine.precision=bf16")
    with pytest.raises(ValueError, match="none runs"):
        fastest_engine(cfg.engine, cfg.model)


def test_other_engines_are_left_alone():
    cfg = configured("engine=onnxruntime")
    assert fastest_engine(cfg.engine, cfg.model) == (cfg.engine, "")


LONG = {"engines", "start_up"}


# Without rise, which streams 9000 masks.
@pytest.mark.parametrize("line", [pytest.param(line, marks=[pytest.mark.slow] * (line in LONG)) for line in sorted(set(LINES) - {"rise"})])
def test_every_line_measures_something(line, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("benchmarks.tools.speed.ENGINES", {"torch": {}, "onnxruntime": {}})
    assert (
        main(["--engine", "torch", "--batch", "1", "--rounds", "1", "--size", "2", "--lines", line, "--json", str(tmp_path / "s.json")])
        == 0
    )
    lines = json.loads((tmp_path / "s.json").read_text())["lines"]
    assert lines
    said = capsys.readouterr().out
    for one in lines:
        assert one["line"] in said
        assert one.get("ratio", one.get("value")) > 0
        if "ratio" in one:
            assert one["ratio"] == pytest.approx(one["rate"] / one["beside"])


@pytest.mark.slow
def test_an_engine_that_cannot_run_is_said_and_the_others_are_measured(capsys, monkeypatch):
    monkeypatch.setattr("benchmarks.tools.speed.ENGINES", {"torch": {}, "onnxruntime": {"precision": "bf16"}})
    assert main(["--engine", "torch", "--batch", "1", "--rounds", "1", "--size", "1", "--lines", "engines"]) == 0
    said = capsys.readouterr()
    assert "engine onnxruntime does not run here: engine.precision='bf16'" in said.err
    assert "torch / torch, contiguous" in said.out


def test_decisions_of_engines_are_counted_beside_pytorch(tmp_path, capsys):
    given = ["--masks", "3", "--batch", "2", "--json", str(tmp_path / "d.json"), "dataset=demo", "select.count=3"]
    assert decisions.main(["--engines", "onnxruntime", "torch/bf16", *given]) == 0
    found = json.loads((tmp_path / "d.json").read_text())
    exact, rounded = found.pop("engines")
    assert found == {"images": 3, "masks": 3}
    assert exact["decisions"] == rounded["decisions"] == 3 * 4  # and the premise
    assert exact["differ"] == 0
    assert 0 < exact["largest"] < 0.005 < rounded["largest"]
    assert "torch/bf16" in capsys.readouterr().out


def test_an_engine_without_a_precision_is_refused(capsys):
    assert decisions.main(["--engines", "onnxruntime/bf16", "dataset=demo", "select.count=1"]) == 2
    assert "engine.precision='bf16'" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("c++"), reason="torch.compile needs a C++ compiler on the CPU")
def test_a_compiled_model_decides_as_the_model():
    model = planted_model()
    engine = compile_engine(model, batch=2, device="cpu")
    images = textured(4, 32, 32)
    assert torch.allclose(torch.cat([engine.forward(images[:2]), engine.forward(images[2:])]), model.module(images), atol=1e-4)
    assert engine.difference < 1e-4


def test_a_model_that_does_not_exist_is_an_error(capsys):
    assert main(["--model", "resnet18", "--weights", "absent.pt", "--lines", "da"]) == 2
    assert capsys.readouterr().err.startswith("error: no weights at absent.pt")
