"""Command lines as people give them: names, paths, folders of their own, and pictures in the place of photographs."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from PIL import Image

import benchmarks.__main__
import da.__main__
import results.__main__
from benchmarks.app import explain as explain_command
from benchmarks.app import picture_file
from benchmarks.data.sets import demo
from benchmarks.engines.engine import reference_engine
from benchmarks.inputs import own_folders, places
from benchmarks.inputs.command_line import alone, as_given, elements, split_flags
from benchmarks.inputs.compose import composed
from benchmarks.inputs.messages import suggestion
from benchmarks.jobs.selection import judges_of
from tests.commands import Said, called, command, started

COFFEE = Path(str(demo().photographs[1].source))
TINY = """
_target_: benchmarks.models.build
name: tiny
weights: null
net: {_target_: tests.strangers.networks.make, kind: base}
classes: [a, b, c, d, e]
size: 64
crop_pct: 1.0
interpolation: bilinear
mean: [0.5, 0.5, 0.5]
std: [0.5, 0.5, 0.5]
rise_masks: 8
"""
FEW = ["dataset=image_folder", "dataset.root=photos", "benchmark=[mar]", "benchmark.mar.points=2"]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working folder with configurations of one's own, and the way back to the shipped ones."""
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "tiny.yaml").write_text(TINY)
    (tmp_path / "photos").mkdir()
    Image.open(COFFEE).resize((80, 64)).save(tmp_path / "photos" / "coffee.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")  # what a command sets is undone after the test
    monkeypatch.setenv("DA_DEBUG", "0")
    yield tmp_path
    own_folders.use(None)


@pytest.fixture
def bench(place):
    """``python -m benchmarks`` in this process, on a small network."""

    def call(*arguments: str, model: str = "model=tiny") -> Said:
        return called("benchmarks", "--config-dir", "conf", model, *arguments, cwd=place)

    return call


def read(override: str) -> object:
    """What Hydra makes of an override."""
    found = OverridesParser.create().parse_override(override)
    return [read(f"x={value}") for value in found.sweep_string_iterator()] if found.is_sweep_override() else found.value()


NAMES = ["2024_11_28", "1e3", "null", "true", "False", "0x10", "007", "1_000", "inf", "-nan", "off", "2024-11-28", "1:30", "-1", ".5", "1."]
NAMES += ["$HOME", "a b", " a ", "a=b", "it's", 'say "x"', "a (1)", "[2024] x", "{a: 1}", "été", "a#b", "a\\b", "~x", "50%", "NULL", "+1"]


@pytest.mark.parametrize("name", NAMES)
def test_names_are_text_as_given(name):
    (given,) = as_given([f"name={name}"])
    assert read(given) == name
    assert as_given([given]) == [given]  # in a worker, or given again
    for key in ("dataset.name", "model.name", "+method_name", "dataset.of.name"):
        if name.lower() != "null" or key != "+method_name":
            assert read(as_given([f"{key}={name}"])[0]) == name
    assert read(as_given([f"name=first,{name.strip()}"])[0]) == ["first", name.strip()]


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("model.weights=null,random", [None, "random"]),
        ("model.weights=1e3", "1e3"),
        ("method_name=null", None),
        ("select.correct_for=[1e3,resnet18]", ["1e3", "resnet18"]),
        ("select.correct_for=null", None),
        ("model.classes=[0,1e3,null,yes,'a,b']", ["0", "1e3", "null", "yes", "a,b"]),
        ("benchmark=[insertion,mar]", ["insertion", "mar"]),
        ("benchmark=[]", []),
        ('dataset.root="a,b"', "a,b"),
        ("dataset.root=a\\,b", "a,b"),
        ("name=choice(1e3,2)", ["1e3", "2"]),
        ("method=007,1e3", ["007", "1e3"]),
        ("dataset@dataset.of=2024", "2024"),
        ("out=runs/${name}_x", "runs/${name}_x"),
        ("seed=1,2", [1, 2]),  # a number stays one
        ("method.k=1e3", 1000.0),
        ("+method.layer=4", 4),
    ],
)
def test_what_is_text_and_what_is_not(override, value):
    assert read(as_given([override])[0]) == value


