"""The options of ``python -m da``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import yaml

from benchmarks.data.demo_pictures import PICTURES
from benchmarks.inputs import own_folders
from benchmarks.inputs.command_line import searched
from benchmarks.inputs.messages import choices

RULES = {"pos": "positive", "neg": "negative"}
KEYS = ("model", "method", "engine", "seed", "hydra", "dataset.value_range")  # the overrides that say something about one photograph


@dataclass(frozen=True)
class Asked:
    """What is asked of a photograph.

    photo: as it was given. out: the picture to write. rule: ``pos`` or ``neg``. own_rule: whether the method has a rule of its own. rules:
    how many, at most. engine: that was asked for, None for the one that runs the model fastest.
    """

    photo: Path
    out: Path | None
    method: str
    rule: str
    own_rule: bool
    rules: int = 1
    engine: str | None = None


class OneLineErrorParser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and exit."""
        self.exit(2, f"error: {message}; see python -m da --help\n")


def options() -> argparse.ArgumentParser:
    """The options that every method has."""
    parser = OneLineErrorParser(
        prog="python -m da",
        description="Say which parts of a photograph decide its class, as a rule, and draw them.",
        epilog="Examples\n"
        "  python -m da coffee                                  a photograph that is there to try it on\n"
        "  python -m da cat.jpg --rule neg                      what must be absent for the class to be lost\n"
        "  python -m da cat.jpg --method da_minimal --rules 3   smaller regions, certified, and up to three reasons\n"
        "  python -m da cat.jpg --k 8 --iterations 1000 --json  hyper-parameters; one JSON object\n"
        "  python -m da --method rise --help                    the hyper-parameters of another method\n"
        "  python -m da cat.jpg --config-dir conf --model mine  a model or method of yours\n"
        "  python -m da --app                                   in a browser, with a live picture\n"
        "Exit codes: 0 done, 2 bad input, 130 interrupted. Errors are one line; --debug shows where they come from.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
    )
    parser.add_argument("photo", nargs="?", type=Path, help=f"an image file, or one of {', '.join(PICTURES)}")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="as of python -m benchmarks, such as model.size=224")
    parser.add_argument("-h", "--help", action="store_true", help="show this and the method's hyper-parameters")
    parser.add_argument(
        "--rule", choices=RULES, help="pos: these parts keep the class; neg: without them it is lost (default: the method's)"
    )
    parser.add_argument("--rules", type=int, default=1, metavar="N", help="look for up to N disjoint regions that each suffice")
    parser.add_argument("--method", metavar="NAME", help=f"default da_pos or da_neg; of {', '.join(choices('method'))}")
    parser.add_argument("--model", default="efficientnet_lite0", metavar="NAME", help=f"of {', '.join(choices('model'))}")
    parser.add_argument("--config-dir", type=Path, metavar="DIR", help="folder of your own configurations: DIR/model, DIR/method")
    parser.add_argument("--weights", metavar="FILE", help="a local file of the model's weights")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the picture to write (default: PHOTO_METHOD.png in this folder)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--seed", type=int, help="default 0")
    parser.add_argument("--engine", metavar="NAME", help=f"of {', '.join(choices('engine'))}; default: onnxruntime on the CPU")
    parser.add_argument("--device", help="auto, cpu or cuda; default auto")
    parser.add_argument("--app", action="store_true", help="all this in a browser: choose, look on, compare; on this machine alone")
    parser.add_argument("--port", type=port, metavar="N", help="of --app, from 1 to 65535 (default: a free one from 7860)")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def port(text: str) -> int:
    """A port of TCP."""
    if not text.isdigit() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: give a whole number from 1 to 65535")
    return int(text)


def yaml_value(text: str) -> Any:
    """A hyper-parameter as YAML reads it: 4, 0.2, [0.1, 0.2], black."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise argparse.ArgumentTypeError(f"{text!r} is no value: give a number, a word or a list such as [0.1,0.2]") from None


def use_config_dir(arguments: Sequence[str]) -> list[str]:
    """Take the folders of the user's own configurations; returns what is to be said of them."""
    parser = OneLineErrorParser(add_help=False)
    parser.add_argument("--config-dir")
    found, rest = parser.parse_known_args(list(arguments))
    return own_folders.set_search_path(found.config_dir, searched(rest))
