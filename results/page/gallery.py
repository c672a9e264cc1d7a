"""Photographs and maps for a page: small, 8-bit, embedded as text.

A map is kept as the places of its pixels in the order of importance, 256 levels of them, and as the values at 33 of those places: the page
makes of it the map as well as the image at the top p % of the map.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, UInt8
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import rankdata

from results import metrics
from results.store.store import FAILED, ImageKey

MAP_SIDES = (128, 96, 80, 64, 48)  # of a map on the page, pixels
PHOTOGRAPH = 224  # at most
MAX_BYTES = 32e6  # of all maps: an e-mail for a small run, and for a large one a page that opens at once
MOST_MAPS = 6000
MOST_COLUMNS = 32
QUANTILES = 33


@dataclass(frozen=True)
class GalleryImage:
    """One image of a job. image: ``[h, w, 3]`` in [0, 1] as the model sees it; kept: the final mask; walk: steps and masks of a walk."""

    key: ImageKey
    image: Float[np.ndarray, "h w 3"]
    saliency: Float[np.ndarray, "h w"]
    kept: Bool[np.ndarray, "h w"] | None = None
    walk: tuple[list[int], NDArray[np.bool_]] | None = None


GallerySource = Callable[[Mapping[str, Any], Collection[ImageKey]], Iterable[GalleryImage]]  # the pictures of a job's images


@dataclass
class Gallery:
    """A row per image, a column per configuration.

    columns: what is common to a column. rows: what is known of an image in each column. pictures: for each row, its photographs and
    maps, apart from the rows so that a page can read them when they are looked at. left_out: what is not shown, in words.
    """

    columns: list[dict[str, Any]]
    rows: list[dict[str, Any]]
    pictures: list[dict[str, Any]]
    side: int
    left_out: list[str] = field(default_factory=list)

    @property
    def walks(self) -> int:
        """How many walks can be followed."""
        return sum(len(steps) > 1 for shown in self.pictures for _, _, steps in shown.get("masks", {}).values())


def gallery(rows: pd.DataFrame, records: Sequence[Mapping[str, Any]], pictures: GallerySource, first: Sequence[str] = ()) -> Gallery:
    """The gallery of a run.

    rows: as ``tables.load`` gives them. pictures: where photographs and maps come from. first: images that are shown before the
    others. Columns beyond ``MOST_COLUMNS`` and images beyond ``MOST_MAPS`` are left out, and it is said.
    """
    jobs = _jobs(rows, records)
    names, left_out = list(jobs), []
    if len(names) > MOST_COLUMNS:
        names = [names[i] for i in np.linspace(0, len(names) - 1, MOST_COLUMNS).astype(int)]
        left_out.append(f"{MOST_COLUMNS} of {len(jobs)} configurations are shown")
    keys = list(dict.fromkeys((jobs[name]["dataset"], *image[:2]) for name in names for image in jobs[name]["images"]))
    place = {image: i for i, image in enumerate(first)}
    keys.sort(key=lambda key: place.get(key[1], len(place)))
    if len(keys) * len(names) > MOST_MAPS:
        left_out.append(f"the first {MOST_MAPS // len(names)} of {len(keys)} images are shown")
        keys = keys[: MOST_MAPS // len(names)]
    side = next((side for side in MAP_SIDES if len(keys) * len(names) * side**2 * 0.8 <= MAX_BYTES), MAP_SIDES[-1])
    made = Gallery([], [{"id": image, "set": dataset, "cells": {}} for dataset, image, _ in keys], [{} for _ in keys], side, left_out)
    of_key = {key: i for i, key in enumerate(keys)}
    levels_of: list[list[UInt8[np.ndarray, "side side"]]] = [[] for _ in keys]
    for c, name in enumerate(names):
        record = jobs[name]
        of = rows[rows["job"] == record["job"]]
        made.columns.append(_column(name, record, of))
        for image, cell in _cells(of, record):
            if (i := of_key.get((record["dataset"], *image))) is not None:
                made.rows[i]["cells"][c] = cell
        wanted = {key[1:] for key in keys if key[0] == record["dataset"]}
        for picture in pictures(record, wanted):
            i = of_key[record["dataset"], *picture.key]
            shown, small = made.pictures[i], min(side, *picture.saliency.shape)
            photographs = shown.setdefault("photographs", {})
            if (which := made.columns[c]["photograph"]) not in photographs:
                photographs[which] = photograph(picture.image)
            levels, values = rank_map(picture.saliency, small)
            levels_of[i].append(levels)
            shown.setdefault("maps", {})[c] = [png(levels), values]
            masks = picture.walk[1] if picture.walk else picture.kept[None] if picture.kept is not None else None
            if masks is not None:
                steps = picture.walk[0] if picture.walk else []
                shares = [round(float(mask.mean()), 4) for mask in masks]
                shown.setdefault("masks", {})[c] = [mask_strip_png(masks, small), shares, steps]
    for row, several in zip(made.rows, levels_of, strict=True):
        row["disagreement"] = disagreement(several)
    return made


def rank_map(saliency: Float[np.ndarray, "h w"], side: int) -> tuple[UInt8[np.ndarray, "side side"], list[int]]:
    """A map made small: each pixel's place in the order of importance, 255 the most important, and the map's values at ``KNOTS`` places.

    Values run from 0 to 255 over the map's own range; pixels that tie share a place.
    """
    ranks = downsampled(rankdata(saliency).reshape(saliency.shape), side)
    places = (rankdata(ranks.round(3)) - 1).reshape(side, side) / max(side * side - 1, 1)
    values = np.sort(downsampled(saliency, side), axis=None)
    low, high = float(values[0]), float(values[-1])
    scaled = (values - low) / (high - low) if high > low else np.zeros_like(values)
    knots = np.quantile(scaled, np.linspace(0, 1, QUANTILES))
    return np.round(255 * places).astype(np.uint8), [round(255 * float(value)) for value in knots]


def downsampled(values: NDArray[Any], side: int) -> NDArray[np.float32]:
    """Means over the squares of a grid of ``side`` by ``side``."""
    return np.asarray(Image.fromarray(values.astype(np.float32)).resize((side, side), Image.Resampling.BOX))


def png(levels: UInt8[np.ndarray, "h w"]) -> str:
    """A grey picture as base64."""
    return _encoded(Image.fromarray(levels), "PNG", optimize=True)


def mask_strip_png(masks: Bool[np.ndarray, "n h w"], side: int) -> str:
    """Masks below each other, one bit a pixel, as base64."""
    frames = np.concatenate([downsampled(mask, side) >= 0.5 for mask in masks])
    return _encoded(Image.fromarray(frames), "PNG", optimize=True)


def photograph(image: Float[np.ndarray, "h w 3"]) -> str:
    """A photograph as base64 WebP, lossless where it is tiny."""
    picture = Image.fromarray(np.round(255 * image).astype(np.uint8))
    tiny = max(picture.size) <= 64
    picture.thumbnail((PHOTOGRAPH, PHOTOGRAPH))
    return _encoded(picture, "WEBP", lossless=tiny, quality=78)


def disagreement(levels: Sequence[UInt8[np.ndarray, "side side"]]) -> float | None:
    """One minus the mean rank correlation of an image's maps, two by two; constant maps are left out, and None with fewer than two."""
    flat = [level.ravel().astype(float) for level in levels if level.min() < level.max()]
    if len(flat) < 2 or len({len(one) for one in flat}) > 1:
        return None
    correlations = np.corrcoef(flat)[np.triu_indices(len(flat), 1)]
    return round(float(1 - correlations.mean()), 4)


