"""Tables and figures between markers in documents, made from published rows.

A marker is a comment that no reader sees: ``<!-- rows: NAME table=methods metrics=mar method=da_pos,rise -->``, then what is made, then
``<!-- end of rows -->``. ``table=`` names one of ``tables.TABLES``, ``figure=`` one of ``figures.FIGURES``, which also has
``to=images/NAME.svg`` and ``alt="what it shows"``. The other words are keywords of it, ``images=1-64``, which are the first 64 in each
job's order, or settings that choose jobs. A board's entries stand between ``<!-- board: NAME -->`` and ``<!-- end of board -->``.
"""

from __future__ import annotations

import difflib
import inspect
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from results.boards.ranking import section
from results.export import to_markdown
from results.published import figures
from results.published.manifest import FOLDER, Manifest
from results.published.places import arguments_of
from results.published.publish import publish
from results.published.read import Rows, current_versions, provenance_line, read_rows
from results.published.tables import TABLES

FENCE = r"^```.*?^```$"  # a block of code, which shows markers and has none
MARKED = re.compile(
    rf"{FENCE}|^(?P<begin><!-- (?P<of>rows|board): (?P<text>[^\n]*?) -->\n)(.*?)^(?P<end><!-- end of (?P=of) -->)$",
    re.DOTALL | re.MULTILINE,
)
IMAGES = "images"  # the word that chooses some of the images
BEGIN = re.compile(r"<!-- (rows|board): ")


@dataclass(frozen=True)
class Marker:
    """What a marker asks for. where: the page and line, for messages; options: of the table or figure, and settings that choose jobs."""

    where: str
    rows: str
    options: Mapping[str, str]

    @classmethod
    def read(cls, text: str, where: str) -> Marker:
        """Read ``NAME key=value ...``. Raises ValueError for anything else."""
        name, *words = shlex.split(text)
        if wrong := [word for word in (name, *words) if ("=" in word) == (word == name)]:
            raise ValueError(f"{where}: {wrong[0]}: a marker is <!-- rows: NAME table=KIND key=value ... -->")
        return cls(where, name, dict(word.split("=", 1) for word in words))


@dataclass
class Made:
    """The files that documents are made of: text by path. figures: kind and data of each picture."""

    texts: dict[Path, str] = field(default_factory=dict)
    figures: dict[Path, tuple[figures.Kind, str]] = field(default_factory=dict)


def pages_of(root: Path) -> list[Path]:
    """The documents of a repository that may have markers."""
    return [path for path in [root / "README.md", *sorted((root / "docs").rglob("*.md"))] if path.is_file()]


def made(root: Path) -> Made:
    """Every document of a repository that has markers, with what belongs between them, and the data of its figures."""
    found = Made()
    for page in pages_of(root):
        text = page.read_text(encoding="utf-8")
        if BEGIN.search(text):
            found.texts[page] = filled(text, page, root, found)
    return found


def filled(text: str, page: Path, root: Path, found: Made) -> str:
    """A page's text with everything between its markers made anew. Raises ValueError for a marker that cannot be obeyed."""
    name = page.relative_to(root).as_posix()
    if lost := BEGIN.search(MARKED.sub("", text)):
        raise ValueError(f"{name}: a marker {lost[0]}... --> has no <!-- end of {lost[1]} -->")

    def fill(match: re.Match[str]) -> str:
        if match["of"] is None:
            return match[0]
        where = f"{name}:{text.count(chr(10), 0, match.start()) + 1}"
        if match["of"] == "rows":
            marker = Marker.read(match["text"], where)
        try:
            body = _body(marker, page, root, found) if match["of"] == "rows" else section(match["text"].strip(), root, page)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        return f"{match['begin']}\n{body}\n{match['end']}"

    return MARKED.sub(fill, text)


