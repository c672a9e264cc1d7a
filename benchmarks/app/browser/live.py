"""An explanation that can be looked at while it is made, and stopped."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from scipy.ndimage import distance_transform_edt
from torch import Tensor, nn

from benchmarks.app import explain as command
from benchmarks.app import explained as computing
from benchmarks.app.explain_inputs import load_photograph
from benchmarks.app.explain_options import RULES, Asked, options
from benchmarks.engines.engine import Engine
from benchmarks.engines.views import ScoreView
from benchmarks.inputs import own_folders
from benchmarks.inputs.compose import composed
from benchmarks.inputs.places import expand_paths
from da.fill import baseline_image, composite
from da.ranking import importance_rank
from da.rng import image_rng
from da.rule import picture
from da.types import Images, Scores

EVERY = 0.3  # seconds between two pictures
BUDGETS = ("budget", "iterations", "masks", "samples", "designs", "steps")  # what a method calls the number that decides its passes
ALONE = threading.Lock()  # Hydra composes one configuration at a time, and a network is watched for one explanation at a time


class StoppedError(BaseException):
    """Nobody waits for the explanation any more. No ``Exception``, which a method may catch."""


@dataclass(frozen=True)
class Choice:
    """What is chosen on the page.

    photo: a file, or the name of a photograph that is there. rule, fill, budget: None for the method's own.
    """

    photo: str
    model: str = "efficientnet_lite0"
    method: str = "da_pos"
    rule: str | None = None
    fill: str | None = None
    budget: int | None = None
    rules: int = 1

    @property
    def arguments(self) -> list[str]:
        """The command line that does the same. Raises ValueError for what the method does not have."""
        keys = hyper_parameters(self.method)
        found = [self.photo, "--model", self.model, "--method", self.method]
        if self.rule not in (None, own_rule(self.method)):
            found += [f"method.rule={RULES[self.rule]}"] if "rule" in keys else ["--rule", self.rule]
        for name, value in (("fill", self.fill), (budget_of(self.method), self.budget)):
            if value and name not in keys:
                raise ValueError(f"{self.method} has no {name or 'budget'}: leave it empty")
            found += [f"--{name}", str(value)] if value else []
        return [*found, *(["--rules", str(self.rules)] if self.rules > 1 else [])]


def configured(choice: Choice) -> tuple[DictConfig, Asked]:
    """What the command of a choice is about to do. Raises ValueError where it would end with an error."""
    parser, arguments = options(), choice.arguments

    def wrong(message: str) -> NoReturn:
        raise ValueError(message)

    parser.error = wrong  # type: ignore[method-assign]
    first, _ = parser.parse_known_intermixed_args(arguments)
    method, given, own_engine = command.chosen(parser, first)
    cfg = composed(*given)
    command.add_hyper_parameters(parser, method, cfg)
    args = parser.parse_intermixed_args(arguments)
    asked = command.settled(parser, args, cfg, method, own_engine)
    expand_paths(cfg)
    return cfg, asked


def own_rule(method: str) -> str | None:
    """The rule that a method's configuration states, ``pos`` or ``neg``; None where it states none."""
    stated = hyper_parameters(method).get("rule")
    return next((name for name, rule in RULES.items() if rule == stated), None)


def budget_of(method: str) -> str | None:
    """What a method calls the number that decides its passes."""
    keys = hyper_parameters(method)
    return next((name for name in BUDGETS if name in keys), None)


def hyper_parameters(method: str) -> dict[str, Any]:
    """What a method's configuration states."""
    path = next(path for path in own_folders.files("method") if path.stem == method)
    stated: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    return dict(stated)


@dataclass
class State:
    """How far a run is. area: of the smallest accepted state; mask: that state, ``[h, w]``. history: area after each accepted state."""

    queries: int = 0
    area: float | None = None
    mask: NDArray[np.bool_] | None = None
    pixels: NDArray[np.float32] | None = None
    history: list[tuple[int, float]] = field(default_factory=list)

    @property
    def shown(self) -> NDArray[np.float32] | None:
        """The picture of the smallest accepted state, of the photograph before there is one."""
        return self.pixels if self.pixels is None or self.mask is None else picture(self.pixels, self.mask)


