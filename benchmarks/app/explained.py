"""What ``python -m da`` computes: a photograph's rule, verified, its picture, and the answer in words."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra.utils import instantiate
from numpy.typing import NDArray
from omegaconf import DictConfig
from torch import Tensor

from benchmarks.app import picture_file
from benchmarks.app.explain_inputs import input_files, load_photograph
from benchmarks.app.explain_options import RULES, Asked
from benchmarks.data.sets import Photograph
from benchmarks.engines.auto import fastest_engine, or_torch
from benchmarks.engines.engine import Engine
from benchmarks.engines.loading import load
from benchmarks.engines.views import LabelView, Passes, ScoreView, reference_view
from benchmarks.inputs.compose import as_json, resolved
from benchmarks.inputs.places import expand_paths, expanded
from benchmarks.jobs.attribute import attribute
from benchmarks.jobs.resolve import check_node, state_model
from benchmarks.models.classifier import Model
from da.explanation import Explanation, disjoint_regions
from da.fill import Fill
from da.rng import image_rng
from da.rule import picture
from da.types import NOTHING_ACCEPTED, OK, Attribution, Images


@dataclass(frozen=True)
class Watched:
    """What is asked while a method runs, for somebody to look on. target: the class; fill: of what is ablated."""

    engine: Engine
    image: Images
    target: int
    rule: str
    fill: Fill


@dataclass(frozen=True)
class Explained:
    """An explained photograph, with what explained it."""

    asked: Asked
    photo: Photograph
    model: Model
    engine: Engine
    engine_name: str
    image: Images
    confidence: float
    explanation: Explanation
    backward_passes: int
    fill: Fill

    @property
    def class_name(self) -> str:
        """The class that was explained."""
        return self.model.class_names[self.explanation.target]

    @property
    def pixels(self) -> NDArray[np.float32]:
        """The image as the model sees it, ``[h, w, 3]`` in [0, 1]."""
        return np.asarray(self.image[0].permute(1, 2, 0).cpu().numpy())


def answered(cfg: DictConfig, asked: Asked) -> dict[str, Any]:
    """Explain a photograph with what a configuration leaves open decided, and say what there is to say."""
    expand_paths(cfg)
    photo = load_photograph(Path(expanded(asked.photo)), cfg.dataset.get("value_range"))
    kind = f"{asked.method}_{asked.rule}" if asked.rule == "neg" and not asked.own_rule else asked.method
    inputs = [Path(str(photo.source)), *input_files(cfg)]
    named = Path(expanded(asked.out)) if asked.out is not None else None
    out = picture_file.requested_path(named, inputs) if named else picture_file.default_path(asked.photo, inputs[0], kind)
    return answer(explain(cfg, photo, asked), out)


def explain(cfg: DictConfig, photo: Photograph, asked: Asked, watched: Callable[[Watched], Engine] = lambda of: of.engine) -> Explained:
    """Explain a photograph: the rule's regions, each verified. watched: what stands in for the engine while the method asks it."""
    cfg.engine, _ = fastest_engine(cfg.engine, cfg.model)
    if not asked.engine:
        tried = str(cfg.engine._target_).rsplit(".", 1)[-1].removesuffix("_engine")
        cfg.engine, reason = or_torch(cfg.engine, cfg.model)
        if reason:
            print(f"note: engine=torch is used, since {tried} does not run this model: {reason}", file=sys.stderr)
    model, engine = load(as_json(cfg.model), as_json(cfg.engine))
    state_model(cfg, model)
    check_node("", cfg.method)
    image = photo.tensor(model.preprocessing).to(engine.device)[None]
    confidence, target = ScoreView(engine)(image).max(1)
    fill, rule, rules = resolved(cfg.method).get("fill", "black"), asked.rule, asked.rules
    if rules > 1 and isinstance(fill, str) and fill != "black":
        raise ValueError(f"--rules {rules}: fill={fill} is not the same of what is left of an image: give a colour, such as --fill black")
    if rules > 1 and cfg.method.get("criterion") == "share":  # of the photograph's probability, not of what is left
        cfg.method.criterion, cfg.method.level = "threshold", cfg.method.level * float(confidence)
    method, spent = instantiate(cfg.method), Passes()
    asking = watched(Watched(engine, image, int(target), rule, fill))

    def attributed(images: Tensor, targets: Tensor) -> Attribution:
        found, passes = attribute(method, model, asking, images, targets, [image_rng(cfg.seed, "method", photo.id)])
        if found.kept is not None and rule == "neg" and "rule" not in cfg.method:
            raise ValueError(f"--rule neg: the regions of {asked.method} are of rule pos; for neg there are da_neg and da_minimal_neg")
        spent.backward += passes.backward
        return replace(found, queries=torch.tensor([passes.forward]))

    (explained,) = disjoint_regions(
        LabelView(asking),
        image,
        target,
        most=rules,
        attribute=attributed,
        rule=RULES[rule],
        fill=fill,
        seed=cfg.seed,
        verifier=reference_view(engine),
    )
    engine_name = str(cfg.engine._target_).rsplit(".", 1)[-1].removesuffix("_engine")
    return Explained(asked, photo, model, engine, engine_name, image, float(confidence), explained, spent.backward, fill)


