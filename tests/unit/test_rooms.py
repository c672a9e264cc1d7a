"""The layout of the code: which package imports which, and how large rooms and modules may grow."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
import yaml

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


def _targets(node) -> Iterator[str]:
    for name, value in node.items() if isinstance(node, dict) else ():
        if name == "_target_" and not value.startswith("$"):
            yield value
        yield from _targets(value)


def test_what_configurations_name_is_in_the_catalogue_of_its_package():
    """A function that is missing is to be added to ``__init__.pyi`` of its package."""
    for path in sorted((REPOSITORY / "conf").glob("*/*.yaml")):
        for target in _targets(yaml.safe_load(path.read_text())):
            package, _, name = target.rpartition(".")
            if package.split(".")[0] in MAY_IMPORT:
                assert name in import_module(package).__all__, f"{path.name}: {package}/__init__.pyi lacks {name}"


def test_methods_and_measures_are_in_the_documents():
    for group, page in (("method", "methods.md"), ("benchmark", "metrics.md")):
        text = (REPOSITORY / "docs" / page).read_text()
        missing = [path.stem for path in (REPOSITORY / "conf" / group).glob("*.yaml") if f"`{path.stem}`" not in text]
        assert not missing, f"docs/{page} says nothing of {', '.join(missing)}"
