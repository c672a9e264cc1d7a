"""What the README and the pages show works: each page's commands and code are run in a folder of their own, from top to bottom.

A comment before a block, which no reader sees, says what is different here: ``<!-- with: key=value -->`` adds arguments, to be done in
seconds; ``<!-- compose only -->`` is for what takes long or needs data, where the configuration is composed and its functions found;
``<!-- fails: 1 -->`` states the exit code of a command that is meant to fail. A text right after Python is what it prints.
"""

from __future__ import annotations

import fnmatch
import importlib
import io
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.utils import get_method
from markdown_it import MarkdownIt
from omegaconf import OmegaConf

import benchmarks.inputs.resolvers  # noqa: F401 (configurations use them)
from benchmarks.app.search.space import Space
from benchmarks.data.sets import demo
from benchmarks.inputs.messages import CONFIGURATIONS
from tests.commands import Said, command
from tests.conftest import REPOSITORY

PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
SCRIPTS = {"da-explain": "da", "da-bench": "benchmarks", "da-results": "results"}
NOT_HERE = ("git", "pip", "eval", "bash")  # only where composing is asked for


@dataclass(frozen=True)
class Block:
    """A fenced block. directives: from the comment before it."""

    language: str
    text: str
    line: int
    directives: dict[str, str] = field(default_factory=dict)


def blocks(page: Path) -> Iterator[Block]:
    directives: dict[str, str] = {}
    for token in MarkdownIt().parse(page.read_text()):
        if token.type == "html_block" and not re.fullmatch(
            r"<!-- (begin: .*|end|(?:rows|board): .*|end of (?:rows|board)) -->\s*", token.content
        ):  # of what a program writes
            comment = re.fullmatch(r"<!-- (compose only|with|fails)(?:: (.*))? -->\s*", token.content)
            assert comment, f"{page.name}: {token.content!r} is no directive"
            directives = {comment[1]: comment[2] or ""}
        elif token.type == "fence":
            assert token.map
            yield Block(token.info, token.content, token.map[0] + 1, directives)
            directives = {}


def commands(block: Block) -> Iterator[tuple[list[str], list[str]]]:
    """The words of each command of a console block, and the lines printed after it."""
    found: list[tuple[list[str], list[str]]] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            found.append((shlex.split(line[2:], comments=True), []))
        else:
            found[-1][1].append(line)
    yield from found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_nothing_is_left_to_fill_in(page: Path) -> None:
    text = re.sub(r"`[^`]*`", "", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL))
    assert not re.findall(r"\b[A-Z]+_[A-Z_]+\b|TODO|TBD", text)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page(page: Path, tmp_path: Path) -> None:
    photographs = tmp_path / "photos"
    photographs.mkdir()
    for photograph in demo().photographs[:2]:
        photograph.load().save(photographs / f"{photograph.id}.jpg")
    shutil.copy(photographs / "coffee.jpg", tmp_path / "photo.jpg")
    shutil.copytree(REPOSITORY / "examples", tmp_path / "examples")
    here, names, said = tmp_path, {"__name__": page.stem}, None
    for block in blocks(page):
        where = f"{page.name}:{block.line}"
        file = re.match(r"# ([\w/]+\.(?:py|yaml))\n", block.text)
        if file:
            (here / file[1]).parent.mkdir(parents=True, exist_ok=True)
            (here / file[1]).write_text(block.text)
        if block.language == "text" and said is not None:
            shown(block.text.splitlines(), Said(0, said, ""), where)
        said = None
        if block.language == "python" and not file:
            with redirect_stdout(io.StringIO()) as printed_here:
                exec(compile(block.text, where, "exec"), names)
            said = printed_here.getvalue()
        elif block.language == "python":
            compile(block.text, where, "exec")
        elif block.language == "yaml":
            yaml.safe_load(block.text)
        elif block.language == "console":
            for words, printed in commands(block):
                if words[0] == "cd" and "compose only" not in block.directives:
                    here = here / words[1]
                    assert here.is_dir(), where
                else:
                    obey(words, printed, block, here, where)
        else:
            assert block.language in ("text", "bibtex"), f"{where}: a block of {block.language!r} is not looked at"