@pytest.mark.parametrize("name", ["", " ", ".", "..", "a/b", "/a", "store", "a\nb", "x,a/b", "choice(a,..)"])
def test_a_name_that_is_no_folder_of_its_own_is_refused(name):
    with pytest.raises(ValueError, match=r"^name="):
        as_given([f"name={name}"])


@pytest.mark.parametrize("key", ["method_name", "model.name", "dataset.name"])
def test_what_becomes_part_of_the_names_of_files_is_no_path(key):
    with pytest.raises(ValueError, match="leave out the /"):
        as_given([f"{key}=x/../y"])


def test_names_in_files_are_text_or_refused():
    assert composed("name=2024_11_28").out == "runs/2024_11_28"
    assert composed('name="a,b"', "out=x").out == "x"
    with pytest.raises(ValueError, match=r"name=20241128: not text where it is written"):
        places.check_name(20241128)
    with pytest.raises(ValueError, match="is in the store"):
        places.run_folder("/a", "runs/store", "/a/runs/store")
    with pytest.raises(ValueError, match="is in the store"):
        places.run_folder("/a", "s/x", "s")
    assert places.run_folder("/a", "x", "x/store") == "/a/x"


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


def own(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


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
    own_folders.use("conf")
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
    assert own_folders.use(None) == []
    assert composed("method=rise").method._target_ == "baselines.rise"


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


def test_flags_and_overrides_are_told_apart():
    flags, overrides = split_flags(["a=1", "-m", "--cfg", "job", "b=2", "--info", "c=3", "-cd", "x", "--multi", "--config-d", "y"])
    assert flags == [["-m"], ["--cfg", "job"], ["--info"], ["-cd", "x"], ["--multi"], ["--config-d", "y"]]
    assert overrides == ["a=1", "b=2", "c=3"]
    assert alone(["k=1"], ["-m", "-cd", "x", "k=1,2", "hydra.mode=MULTIRUN", "hydra.job.name=a", "-cn", "mine"]) == [
        *["-cd", "x", "-cn", "mine", "hydra.job.name=a", "k=1"]
    ]
    assert elements("a,'b,c',${d:e,f},[g,h],i\\,j") == ["a", "'b,c'", "${d:e,f}", "[g,h]", "i\\,j"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("benchmark.eclique.step=4", "the measure eclique is not chosen: give benchmark=[insertion,mar,eclique], too"),
        ("benchmark=[mar] benchmark.insertion.fill=mean", "the measure insertion is not chosen: give benchmark=[mar,insertion], too"),
        ("benchmark.marr.points=4", "there is no measure marr (did you mean mar?)"),
        ("benchmark.mar.pints=4", "no key benchmark.mar.pints (did you mean points?)"),
        ("select.cout=3", "no key select.cout (did you mean count?); select has count, order, correct_for"),
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


def test_a_suggestion_is_never_what_was_refused():
    assert suggestion("rise", ["rise", "da_pos"]) == ""
    assert suggestion("rise", ["rise", "rises"]) == " (did you mean rises?)"


def explain(capsys, *arguments: str) -> tuple[int, str, str]:
    """``python -m da`` in this process, with a small network."""
    code = da.__main__.main(["--config-dir", "conf", "--model", "tiny", "--iterations", "3", *arguments])
    return code, *capsys.readouterr()


def test_a_photograph_is_never_overwritten(place, capsys):
    shutil.copy(COFFEE, "cup.png")
    Path("link.png").symlink_to("cup.png")
    os.link("cup.png", "hard.png")
    before = Path("cup.png").read_bytes()
    for out in ("cup.png", "link.png", "hard.png", "CUP.png", str(place / "cup.png"), "conf/model/tiny.yaml", "cup"):
        code, _, err = explain(capsys, "cup.png", "--out", out)
        assert (code, err.count("\n")) == (2, 1), out
        assert err.startswith(f"error: --out {out}")
    code, _, err = explain(capsys, "coffee", "--out", str(COFFEE))
    assert code == 2
    assert Path("cup.png").read_bytes() == before


def test_the_picture_that_is_named_is_the_one_that_was_written(place, capsys):
    code, out, _ = explain(capsys, "coffee", "--json", "--out", "explained")
    answer = json.loads(out)
    assert (code, answer["picture"], answer["verified"], answer["engine"]) == (0, "explained.png", True, "onnxruntime")
    assert Path("explained.png").read_bytes().startswith(b"\x89PNG")
    assert explain(capsys, "coffee", "--out", "a.PDF")[0] == 0
    assert Path("a.PDF").read_bytes().startswith(b"%PDF")
    code, _, err = explain(capsys, "coffee", "--out", "x.dat")
    assert (code, err.count("\n")) == (2, 1)
    assert ".dat is no kind of picture" in err


def test_default_pictures_of_different_photographs_are_different_files(place):
    for name in ("photo.png", "photo.jpg", "photo.PNG", "photo"):
        Image.open(COFFEE).resize((64, 64)).convert("RGB").save(name, "PNG")
    names = []
    for photo in map(Path, ("photo.png", "photo.jpg", "photo.PNG", "photo", "photo.png")):
        names.append(picture_file.by_default(photo, photo, "rise").name)
        Image.new("RGB", (4, 4)).save(names[-1], pnginfo=of(photo))
    assert names == ["photo_rise.png", "photo.jpg_rise.png", "photo.PNG_rise.png", "photo_rise_2.png", "photo_rise.png"]
    (place / "sub").mkdir()
    shutil.copy("photo.png", "sub/photo.png")
    assert picture_file.by_default(Path("sub/photo.png"), Path("sub/photo.png"), "rise").name == "photo_rise_3.png"
    Path("photo_ep.png").write_bytes(Path("photo.png").read_bytes())  # of the user
    assert picture_file.by_default(Path("photo.png"), Path("photo.png"), "ep").name == "photo_ep_2.png"


def of(photo: Path):
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    for name, value in (picture_file.metadata(Path("x.png"), photo) or {}).items():
        info.add_text(name, value)
    return info


def test_verified_is_by_the_network_itself(place, capsys, monkeypatch):
    from dataclasses import replace

    code, out, _ = explain(capsys, "coffee", "--json")
    assert json.loads(out)["verified"] is True
    load = explain_command.load

    def other(model: str, engine: str):
        found, there = load(model, engine)

        class Opposite(torch.nn.Module):
            def forward(self, images: torch.Tensor) -> torch.Tensor:
                return -there.module(images)

        return found, replace(there, module=Opposite())

    monkeypatch.setattr(explain_command, "load", other)
    code, out, _ = explain(capsys, "coffee", "--json")
    assert (code, json.loads(out)["verified"]) == (0, False)
    code, out, _ = explain(capsys, "coffee")
    assert "NOT verified: a masked image does not satisfy the rule. Asked was onnxruntime" in out


def test_the_network_itself_is_asked_in_eval_without_gradients_and_left_as_it_was(lite0_engine):
    modes = []

    class Watched(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            modes.append((self.training, torch.is_grad_enabled(), len(images)))
            return images.mean((2, 3))

    module = Watched().train()
    engine = reference_engine(places_replace(lite0_engine, module))
    engine.forward(torch.rand(4, 3, 8, 8))
    assert modes == [(False, False, 4)]
    assert module.training


def places_replace(engine, module):
    from dataclasses import replace

    return replace(engine, module=module, device=torch.device("cpu"))


def test_a_model_that_does_not_export_runs_by_torch_with_a_note(place, capsys):
    own(place / "conf", model__odd=TINY.replace("tests.strangers.networks.make, kind: base", "unexportable.make"))
    (place / "unexportable.py").write_text(
        "import torch\nfrom tests.strangers.networks import make as plain\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.net = plain('base')\n"
        "    def forward(self, x):\n        return self.net(x + 0 * torch.special.bessel_j0(x))\n"
        "def make():\n    return Net()\n"
    )
    sys.path.insert(0, str(place))
    try:
        code = da.__main__.main(["coffee", "--config-dir", "conf", "--model", "odd", "--iterations", "2", "--json"])
        out, err = capsys.readouterr()
        assert (code, json.loads(out)["engine"], json.loads(out)["verified"]) == (0, "torch", True), err
        assert err.count("note: engine=torch is used, since onnxruntime does not run this model: ") == 1
        assert da.__main__.main(["coffee", "--config-dir", "conf", "--model", "odd", "--engine", "onnxruntime"]) == 2
    finally:
        sys.path.remove(str(place))
        sys.modules.pop("unexportable", None)


def test_what_is_given_to_da_is_used_or_refused(place, capsys, monkeypatch):
    seen = []
    monkeypatch.setattr(
        explain_command, "explain", lambda cfg, *of: seen.append((cfg.seed, cfg.engine.batch, str(cfg.engine._target_))) or {}
    )
    monkeypatch.setattr(explain_command, "words", lambda answer: "")
    assert explain(capsys, "coffee", "seed=5", "engine=torch", "engine.batch=3")[0] == 0
    assert seen[0] == (5, 3, "benchmarks.engines.torch_engine")
    for arguments in (
        ["coffee", "dataset=demo"],
        ["coffee", "name=x"],
        ["coffee", "other.png"],
        ["coffee", "--rul", "x"],
        ["coffee", "--nothing"],
    ):
        with pytest.raises(SystemExit) as ended:
            explain(capsys, *arguments)
        assert ended.value.code == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_no_rule_of_another_kind_is_worded(place, capsys):
    code = da.__main__.main(
        [
            "coffee",
            "--config-dir",
            "conf",
            "--model",
            "tiny",
            "--method",
            "da_minimal_share",
            "--rule",
            "neg",
            "--budget",
            "20",
            "--walk",
            "5",
        ]
    )
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert err.endswith("the regions of da_minimal_share are of rule pos; for neg there are da_neg and da_minimal_neg\n")


@pytest.mark.parametrize("variables", [{"HOME": ""}, {"HOME": "/nonexistent"}, {"XDG_CACHE_HOME": "/proc/nothing"}])
def test_without_a_cache_that_can_be_written(place, monkeypatch, variables, tmp_path):
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR"):
        monkeypatch.setenv(name, "")  # so that what is set here goes with the test
        monkeypatch.delenv(name)
    home = variables.get("HOME", str(tmp_path))
    monkeypatch.setattr(places.os.path, "expanduser", lambda path: home or path)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    at_the_end = []
    monkeypatch.setattr(places.atexit, "register", lambda *of: at_the_end.append(of))
    said = places.ensure_cache()
    folder = Path(os.environ["XDG_CACHE_HOME"])
    assert "a temporary one is used" in said
    assert folder.is_dir()
    assert places.writable(folder / "dynamic-ablation")
    assert places.ensure_cache() == ""  # now there is one
    ((function, *arguments),) = at_the_end
    function(*arguments)
    assert not folder.exists()
    assert not Path("/nonexistent").exists()


def test_a_photograph_without_a_home_from_nothing(place):
    said = started(
        "da",
        "coffee",
        "--config-dir",
        "conf",
        "--model",
        "tiny",
        "--iterations",
        "2",
        "--json",
        cwd=place,
        HOME="/nonexistent",
        XDG_CACHE_HOME="",
    )
    assert said.returncode == 0, said.stderr
    assert said.stderr.count("\n") == 1
    assert said.stderr.startswith("note: no cache can be written in /nonexistent: a temporary one is used")


def test_a_folder_that_cannot_be_written(place, capsys, monkeypatch):
    monkeypatch.chdir("/proc")
    code = da.__main__.main(["coffee", "--config-dir", str(place / "conf"), "--model", "tiny", "--iterations", "1"])
    assert code == 2
    assert capsys.readouterr().err == "error: no picture can be written in /proc: give --out FILE in another folder\n"


def test_a_folder_whose_name_is_no_utf_8(place):
    odd = os.fsdecode(os.fsencode(place) + b"/odd \xff")
    shutil.copytree(place / "conf", f"{odd}/conf")
    shutil.copy(COFFEE, f"{odd}/" + os.fsdecode(b"cup \xfe.png"))
    small = ["--config-dir", "conf", "--model", "tiny", "--iterations", "2"]
    said = started("da", f"{odd}/" + os.fsdecode(b"cup \xfe.png"), *small, "--json", cwd=Path(odd))
    assert said.returncode == 0, said.stderr
    assert os.path.exists(json.loads(said.stdout)["picture"]) or os.path.exists(os.path.join(odd, json.loads(said.stdout)["picture"]))
    run_it = ["--config-dir", "conf", "model=tiny", "method=sobel", *FEW, "dataset=image_folder", "dataset.root=."]
    said = command("benchmarks", "-m", *run_it, cwd=Path(odd))
    assert said.returncode == 0, said.stderr
    assert (Path(odd) / "runs" / "default" / "index.html").exists()


def test_verify_from_elsewhere_and_where_something_is_gone(bench, place, capsys, monkeypatch):
    code, _, err = bench("method=sobel", "dataset=image_folder", "dataset.root=photos", "benchmark=[]", "name=v")
    assert code == 0, err
    (place / "other").mkdir()
    monkeypatch.chdir(place / "other")
    assert results.__main__.main(["verify", "../runs/v"]) == 0
    capsys.readouterr()
    (place / "photos").rename(place / "moved")
    assert one_line(capsys, "verify", "../runs/v") == (2, "'photos' is not a folder")
    (place / "photos").mkdir()
    Image.new("RGB", (64, 64)).save(place / "photos" / "coffee.png")
    assert one_line(capsys, "verify", "../runs/v") == (2, "the image is gone or has changed")
    shutil.copy(place / "moved" / "coffee.png", place / "photos")
    path = next((place / "runs" / "v" / "jobs").glob("*.json"))
    record = json.loads(path.read_text())
    for where, value, said in (
        ("model", "missing_package.net", "missing_package"),
        ("engine", "benchmarks.engines.none_engine", "none_engine"),
    ):
        changed = json.loads(json.dumps(record))
        changed["config"][where]["_target_"] = value
        path.write_text(json.dumps(changed))
        assert one_line(capsys, "verify", "../runs/v") == (2, said)


def one_line(capsys, *arguments: str) -> tuple[int, str]:
    """The exit code, and the last words of the only line: those that a test asks for."""
    code = results.__main__.main(list(arguments))
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    known = ("'photos' is not a folder", "the image is gone or has changed", "missing_package", "none_engine")
    return code, next((words for words in known if words in err), err)


def test_results_commands_in_one_line(place, capsys):
    (place / "file").write_text("")
    (place / "empty").mkdir()
    for name in ("summary", "verify", "compare", "page", "status", "compact"):
        for given in ("file", "empty", "~/empty", "~nobody_here/x", "absent"):
            try:
                code = results.__main__.main([name, given])
            except SystemExit as ended:
                code = ended.code
            out, err = capsys.readouterr()
            assert (code, out, err.count("\n")) == (2, "", 1), (name, given, err)
            assert err.startswith("error: ")
    for arguments in (["verfy", "x"], ["summary"], ["summary", "x", "--jsn"], ["verify", "x", "--sample", "none"], []):
        with pytest.raises(SystemExit) as ended:
            results.__main__.main(arguments)
        assert ended.value.code == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_a_summary_over_nothing_is_a_failure(bench, place, capsys):
    (place / "photos" / "coffee.png").write_bytes(b"no picture")
    assert bench("method=sobel", "dataset=image_folder", "dataset.root=photos", "benchmark=[]", "name=none")[0] == 1
    assert results.__main__.main(["summary", "runs/none"]) == 1
    assert "error: no image of method sobel, model tiny, dataset image_folder has a number" in capsys.readouterr().err


@pytest.mark.parametrize(("script", "main_of"), [(da.__main__.script, explain_command), (results.__main__.script, results.__main__)])
def test_an_interruption_has_its_code(script, main_of, monkeypatch, capsys):
    def interrupted(arguments: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(main_of, "main", interrupted)
    assert script() == 130
    assert capsys.readouterr().err == "interrupted\n"
