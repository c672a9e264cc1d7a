"""The images of a job: those of its data set that its rule selects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

from hydra.errors import HydraException
from hydra.utils import instantiate

from benchmarks.data.decoding import UnreadableError
from benchmarks.data.derived import correct_for_all, select
from benchmarks.data.photographs import ImageSet, Mosaic, Photograph, prepared
from benchmarks.engines.loading import load
from benchmarks.engines.views import LabelView
from benchmarks.inputs.compose import as_json, composed
from benchmarks.inputs.messages import cause
from da.rng import image_rng


def selected_images(dataset: Mapping[str, Any], rule: Mapping[str, Any], seed: int, judges: Mapping[str, str], engine: str) -> ImageSet:
    """The data set's selected images.

    Parameters
    ----------
    dataset : mapping
        The configuration of the data set.
    rule : mapping
        ``select`` of the configuration.
    seed : int
        Of a random order.
    judges : mapping of str to str
        See ``judges_of``; only images that all these models classify correctly are taken.
    engine : str
        JSON of the engine's configuration, by which they do.
    """
    images: ImageSet = instantiate(dataset)
    if not judges:
        return part_of(ordered(images, rule, seed, rule["count"]), rule.get("part"), seed)
    shuffled = ordered(images, rule, seed)
    classifiers = [partial(class_of, model, engine) for model in judges.values()]
    return part_of(correct_for_all(shuffled, classifiers, n=rule["count"]), rule.get("part"), seed)


def ordered(images: ImageSet, rule: Mapping[str, Any], seed: int, count: int | None = None) -> ImageSet:
    """Images in the order of a rule, without those that it leaves out: as many, or None for all, whatever the models say of them."""
    return select(images, n=count, order=rule["order"], seed=seed, skip=rule.get("skip") or 0)


def part_of(images: ImageSet, part: str | None, seed: int) -> ImageSet:
    """One half of the selected images: ``tune``, or the others, ``held_back``; None is all of them.

    Drawn by the seed and the content, so that copies of a photograph are on one side. Raises ValueError where the images are too few, or
    mosaics, in which photographs recur.
    """
    if part is None:
        return images
    if any(isinstance(photograph, Mosaic) for photograph in images.photographs):
        raise ValueError(f"select.part={part}: mosaics cannot be divided, since photographs recur in several of them")
    content = [content_of(photograph) for photograph in images.photographs]
    order = sorted(content, key=lambda one: (image_rng(seed, "part", one).random(), one))
    tuned = set(order[: (len(order) + 1) // 2])
    half = tuple(one for one, key in zip(images.photographs, content, strict=True) if (key in tuned) == (part == "tune"))
    if len(tuned) == len(set(order)):
        raise ValueError(f"select.part={part}: {len(tuned)} image cannot be divided; select at least 2, of different content")
    return replace(images, photographs=half)


def content_of(photograph: Photograph) -> str:
    """What copies of a photograph have in common, its name where it cannot be read."""
    try:
        return photograph.digest()
    except UnreadableError:
        return photograph.id


def judges_of(rule: Mapping[str, Any], model: str) -> dict[str, str]:
    """JSON of the configuration of each model of ``select.correct_for``: a name of ``conf/model``, or ``model``, the job's own."""
    found = {}
    for name in rule["correct_for"] or ():
        try:
            found[str(name)] = model if name == "model" else as_json(composed(f"model={name}").model)
        except HydraException as error:
            raise ValueError(f"select.correct_for: {cause(error)}") from None
    return found


def accuracies(
    dataset: Mapping[str, Any], rule: Mapping[str, Any], seed: int, judges: Mapping[str, str], engine: str, chosen: ImageSet
) -> dict[str, float]:
    """Accuracy of the models that an image had to please, over the images looked at to find the chosen ones, and how many these were."""
    if not judges:
        return {}
    every = ordered(instantiate(dataset), rule, seed).photographs
    looked = [photograph for photograph in every[: every.index(chosen.photographs[-1]) + 1] if photograph.label is not None]
    found: dict[str, float] = {"images": len(looked)}
    for name, model in judges.items():
        found[name] = sum(class_of(model, engine, photograph) == photograph.label for photograph in looked) / len(looked)
    return found


def class_of(model_json: str, engine_json: str, photograph: Photograph) -> int | None:
    """The class a model gives to a photograph, None where it cannot be read."""
    try:
        return _class_of(model_json, engine_json, photograph, f"{photograph!r} {photograph.digest()}")
    except UnreadableError:
        return None


@lru_cache(maxsize=100_000)
def _class_of(model_json: str, engine_json: str, photograph: Photograph, source: str) -> int | None:
    """Remembered, ``source`` telling photographs of one name apart."""
    model, engine = load(model_json, engine_json)
    try:
        pixels = prepared(photograph, photograph.digest()[:16], model.preprocessing)
    except UnreadableError:
        return None
    return int(LabelView(engine)(pixels[None].to(engine.device)))
