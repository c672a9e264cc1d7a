"""What the harness gives a measure that asks for it: what is known of the images, and the method that explained them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch

from benchmarks.inputs.parameters import given_by_the_harness, takes_evidence, takes_explain
from benchmarks.jobs.attribute import Outcome, starts
from benchmarks.jobs.batch import Batch, evidence_of
from benchmarks.keys.identity import with_defaults
from da.fill import NOISE, PHOTOGRAPHS
from da.types import Images, Saliency

if TYPE_CHECKING:
    from benchmarks.jobs.job import Job


def given_to(measure: Callable[..., Any], job: Job, batch: Batch, spent: Callable[[float], None]) -> dict[str, Any]:
    """The keywords of a measure that are the harness's, for the images of a batch. spent: told of the passes of further explanations."""
    found: dict[str, Any] = {}
    if takes_evidence(measure):
        preprocessing, device = job.model.preprocessing, job.engine.device
        found["evidence"] = [evidence_of(job.contents[image], job.evidence[image], preprocessing, device) for image in batch.images]
    if takes_explain(measure):
        found["explain"] = _explaining(job, batch, spent)
    return found


def _explaining(job: Job, batch: Batch, spent: Callable[[float], None]) -> Callable[[Images], Saliency]:
    every = list(_with_starts(job.method))
    if any("ids" in given_by_the_harness(method) for method in every):
        raise ValueError(f"{job.method_name} reads maps that were made elsewhere: it cannot explain other versions of the images")
    settings = (with_defaults(method, method.keywords if isinstance(method, partial) else {}) for method in every)
    for name, value in chain.from_iterable(of.items() for of in settings):
        if isinstance(value, str) and (("fill" in name and value == NOISE) or value.startswith(PHOTOGRAPHS)):
            raise ValueError(
                f"{job.method_name} has {name}={value}, which is drawn anew for each version of an image: its maps would differ by that "
                "alone. Give another fill, such as black"
            )

    def explain(images: Images) -> Saliency:
        return torch.stack(list(_maps(job.explained(replace(batch, pixels=images.to(batch.pixels))), spent))).to(images.device)

    return explain


def _with_starts(method: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """A method, and those whose attributions it starts from."""
    yield method
    for start in starts(method).values():
        yield from _with_starts(start)


def _maps(outcomes: Iterator[Outcome | str], spent: Callable[[float], None]) -> Iterator[torch.Tensor]:
    for outcome in outcomes:
        if isinstance(outcome, str):
            raise ValueError(f"of another version of the image, {outcome}")
        spent(outcome.numbers["queries"])
        yield torch.from_numpy(outcome.arrays["saliency"])
