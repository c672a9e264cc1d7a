"""The layout of the code: which package imports which, and how large rooms and modules may grow."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

MAY_IMPORT = {
    "da": set(),
    "baselines": {"da"},
    "results": {"da"},
    "benchmarks": {"da", "baselines", "results"},
}
COMMANDS = {"da/__main__.py", "results/__main__.py"}  # shims that start the application
ORDER = ("inputs", "models", "data", "keys", "engines", "measures", "jobs", "app", "tools")  # of benchmarks: each imports those before it


def modules() -> Iterator[tuple[str, Path]]:
    for package in MAY_IMPORT:
        for path in sorted((REPOSITORY / package).rglob("*.py")):
            yield path.relative_to(REPOSITORY).as_posix(), path


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize(("name", "path"), list(modules()), ids=lambda value: value if isinstance(value, str) else "")
def test_imports_go_one_way(name, path):
    package = name.split("/")[0]
    found = {module.split(".")[0] for module in imported(path)} & MAY_IMPORT.keys() - {package}
    assert name in COMMANDS or found <= MAY_IMPORT[package]


def test_rooms_of_the_application_are_in_layers():
    upwards = []
    for name, path in modules():
        room = name.split("/")[1]
        if name.startswith("benchmarks/") and room in ORDER:
            for module in imported(path):
                parts = module.split(".")
                if parts[0] == "benchmarks" and parts[1] in ORDER and ORDER.index(parts[1]) > ORDER.index(room):
                    upwards.append((name, module))
    assert not upwards


def test_modules_and_rooms_are_small():
    sizes = {name: len(path.read_text().splitlines()) for name, path in modules()}
    assert {name: lines for name, lines in sizes.items() if lines > 300} == {}
    rooms: dict[Path, int] = {}
    for name, _ in modules():
        rooms[Path(name).parent] = rooms.get(Path(name).parent, 0) + 1
    assert {str(room): count for room, count in rooms.items() if count > 18} == {}
