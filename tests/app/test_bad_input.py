"""Wrong input is answered in a line or two that say what was wrong and what to do, with an exit code, and without a traceback."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from benchmarks.data.sets import demo
from benchmarks.inputs.messages import suggestion
from benchmarks.inputs.parameters import check, check_settings
from tests.commands import called, command, started
from tests.helpers import configured


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Some files to be wrong about."""
    place = tmp_path_factory.mktemp("input")
    (place / "empty").mkdir()
    for name in ("text.jpg", "junk.pth", "junk.safetensors", "junk.onnx", "a_file"):
        (place / name).write_text("junk")
    picture = Path(str(demo().photographs[1].source))
    shutil.copy(picture, place / "cup.png")
    (place / "cut.png").write_bytes(picture.read_bytes()[:3000])
    return place


BENCHMARKS = [
    ("method=da_poss", 2, "no such method (did you mean da_pos?); choose from ablation_cam"),
    ("metod=da_pos", 2, "there is no key metod (did you mean method?)"),
    ("method.itrations=3", 2, "there is no key method.itrations (did you mean iterations?); method has rule, k"),
    ("experiment=fig4 dataset.root=photos", 2, "no key dataset.root unless dataset is one of cifar100, cifar100_folder, cifar10_folder"),
    ("method=da_pos per_method={centr:{a:1}}", 1, "no such method (did you mean centre?)"),
    ("-m method=da_pos,rise method.masks=3", 2, "for one method of a sweep: per_method={NAME: {masks: VALUE}}"),
    ("method.k=three", 1, "method.k='three': give a whole number"),
    ("+method.kk=3", 1, "method.kk: dynamic_ablation has no such parameter (did you mean k?); it takes rule, k"),
    ("method._target_=nowhere.nothing", 1, "No module named 'nowhere'"),
    ("method.k=0 select.count=1", 1, "method: k=0: at least one circle is needed"),
    ("-m method.k=-1,0 page=false", 1, "error: 1 of 2 jobs cannot run: method: k=-1"),
    ("-m method=da_pos,rise dataset=image_folder dataset.root=absent", 1, "error: 2 of 2 jobs cannot run: dataset.root='absent'"),
    ("method=gradcam method.layer=layer9", 1, "layer='layer9' is not in the model: choose one of"),
    ("benchmark.mar.points=1", 1, "benchmark.mar: smallest=0.002 must lie between 0 and 1, points=1 be at least 2"),
    ("model=resnet19", 2, "model=resnet19: no such model (did you mean resnet18?)"),
    ("model=resnet18 model.weights=absent.pth", 1, "no weights at absent.pth"),
    ("model.weights=junk.pth", 1, "junk.pth is not a readable file of weights"),
    ("model.weights=junk.safetensors", 1, "junk.safetensors is not a readable file of weights"),
    ("model.weights=empty", 1, "no weights at empty"),
    ("model=onnx", 1, "model.weights is not given: add model.weights=VALUE"),
    ("model=onnx model.weights=junk.onnx", 1, "junk.onnx is not a graph"),
    ("model=timm", 1, "model.net.architecture is not given"),
    ("engine=tpu", 2, "engine=tpu: no such engine; choose from auto, compile"),
    ("engine.device=tpu", 1, "device 'tpu' cannot be used here"),
    ("engine.batch=0", 1, "engine.batch=0"),
    ("engine.batch=many", 1, "engine.batch='many': give a whole number"),
    ("engine.precision=fp8", 1, "this engine runs fp32 or bf16"),
    ("dataset=image_folder", 1, "dataset.root is not given: add dataset.root=VALUE"),
    ("dataset=image_folder dataset.root=absent", 1, "dataset.root='absent' is not a folder"),
    ("dataset=image_folder dataset.root=empty", 1, "dataset.root='empty' holds no image files"),
    ("dataset=image_folder dataset.root=text.jpg method=sobel", 1, "every image failed"),
    ("dataset=imagenet dataset.root=empty", 1, "torchvision found no ImageNet val set there"),
    ("select.count=99", 1, "select.count=99: demo has 7 images, give 1 to 7"),
    ("select.count=many", 1, "select.count='many': give a whole number"),
    ("select.order=last", 1, "select.order='last': give 'first' or 'random'"),
    ("select.correct_for=[resnet99]", 1, "no such model (did you mean resnet50?)"),
    ("seed=x", 1, "seed='x': give a whole number"),
    ("batch_size=0", 1, "batch_size=0: give a number greater than 0"),
    ("experiment=tabel1", 2, "no such experiment (did you mean table1?)"),
    ("experiment=table1 scale=tiny", 2, "scale=tiny: this experiment has no such scale; choose smoke, laptop or paper"),
    ("benchmark=[insertion,marr]", 2, "benchmark=marr: no such benchmark (did you mean mar?)"),
    ("benchmark.insertion.shares=0.5", 1, "benchmark.insertion.shares=0.5: give a list"),
    ("method", 2, "'method' is no key=value"),
    ("method=da_pos,da_neg", 2, "has several values: -m runs one after the other"),
    ("+method.k=3", 2, "Either remove + prefix: 'method.k=3'"),
    ("--config-dir absent", 2, "absent' not found"),
    ("-m method=sobel,da_poss", 2, "no such method (did you mean da_pos?)"),
    ("shards=0", 2, "shards='0': give how many, at least 1"),
    ("shard=5/4", 1, "shard='5/4': give i/n"),
    ("store=a_file method=sobel select.count=1", 1, "cannot be a folder, there is a file: choose another place with store=DIR"),
    ("out=a_file method=sobel", 2, "a_file is a file where a folder is needed"),
]

