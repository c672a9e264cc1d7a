"""One photograph, explained: pictures in the right place, verified by the network itself, whatever the folder and the cache."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

import da.__main__
from benchmarks.app import explained, picture_file
from benchmarks.engines.engine import reference_engine
from benchmarks.inputs import places
from tests.app.conftest import COFFEE, FEW, TINY, own
from tests.commands import command, started


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
        names.append(picture_file.default_path(photo, photo, "rise").name)
        Image.new("RGB", (4, 4)).save(names[-1], pnginfo=of(photo))
    assert names == ["photo_rise.png", "photo.jpg_rise.png", "photo.PNG_rise.png", "photo_rise_2.png", "photo_rise.png"]
    (place / "sub").mkdir()
    shutil.copy("photo.png", "sub/photo.png")
    assert picture_file.default_path(Path("sub/photo.png"), Path("sub/photo.png"), "rise").name == "photo_rise_3.png"
    Path("photo_ep.png").write_bytes(Path("photo.png").read_bytes())  # of the user
    assert picture_file.default_path(Path("photo.png"), Path("photo.png"), "ep").name == "photo_ep_2.png"


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
    load = explained.load

    def other(model: str, engine: str):
        found, there = load(model, engine)

        class Opposite(torch.nn.Module):
            def forward(self, images: torch.Tensor) -> torch.Tensor:
                return -there.module(images)

        return found, replace(there, module=Opposite())

    monkeypatch.setattr(explained, "load", other)
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


def test_a_model_that_does_not_export_runs_by_torch_with_a_note(place, capsys, monkeypatch):
    own(place / "conf", model__odd=TINY.replace("tests.strangers.networks.make, kind: base", "unexportable.make"))
    (place / "unexportable.py").write_text(
        "import torch\nfrom tests.strangers.networks import make as plain\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.net = plain('base')\n"
        "    def forward(self, x):\n        return self.net(x + 0 * torch.special.bessel_j0(x))\n"
        "def make():\n    return Net()\n"
    )
    monkeypatch.syspath_prepend(place)
    code = da.__main__.main(["coffee", "--config-dir", "conf", "--model", "odd", "--iterations", "2", "--json"])
    out, err = capsys.readouterr()
    assert (code, json.loads(out)["engine"], json.loads(out)["verified"]) == (0, "torch", True), err
    assert err.count("note: engine=torch is used, since onnxruntime does not run this model: ") == 1
    assert da.__main__.main(["coffee", "--config-dir", "conf", "--model", "odd", "--engine", "onnxruntime"]) == 2


def test_what_is_given_to_da_is_used_or_refused(place, capsys, monkeypatch):
    seen = []
    monkeypatch.setattr(explained, "explain", lambda cfg, *of: seen.append((cfg.seed, cfg.engine.batch, str(cfg.engine._target_))) or {})
    monkeypatch.setattr(explained, "answer", lambda found, out: {})
    monkeypatch.setattr(explained, "words", lambda answer: "")
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


@pytest.mark.slow
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


@pytest.mark.slow
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
