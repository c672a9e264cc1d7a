"""An explanation that can be looked at while it is made, and stopped."""

from __future__ import annotations

import argparse
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import OmegaConf

from benchmarks.app import explain as command
from benchmarks.app import explained as computing
from benchmarks.app.explain_inputs import load_photograph
from benchmarks.app.explain_options import options
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
OF_RULE = {("da_pos", "neg"): "da_neg", ("da_neg", "pos"): "da_pos", ("da_minimal_neg", "pos"): "da_minimal"}
OF_RULE |= {("da_minimal", "neg"): "da_minimal_neg"}
COMPOSING = threading.Lock()  # Hydra composes one configuration at a time


class StoppedError(BaseException):
    """Nobody waits for the explanation any more. No ``Exception``, which a method may catch."""


@dataclass(frozen=True)
class Choice:
    """What is chosen on the page. photo: a file, or the name of a photograph that is there. budget: None for the method's own."""

    photo: str
    model: str = "efficientnet_lite0"
    method: str = "da_pos"
    rule: str = "pos"
    fill: str = "black"
    budget: int | None = None
    rules: int = 1

    @property
    def arguments(self) -> list[str]:
        """The command line that does the same."""
        method = OF_RULE.get((self.method, self.rule), self.method)
        keys = hyper_parameters(method)
        found = [self.photo, "--model", self.model, "--method", method]
        found += [] if "rule" in keys else ["--rule", self.rule]
        found += ["--fill", self.fill] if "fill" in keys and keys["fill"] != self.fill else []
        budget = next((name for name in BUDGETS if name in keys), None)
        found += [f"--{budget}", str(self.budget)] if budget and self.budget else []
        return [*found, *(["--rules", str(self.rules)] if self.rules > 1 else [])]


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
        parser = options()

        def wrong(message: str) -> NoReturn:
            raise ValueError(message)

        parser.error = wrong  # type: ignore[method-assign]
        with COMPOSING:
            first, _ = parser.parse_known_intermixed_args(self.choice.arguments)
            method, given, own_engine = command.chosen(parser, first)
            cfg = composed(*given)
            command.add_hyper_parameters(parser, method, cfg)
            args: argparse.Namespace = parser.parse_intermixed_args(self.choice.arguments)
            asked = command.settled(parser, args, cfg, method, own_engine)
            expand_paths(cfg)
        return computing.explain(cfg, load_photograph(Path(self.choice.photo)), asked, self._watched)

    def _watched(self, of: computing.Watched) -> Engine:
        """The engine, each of whose answers is looked at."""
        original, positive = of.image[0], of.rule == "pos"
        self.state.pixels = original.permute(1, 2, 0).cpu().numpy()

        def forward(images: Images) -> Scores:
            if self.stop.is_set():
                raise StoppedError
            logits = of.engine.forward(images)
            same = (images == original).all(1)
            kept, holds = same if positive else ~same, (logits.argmax(1) == of.target) == positive
            for mask, accepted, area in zip(kept, holds.tolist(), kept.float().mean((1, 2)).tolist(), strict=True):
                self.state.queries += 1
                if accepted and 0 < area < (self.state.area or 1):
                    self.state.area, self.state.mask = area, mask.cpu().numpy()
                    self.state.history.append((self.state.queries, area))
            return logits

        return replace(of.engine, forward=forward)


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


def picture_and_answer(found: computing.Explained) -> dict[str, Any]:
    """The answer of ``python -m da --json``, with its picture in a folder of its own."""
    photo = Path(found.asked.photo)
    out = Path(tempfile.mkdtemp(prefix="dynamic-ablation-")) / f"{photo.stem}_{found.asked.method}.png"
    return computing.answer(found, out)