DA = [
    ("absent.jpg", "absent.jpg cannot be read"),
    ("coffe", "there is no such file (did you mean coffee?)"),
    ("cup.png model.sizes=3", "there is no key model.sizes (did you mean size?)"),
    ("cup.png --model resnet19", "no such model (did you mean resnet18?)"),
    ("cup.png --model timm model.net.architecture=resnet1000", "timm has no such network (did you mean resnet"),
    ("text.jpg", "text.jpg cannot be read"),
    ("cut.png", "cut.png cannot be read"),
    ("empty", "empty is a folder: give one photograph, or run python -m benchmarks dataset=image_folder dataset.root=empty"),
    ("cup.png --method da_neg --rule pos", "--rule pos: the rule of da_neg is neg"),
    ("cup.png --method da_minimal_neg --rules 2", "regions that each suffice"),
    ("cup.png --fc 2", "fc=2"),
    ("cup.png --k three", "k='three': give a whole number"),
    ("cup.png --method ep --areas 0.1", "areas=0.1: give a list"),
    ("cup.png --model onnx", "model.weights is not given"),
    ("cup.png --weights junk.pth", "junk.pth is not a readable file of weights"),
    ("cup.png --device tpu --engine torch", "device 'tpu' cannot be used here"),
    ("cup.png --out nowhere/x.png", "--out nowhere/x.png: give a file in a folder that is there"),
    ("cup.png --fill green", "fill='green': choose black, mean, blur"),
]

OTHERS = [
    ("results", "verify absent", "there is no run absent"),
    ("results", "summary empty", "empty holds no run"),
    ("results", "verify empty --sample 0", "'0': give a number of at least 1"),
    ("results", "verfy empty", "invalid choice: 'verfy'"),
    ("da", "", "which photograph?"),
    ("da", "cup.png --k [1", "'[1' is no value"),
    ("da", "cup.png --method da_poss", "no such method (did you mean da_pos?)"),
    ("da", "cup.png method=da_neg", "give the method as --method NAME"),
    ("da", "cup.png --seed x", "invalid int value: 'x'"),
    ("benchmarks", "--methods da_pos", "unrecognized arguments: --methods"),
    ("benchmarks.tools.train_cifar100", "--root empty --out a.safetensors", "--download fetches CIFAR-100"),
    ("benchmarks.tools.train_cifar100", "--root empty --out a.pth", "give a name that ends in .safetensors"),
    ("benchmarks.tools.train_cifar100", "--folder empty --test-folder empty --out a.safetensors", "holds no image files"),
]


