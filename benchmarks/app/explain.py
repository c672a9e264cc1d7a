"""Explain one photograph: ``python -m da photo.jpg``. The command line; what needs PyTorch is imported once it is known to be right."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from benchmarks.app.explain_options import KEYS, RULES, Asked, options, use_config_dir, yaml_value
from benchmarks.data.demo_pictures import unreadable
from benchmarks.inputs.compose import composed
from benchmarks.inputs.messages import cause
from benchmarks.inputs.places import any_file_names, ensure_cache, expanded

DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")  # of a GPU on Linux


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
    if first.app and not first.help:
        from benchmarks.app.browser import server  # only now: Gradio, of an extra

        return server.serve(first.port)
    method, given, own_choice = chosen(parser, first)
    try:
        cfg = composed(*given)
    except Exception as error:
        return failed(error, first.debug, given)
    add_hyper_parameters(parser, method, cfg)
    if first.help:
        parser.print_help()
        return 0
    args = parser.parse_intermixed_args(arguments)
    asked = settled(parser, args, cfg, method, own_choice)
    if reason := unreadable(Path(expanded(asked.photo))):
        return failed(ValueError(reason), args.debug, given)
    from benchmarks.app import explained  # only now, with PyTorch: help and errors do without

    try:
        answer = explained.answered(cfg, asked)
    except Exception as error:
        return failed(error, args.debug, given)
    print(json.dumps(answer, indent=1) if args.json else explained.words(answer))
    return 0


def chosen(parser: argparse.ArgumentParser, first: argparse.Namespace) -> tuple[str, list[str], str | None]:
    """The method, what its configuration is composed of, and the engine where it is named; ends by ``parser.error`` where that is wrong."""
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
    cpu = device == "cpu" or (device == "auto" and (first.help or not cuda_available()))
    own_choice = first.engine or overrides.get("engine")
    engine = own_choice or ("onnxruntime" if cpu and model != "onnx" else "torch")
    named = [f"{key}={value}" for key, value in (("model", model), ("engine", engine))]
    given = [f"method={method}", "dataset=image_folder", *named, *(one for one in written if not one.startswith(("model=", "engine=")))]
    return method, given, own_choice


def add_hyper_parameters(parser: argparse.ArgumentParser, method: str, cfg: DictConfig) -> None:
    """Add an option for each of the method's hyper-parameters."""
    hyper = parser.add_argument_group(f"hyper-parameters of {method}")
    raw = OmegaConf.to_container(cfg.method)
    assert isinstance(raw, dict)
    for name, value in ((str(name), value) for name, value in raw.items()):
        if not name.startswith("_") and name != "rule":
            flag = f"--{name.replace('_', '-')}"
            hyper.add_argument(flag, dest=f"hyper_{name}", type=yaml_value, metavar="VALUE", help=f"default {value!r}")


def settled(parser: argparse.ArgumentParser, args: argparse.Namespace, cfg: DictConfig, method: str, own_choice: str | None) -> Asked:
    """Put the options into the configuration, and say what is asked; ends by ``parser.error`` where they do not fit together."""
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
    if not any(word.lstrip("+").startswith("engine.batch=") for word in args.overrides):
        cfg.engine.batch = cfg.method.get("speculate") or 1  # one image: a pass is as large as what it asks at a time
    return Asked(args.photo, args.out, method, rule, own is not None, args.rules, own_choice)


def failed(error: Exception, debug: bool, given: Sequence[str]) -> int:
    """Say what was wrong with the input, and return the exit code."""
    if debug:
        raise error
    print(f"error: {cause(error, given)}", file=sys.stderr)
    return 2


def cuda_available() -> bool:
    """Whether PyTorch has a GPU; without a driver it is not imported to be asked."""
    if sys.platform == "linux" and not any(map(os.path.exists, DRIVERS)):
        return False
    import torch

    return torch.cuda.is_available()
