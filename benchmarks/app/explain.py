"""Explain one photograph: ``python -m da photo.jpg``."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from benchmarks.app import picture_file
from benchmarks.app.explain_inputs import input_files, load_photograph
from benchmarks.app.explain_options import KEYS, RULES, options, use_config_dir, yaml_value
from benchmarks.data.sets import Photograph
from benchmarks.engines.auto import fastest_engine, or_torch
from benchmarks.engines.loading import load
from benchmarks.engines.views import LabelView, Passes, ScoreView, reference_view
from benchmarks.inputs.compose import as_json, composed, resolved
from benchmarks.inputs.messages import cause
from benchmarks.inputs.places import any_file_names, ensure_cache, expand_paths, expanded
from benchmarks.jobs.attribute import attribute
from benchmarks.jobs.resolve import check_node, state_model
from da.explanation import disjoint_regions
from da.rng import image_rng
from da.rule import picture
from da.types import NOTHING_ACCEPTED, OK, Attribution


def script() -> int:
    """The command ``da-explain``."""
    try:
        code = main(sys.argv[1:])
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # such as "| head", which has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it ends
        return 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def main(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit code: 0 done, 2 bad input; Ctrl-C raises KeyboardInterrupt."""
    any_file_names()
    try:
        notes = [*use_config_dir(arguments), ensure_cache()]
    except ValueError as error:
        return failed(error, "--debug" in arguments, ())
    print("".join(f"{note}\n" for note in notes if note), end="", file=sys.stderr)
    parser = options()
    first, _ = parser.parse_known_intermixed_args(arguments)  # options and KEY=VALUE in any order
    written = [word for word in first.overrides if "=" in word]  # others may be values of options that are not known yet
    overrides = dict(word.lstrip("+").partition("=")[::2] for word in written)
    if "method" in overrides:
        parser.error("give the method as --method NAME")
    for key in overrides:
        if key not in KEYS and key.split(".")[0].split("/")[0] not in KEYS:
            parser.error(f"{key} has nothing to say about one photograph; KEY=VALUE is of {', '.join(KEYS)}")
    method = first.method or f"da_{first.rule or 'pos'}"
    method = "da_minimal_neg" if method == "da_minimal" and first.rule == "neg" else method
    model = overrides.get("model", first.model)
    device = first.device or overrides.get("engine.device", "auto")
    cpu = device in ("auto", "cpu") and not (device == "auto" and torch.cuda.is_available())
    own_choice = first.engine or overrides.get("engine")
    engine = own_choice or ("onnxruntime" if cpu and model != "onnx" else "torch")
    chosen = [f"{key}={value}" for key, value in (("model", model), ("engine", engine))]
    given = [f"method={method}", "dataset=image_folder", *chosen, *(one for one in written if not one.startswith(("model=", "engine=")))]
    try:
        cfg = composed(*given)
    except Exception as error:
        return failed(error, first.debug, given)
    hyper = parser.add_argument_group(f"hyper-parameters of {method}")
    raw = OmegaConf.to_container(cfg.method)
    assert isinstance(raw, dict)
    for name, value in ((str(name), value) for name, value in raw.items()):
        if not name.startswith("_") and name != "rule":
            flag = f"--{name.replace('_', '-')}"
            hyper.add_argument(flag, dest=f"hyper_{name}", type=yaml_value, metavar="VALUE", help=f"default {value!r}")
    if first.help:
        parser.print_help()
        return 0
    args = parser.parse_intermixed_args(arguments)
    for word in args.overrides:
        if "=" not in word:
            parser.error(f"{word!r} is no KEY=VALUE, and one photograph is explained at a time")
    if args.photo is None:
        parser.error("which photograph? python -m da photo.jpg, or python -m da coffee to try it")
    if args.rules < 1:
        parser.error(f"--rules {args.rules}: at least 1")
    own = {positive: name for name, positive in RULES.items()}.get(cfg.method.get("rule"))
    rule = args.rule or own or "pos"
    if own not in (None, rule):
        parser.error(f"--rule {rule}: the rule of {method} is {own}")
    if args.rules > 1 and rule == "neg":
        parser.error("--rules looks for regions that each suffice: it goes with --rule pos")
    if args.seed is not None:
        cfg.seed = args.seed
    if args.device is not None and "device" in cfg.engine:
        cfg.engine.device = args.device
    if args.weights:
        cfg.model.weights = args.weights
    for name, value in vars(args).items():
        if name.startswith("hyper_") and value is not None:
            cfg.method[name.removeprefix("hyper_")] = value
    if "engine.batch" not in overrides:
        cfg.engine.batch = cfg.method.get("speculate") or 1  # one image: a pass is as large as what it asks at a time
    try:
        expand_paths(cfg)
        cfg.engine, _ = fastest_engine(cfg.engine, cfg.model)
        photo = load_photograph(Path(expanded(args.photo)), cfg.dataset.get("value_range"))
        kind = f"{method}_{rule}" if rule == "neg" and own is None else method
        inputs = [Path(str(photo.source)), *input_files(cfg)]
        asked = Path(expanded(args.out)) if args.out is not None else None
        out = picture_file.requested_path(asked, inputs) if asked else picture_file.default_path(args.photo, inputs[0], kind)
        if not own_choice:
            cfg.engine, reason = or_torch(cfg.engine, cfg.model)
            if reason:
                print(f"note: engine=torch is used, since {engine} does not run this model: {reason}", file=sys.stderr)
        answer = explain(cfg, photo, method, rule, out, args.rules)
    except Exception as error:
        return failed(error, args.debug, given)
    print(json.dumps(answer, indent=1) if args.json else words(answer))
    return 0