def obey(words: list[str], printed: list[str], block: Block, here: Path, where: str) -> None:
    """Do what a command line says, or as much of it as can be done here."""
    if words[-1].endswith("<TAB>") or words[2:] == ["da", "--app"]:
        return
    if words[0] in SCRIPTS:
        words = ["python", "-m", SCRIPTS[words[0]], *words[1:]]
    composing = "compose only" in block.directives
    if words[0] == "make":
        assert subprocess.run(["make", "-n", *words[1:]], cwd=REPOSITORY, capture_output=True).returncode == 0, where
    elif words[:2] == ["python", "-m"] and composing:
        assert words[2] != "da", f"{where}: run it, it takes a second"
        if words[2] == "benchmarks":
            composes(words[3:])
        else:
            name = f"{words[2]}.__main__" if words[2] == "results" else words[2]
            importlib.import_module(name).options().parse_args(words[3:])
    elif words[:2] == ["python", "-m"]:
        said = command(words[2], *words[3:], *shlex.split(block.directives.get("with", "")), cwd=here)
        assert said.returncode == int(block.directives.get("fails", 0)), f"{where}: {said.stderr}"
        shown(printed, said, where)
    elif words[0] == "cat" and not composing:
        assert subprocess.run(["bash", "-c", " ".join(words)], cwd=here, capture_output=True).returncode == 0, where
    else:
        assert composing, f"{where}: {' '.join(words)} is not known here"
        assert words[0] in NOT_HERE or words[0] == "cd" or words[:2] == ["python", "-m"], f"{where}: {' '.join(words)} is not known here"


def shown(printed: list[str], said: Said, where: str) -> None:
    """What a page says is printed is printed, but for its numbers, which another processor may round otherwise."""
    for line in filter(str.strip, printed):
        pattern = re.sub(r"\d[\d.]*", "*", re.sub(r"([\[\]?*])", r"[\1]", line.strip()))
        assert fnmatch.filter([printed.strip() for printed in said.stdout.splitlines()], pattern), f"{where}: {line!r} not in {said.stdout}"


def composes(words: list[str]) -> None:
    """Every job of a command line composes, and the functions that it names exist."""
    overrides = [word for word in words if word not in ("-m", "--multirun") and not word.startswith("shards=")]
    if "hydra/sweeper=optuna" in overrides:  # what it searches has a distribution, and the default composes
        space = Space.of({}, [word for word in overrides if not word.startswith("hydra")])
        assert space.searched
        assert space.distributions()
        overrides = space.fixed
    with initialize_config_dir(CONFIGURATIONS, version_base="1.3"):
        hydra = compose("config", overrides=overrides_of_one(overrides), return_hydra_config=True).hydra
        swept = [f"{key}={value}" for key, value in (hydra.sweeper.get("params") or {}).items()]
        for batch in BasicSweeper.split_arguments(OverridesParser.create().parse_overrides([*swept, *overrides]), None):
            for arguments in batch:
                cfg = compose("config", overrides=list(arguments))
                for node in (cfg.method, cfg.model, cfg.dataset, cfg.engine, *cfg.benchmark.values()):
                    assert "candidates" in node or callable(get_method(node._target_))
                for name in cfg.artefacts:
                    assert callable(get_method(name)) or name.startswith("my_package.")
                assert OmegaConf.select(cfg, "select.count") != "???"


def overrides_of_one(overrides: list[str]) -> list[str]:
    """The overrides that are no sweep and belong to no group that a sweep may choose."""
    return [
        text
        for text, parsed in zip(overrides, OverridesParser.create().parse_overrides(overrides), strict=True)
        if not parsed.is_sweep_override() and "." not in parsed.key_or_group
    ]


def test_links_of_the_readme_lead_somewhere() -> None:
    """Those of docs/ are looked at by mkdocs."""
    for token in MarkdownIt().parse((REPOSITORY / "README.md").read_text()):
        for child in token.children or []:
            target = str(child.attrs.get("href") or child.attrs.get("src") or "")
            if target and "://" not in target:
                assert (REPOSITORY / unquote(target.split("#")[0])).exists(), target


def test_the_pages_build_without_a_dead_link(tmp_path: Path) -> None:
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr
    for page in PAGES[1:]:
        name = page.relative_to(REPOSITORY / "docs").with_suffix("")
        html = (tmp_path / ("index.html" if page.stem == "index" else name / "index.html")).read_text()
        assert "fonts.googleapis.com" not in html
        assert not re.findall(r"<h\d[^>]*>(?:Parameters|Returns|Raises)\b", html)  # a docstring's section that was not read as one
        assert not re.findall(r'<(?:script|link)[^>]+(?:src|href)="https?://', html.replace('rel="canonical"', ""))
