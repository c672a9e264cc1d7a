"""Helpers of the tests of people's files."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.data.sets import Photograph, UnreadableError
from tests.corpus import gradient

STRANGERS = Path(__file__).parent


def make_theirs(place: Path) -> Path:
    """Write what ``images.py`` writes."""
    before, sys.argv = sys.argv, ["images.py", str(place)]
    try:
        runpy.run_path(str(STRANGERS / "images.py"), run_name="__main__")
    finally:
        sys.argv = before
    return place


def pixels(photograph: Photograph) -> np.ndarray:
    return np.asarray(photograph.load()).astype(int)


def outcome(photograph: Photograph) -> np.ndarray | str:
    """The pixels, or what is said instead."""
    try:
        return pixels(photograph)
    except UnreadableError as error:
        return str(error)


def picture(path: Path, image: Image.Image | None = None, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    (image or gradient()).save(path, **options)
    return path
