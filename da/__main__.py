"""Explain one photograph: ``python -m da photo.jpg``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch
import yaml
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from benchmarks.access import LabelView, Passes, ScoreView
from benchmarks.attribute import attribute
from benchmarks.auto import settle
from benchmarks.bad_input import cause, choices, suggestion
from benchmarks.configured import check_node, composed, load, plain, with_model
from benchmarks.datasets import Photograph, demo
from benchmarks.decoding import checked_range
from benchmarks.insertion import importance_rank
from benchmarks.mar import prefix_shares
from benchmarks.rng import image_rng
from da.fill import filled, masked
from da.rule import parts, picture, text
from da.types import OK, Attribution
from da.walk import NOTHING_ACCEPTED

RULES = {"pos": "positive", "neg": "negative"}


class OneLine(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and exit."""
        self.exit(2, f"error: {message}; see python -m da --help\n")


def options() -> argparse.ArgumentParser:
    """The options that every method has."""
    parser = OneLine(
        prog="python -m da",
        description="Say which parts of a photograph decide its class, as a rule, and draw them.",
        epilog="Examples\n"
        "  python -m da coffee                                  a photograph that is there to try it on\n"
        "  python -m da cat.jpg --rule neg                      what must be absent for the class to be lost\n"
        "  python -m da cat.jpg --method da_minimal --rules 3   smaller regions, certified, and up to three reasons\n"
        "  python -m da cat.jpg --k 8 --iterations 1000 --json  hyper-parameters; one JSON object\n"
        "  python -m da --method rise --help                    the hyper-parameters of another method\n"
        "  python -m da cat.jpg --config-dir conf --model mine  a model or method of yours\n"
        "Exit codes: 0 done, 2 bad input, 130 interrupted. Errors are one line; --debug shows where they come from.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
    )
    parser.add_argument("photo", nargs="?", type=Path, help=f"an image file, or one of {', '.join(p.id for p in demo().photographs)}")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="as of python -m benchmarks, such as model.size=224")
    parser.add_argument("-h", "--help", action="store_true", help="show this and the method's hyper-parameters")
    parser.add_argument(
        "--rule", choices=RULES, help="pos: these parts keep the class; neg: without them it is lost (default: the method's)"
    )
    parser.add_argument("--rules", type=int, default=1, metavar="N", help="look for up to N disjoint regions that each suffice")
    parser.add_argument("--method", metavar="NAME", help=f"default da_pos or da_neg; of {', '.join(choices('method'))}")
    parser.add_argument("--model", default="efficientnet_lite0", metavar="NAME", help=f"of {', '.join(choices('model'))}")
    parser.add_argument("--config-dir", type=Path, metavar="DIR", help="folder of your own configurations: DIR/model, DIR/method")
    parser.add_argument("--weights", help="a local file of the model's weights")
    parser.add_argument("--out", type=Path, help="the picture to write (default: PHOTO_METHOD.png in this folder)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--engine", metavar="NAME", help=f"of {', '.join(choices('engine'))}; default: onnxruntime on the CPU")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def yaml_value(text: str) -> Any:
    """A hyper-parameter as YAML reads it: 4, 0.2, [0.1, 0.2], black."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise argparse.ArgumentTypeError(f"{text!r} is no value: give a number, a word or a list such as [0.1,0.2]") from None


def script() -> int:
    """The command ``da-explain``."""
    return main(sys.argv[1:])


def main(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit code: 0 done, 2 bad input; Ctrl-C raises KeyboardInterrupt."""
    parser = options()
    first, _ = parser.parse_known_intermixed_args(arguments)  # options and KEY=VALUE in any order
    if any(given.startswith("method=") for given in first.overrides):
        parser.error("give the method as --method NAME")
    method = first.method or f"da_{first.rule or 'pos'}"
    method = "da_minimal_neg" if method == "da_minimal" and first.rule == "neg" else method
    cpu = first.device in ("auto", "cpu") and not (first.device == "auto" and torch.cuda.is_available())
    engine = first.engine or ("onnxruntime" if cpu and first.model != "onnx" else "torch")
    given = [f"method={method}", f"model={first.model}", f"engine={engine}", "dataset=image_folder", *first.overrides]
    given += [f"hydra.searchpath=[file://{first.config_dir.resolve()}]"] if first.config_dir else []
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
    cfg.seed = args.seed
    if "device" in cfg.engine:
        cfg.engine.device = args.device
    if args.weights:
        cfg.model.weights = args.weights
    for name, value in vars(args).items():
        if name.startswith("hyper_") and value is not None:
            cfg.method[name.removeprefix("hyper_")] = value
    cfg.engine.batch = cfg.method.get("speculate") or 1  # one image: a pass is as large as what it asks at a time
    try:
        settle(cfg)
        check_place(args.photo, args.out)
        photo, out = photograph(args.photo, cfg.dataset.get("value_range")), args.out or Path(f"{args.photo.stem}_{method}.png")
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


def check_place(photo: Path, out: Path | None) -> None:
    """Raises ValueError for a folder in the place of a photograph or a picture, and for a picture in a folder that is not there."""
    if photo.is_dir():
        raise ValueError(f"{photo} is a folder: give one photograph, or run python -m benchmarks dataset=image_folder dataset.root={photo}")
    if out is not None and (out.is_dir() or not out.parent.is_dir()):
        raise ValueError(f"--out {out}: give a file in a folder that is there, such as picture.png")


def photograph(photo: Path, value_range: Sequence[float] | None = None) -> Photograph:
    """A file, or the demo photograph of that name where there is no such file. value_range: of a file, see ``image_folder``."""
    by_name = {of.id: of for of in demo().photographs}
    if str(photo) not in by_name and not photo.exists():
        raise ValueError(f"{photo} cannot be read: there is no such file{suggestion(str(photo), by_name)}")
    given = checked_range(value_range)
    return by_name[str(photo)] if str(photo) in by_name and not photo.exists() else Photograph(photo.name, None, photo, value_range=given)


