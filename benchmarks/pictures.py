"""Stored attributions with the photographs they are of, for figures."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks.attribute import unpacked
from benchmarks.datasets import ImageSet, Photograph, UnreadableError, prepared
from benchmarks.job import image_key
from benchmarks.models import Preprocessing
from benchmarks.provenance import target_name
from benchmarks.rng import image_rng
from benchmarks.walks import replay
from da.walk import dynamic_ablation
from results.figures import to_file
from results.gallery import Picture
from results.store import Arrays, ImageKey, Store

LOG = logging.getLogger(__name__)

MOST_PICTURES = 16  # images drawn of a run


@dataclass(frozen=True)
class Pictured:
    """One image of a job. image: ``[h, w, 3]`` as the model sees it; words: the class and its probability; status: of the attribution."""

    key: ImageKey
    image: NDArray[np.float32]
    arrays: Arrays
    words: str
    status: str


def pictured(record: dict[str, Any], most: int = MOST_PICTURES) -> Iterator[Pictured]:
    """The first images of a job that have an attribution."""
    store = Store(Path(record["store"]))
    photographs, preprocessing = _photographs(record), _preprocessing(record)
    index = store.index(record["keys"]["attribution"])
    wanted = [(image, content) for image, content, _ in record["images"] if (image, content) in index and (image, content) in photographs]
    if not (wanted := wanted[:most]):
        return
    predictions, attributions = (store.rows(record["keys"][name], wanted) for name in ("prediction", "attribution"))
    statuses = dict(zip(attributions["image"], attributions["status"], strict=True))
    for key in wanted:
        of_image = predictions[predictions["image"] == key[0]].set_index("metric")["value"]
        words = f"{record['class_names'][int(of_image['prediction'])]} {of_image['confidence']:.2f}"
        try:
            pixels = prepared(photographs[key], key[1], preprocessing).permute(1, 2, 0).numpy()
        except UnreadableError:
            continue
        yield Pictured(key, pixels, store.arrays(record["keys"]["attribution"], key), words, statuses[key[0]])


class ForPage:
    """What a page shows of jobs: photographs, maps, masks, and at most ``walks`` of the walks, each walked again."""

    def __init__(self, walks: int = 100) -> None:
        self.walks = walks

    def __call__(self, record: Mapping[str, Any], images: Collection[ImageKey]) -> Iterator[Picture]:
        """Those of the images that the job has an attribution and a photograph of. Parts of the store are read once."""
        try:
            photographs, preprocessing = _photographs(record), _preprocessing(record)
        except (InstantiationException, ValueError, OSError) as error:
            LOG.warning("the page shows no photographs of %s: %s", record["dataset"], " ".join(str(error).split())[:200])
            return
        store, key = Store(Path(record["store"])), record["keys"]["attribution"]
        index = store.index(key)
        status = store.rows(key, [image for image in images if image in index])
        statuses = dict(zip(zip(status["image"], status["digest"], strict=True), status["status"], strict=True)) if len(status) else {}
        for part in dict.fromkeys(index[image] for image in images if image in index):
            for image, arrays in store.arrays_of(key, [image for image in images if index.get(image) == part]).items():
                if image in images and image in photographs and index.get(image) == part:
                    try:
                        pixels = prepared(photographs[image], image[1], preprocessing).permute(1, 2, 0).numpy()
                    except UnreadableError:
                        continue
                    kept = unpacked(arrays["kept"], pixels.shape[:2]) if "kept" in arrays else None
                    yield Picture(image, pixels, arrays["saliency"], kept, self._walk(record, image, pixels, arrays, kept, statuses[image]))

    def _walk(
        self, record: Mapping[str, Any], image: ImageKey, pixels: NDArray[np.float32], arrays: Arrays, kept: Any, status: str
    ) -> tuple[list[int], NDArray[np.bool_]] | None:
        ours = record["config"]["method"].get("_target_") == target_name(dynamic_ablation)
        if not ours or not self.walks or "trace_accepted" not in arrays:
            return None
        self.walks -= 1
        rng = image_rng(record["seed"], "method", image[0])
        walk = replay(pixels, arrays["trace_accepted"], kept, status=status, parameters=record["parameters"], rng=rng)
        return (walk.steps, walk.masks) if walk else None


def _photographs(record: Mapping[str, Any]) -> dict[ImageKey, Photograph]:
    images: ImageSet = instantiate(record["config"]["dataset"])
    return {image_key(photograph): photograph for photograph in images.photographs}


def _preprocessing(record: Mapping[str, Any]) -> Preprocessing:
    model = record["config"]["model"]
    mean, std = ((values[0], values[1], values[2]) for values in (model["mean"], model["std"]))
    return Preprocessing(model["size"], model["crop_pct"], model["interpolation"], mean, std)


def named(record: dict[str, Any]) -> str:
    """The model and the data set of a job, for titles."""
    return f"{record['model']}, {record['dataset']}"


def counted(images: Iterable[int]) -> str:
    """``7 images``, or ``3 to 7 images`` where not all lines are of as many."""
    least, most = min(counts := list(images)), max(counts)
    return f"{most} images" if least == most else f"{least} to {most} images"


def save(figure: Figure, stem: Path, *, pdf: bool = True) -> Iterator[Path]:
    """Write a figure as PNG and PDF."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    for suffix in (".png", ".pdf")[: 2 if pdf else 1]:
        yield to_file(figure, stem.with_name(stem.name + suffix))
