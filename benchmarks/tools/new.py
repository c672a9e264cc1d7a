"""Begin something of your own: ``python -m benchmarks.tools.new method NAME``, also ``model``, ``dataset`` and ``measure``.

Writes a module, its configuration and a test that passes as it is, and prints the commands that run them.
"""

from __future__ import annotations

import argparse
import keyword
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from benchmarks.inputs.messages import choices

TEMPLATE = "NEW_NAME"  # what stands for the name


@dataclass(frozen=True)
class Kind:
    """Something that can be begun. group: the folder in ``conf``. run: what follows ``python -m benchmarks --config-dir conf``."""

    group: str
    run: str


KINDS = {
    "method": Kind("method", "-m method=NEW_NAME,random name=NEW_NAME"),
    "model": Kind("model", "model=NEW_NAME dataset=image_folder dataset.root=FOLDER method=gradcam name=NEW_NAME"),
    "dataset": Kind("dataset", "dataset=NEW_NAME dataset.root=FOLDER method=sobel name=NEW_NAME"),
    "measure": Kind("benchmark", "-m method=sobel,random benchmark=[mar,NEW_NAME] name=NEW_NAME"),
}


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.tools.new",
        description="Begin a method, model, data set or measure of your own: a module, its configuration and a test that passes as it is.",
    )
    parser.add_argument("kind", choices=KINDS, help="what it is to be")
    parser.add_argument("name", help="of the function, its file and its configuration, such as my_method")
    parser.add_argument("--folder", type=Path, default=Path(), metavar="DIR", help="where to write it (default: this folder)")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the files and print the commands."""
    args = options().parse_args(arguments)
    try:
        written = begin(args.kind, args.name, args.folder)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("Written: " + ", ".join(map(str, written)))
    print("Run " + ("these, in that folder:" if args.folder != Path() else "these:"))
    print(f"  python -m pytest test_{args.name}.py")
    print(f"  python -m benchmarks --config-dir conf {(run := KINDS[args.kind].run.replace(TEMPLATE, args.name))}")
    if "FOLDER" in run:
        print("FOLDER is one with photographs of yours.")
    return 0


def begin(kind: str, name: str, folder: Path) -> list[Path]:
    """Write the files of something new and return them. Raises ValueError for a name that is taken or none; nothing is overwritten."""
    if not name.isidentifier() or keyword.iskeyword(name) or name != name.lower():
        raise ValueError(f"{name!r} is no name of a function: give small letters, digits and _, such as my_{kind}")
    group = KINDS[kind].group
    if name in choices(group):
        raise ValueError(f"there is a {kind} {name} already, which would no longer be found: choose another name")
    wanted = {folder / f"{name}.py": "py", folder / "conf" / group / f"{name}.yaml": "yaml", folder / f"test_{name}.py": "test"}
    if there := [path for path in wanted if path.exists()]:
        raise ValueError(f"{there[0]} is there already: choose another name, or another --folder")
    if find_spec(name) is not None:
        raise ValueError(f"{name} is a module already, which would no longer be found: choose another name")
    for path, part in wanted.items():
        template = f"{kind}_test.py.txt" if part == "test" else f"{kind}.{part}.txt"
        text = files("benchmarks.tools.templates").joinpath(template).read_text(encoding="utf-8")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace(TEMPLATE, name), encoding="utf-8")
    _format([path for path, part in wanted.items() if part != "yaml"])
    return list(wanted)


def _format(modules: list[Path]) -> None:
    """Order imports and break lines by the settings of the folder that the modules lie in, where ruff is installed."""
    if find_spec("ruff") is None:
        return
    for command in (["check", "--select=I", "--fix"], ["format"]):
        subprocess.run([sys.executable, "-m", "ruff", *command, "--quiet", *map(str, modules)], check=False, capture_output=True)


if __name__ == "__main__":
    sys.exit(main())