class Run:
    """One explanation, in a thread of its own."""

    def __init__(self, choice: Choice) -> None:
        self.choice, self.state, self.stop = choice, State(), threading.Event()
        self.found: computing.Explained | None = None
        self.error: BaseException | None = None

    def states(self) -> Iterator[State]:
        """How far it is, now and then, until it is done; ended early, it is stopped. Raises what went wrong."""
        worker = threading.Thread(target=self._work, daemon=True)
        worker.start()
        try:
            while worker.is_alive():
                worker.join(EVERY)
                yield self.state
        finally:
            self.stop.set()
        if self.error is not None:
            raise self.error

    def _work(self) -> None:
        try:
            self.found = self._explained()
        except BaseException as error:  # told where it is waited for
            self.error = error

    def _explained(self) -> computing.Explained:
        with ALONE, ExitStack() as self.watching:
            if self.stop.is_set():
                raise StoppedError
            cfg, asked = configured(self.choice)
            return computing.explain(cfg, load_photograph(Path(self.choice.photo)), asked, self._watched)

    def _watched(self, of: computing.Watched) -> Engine:
        """The engine, whose answers are looked at; passes of the network itself, of methods that see it, are counted alone."""
        self.state.pixels = of.image[0].permute(1, 2, 0).cpu().numpy()
        seen, asking, here = Seen.of(of), threading.Event(), threading.get_ident()  # the engine may ask the network, too

        def told(images: Images, logits: Scores) -> None:
            kept, holds = seen.masks(images), (logits.argmax(1) == of.target) == (of.rule == "pos")
            for mask, accepted, area in zip(kept, holds.tolist(), kept.float().mean((1, 2)).tolist(), strict=True):
                self.state.queries += 1
                if accepted and 0 < area < (self.state.area or 1):
                    self.state.area, self.state.mask = area, mask.cpu().numpy()
                    self.state.history.append((self.state.queries, area))

        def forward(images: Images) -> Scores:
            if self.stop.is_set():
                raise StoppedError
            asking.set()
            try:
                return of.engine.forward(images)
            finally:
                asking.clear()

        def passing(_module: nn.Module, inputs: tuple[Any, ...]) -> None:
            if threading.get_ident() != here:  # a decision that somebody looks at meanwhile
                return
            if self.stop.is_set():
                raise StoppedError
            if not asking.is_set():
                self.state.queries += len(inputs[0]) // of.engine.batch  # one image, beside its padding

        self.watching.callback(of.engine.module.register_forward_pre_hook(passing).remove)
        return replace(of.engine, forward=forward, told=told)


@dataclass(frozen=True)
class Seen:
    """Which pixels of an image are shown, told from the pictures that the model is asked about.

    A pixel that has the fill's colour in the photograph itself, such as black on a black ground, says nothing: it goes with the nearest one
    that does. nearest: its place, ``[2, h, w]``.
    """

    image: Tensor
    positive: bool
    nearest: NDArray[np.intp]

    @classmethod
    def of(cls, watched: computing.Watched) -> Seen:
        """What there is to see of an explanation."""
        silent = (watched.image == baseline_image(watched.image, watched.fill)).all(1)[0].cpu().numpy()
        if silent.all():
            silent[:] = False
        nearest = distance_transform_edt(silent, return_distances=False, return_indices=True)
        return cls(watched.image[0], watched.rule == "pos", nearest.astype(np.intp))

    def masks(self, images: Images) -> Tensor:
        """The kept pixels under the positive rule, the ablated ones under the negative, ``[m, h, w]``."""
        same = (images == self.image).all(1)
        row, column = (torch.from_numpy(axis).to(same.device) for axis in self.nearest)
        return (same if self.positive else ~same)[:, row, column]


@dataclass(frozen=True)
class Decision:
    """What the model says of the top of a map. kept: whether it is the class of the whole image."""

    pixels: NDArray[np.float32]
    class_name: str
    probability: float
    kept: bool


def decision(found: computing.Explained, share: float, seed: int = 0) -> Decision:
    """The decision on the top ``share`` of the map alone, or without it where the rule is negative."""
    saliency = found.explanation.regions[0].attribution.saliency[:1]
    mask = importance_rank(saliency, [image_rng(seed, "ties", "")]) < round(share * saliency[0].numel())
    blank, positive = baseline_image(found.image, found.fill), found.asked.rule == "pos"
    shown = composite(found.image, blank, mask) if positive else composite(blank, found.image, mask)
    with torch.no_grad():
        probability, index = ScoreView(found.engine)(shown).max(1)
    pixels = shown[0].permute(1, 2, 0).cpu().numpy()
    return Decision(pixels, found.model.class_names[int(index)], float(probability), int(index) == found.explanation.target)


def picture_and_answer(found: computing.Explained, folder: Path) -> dict[str, Any]:
    """The answer of ``python -m da --json``, with its picture in a new folder below this one."""
    photo = Path(found.asked.photo)
    return computing.answer(found, Path(tempfile.mkdtemp(dir=folder)) / f"{photo.stem}_{found.asked.method}.png")
