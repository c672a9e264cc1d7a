"""Command lines for published rows and documents."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

Commands = Any  # of argparse: what add_subparsers returns
PathType = Callable[[str], Path]


def add(commands: Commands, folder: PathType, path: PathType, names: Callable[[str], list[str]]) -> list[argparse.ArgumentParser]:
    """Add the commands to those of ``python -m results``. folder, path, names: how its other commands read such arguments."""
    publish = commands.add_parser(
        "publish", help="write the rows of finished runs, with a manifest, to docs/rows: what printed numbers come from"
    )
    publish.add_argument("runs", type=folder, nargs="+", metavar="RUN", help="such as runs/demo")
    publish.add_argument("--as", dest="name", required=True, metavar="NAME", help="of the files, NAME.parquet and NAME.json")
    publish.add_argument("--out", type=path, metavar="DIR", help="their folder (default: docs/rows)")
    publish.add_argument("--with-failures", action="store_true", help="publish failed images as rows with their status, and count them")
    publish.add_argument(
        "--without", type=names, default=[], metavar="METRIC,...", help="leave out the rows of these metrics, such as curves"
    )
    pages = commands.add_parser("pages", help="make the tables and figures between markers in README.md and docs anew, from published rows")
    pages.add_argument("--root", type=folder, default=Path(), metavar="DIR", help="of the repository (default: the working folder)")
    pages.add_argument("--check", action="store_true", help="change nothing; show what differs, and exit with 1 if anything does")
    pages.add_argument("--recompute", action="store_true", help="first run the commands of the rows again, and publish what they leave")
    pages.add_argument("--only", type=names, default=[], metavar="NAME,...", help="with --recompute: of these rows, left out all")
    submit = commands.add_parser("submit", help="make an entry of a board of each method of a run, and check it: docs/submit.md")
    submit.add_argument("run", type=folder, help="such as runs/mine")
    submit.add_argument("--board", required=True, metavar="NAME", help="of conf/board")
    submit.add_argument("--methods", type=names, default=[], metavar="A,B,...", help="of the run; left out, all")
    submit.add_argument("--as", dest="name", default="", metavar="ENTRY", help="a name for the only one, left out the method's")
    submit.add_argument(
        "--code", default="", metavar="URL", help="where the method's code, or the maps that it reads, are, if not this project's"
    )
    submit.add_argument("--replace", action="store_true", help="put an entry in the place of one of that name with other rows")
    submit.add_argument("--out", type=path, metavar="DIR", help="folder of the entries (default: docs/entries)")
    submit.add_argument("--boards", type=folder, metavar="DIR", help="with other boards than those that are shipped")
    return [publish, pages, submit]
