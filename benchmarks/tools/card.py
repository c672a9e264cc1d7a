"""A page about each method, made of its code, its configuration and the boards: ``python -m benchmarks.tools.card [METHOD ...]``.

Writes ``docs/cards``. Nothing on a page is typed: what it lacks is to be written where it belongs, in the docstring, the configuration,
an entry of a board or published rows.
"""

from __future__ import annotations

import argparse
import inspect
import io
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from hydra.utils import get_method

from benchmarks.engines.views import access
from benchmarks.inputs.own_folders import CONFIGURATIONS
from benchmarks.keys.identity import version_of
from benchmarks.tools.works import NEEDS, WORKS
from benchmarks.tools.works import read as read_works
from da.types import LabelModel, ScoreModel
from results.boards.board import FOLDER, Board
from results.boards.entry import Entry, passes, scores
from results.boards.ranking import entries_of, rank_text, ranked
from results.export import NOTHING, interval, to_markdown
from results.naming import value_text
from results.published.experiments import artefacts
from results.published.manifest import FOLDER as PUBLISHED
from results.published.read import current_versions, outdated, provenance_line, read_rows
from results.store.store import FAILED

CARDS = Path("docs") / "cards"
SEES: dict[type, str] = {LabelModel: "the predicted class only", ScoreModel: "probabilities of the classes"}
NETWORK = "the network: its gradients and layers"
PHOTOGRAPHS = "demo_insertion"  # the board whose images are looked at one by one
WORST = 5
OF_MODEL = re.compile(r"\$\{(?:oc\.select:)?model\.(\w+)(?:, *(.*))?\}")  # a value that is a model's
MEASURED = {  # published rows of an experiment of that name: the table of it that has a line per method, and what it says
    "runtime": ("runtime", "Time and memory"),
    "stability": ("stability", "Stability over seeds"),
    "sanity": ("sanity", "Sanity: likeness to the trained network's map as layers are randomised"),
}


def methods() -> list[str]:
    """The methods of the catalogue."""
    return sorted(path.stem for path in (Path(CONFIGURATIONS) / "method").glob("*.yaml"))


def card(name: str, root: Path) -> str:
    """A method's page as Markdown. root: of the repository. Raises ValueError for a method that is not there."""
    path = Path(CONFIGURATIONS) / "method" / f"{name}.yaml"
    if not path.is_file():
        raise ValueError(f"there is no method {name}: choose {', '.join(methods())}")
    text = path.read_text(encoding="utf-8")
    target = str(yaml.safe_load(text)["_target_"])
    function = get_method(target)
    summary, said = docstring(function)
    of_settings = docstring(function.settings)[1] if hasattr(function, "settings") else {}
    documented = "\n".join(of.get(title, "") for of in (said, of_settings) for title in ("Parameters", "Attributes"))
    parts = [
        f"# {name}",
        summary,
        _facts(name, target, function, root),
        _section("Hyper-parameters", hyperparameters(text, documented)),
        _section("Choices and deviations", said.get("Notes", "The docstring states none.")),
        _section("On the boards", on_boards(name, root)),
        _section(f"The {WORST} photographs of {PHOTOGRAPHS} on which it does worst", worst(name, root)),
        *(_section(title, text) for title, text in measured(name, root)),
        _section("References", said.get("References", "The docstring names none.")),
        "Made by `python -m benchmarks.tools.card` of the function, its configuration, the entries of the boards and published rows.",
    ]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def docstring(function: Callable[..., Any]) -> tuple[str, dict[str, str]]:
    """What comes before the sections of a docstring, and the body of each section; as Markdown."""
    text = inspect.cleandoc(inspect.unwrap(function).__doc__ or "").replace("``", "`")
    before, *parts = re.split(r"^(\w[\w ]*)\n-{3,}\n", text, flags=re.MULTILINE)
    return before.strip(), {title: body.strip() for title, body in zip(parts[::2], parts[1::2], strict=True)}


