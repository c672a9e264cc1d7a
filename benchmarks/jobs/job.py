"""One job: a method on an image set under a model, measured, image by image into the store."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from benchmarks.data.sets import ImageSet, Photograph, UnreadableError, prepared
from benchmarks.engines.engine import Engine
from benchmarks.engines.views import LabelView, ScoreView, access
from benchmarks.inputs.messages import reason
from benchmarks.jobs.attribute import Outcome, attribute, needs_module, outcomes
from benchmarks.jobs.batch import UNREADABLE, Batch, evidence_digest, image_key, on_device
from benchmarks.jobs.given import given_to
from benchmarks.jobs.memory import measured
from benchmarks.jobs.result_checks import COUNTED, checked_rows
from benchmarks.jobs.untouched import settings_kept
from benchmarks.keys import identity
from benchmarks.keys.provenance import provenance
from benchmarks.keys.sources import is_ours
from benchmarks.models.classifier import Model
from da.rng import image_rng
from da.types import OK, Attribution, ScoreModel
from results.records import stored_as
from results.store.store import FAILED, Arrays, ImageKey, Store, digest, unpacked

Progress = Callable[[int, int], None]  # images finished, queries spent
POLL = 1.0  # seconds between looks at what other processes have finished


@dataclass(frozen=True)
class Job:
    """Everything that decides the numbers of one configuration, and where they are kept.

    method: the configured function. parameters: its hyper-parameters as JSON. engine_identity, dataset: the configurations of these, of
    the engine what can change a number. batch_size: images at a time, and a stored part; it changes no number. measure_memory: record
    each attribution's peak. shard: ``(i, n)`` computes every n-th image from the i-th on. targets: the dotted names of ``method`` and of
    each measure in the configuration.
    """

    model: Model
    engine: Engine
    engine_identity: Mapping[str, Any]
    images: ImageSet
    method: Callable[..., Attribution | Tensor]
    method_name: str
    parameters: Mapping[str, Any]
    benchmarks: Mapping[str, partial[pd.DataFrame]]
    store: Store
    seed: int
    batch_size: int
    measure_memory: bool = False
    shard: tuple[int, int] = (0, 1)
    dataset: Mapping[str, Any] = field(default_factory=dict)
    targets: Mapping[str, str] = field(default_factory=dict)

    @property
    def engine_name(self) -> str:
        """The engine and its precision, such as ``torch-fp32``."""
        engine = str(self.engine_identity.get("_target_", "engine")).rsplit(".", 1)[-1].removesuffix("_engine")
        return f"{engine}-{self.engine_identity.get('precision', 'fp32')}"

    @cached_property
    def configs(self) -> dict[str, dict[str, Any]]:
        """The configuration behind each key of the store, by what it computes."""
        classifier = {"model": identity.model_identity(self.model), "engine": identity.configuration_identity(dict(self.engine_identity))}
        images = {"name": self.images.name, **(identity.dataset_identity(self.dataset) if self.dataset else {})}
        prediction = {"kind": "prediction", "dataset": images, "harness": identity.harness_identity(), **classifier}
        attribution = prediction | {
            "kind": "attribution",
            "method": self._function("method", self.method, self.parameters),
            "seed": self.seed,
        }
        configs: dict[str, dict[str, Any]] = {"prediction": prediction, "attribution": attribution}
        for name, benchmark in self.benchmarks.items():
            what = self._function(name, benchmark, benchmark.keywords)
            configs[name] = {"kind": "benchmark", "attribution": digest(attribution), "benchmark": what, "seed": self.seed}
        return configs

    def _function(self, what: str, function: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
        bare = function.func if isinstance(function, partial) else function
        found: dict[str, Any] = identity.configuration_identity({"_target_": bare, **given})
        return found | {"function": identity.function_identity(function, self.targets.get(what, ""))}

    @cached_property
    def keys(self) -> dict[str, str]:
        """The store's key of each configuration."""
        return {name: digest(config) for name, config in self.configs.items()}

    @cached_property
    def contents(self) -> dict[ImageKey, Photograph]:
        """The photographs by image key."""
        return {image_key(photograph): photograph for photograph in self.images.photographs}

    @cached_property
    def evidence(self) -> dict[ImageKey, str]:
        """The digest of what is known of each image, empty where nothing is."""
        return {image: evidence_digest(photograph) for image, photograph in self.contents.items()}

    def stored_as(self, name: str, image: ImageKey) -> ImageKey:
        """The key of an image among one of the job's results."""
        return stored_as(name, image, self.contents[image].label, self.evidence[image])

    @cached_property
    def index(self) -> dict[str, dict[ImageKey, Path]]:
        """Which stored part holds each finished image, by what was computed; kept up to date by this job."""
        return {name: self._stored(name) for name in self.keys}

    @cached_property
    def _measured(self) -> dict[str, str]:
        """Which measure each metric is of, as far as they have been computed."""
        return {}

    def _metric_owners(self, name: str) -> dict[str, str]:
        """Whose the metrics are that a measure may not return: the harness's, and other measures'."""
        others = {metric: other for metric, other in self._measured.items() if self.keys[other] != self.keys[name]}
        return dict.fromkeys(COUNTED, "the harness") | others

    def _stored(self, name: str) -> dict[ImageKey, Path]:
        there = self.store.index(self.keys[name])
        under = {image: self.stored_as(name, image) for image in self.contents}
        return {image: there[key] for image, key in under.items() if key in there}

    def rows(self, name: str) -> pd.DataFrame:
        """What is stored of this job's images, such as of ``attribution`` or of a measure."""
        return self.store.rows(self.keys[name], [self.stored_as(name, image) for image in self.contents])

    @property
    def shard_images(self) -> list[ImageKey]:
        """The images of this job's shard."""
        part, parts = self.shard
        return list(self.contents)[part::parts]

    def pending(self) -> list[ImageKey]:
        """The images of the shard that lack any of the job's results."""
        return [image for image in self.shard_images if not all(image in done for done in self.index.values())]

    def run(self, progress: Progress = lambda images, queries: None, stopping: Callable[[], bool] = lambda: False) -> int:
        """Compute what the store lacks, a batch at a time, and return the number of images that were computed.

        What another live process is computing is left to it, and waited for. stopping: asked before each batch whether to end here.
        """
        waiting, computed, idle = self.pending(), 0, 0
        while waiting and not stopping():
            images, waiting = waiting[: self.batch_size], waiting[self.batch_size :]
            with self.store.claimed(self.keys["attribution"], images) as claimed:
                for name in self.keys:
                    self.index[name] |= self._stored(name)
                done = [image for image in images if all(image in index for index in self.index.values())]
                todo = [image for image in claimed if image not in done]
                for batch in self._predicted(todo) if todo else []:
                    queries = self._attribute(batch.take([image not in self.index["attribution"] for image in batch.images]))
                    queries += self._measure(batch.take([image in self.index["attribution"] for image in batch.images]))
                    progress(0, queries)
            others = [image for image in images if image not in claimed and image not in done]
            waiting += others
            computed += len(todo)
            progress(len(images) - len(others), 0)
            idle = idle + 1 if len(others) == len(images) else 0
            if idle > len(waiting) / self.batch_size:  # all that is left is in other hands
                time.sleep(POLL)
        return computed

    def prediction(self, image: ImageKey) -> int:
        """The class the model gives to an image. Raises UnreadableError where it cannot be read."""
        pixels = prepared(self.contents[image], image[1], self.model.preprocessing)
        return int(LabelView(self.engine)(pixels[None].to(self.engine.device)))

    def _predicted(self, images: Sequence[ImageKey]) -> list[Batch]:
        """The images with their classes y. One that cannot be read, or on which the model fails, is a row and costs only itself."""
        shown, tensors = [], []
        for image in images:
            try:
                tensors.append(prepared(self.contents[image], image[1], self.model.preprocessing))
                shown.append(image)
            except UnreadableError as error:
                self._put("prediction", [(image, f"error: {UNREADABLE}: {error}", "prediction", np.nan, np.nan)])
        if not shown:
            return []
        pixels = on_device(torch.stack(tensors), self.engine.device)
        try:
            confidence, classes = ScoreView(self.engine)(pixels).max(1)
        except Exception as error:
            if len(shown) > 1:
                return [batch for image in shown for batch in self._predicted([image])]
            self._put("prediction", [(shown[0], f"error: {reason(error)}", "prediction", np.nan, np.nan)])
            return []
        rows = []
        for image, y, p in zip(shown, classes.tolist(), confidence.tolist(), strict=True):
            rows += [(image, OK, "prediction", np.nan, float(y)), (image, OK, "confidence", np.nan, p)]
        if any(image not in self.index["prediction"] for image in shown):
            self._put("prediction", rows)
        return [Batch(shown, pixels, classes)]

    def _attribute(self, batch: Batch) -> int:
        """Run the method on a batch, store what it says, and return the queries spent."""
        parts: dict[tuple[str, ...], tuple[list[Any], list[Arrays]]] = {}  # rows and arrays, by what was found
        queries = 0
        for image, outcome in zip(batch.images, self._outcomes(batch), strict=True):
            if isinstance(outcome, str):
                self._put("attribution", [(image, f"error: {outcome}", "queries", np.nan, np.nan)])
                continue
            rows, arrays = parts.setdefault(tuple(sorted(outcome.arrays)), ([], []))
            rows += [(image, outcome.status, metric, np.nan, value) for metric, value in outcome.numbers.items()]
            arrays.append(outcome.arrays)
            queries += int(np.nan_to_num(outcome.numbers["queries"]))
        for names, (rows, arrays) in parts.items():
            self._put("attribution", rows, {name: np.stack([array[name] for array in arrays]) for name in names})
        return queries

    def _outcomes(self, batch: Batch) -> list[Outcome | str]:
        """What the method says of each image, or why it failed; one image's failure is not the others'."""
        if not batch.images:
            return []
        try:
            return list(self.explained(batch))
        except Exception as error:
            if len(batch.images) == 1:
                return [reason(error)]
        return [outcome for one in batch.singles() for outcome in self._outcomes(one)]

    def explained(self, batch: Batch) -> Iterator[Outcome | str]:
        """What the method says of each image, or that its map is not finite. Raises what the method raises."""
        # Methods that see the module itself get one padded shape, since hooks on layers see the batch.
        step = self.engine.batch if needs_module(self.method) else len(batch.images)
        for i in range(0, len(batch.images), step):
            part = batch.take([i <= j < i + step for j in range(len(batch.images))])
            rngs = self._rngs("method", part.images)
            cost: dict[str, float] = {}
            meter = partial(measured, cost, self.engine.device, self.measure_memory)
            given = {"ids": [image[0] for image in part.images], "every": [image[0] for image in self.contents]}
            attribution, passes = attribute(self.method, self.model, self.engine, part.pixels, part.targets, rngs, meter, given)
            for outcome in outcomes(attribution, len(part.images), passes, cost.pop("seconds") / len(part.images)):
                yield outcome if isinstance(outcome, str) else replace(outcome, numbers=outcome.numbers | cost)

    def _measure(self, batch: Batch) -> int:
        """Run the benchmarks on stored attributions and return the queries spent."""
        if not batch.images:
            return 0
        stored = self.store.arrays_of(self.keys["attribution"], batch.images)
        maps = [stored[image] for image in batch.images]
        kept = [torch.from_numpy(unpacked(m["kept"], batch.pixels.shape[-2:])) for m in maps if "kept" in m]
        if 0 < len(kept) < len(maps):  # such as of maps that were made elsewhere
            return sum(map(self._measure, batch.singles()))
        attribution = Attribution(
            torch.stack([torch.from_numpy(m["saliency"]) for m in maps]).to(batch.pixels.device),
            torch.stack(kept).to(batch.pixels.device) if kept else None,
        )
        labels = [self.contents[image].label for image in batch.images]
        queries = 0
        for name, benchmark in self.benchmarks.items():
            if all(image in self.index[name] for image in batch.images):
                continue
            view: LabelView | ScoreView = ScoreView(self.engine) if access(benchmark) is ScoreModel else LabelView(self.engine)
            rngs = self._rngs("ties", batch.images)
            further: list[float] = []  # passes of the method, run again
            try:
                known = given_to(benchmark, self, batch, further.append)
                with settings_kept(rngs[0]):
                    frame = benchmark(view, *copy.deepcopy((batch.pixels, batch.targets, labels, attribution)), rngs=rngs, **known)
                theirs = not is_ours(str(getattr(benchmark.func, "__module__", "")))
                frame = checked_rows(frame, len(batch.images), name, self._metric_owners(name), theirs)
            except Exception as error:
                queries += view.queries + int(np.nansum(further))
                if len(batch.images) > 1:
                    return queries + sum(self._measure(one) for one in batch.singles())
                self._put(name, [(batch.images[0], f"error: {reason(error)}", name, np.nan, np.nan)])
                continue
            self._measured.update(dict.fromkeys(frame["metric"].unique(), name))
            columns = (frame[column].tolist() for column in ("image", "metric", "x", "value"))
            rows = [(batch.images[i], OK, metric, x, value) for i, metric, x, value in zip(*columns, strict=True)]
            nothing = [image for i, image in enumerate(batch.images) if i not in set(frame["image"])]
            self._put(name, rows + [(image, OK, name, np.nan, np.nan) for image in nothing])  # else they would be left for ever
            queries += view.queries + int(np.nansum(further))
        return queries

    def _put(self, name: str, rows: Sequence[tuple[ImageKey, str, str, float, float]], arrays: Arrays | None = None) -> None:
        frame = pd.DataFrame(
            [(*self.stored_as(name, image), *rest) for image, *rest in rows],
            columns=["image", "digest", "status", "metric", "x", "value"],
        )
        part = self.store.put(self.configs[name], frame.assign(provenance=provenance()), arrays)
        if not frame["status"].str.startswith(FAILED).any():
            self.index[name] |= dict.fromkeys((image for image, *_ in rows), part)

    def _rngs(self, purpose: str, images: Sequence[ImageKey]) -> list[np.random.Generator]:
        return [image_rng(self.seed, purpose, image[0]) for image in images]
