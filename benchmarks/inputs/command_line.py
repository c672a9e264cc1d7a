"""A command line as it was given: names and paths as text, flags in any place, and the line that runs one of its jobs alone."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import fields
from typing import NoReturn

from hydra._internal.utils import get_args_parser
from hydra.conf import HydraConf
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException

from benchmarks.inputs.places import check_name, expanded

GROUPS = "model|dataset|method|benchmark|engine|experiment|board|tracking"
# What is text whatever it looks like: 2024_11_28, 1e3, null and true are names, too.
TEXT = re.compile(
    r"name|out|store|scale|paper_dataset|dataset(\.of)*\.(root|name|split)|model\.name|model\.net\.(architecture|checkpoint)"
    rf"|engine\.(precision|device)|select\.order|tracking\.(project|mode)|{GROUPS}"
)
TEXT_OR_NULL = re.compile(
    r"method_name|model(\.net)?\.weights|model\.net\.pretrained|model\.(gradcam_layer|interpolation|outputs)|tracking\.group"
)
LIST_OF_TEXT = re.compile(r"select\.correct_for|model\.classes|model\.net\.templates|dataset(\.of)*\.class_names|benchmark")
PATH = re.compile(r"out|store|dataset(\.of)*\.root|model(\.net)?\.weights|model\.net\.checkpoint")
OVERRIDE = re.compile(r"(\+{0,2})([^=\s]+)=(.*)", re.DOTALL)
FUNCTION = re.compile(r"\s*(range|interval|glob|sort|shuffle|tag|extend_list|int|float|str|bool|json_str)\s*\(.*\)\s*", re.DOTALL)
ESCAPED = re.compile(r"\\([\\()\[\]{}:=, \t])")  # what Hydra's grammar takes a backslash from
WITH_VALUE = ("--cfg", "--package", "--config-path", "--config-name", "--config-dir", "--experimental-rerun")
SHORT_WITH_VALUE = ("-c", "-p", "-cp", "-cn", "-cd")
KEPT = ("--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd")  # flags that decide what a job is
OF_THE_SWEEP = ("hydra.mode=", "hydra.sweep", "hydra/sweeper", "hydra.launcher", "hydra/launcher", "hydra.run.", "hydra.callbacks")


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """Hydra's own reading of flags and overrides. Raises ValueError for a flag that there is not."""
    parser = get_args_parser()

    def error(message: str) -> NoReturn:
        raise ValueError(f"{message}; see python -m benchmarks --help, and --hydra-help for flags")

    parser.error = error  # type: ignore[method-assign]
    found = parser.parse_args(list(arguments))
    known = [field.name for field in fields(HydraConf)]
    for word in found.overrides:
        key = word.lstrip("+").split("=")[0].split(".")
        if word.startswith("+hydra.") and key[1] not in known:  # without the +, Hydra says so itself
            raise ValueError(f"there is no key {'.'.join(key)}; hydra has {', '.join(known)}")
    return found


def split_flags(arguments: Sequence[str]) -> tuple[list[list[str]], list[str]]:
    """Flags, each with its value, and the overrides: Hydra reads flags only before or after all overrides."""
    flags: list[list[str]] = []
    overrides: list[str] = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word == "--":
            overrides += rest
            break
        if not word.startswith("-"):
            overrides.append(word)
            continue
        flags.append([word])
        long = [flag for flag in WITH_VALUE if word.startswith("--") and flag.startswith(word)]  # or a beginning of it
        optional = word in ("-i", "--info") and rest and rest[0].isidentifier()
        if rest and "=" not in word and (word in SHORT_WITH_VALUE or len(long) == 1 or word in WITH_VALUE or optional):
            flags[-1].append(rest.pop(0))
    return flags, overrides


def as_given(overrides: Sequence[str]) -> list[str]:
    """Overrides with what is text in quotes where Hydra would read it as another type, and ``~`` in paths as the home folder.

    Raises ValueError for a run's name that names no folder, and for the home of a user who is not there.
    """
    return [_as_given(override) for override in overrides]