def hyperparameters(configuration: str, documented: str) -> str:
    """Each value of a configuration file with what the docstring says of it, or the file's comment."""
    lines = []
    meaning = dict(_parameters(documented))
    for found in re.finditer(r"^([a-z]\w*): *(.*?)(?: +# *(.*))?$", configuration, re.MULTILINE):
        name, value, comment = found.groups()
        if name != "defaults":
            kind, words = meaning.get(name, ("", ""))
            lines.append({"name": f"`{name}`", "default": _in_words(value), "type": kind, "meaning": words or comment or ""})
    if not lines:
        return "None."
    table = to_markdown(pd.DataFrame(lines).map(lambda cell: cell.replace("|", "\\|")), escape=False)
    return f"{table}\nThe values are those of `conf/method`; on the command line `method.NAME=VALUE`."


def _in_words(value: str) -> str:
    """A value of a configuration, and where it is taken from another part of it, from which."""
    if found := OF_MODEL.fullmatch(value):
        return f"the model's `{found[1]}`{f', else `{found[2]}`' if found[2] else ''}"
    return f"the run's `{value[2:-1]}`" if value.startswith("${") else f"`{value}`"


def _parameters(section: str) -> Iterator[tuple[str, tuple[str, str]]]:
    """The names of a docstring's section with their types and what is said of them."""
    for entry in re.split(r"\n(?=\S)", section):
        head, _, body = entry.partition("\n")
        names, _, kind = head.partition(" : ")
        yield from ((one.strip(), (kind, " ".join(body.split()))) for one in names.split(","))


def _facts(name: str, target: str, function: Callable[..., Any], root: Path) -> str:
    works = read_works((root / "docs" / "works.md").read_text(encoding="utf-8")).get(name, {})
    refused: dict[str, list[str]] = {}
    for family, outcome in works.items():
        if outcome != WORKS:
            refused.setdefault(outcome, []).append(family)
    bare = inspect.unwrap(function)
    facts = {
        "function": f"`{target}`, version {version_of(bare.__module__)}",
        "sees of the model": "nothing" if not works or bare.__module__ == "baselines.references" else SEES.get(access(function), NETWORK),
        "works on": "; ".join(family for family, outcome in works.items() if outcome == WORKS) or "nothing is asked of a model",
        **{f"refused on {'; '.join(families)}": reason for reason, families in refused.items()},
        **({"needs the package": f"`{NEEDS[name]}`"} if name in NEEDS else {}),
        "licence": f"{_licence(root)}, as all of this project",
    }
    rows = "\n".join(f"| {fact} | {value.replace('|', chr(92) + '|')} |" for fact, value in facts.items())
    return f"| | |\n| --- | --- |\n{rows}"


def _licence(root: Path) -> str:
    return str(yaml.safe_load((root / "CITATION.cff").read_text(encoding="utf-8"))["license"])


@lru_cache(maxsize=8)
def boards(root: Path) -> tuple[tuple[Board, list[Entry], pd.DataFrame], ...]:
    """The boards that have entries, their entries and ranks."""
    found = []
    for path in sorted((root / FOLDER).glob("*.yaml")):
        board = Board.read(path)
        if entries := entries_of(board, root):
            found.append((board, entries, ranked(board, entries).set_index("entry")))
    return tuple(found)


def on_boards(name: str, root: Path) -> str:
    """Score, rank and cost of a method on each board that it has an entry of."""
    lines, current = [], current_versions(root)
    own = yaml.safe_load((Path(CONFIGURATIONS) / "method" / f"{name}.yaml").read_text(encoding="utf-8"))
    for board, entries, ranks in boards(root):
        entry = next((entry for entry in entries if entry.name == name), None)
        if entry is None:
            continue
        line, spent, given = ranks.loc[name].to_dict(), passes(entry), entry.record["parameters"]
        lines.append(
            {
                "board": board.name,
                "with": ", ".join(f"{key}={value_text(value)}" for key, value in given.items() if _is_other(value, own.get(key)))
                or NOTHING,
                "score": f"{board.score}, {board.better} is better",
                "mean": interval(line["mean"], line["low"], line["high"], ends=3),
                "rank": f"{rank_text(line)} of {len(entries)}",
                "passes": NOTHING if spent.isna().any() else f"{spent.mean():.0f}",
                "images": len(board.listed),
                "failed": entry.rows.loc[entry.rows["status"].str.startswith(FAILED), "image"].nunique(),
                "numbers": "; ".join(
                    ["verified" if entry.verified else "claimed", *outdated(entry.manifest, [entry.record["method"]], current)]
                ),
            }
        )
    if not lines:
        return "It has no entry yet."
    note = "Means over images with 95 % bootstrap intervals; with: what is not its default."
    return f"{to_markdown(pd.DataFrame(lines))}\n{note} [Leaderboard](../leaderboard.md)."