def answer(found: Explained, out: Path) -> dict[str, Any]:
    """What there is to say of an explained photograph, with its picture drawn to ``out``."""
    asked, explained, pixels = found.asked, found.explanation, found.pixels
    reasons = [
        {
            "rule": text,
            "mar": region.mar,
            "verified": region.verified,
            "queries": region.queries,
            "certified": region.certified,
            "status": region.status,
            "parts": [{"share": part.share, "box": part.box, "centre": part.centre} for part in region.parts],
        }
        for text, region in zip(explained.rules(found.class_name), explained.regions, strict=True)
    ]
    from da.plot import heat_map, row_of_pictures, with_status  # only now: they take a second to import
    from results.figures.matplotlib import to_file

    drawn = [pixels, *(picture(pixels, region.mask) for region in explained.regions)]
    drawn.append(heat_map(pixels, explained.regions[0].attribution.saliency[0].cpu().numpy()))
    when = "if present" if asked.rule == "pos" else "if absent"
    titles = [f"{found.class_name} {found.confidence:.2f}", *(f"{when}: {100 * region.mar:.1f} %" for region in explained.regions)]
    figure = row_of_pictures(drawn, [*titles, with_status(f"map, {asked.method}", explained.regions[0].status)])
    to_file(figure, out, picture_file.metadata(out, Path(str(found.photo.source))))
    return {
        **reasons[0],
        "class_name": found.class_name,
        "class_index": explained.target,
        "confidence": found.confidence,
        "queries": sum(region.queries or 0 for region in explained.regions),
        "backward_passes": found.backward_passes,
        "method": asked.method,
        "model": found.model.name,
        "engine": found.engine_name,
        "pixels": list(pixels.shape[:2]),
        "picture": str(out),
        **({"rules": reasons, "no_more": explained.exhausted} if asked.rules > 1 else {}),
    }


def words(answer: dict[str, Any]) -> str:
    """The answer for people."""
    reasons = answer.get("rules", [answer])
    shares = ", ".join(f"{100 * reason['mar']:.2f} %" for reason in reasons)
    of = f"model {answer['model']} ({answer['confidence']:.2f} for this class), method {answer['method']}"
    lines = [
        *[reason["rule"] for reason in reasons],
        *["No more: what is left without the above is not this class."] * answer.get("no_more", False),
        f"MAR {shares}, {answer['queries']} queries, {of}",
    ]
    verified = all(reason["verified"] for reason in reasons)
    passes = "Each verified by one more forward pass." if len(reasons) > 1 else "Verified by one more forward pass."
    doubt = "NOT verified: a masked image does not satisfy the rule."
    if not verified and answer["engine"] not in ("torch", "compile"):
        doubt += f" Asked was {answer['engine']}, verified is by the network itself: see --engine torch."
    lines.append(passes if verified else doubt)
    certified = [
        reason["certified"] for reason in reasons if reason["certified"] is not None and reason["status"] in (OK, NOTHING_ACCEPTED)
    ]
    if verified and certified and all(certified):
        where = " Each in what is left without those before." if len(reasons) > 1 else ""
        lines.append(f"Certified 1-minimal over superpixels: without its share of any one of them the rule is broken.{where}")
    elif not all(certified):
        lines.append("Not certified: the budget did not reach to check every superpixel.")
    lines += [f"Status: {status}." for status in dict.fromkeys(reason["status"] for reason in reasons) if status != OK]
    return "\n".join([*lines, f"Picture: {answer['picture']}"])