@pytest.mark.parametrize(("arguments", "code", "message"), BENCHMARKS)
def test_benchmarks(folder, tmp_path, arguments, code, message):
    words = arguments.split()
    said = called("benchmarks", *words, f"name={tmp_path.name}", *([] if "store=" in arguments else [f"store={tmp_path}"]), cwd=folder)
    errors = [line for line in said.stderr.splitlines() if line.startswith(("error:", "failed:"))]
    assert said.returncode == code
    assert message in " ".join(errors)
    assert "Traceback" not in said.stderr
    reasons = {line.partition("cannot run: ")[2] or line.partition(": ")[2] for line in errors}
    assert len(errors) <= 2 * len(reasons)  # when it happens or is seen to, and at the end, however many jobs fail by it
    assert len(reasons) == 1 or words[0] == "-m"


@pytest.mark.parametrize(("arguments", "message"), DA)
def test_da(folder, arguments, message):
    said = called("da", *arguments.split(), "--json", cwd=folder)
    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr.startswith("error: ")
    assert message in said.stderr
    assert said.stderr.count("\n") == 1


@pytest.mark.parametrize(("module", "arguments", "message"), OTHERS)
def test_others(folder, module, arguments, message):
    said = called(module, *arguments.split(), cwd=folder)
    assert (said.returncode, said.stdout) == (2, "")
    assert message in said.stderr
    assert "Traceback" not in said.stderr


@pytest.mark.parametrize(
    ("module", "arguments", "message"),
    [
        ("benchmarks", "method=da_poss", "no such method (did you mean da_pos?)"),
        ("da", "absent.jpg", "absent.jpg cannot be read"),
        ("results", "verify empty", "empty holds no run"),
        ("benchmarks.tools.train_cifar100", "--root empty --out a.pth", "give a name that ends in .safetensors"),
    ],
)
def test_commands_started_from_nothing_say_it_too(folder, module, arguments, message):
    said = started(module, *arguments.split(), cwd=folder)
    assert (said.returncode, said.stdout) == (2, "")
    assert message in said.stderr
    assert "Traceback" not in said.stderr


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("benchmarks", "method.k=three"),
        ("benchmarks", "method=da_poss"),
        ("da", "absent.jpg"),
        ("results", "verify empty"),
        ("benchmarks.tools.train_cifar100", "--folder empty --test-folder empty --out a.safetensors"),
    ],
)
def test_debug_shows_the_traceback(folder, module, arguments):
    said = called(module, *arguments.split(), "--debug", cwd=folder)
    assert said.returncode in (1, 2)
    assert "Traceback (most recent call last)" in said.stderr


def test_colours_are_off_where_nobody_sees_them_and_where_they_are_not_wanted(folder):
    piped = called("benchmarks", "method.k=three", cwd=folder)
    wanted = command("benchmarks", "method.k=three", cwd=folder, FORCE_COLOR="1")
    assert "\x1b[" not in piped.stderr
    assert "\x1b[31m" in wanted.stderr
    refused = command("benchmarks", "method.k=three", cwd=folder, FORCE_COLOR="1", NO_COLOR="1")
    assert "\x1b[31m" not in refused.stderr


def annotated(model, images, targets, *, rngs, k: int, share: float = 0.5, fill: str | list[float] = "black", free=None):
    """A method."""


def test_parameters_are_checked_by_name_and_type():
    check("method.", annotated, {"k": 3, "share": 1, "fill": [0.0, 1], "free": object()})
    check("method.", annotated, {"k": None, "share": 0.5}, unchecked=["k"])
    for given, message in (
        ({}, r"method\.k is needed by annotated"),
        ({"k": 3, "shar": 1}, r"did you mean share\?"),
        ({"k": 3.5}, "give a whole number"),
        ({"k": True}, "give a whole number"),
        ({"k": 3, "share": "half"}, "give a number"),
        ({"k": 3, "share": None}, "share=None: give a number"),
        ({"k": 3, "free": float("nan")}, "give finite numbers"),
        ({"k": 3, "fill": 4}, "give a valid string or a valid list"),
    ):
        with pytest.raises(ValueError, match=message):
            check("method.", annotated, given)
    check("method.", lambda model, images, targets, **anything: None, {"whatever": 1})
    check_settings(configured("select.count=3"))
    with pytest.raises(ValueError, match="measure_memory='perhaps'"):
        check_settings(OmegaConf.merge(configured(), {"measure_memory": "perhaps"}))


