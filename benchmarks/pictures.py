"""Stored attributions with the photographs they are of, for figures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hydra.utils import instantiate
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks.datasets import ImageSet, prepared
from benchmarks.job import image_key
from benchmarks.models import Preprocessing
from results.store import Arrays, ImageKey, Store

MOST_PICTURES = 16  # images drawn of a run


@dataclass(frozen=True)
class Pictured:
    """One image of a job. image: ``[h, w, 3]`` as the model sees it; words: the class and its probability."""

    key: ImageKey
    image: NDArray[np.float32]
    arrays: Arrays
    words: str


def pictured(record: dict[str, Any], most: int = MOST_PICTURES) -> Iterator[Pictured]:
    """The first images of a job that have an attribution."""
    store = Store(Path(record["store"]))
    images: ImageSet = instantiate(record["config"]["dataset"])
    photographs = {image_key(photograph): photograph for photograph in images.photographs}
    model = record["config"]["model"]
    mean, std = ((values[0], values[1], values[2]) for values in (model["mean"], model["std"]))
    preprocessing = Preprocessing(model["size"], model["crop_pct"], model["interpolation"], mean, std)
    index = store.index(record["keys"]["attribution"])
    wanted = [(image, content) for image, content, _ in record["images"] if (image, content) in index and (image, content) in photographs]
    predictions = store.rows(record["keys"]["prediction"], wanted[:most])
    for key in wanted[:most]:
        of_image = predictions[predictions["image"] == key[0]].set_index("metric")["value"]
        words = f"{record['class_names'][int(of_image['prediction'])]} {of_image['confidence']:.2f}"
        pixels = prepared(photographs[key], key[1], preprocessing).permute(1, 2, 0).numpy()
        yield Pictured(key, pixels, store.arrays(record["keys"]["attribution"], key), words)


def named(record: dict[str, Any]) -> str:
    """The model and the data set of a job, for titles."""
    return f"{record['model']}, {record['dataset']}"


def save(figure: Figure, stem: Path, *, pdf: bool = True) -> Iterator[Path]:
    """Write a figure as PNG and PDF."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    for suffix in (".png", ".pdf")[: 2 if pdf else 1]:
        path = stem.with_name(stem.name + suffix)
        figure.savefig(path, dpi=200)
        yield path