def failed(error: Exception, debug: bool, given: Sequence[str]) -> int:
    """Say what was wrong with the input, and return the exit code."""
    if debug:
        raise error
    print(f"error: {cause(error, given)}", file=sys.stderr)
    return 2


def explain(cfg: DictConfig, photo: Photograph, method_name: str, rule: str, out: Path, rules: int = 1) -> dict[str, Any]:
    """Explain a photograph, draw it to ``out``, and return what there is to say; with ``rules`` also further, disjoint reasons."""
    model, engine = load(as_json(cfg.model), as_json(cfg.engine))
    state_model(cfg, model)
    check_node("", cfg.method)
    image = photo.tensor(model.preprocessing).to(engine.device)[None]
    confidence, target = ScoreView(engine)(image).max(1)
    if rules > 1 and isinstance(cfg.method.get("fill"), str) and cfg.method.fill != "black":
        raise ValueError(f"--rules {rules}: fill={cfg.method.fill} is not the same of what is left: give a colour, such as --fill black")
    if rules > 1 and cfg.method.get("criterion") == "share":  # of the photograph's probability, not of what is left
        cfg.method.criterion, cfg.method.level = "threshold", cfg.method.level * float(confidence)
    method, spent = instantiate(cfg.method), Passes()

    def attributed(images: Tensor, targets: Tensor) -> Attribution:
        found, passes = attribute(method, model, engine, images, targets, [image_rng(cfg.seed, "method", photo.id)])
        if found.kept is not None and rule == "neg" and "rule" not in cfg.method:
            raise ValueError(f"--rule neg: the regions of {method_name} are of rule pos; for neg there are da_neg and da_minimal_neg")
        spent.backward += passes.backward
        return replace(found, queries=torch.tensor([passes.forward]))

    (explained,) = disjoint_regions(
        LabelView(engine),
        image,
        target,
        most=rules,
        attribute=attributed,
        rule=RULES[rule],
        fill=resolved(cfg.method).get("fill", "black"),
        seed=cfg.seed,
        verifier=reference_view(engine),
    )
    name, pixels = model.class_names[int(target)], image[0].permute(1, 2, 0).cpu().numpy()
    when = "if present" if rule == "pos" else "if absent"
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
        for text, region in zip(explained.rules(name), explained.regions, strict=True)
    ]
    from da.plot import heat_map, row_of_pictures  # only now: they take a second to import
    from results.figures.matplotlib import to_file

    drawn = [pixels, *(picture(pixels, region.mask) for region in explained.regions)]
    drawn.append(heat_map(pixels, explained.regions[0].attribution.saliency[0].cpu().numpy()))
    titles = [f"{name} {float(confidence):.2f}", *(f"{when}: {100 * region.mar:.1f} %" for region in explained.regions)]
    figure = row_of_pictures(drawn, [*titles, f"map, {method_name}"])
    to_file(figure, out, picture_file.metadata(out, Path(str(photo.source))))
    return {
        **reasons[0],
        "class_name": name,
        "class_index": int(target),
        "confidence": float(confidence),
        "queries": sum(region.queries or 0 for region in explained.regions),
        "backward_passes": spent.backward,
        "method": method_name,
        "model": model.name,
        "engine": str(cfg.engine._target_).rsplit(".", 1)[-1].removesuffix("_engine"),
        "pixels": list(pixels.shape[:2]),
        "picture": str(out),
        **({"rules": reasons, "no_more": explained.exhausted} if rules > 1 else {}),
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
