"""Tables and figures between markers in documents, made from published rows.

A marker is a comment that no reader sees: ``<!-- rows: NAME table=methods metrics=mar method=da_pos,rise -->``, then what is made, then
``<!-- end of rows -->``. ``table=`` names one of ``tables.TABLES``, ``figure=`` one of ``figures.FIGURES``, which also has
``to=images/NAME.svg`` and ``alt="what it shows"``; with ``experiment=NAME`` they name a table or figure (``to=images/NAME.png``) of its
artefacts. The other words are keywords of it, ``images=1-64``, which are the first 64 in each
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
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from results.boards.ranking import section
from results.export import to_markdown
from results.published import figures
from results.published.experiments import Artefacts, artefacts, write_picture
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
EXPERIMENT = "experiment"  # the word that names the experiment whose artefacts are shown
KINDS = ("table", "figure")
IMAGES = "images"  # the word that chooses some of the images
OF_FILES = (".root", ".maps", ".masks", ".boxes")  # the ends of settings that name folders
BEGIN = re.compile(r"<!-- (rows|board): ")


@dataclass(frozen=True)
class Marker:
    """What a marker on a page of a repository asks for. options: its words."""

    rows: str
    options: Mapping[str, str]
    page: Path
    root: Path

    @classmethod
    def read(cls, text: str, page: Path, root: Path) -> Marker:
        """Read ``NAME key=value ...``. Raises ValueError for anything else."""
        name, *words = shlex.split(text)
        if wrong := [word for word in (name, *words) if ("=" in word) == (word == name)]:
            raise ValueError(f"{wrong[0]}: a marker is <!-- rows: NAME table=KIND key=value ... -->")
        options = dict(word.split("=", 1) for word in words)
        if len([name for name in KINDS if name in options]) != 1:
            raise ValueError("a marker has either table=KIND or figure=KIND")
        if strange := [word for word, value in options.items() if not value or (word in ("to", "alt") and "figure" not in options)]:
            raise ValueError(f"{strange[0]}={options[strange[0]]}: a figure alone has to= and alt=, and no word is empty")
        return cls(name, options, page, root)

    @property
    def manifest(self) -> Path:
        """Of the rows."""
        return self.root / FOLDER / f"{self.rows}.json"

    @property
    def chosen(self) -> dict[str, str]:
        """The words that say neither what is shown nor where it goes."""
        return {name: value for name, value in self.options.items() if name not in (*KINDS, "to", "alt")}

    def read_rows(self, but: Collection[str]) -> Rows:
        """The published rows of the images and jobs that the words choose, those of ``but`` aside."""
        where = {name: value for name, value in self.chosen.items() if name not in but and name != IMAGES}
        return read_rows(self.manifest, where, self.options.get(IMAGES, ""))


@dataclass
class Made:
    """The files that documents are made of.

    texts: by path; figures: of each picture what draws it to a path, and its data; artefacts: what was made of rows already; said: what
    each page has said last of its rows.
    """

    texts: dict[Path, str] = field(default_factory=dict)
    figures: dict[Path, tuple[Callable[[Path], object], str]] = field(default_factory=dict)
    artefacts: dict[str, Artefacts] = field(default_factory=dict)
    said: dict[tuple[Path, str], str] = field(default_factory=dict)


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
        try:
            of_rows = match["of"] == "rows"
            body = _body(Marker.read(match["text"], page, root), found) if of_rows else section(match["text"].strip(), root, page)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        return f"{match['begin']}\n{body}\n{match['end']}"

    return MARKED.sub(fill, text)


def _body(marker: Marker, found: Made) -> str:
    link = Path(os.path.relpath(marker.manifest, marker.page.parent)).as_posix()
    if EXPERIMENT in marker.options:
        shown, rows = _of_experiment(marker, found)
    elif (kind := marker.options.get("table")) is not None:
        function = _named(kind, TABLES, "table")
        rows, keywords = _split(function, marker)
        shown = to_markdown(function(rows, **keywords))
    else:
        drawn = _named(marker.options["figure"], figures.FIGURES, "figure")
        rows, keywords = _split(drawn.data, marker)
        data = figures.data_text(drawn.data(rows, **keywords))
        shown = _picture(marker, found, data, partial(figures.draw, drawn, data), ".svg")
    line = provenance_line(rows, link, current_versions(marker.root))
    again = found.said.get((marker.page, marker.rows)) == line
    found.said[marker.page, marker.rows] = line
    return f"{shown}\n{f'Of the same rows, [{marker.rows}]({link}).' if again else line}\n"


def _of_experiment(marker: Marker, found: Made) -> tuple[str, Rows]:
    rows, key = marker.read_rows({EXPERIMENT}), f"{marker.manifest} {sorted(marker.chosen.items())}"
    if key not in found.artefacts:
        found.artefacts[key] = artefacts(rows, marker.options[EXPERIMENT], marker.root)
    if (table := marker.options.get("table")) is not None:
        return found.artefacts[key].table(table), rows
    data, png = found.artefacts[key].figure(marker.options["figure"])
    return _picture(marker, found, data, partial(write_picture, png, data), ".png"), rows


def _picture(marker: Marker, found: Made, data: str, draw: Callable[[Path], object], suffix: str) -> str:
    """Note a picture with its data and what draws it, and return what shows it on the page."""
    target, words = marker.options.get("to", ""), marker.options.get("alt", "")
    if not target.endswith(suffix) or not words:
        raise ValueError(f'a figure has to=images/NAME{suffix} and alt="what it shows"')
    picture = marker.page.parent / target
    found.texts[picture.with_suffix(".csv")] = data
    found.figures[picture] = (draw, data)
    return f"![{words}]({target})\n"


def _named(name: str, known: Mapping[str, Any], what: str) -> Any:
    if name not in known:
        raise ValueError(f"{what}={name}: choose {', '.join(known)}")
    return known[name]


def _split(function: Callable[..., Any], marker: Marker) -> tuple[Rows, dict[str, str]]:
    """The rows of the jobs that a marker's words choose, and the words that are keywords of a table or figure."""
    known = [one for one in inspect.signature(function).parameters.values() if one.kind is one.KEYWORD_ONLY]
    keywords = {one.name: marker.chosen[one.name] for one in known if one.name in marker.chosen}
    if missing := [one.name for one in known if one.default is one.empty and one.name not in keywords]:
        raise ValueError(f"{function.__name__} needs {', '.join(f'{name}=' for name in missing)}")
    return marker.read_rows({one.name for one in known}), keywords


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
    for picture, (draw, data) in found.figures.items():
        if not figures.shows(picture, data):
            draw(picture)
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
            for word in arguments_of(command):  # what is missing is said before anything is computed
                name, _, place = word.partition("=")
                if name.endswith(OF_FILES) and place != "null" and not (root / place).exists():
                    raise ValueError(f"{found.name} needs {word}, which is not there: {command}")
    for path, found in known.items():
        for command in found.commands:
            yield command
            if subprocess.run([sys.executable, "-m", "benchmarks", *arguments_of(command)], cwd=root).returncode and not found.failures:
                raise ValueError(f"{command} failed: {found.name} is left as it was")
        publish(
            [root / "runs" / run for run in found.runs], found.name, path.parent, with_failures=bool(found.failures), without=found.without
        )