def test_suggestions_are_near():
    assert suggestion("da_poss", ["rise", "da_pos"]) == " (did you mean da_pos?)"
    assert suggestion("xyz", ["rise", "da_pos"]) == ""


@pytest.mark.slow
def test_a_wrong_value_does_not_spoil_the_runs_table(folder, tmp_path):
    """Hyper-parameters of one method may be of several types: a file's column has one."""
    mine = tmp_path / "loose.py"
    mine.write_text("def loose(model, images, targets, *, rngs, layer):\n    return images.mean(1)\n")
    for layer in ("1", "all", "null"):
        arguments = ["method._target_=loose.loose", f"+method.layer={layer}", "select.count=1", "benchmark.mar.points=2"]
        said = command("benchmarks", *arguments, cwd=tmp_path)
        assert said.returncode == 0, said.stderr
    summary = command("results", "summary", "runs/default", "--json", cwd=tmp_path)
    assert summary.returncode == 0, summary.stderr
    lines = json.loads(summary.stdout)
    assert {str(line["param.layer"]) for line in lines} == {"1", "all", "null"}
    assert all(np.isfinite(line["mar_first"]) for line in lines)


@pytest.mark.slow
def test_a_run_is_read_from_anywhere_and_says_what_is_not_alike_in_it(tmp_path):
    """And a bug in a method shows its traceback where that is asked for."""
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    (here / "mine.py").write_text(
        "def mine(model, images, targets, *, rngs, wrong=False):\n    return images.mean(1) if not wrong else images[7][1.5]\n"
    )
    few = ["benchmark=[mar]", "name=run"]
    said = command("benchmarks", "method=sobel", "select.count=2", "benchmark.mar.points=2", *few, cwd=here)
    assert "Note:" not in said.stdout
    said = command("benchmarks", "method=centre", "select.count=1", "benchmark.mar.points=3", *few, cwd=here)
    assert "Note: jobs of this run have other images than others (" in said.stdout
    assert re.search(r"method +select.count +benchmark.mar.points", said.stdout)  # other settings of the measures are columns
    assert re.search(r"centre +1 +3 .*\n +sobel +2 +2 ", said.stdout)
    assert "jobs of this run have other images than others (" in (here / "runs" / "run" / "index.html").read_text()
    wrong = ["method._target_=mine.mine", "+method.wrong=true", "select.count=2", "benchmark.mar.points=2", *few]
    said = command("benchmarks", *wrong, "--debug", cwd=here)
    assert said.stderr.count("images[7][1.5]") == 1
    assert "computed 0 of 2 images, 2 failed" in said.stderr
    said = command("benchmarks", "-m", "method=sobel,centre", "dataset=image_folder", "dataset.root=absent", *few, cwd=here)
    assert said.returncode == 1
    assert "Warning" not in said.stderr
    assert said.stdout == ""  # what lies there is of the commands before
    here.rename(there)
    summary = command("results", "summary", str(there / "runs" / "run"), "--json", cwd=tmp_path)
    assert {line["method"]: line["images"] for line in json.loads(summary.stdout)} == {"sobel": 2, "centre": 1, "mine": 0}
    shutil.rmtree(there / "runs" / "store")
    summary = command("results", "summary", str(there / "runs" / "run"), cwd=tmp_path)
    assert "runs/store, which is not there" in summary.stderr


def test_where_a_moved_module_is_now_is_said(tmp_path):
    (tmp_path / "old.py").write_text(
        "from benchmarks.datasets import demo\n\ndef maps(model, images, targets, *, rngs):\n    return images.mean(1)\n"
    )
    said = called("benchmarks", "method._target_=old.maps", "select.count=1", cwd=tmp_path)
    assert said.returncode == 1
    assert "; benchmarks.datasets is benchmarks.data now" in said.stderr