def _body(marker: Marker, page: Path, root: Path, found: Made) -> str:
    options = dict(marker.options)
    kinds = {name: options.pop(name) for name in ("table", "figure") if name in options}
    if len(kinds) != 1:
        raise ValueError("a marker has either table=KIND or figure=KIND")
    ((what, kind),) = kinds.items()
    manifest = root / FOLDER / f"{marker.rows}.json"
    link = Path(os.path.relpath(manifest, page.parent)).as_posix()
    if what == "table":
        function = _named(kind, TABLES, what)
        rows, keywords = _split(function, options, manifest)
        return f"{to_markdown(function(rows, **keywords))}\n{provenance_line(rows, link, current_versions(root))}\n"
    drawn = _named(kind, figures.FIGURES, what)
    target, words = options.pop("to", ""), options.pop("alt", "")
    if not target.endswith(".svg") or not words:
        raise ValueError('a figure has to=images/NAME.svg and alt="what it shows"')
    rows, keywords = _split(drawn.data, options, manifest)
    data, picture = figures.data_text(drawn.data(rows, **keywords)), page.parent / target
    found.texts[picture.with_suffix(".csv")] = data
    found.figures[picture] = (drawn, data)
    return f"![{words}]({target})\n\n{provenance_line(rows, link, current_versions(root))}\n"


def _named(name: str, known: Mapping[str, Any], what: str) -> Any:
    if name not in known:
        raise ValueError(f"{what}={name}: choose {', '.join(known)}")
    return known[name]


def _split(function: Callable[..., Any], options: Mapping[str, str], manifest: Path) -> tuple[Rows, dict[str, str]]:
    """The rows of the jobs that options choose, and the options that are keywords of a table or figure."""
    own = {name for name, one in inspect.signature(function).parameters.items() if one.kind is one.KEYWORD_ONLY}
    keywords = {name: value for name, value in options.items() if name in own}
    needed = [
        one.name for one in inspect.signature(function).parameters.values() if one.kind is one.KEYWORD_ONLY and one.default is one.empty
    ]
    if missing := [name for name in needed if name not in keywords]:
        raise ValueError(f"{function.__name__} needs {', '.join(f'{name}=' for name in missing)}")
    where = {name: value for name, value in options.items() if name not in own and name != IMAGES}
    return read_rows(manifest, where, options.get(IMAGES, "")), keywords


def differences(root: Path) -> list[str]:
    """What of the documents is not as it would be made now: a difference of lines for each file, none where all is as it should be."""
    found, said = made(root), []
    for path, text in found.texts.items():
        there = path.read_text(encoding="utf-8") if path.is_file() else ""
        if there != text:
            name = path.relative_to(root).as_posix()
            lines = difflib.unified_diff(
                there.splitlines(), text.splitlines(), f"{name} as it is", f"{name} from the rows", lineterm="", n=1
            )
            said.append("\n".join(lines))
    for picture, (_, data) in found.figures.items():
        if not figures.shows(picture, data):
            said.append(f"{picture.relative_to(root).as_posix()} does not show the data of the rows")
    return said


def write(root: Path) -> list[Path]:
    """Make every document anew that is not as it should be, and draw its figures; returns the files that changed."""
    found, changed = made(root), []
    for path, text in found.texts.items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            changed.append(path)
    for picture, (kind, data) in found.figures.items():
        if not figures.shows(picture, data):
            figures.draw(kind, data, picture)
            changed.append(picture)
    return changed


def recompute(root: Path, names: Sequence[str] = ()) -> Iterator[str]:
    """Run the commands of published rows again and publish what they leave; yields each command before it is run.

    names: of the rows, left out all of them. What the store has is not computed again. Raises ValueError for a command that fails, and
    for rows that need data which are not there.
    """
    chosen = [root / FOLDER / f"{name}.json" for name in names] or sorted((root / FOLDER).glob("*.json"))
    known = {path: Manifest.read(path) for path in chosen}
    for found in known.values():
        for command in found.commands:
            arguments_of(command)  # what is missing is said before anything is computed
    for path, found in known.items():
        for command in found.commands:
            yield command
            if subprocess.run([sys.executable, "-m", "benchmarks", *arguments_of(command)], cwd=root).returncode and not found.failures:
                raise ValueError(f"{command} failed: {found.name} is left as it was")
        publish([root / "runs" / run for run in found.runs], found.name, path.parent, with_failures=bool(found.failures))