def _is_other(value: Any, default: Any) -> bool:
    """Whether a method was given a value that is not its configuration's; of one that is a model's, not what it is without a model's."""
    if (found := OF_MODEL.fullmatch(str(default))) and found[2]:
        default = yaml.safe_load(found[2])
    return value != default and not str(default).startswith("${")


@lru_cache(maxsize=8)
def _published(root: Path) -> dict[str, tuple[str, pd.DataFrame, str]]:
    """Of the experiments that each method's card shows and that are published: a heading, a table, and what is said of its rows."""
    found = {}
    for experiment, (table, title) in MEASURED.items():
        if (path := root / PUBLISHED / f"{experiment}.json").is_file():
            rows = read_rows(path)
            lines = pd.read_csv(io.StringIO(artefacts(rows, experiment, root).data[table]), dtype=str, keep_default_na=False)
            said = provenance_line(rows, f"../{PUBLISHED.name}/{path.name}", current_versions(root))
            found[experiment] = (title, lines, said)
    return found


def measured(name: str, root: Path) -> list[tuple[str, str]]:
    """The lines of a method in tables of published experiments, each under its heading."""
    found = []
    for title, table, said in _published(root).values():
        lines = table[table["method"] == name].drop(columns="method")
        if len(lines):
            found.append((title, f"{to_markdown(lines)}\n{said}"))
    return found


def worst(name: str, root: Path) -> str:
    """The photographs that packages ship on which a method has its worst scores."""
    for board, entries, _ in boards(root):
        for entry in entries:
            if board.name == PHOTOGRAPHS and entry.name == name:
                of = scores(entry, board).sort_values(ascending=board.better == "larger", kind="stable")[:WORST]
                status = entry.rows.drop_duplicates("image").set_index("image")["status"]
                lines = [{"photograph": image, board.score: f"{value:.3f}", "status": status[str(image)]} for image, value in of.items()]
                return to_markdown(pd.DataFrame(lines))
    return f"It has no entry of {PHOTOGRAPHS} yet."


def _section(title: str, body: str) -> str:
    return f"## {title}\n\n{body.strip()}"


def index(names: Sequence[str], root: Path) -> str:
    """The page that lists the cards."""
    known = {name: yaml.safe_load((Path(CONFIGURATIONS) / "method" / f"{name}.yaml").read_text()) for name in names}
    lines = []
    for name, given in known.items():
        function = get_method(str(given["_target_"]))
        others = [other for other in known.values() if other["_target_"] == given["_target_"] and other is not given]
        differs = [key for key, value in given.items() if "$" not in str(value) and any(value != other.get(key) for other in others)]
        settings = f" With {', '.join(f'`{key}={value_text(given[key])}`' for key in differs)}." if differs else ""
        lines.append(f"| [{name}]({name}.md) | {docstring(function)[0].splitlines()[0]}{settings} |")
    said = "What each method asks of a model, what it costs, how it is set up, where it departs from its paper, and how it does."
    return f"# Cards of methods\n\n{said}\n\n| method | |\n| --- | --- |\n" + "\n".join(lines) + "\n"


def pages(root: Path, names: Sequence[str] = ()) -> dict[Path, str]:
    """The pages of methods, and of all of them their list, by their files."""
    found = {root / CARDS / f"{name}.md": card(name, root) for name in names or methods()}
    return found if names else found | {root / CARDS / "index.md": index(methods(), root)}


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tools.card", description="Write docs/cards, a page about each method.")
    parser.add_argument("methods", nargs="*", metavar="METHOD", help="left out, all and their list")
    parser.add_argument("--root", type=Path, default=Path(), metavar="DIR", help="of the repository (default: the working folder)")
    return parser


def main() -> int:
    """Write the pages and name those that changed."""
    args = options().parse_args()
    try:
        found = pages(args.root, args.methods)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for path, text in found.items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
