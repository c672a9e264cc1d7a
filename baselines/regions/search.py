"""Searches over subsets of an image's parts, side by side: one batch of questions for all images that still go on."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float

from baselines.parts import Parts, asked
from baselines.regions.criterion import Criterion, premises
from da.types import NOTHING_ACCEPTED, OK, VACUOUS, Attribution, Images, ScoreModel, Targets


@dataclass(frozen=True)
class Answers:
    """Of subsets that were asked about. probability: the target's. accepted: whether the subset is enough."""

    probability: Float[np.ndarray, " m"]
    accepted: Bool[np.ndarray, " m"]


@dataclass(frozen=True)
class Found:
    """The outcome for one image. kept: the parts of the region. rank: the order of the parts, higher is more important."""

    kept: Bool[np.ndarray, " s"]
    rank: Float[np.ndarray, " s"]
    numbers: dict[str, float] = field(default_factory=dict)


Subsets = Bool[np.ndarray, "m s"]
Search = Generator[Subsets, Answers, Found]


def searched(
    model: ScoreModel,
    images: Images,
    targets: Targets,
    hidden: Images,
    parts: Parts,
    criterion: Criterion,
    search: Callable[[int], Search],
    numbers: Sequence[str] = (),
) -> Attribution:
    """Run the search of each image, given its number of parts: it yields subsets to ask about and is sent the answers.

    Two queries are for the whole and the ablated image; where one of these premises fails there is no search. hidden: the ablated images.
    numbers: the names of those that a search ends with, which become extras.
    """
    n = len(images)
    ends = np.concatenate([np.ones((n, max(parts.count)), bool), np.zeros((n, max(parts.count)), bool)])
    probability, decided = asked(model, images, hidden, targets, parts, np.tile(np.arange(n), 2), ends)
    whole = probability[:n]
    enough = criterion.accepts(probability, decided, np.tile(whole, 2)).tolist()
    statuses = [premises(of_whole, of_ablated) for of_whole, of_ablated in zip(enough[:n], enough[n:], strict=True)]
    found = [Found(np.full(count, status != VACUOUS), np.zeros(count)) for count, status in zip(parts.count, statuses, strict=True)]
    queries = np.full(n, 2)
    running: dict[int, tuple[Search, Subsets]] = {}

    def advance(i: int, going: Search, answers: Answers | None) -> None:
        try:
            running[i] = going, next(going) if answers is None else going.send(answers)
        except StopIteration as stop:
            found[i] = stop.value
            running.pop(i, None)

    for i in range(n):
        if statuses[i] == OK:
            advance(i, search(parts.count[i]), None)
    while running:
        asking = list(running.items())
        rows = np.repeat([i for i, _ in asking], [len(subsets) for _, (_, subsets) in asking])
        shown = np.zeros((len(rows), max(parts.count)), bool)
        first = 0
        for i, (_, subsets) in asking:
            shown[first : first + len(subsets), : parts.count[i]] = subsets
            queries[i] += len(subsets)
            first += len(subsets)
        probability, decided = asked(model, images, hidden, targets, parts, rows, shown)
        accepted = criterion.accepts(probability, decided, whole[rows])
        for i, (going, _) in asking:
            advance(i, going, Answers(probability[rows == i], accepted[rows == i]))
    return _attribution(found, statuses, queries, targets, parts, numbers)


def _attribution(
    found: Sequence[Found], statuses: Sequence[str], queries: np.ndarray, targets: Targets, parts: Parts, numbers: Sequence[str] = ()
) -> Attribution:
    """Regions and orders of parts as masks and maps of pixels."""
    kept, maps = [], []
    for one, index in zip(found, parts.index, strict=True):
        kept.append(torch.from_numpy(one.kept).to(index.device)[index])
        maps.append(torch.from_numpy(one.rank / max(one.rank.max(), 1)).float().to(index.device)[index])
    extras = {name: torch.tensor([one.numbers.get(name, 0.0) for one in found]) for name in numbers}
    return Attribution(
        saliency=torch.stack(maps),
        kept=torch.stack(kept),
        status=tuple(NOTHING_ACCEPTED if status == OK and one.kept.all() else status for status, one in zip(statuses, found, strict=True)),
        queries=torch.from_numpy(queries),
        targets=targets,
        extras=extras | {"parts": torch.tensor([float(count) for count in parts.count])},
    )