def explain(cfg: DictConfig, photo: Photograph, method_name: str, rule: str, out: Path, rules: int = 1) -> dict[str, Any]:
    """Explain a photograph, draw it to ``out``, and return what there is to say; with ``rules`` also further, disjoint reasons."""
    model, engine = load(plain(cfg.model), plain(cfg.engine))
    check_node("", with_model(cfg, model).method)
    image = photo.tensor(model.preprocessing).to(engine.device)[None]
    confidence, target = ScoreView(engine)(image).max(1)
    if rules > 1 and cfg.method.get("fill") in ("mean", "blur"):
        raise ValueError(f"--rules {rules}: fill={cfg.method.fill} is not the same of what is left: give a colour, such as --fill black")
    if rules > 1 and cfg.method.get("criterion") == "share":  # of the photograph's probability, not of what is left
        cfg.method.criterion, cfg.method.level = "threshold", cfg.method.level * float(confidence)
    method = instantiate(cfg.method)
    view, fill = LabelView(engine), cfg.method.get("fill", "black")
    blank = filled(image, fill)
    spent, before = Passes(), 0
    rest, found = image, list[tuple[Attribution, Tensor, int]]()
    while len(found) < rules:  # the region of the image, then of what is left without it, and so on while that still has the class
        attribution, passes = attribute(method, model, engine, rest, target, [image_rng(cfg.seed, "method", photo.id)])
        spent.forward, spent.backward = spent.forward + passes.forward, spent.backward + passes.backward
        kept = attribution.kept
        if kept is not None and rule == "neg" and "rule" not in cfg.method:
            raise ValueError(f"--rule neg: the regions of {method_name} are of rule pos; for neg there are da_neg and da_minimal_neg")
        kept = kept if kept is not None else sufficient_prefix(view, rest, target, attribution, rule, fill, cfg.seed)
        kept = kept & (rest != blank).any(1) if found else kept
        rest = masked(blank, rest, kept)
        more = len(found) + 1 < rules and bool(kept.any()) and bool(view(rest) == target)
        found.append((attribution, kept, spent.forward + view.queries - before))
        before = spent.forward + view.queries
        if not more:
            break
    queries = before
    name, index = model.class_names[int(target)], int(target)
    pixels = image[0].permute(1, 2, 0).cpu().numpy()
    drawn, titles = [pixels], [f"{name} {float(confidence):.2f}"]
    when = "if present" if rule == "pos" else "if absent"
    reasons = []
    for of_region, kept, its_queries in found:
        mask = kept[0].cpu().numpy()
        shown, hidden = (image, blank) if rule == "pos" else (blank, image)
        same = bool(view(masked(shown, hidden, kept)) == target)
        certified = of_region.extras.get("certified")
        reason = {"rule": text(mask, name, RULES[rule]), "mar": float(mask.mean()), "verified": same if rule == "pos" else not same}
        reason |= {"queries": its_queries, "certified": None if certified is None else bool(certified[0])}
        reason |= {"status": of_region.status[0] if of_region.status else OK}
        reasons.append(reason | {"parts": [{"share": part.share, "box": part.box, "centre": part.centre} for part in parts(mask)]})
        drawn.append(picture(pixels, mask))
        titles.append(f"{when}: {100 * mask.mean():.1f} %")
    from results.figures import heat_map, row_of_pictures, to_file  # only now: seaborn takes a second to import

    drawn.append(heat_map(pixels, found[0][0].saliency[0].cpu().numpy()))
    to_file(row_of_pictures(drawn, [*titles, f"map, {method_name}"]), out)
    return {
        **reasons[0],
        "class_name": name,
        "class_index": index,
        "confidence": float(confidence),
        "queries": queries,
        "backward_passes": spent.backward,
        "method": method_name,
        "model": model.name,
        "pixels": list(pixels.shape[:2]),
        "picture": str(out),
        **({"rules": reasons, "no_more": len(found) < rules and bool(found[-1][1].any())} if rules > 1 else {}),
    }


def sufficient_prefix(view: LabelView, image: Tensor, target: Tensor, attribution: Attribution, rule: str, fill: Any, seed: int) -> Tensor:
    """For a method that only ranks pixels: the smallest tried share of its top pixels that satisfies the rule, else all."""
    rank = importance_rank(attribution.saliency[:1], [image_rng(seed, "ties", "")])
    blank = filled(image, fill)
    shown, hidden = (image, blank) if rule == "pos" else (blank, image)
    for share in prefix_shares():
        kept = rank < round(share * rank[0].numel())
        same = bool(view(masked(shown, hidden, kept)) == target)
        if same == (rule == "pos"):
            return kept
    return torch.ones_like(kept)


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
    lines.append(passes if verified else "NOT verified: a masked image does not satisfy the rule.")
    certified = [
        reason["certified"] for reason in reasons if reason["certified"] is not None and reason["status"] in (OK, NOTHING_ACCEPTED)
    ]
    if verified and certified and all(certified):
        several = "any of them can go, counted in what is left without those before" if len(reasons) > 1 else "it can go"
        lines.append(f"Certified: no superpixel's share of {several}.")
    elif not all(certified):
        lines.append("Not certified: the budget did not reach to check every superpixel.")
    lines += [f"Status: {status}." for status in dict.fromkeys(reason["status"] for reason in reasons) if status != OK]
    return "\n".join([*lines, f"Picture: {answer['picture']}"])


if __name__ == "__main__":
    sys.exit(script())