def _encoded(picture: Image.Image, form: str, **options: Any) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return base64.b64encode(buffer.getvalue()).decode()


def _jobs(rows: pd.DataFrame, records: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The record behind each column, in the order of the rows; under several seeds a configuration has a column for each."""
    of_job = {record["job"]: record for record in records}
    told = rows.drop_duplicates("job")
    names = told["configuration"].where(
        ~told["configuration"].duplicated(keep=False), told["configuration"] + " seed=" + told["seed"].astype(str)
    )
    return {name: of_job[job] for name, job in zip(names, told["job"], strict=True)}


def _column(name: str, record: Mapping[str, Any], rows: pd.DataFrame) -> dict[str, Any]:
    model, game = record["config"]["model"], (record["config"]["benchmark"] or {}).get("insertion") or {}
    shares = sorted(rows.loc[rows["metric"] == "insertion_consistency", "x"].dropna().unique().tolist())
    shown = json.dumps([model.get(name) for name in ("size", "crop_pct", "interpolation")])
    return {
        "name": name,
        "method": record["method"],
        "model": record["model"],
        "shares": shares,
        "fill": game.get("fill"),
        "photograph": shown,
    }


def _cells(rows: pd.DataFrame, record: Mapping[str, Any]) -> Iterator[tuple[ImageKey, dict[str, Any]]]:
    """What is known of each image: status, classes, decisions at each kept share (``1`` the whole image's class), and metrics."""
    single = rows[rows["x"].isna()].pivot_table(index="image", columns="metric", values="value")
    games = {
        metric: rows[rows["metric"] == f"insertion_{metric}"].pivot_table(index="image", columns="x", values="value")
        for metric in ("consistency", "accuracy")
    }
    names, shown = record["class_names"], metrics.single_numbers(rows)
    about = rows.drop_duplicates("image").set_index("image")[["status", "label", "prediction", "confidence"]]
    contents = {image: content for image, content, _ in record["images"]}
    for image, line in about.iterrows():
        if image not in contents:
            continue
        cell: dict[str, Any] = {"status": str(line["status"]), "failed": str(line["status"]).startswith(FAILED)}
        for what in ("label", "prediction"):
            cell[what] = names[int(line[what])] if pd.notna(line[what]) else None
        cell["confidence"] = round(float(line["confidence"]), 4) if pd.notna(line["confidence"]) else None
        for metric, table in games.items():
            if image in table.index:
                cell[metric] = "".join("1" if value == 1 else "0" for value in table.loc[str(image)])
        numbers = dict(single.loc[str(image)]) if image in single.index else {}
        cell["numbers"] = {name: round(float(numbers[name]), 4) for name in shown if pd.notna(numbers.get(name, np.nan))}
        yield (str(image), contents[image]), cell
