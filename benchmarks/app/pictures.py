"""Stored attributions with the photographs that they are of, for figures and the page."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from numpy.typing import NDArray

from benchmarks.data.sets import ImageSet, Photograph, UnreadableError, prepared
from benchmarks.jobs.batch import image_key
from benchmarks.models.classifier import Preprocessing
from da.rng import image_rng
from results.artefacts.parts import MOST_PICTURES, ExplainedImage
from results.page.gallery import GalleryImage
from results.page.replay import replay
from results.store.store import Arrays, ImageKey, Store, unpacked

LOG = logging.getLogger(__name__)


def pictured(record: dict[str, Any], most: int = MOST_PICTURES) -> Iterator[ExplainedImage]:
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
        yield ExplainedImage(key, pixels, store.arrays(record["keys"]["attribution"], key), words, statuses[key[0]])


class ForPage:
    """What a page shows of jobs: photographs, maps, masks, and at most ``walks`` of the walks, each walked again."""

    def __init__(self, walks: int = 100) -> None:
        self.walks = walks

    def __call__(self, record: Mapping[str, Any], images: Collection[ImageKey]) -> Iterator[GalleryImage]:
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
                    yield GalleryImage(
                        image, pixels, arrays["saliency"], kept, self._walk(record, image, pixels, arrays, kept, statuses[image])
                    )

    def _walk(
        self, record: Mapping[str, Any], image: ImageKey, pixels: NDArray[np.float32], arrays: Arrays, kept: Any, status: str
    ) -> tuple[list[int], NDArray[np.bool_]] | None:
        ours = record["config"]["method"].get("_target_") == "da.dynamic_ablation"
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
