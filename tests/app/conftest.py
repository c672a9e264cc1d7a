"""A working folder as people have one, and the commands in it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.data.sets import demo
from benchmarks.inputs import own_folders
from tests.commands import Said, called

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
    own_folders.set_search_path(None)


@pytest.fixture
def bench(place):
    """``python -m benchmarks`` in this process, on a small network."""

    def call(*arguments: str, model: str = "model=tiny") -> Said:
        return called("benchmarks", "--config-dir", "conf", model, *arguments, cwd=place)

    return call


def own(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