def searched(overrides: Sequence[str]) -> list[str]:
    """The folders of ``hydra.searchpath=[...]``."""
    given = [one for one in overrides if one.lstrip("+").startswith("hydra.searchpath=")]
    found = _read(given[-1].split("=", 1)[1]) if given else []
    return [str(folder.text if isinstance(folder, QuotedString) else folder) for folder in found] if isinstance(found, list) else []


def of_single_job(overrides: Sequence[str], arguments: Sequence[str]) -> list[str]:
    """The arguments that run one job of a sweep alone. overrides: of the job; arguments: of the whole command line."""
    flags, given = split_flags(arguments)
    kept = [word for flag in flags if flag[0].split("=")[0] in KEPT for word in flag]
    hydra = [one for one in given if one.lstrip("+~").startswith(("hydra.", "hydra/")) and not one.lstrip("+~").startswith(OF_THE_SWEEP)]
    return [*kept, *hydra, *overrides]


def elements(value: str) -> list[str]:
    """The choices of a sweep: ``a,b`` at its commas outside of quotes and brackets."""
    found, depth, quote, word = [""], 0, "", ""
    at = 0
    while at < len(value):
        character = value[at]
        word = found[-1]
        if character == "\\" and at + 1 < len(value):
            found[-1] += value[at : at + 2]
            at += 2
            continue
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'" and (not word.strip() or depth):
            quote = character
        elif character in "([{":
            depth += 1
        elif character in ")]}":
            depth = max(0, depth - 1)
        if character == "," and not depth and not quote:
            found.append("")
        else:
            found[-1] += character
        at += 1
    return found


def _as_given(override: str) -> str:
    match = OVERRIDE.fullmatch(override)
    if not match:
        return override
    plus, key, value = match.groups()
    of = key.partition("@")[0]
    if not any(kind.fullmatch(of) for kind in (TEXT, TEXT_OR_NULL, LIST_OF_TEXT)):
        return override
    return f"{plus}{key}={_values(of, value)}"


def _values(key: str, value: str) -> str:
    choices = elements(value)
    return ",".join(_value(key, choice.strip() if len(choices) > 1 else choice) for choice in choices)


def _value(key: str, given: str, *, null: bool = True) -> str:
    """One choice; null: whether that word stands for nothing, where the key allows nothing."""
    bare = given.strip()
    if LIST_OF_TEXT.fullmatch(key) and bare.startswith("[") and bare.endswith("]"):
        inner = elements(bare[1:-1]) if bare[1:-1].strip() else []
        return f"[{','.join(_value(key, element.strip(), null=False) for element in inner)}]"
    if bare.startswith("choice(") and bare.endswith(")"):
        return _values(key, bare[7:-1])  # the same, and Hydra keeps the quotes
    if FUNCTION.fullmatch(given) or (LIST_OF_TEXT.fullmatch(key) and bare.startswith("{")):
        return given
    if null and bare.lower() == "null" and not TEXT.fullmatch(key):
        return given
    quoted = len(bare) > 1 and bare[0] in "\"'" and bare[-1] == bare[0]
    read = _read(given)
    text = read if quoted and isinstance(read, str) else ESCAPED.sub(r"\1", given)
    if not text.strip() and (TEXT.fullmatch(key) or PATH.fullmatch(key)):
        raise ValueError(f"{key}={given}: there is nothing after it: give a value, or leave {key} out")
    if PATH.fullmatch(key) and text.startswith("~"):
        text = expanded(text)
    if key == "name" and "${" not in text:
        check_name(text)
    if re.fullmatch(r"method_name|(model|dataset(\.of)*)\.name", key) and ("/" in text or text in (".", "..")) and "${" not in text:
        raise ValueError(f"{key}={text!r}: it becomes part of the names of files: leave out the /")
    return given if read == text else QuotedString(text, Quote.single if '"' in text and "'" not in text else Quote.double).with_quotes()


def _read(value: str) -> object:
    """What Hydra makes of a value, None where it makes nothing of it."""
    try:
        return OverridesParser.create().parse_override(f"x={value}").value()
    except HydraException:
        return None
