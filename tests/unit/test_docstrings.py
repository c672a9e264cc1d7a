"""What the catalogues export is documented as it is: its parameters by name, what it returns and raises, and a place on a page."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, Protocol

import pytest

from baselines.perturbation import extremal_perturbation
from da.minimal.search import Settings
from tests.conftest import REPOSITORY

PAGES = {
    "da": "da",
    "baselines": "baselines",
    "benchmarks.measures": "measures",
    "benchmarks.data": "data",
    "benchmarks.models": "models",
    "benchmarks.engines": "engines",
    "results.store": "store",
}
OURS = ("da", "baselines", "benchmarks", "results")


def is_ours(kind: type) -> bool:
    return kind.__module__.partition(".")[0] in OURS


def exported(package: str) -> dict[str, Any]:
    """The functions and classes of a catalogue, by their dotted name; type aliases apart."""
    module = import_module(package)
    known = {f"{package}.{name}": getattr(module, name) for name in module.__all__}
    return {name: of for name, of in known.items() if inspect.isfunction(of) or inspect.isclass(of)}


EXPORTED = {name: of for package in (*PAGES, "results.artefacts") for name, of in exported(package).items()}
CLASSES = {name: of for name, of in EXPORTED.items() if inspect.isclass(of) and Protocol not in of.__bases__} | {
    "da.minimal.search.Settings": Settings,
    "baselines.perturbation.extremal_perturbation.Settings": extremal_perturbation.Settings,
}


def functions() -> Iterator[tuple[str, Callable[..., Any]]]:
    yield from ((name, of) for name, of in EXPORTED.items() if inspect.isfunction(of))
    for name, kind in EXPORTED.items():
        for base in filter(is_ours, kind.__mro__ if inspect.isclass(kind) else ()):
            yield from ((f"{name}.{key}", of) for key, of in vars(base).items() if inspect.isfunction(of) and key[0] != "_")


FUNCTIONS = dict(functions())


def sections(docstring: str | None) -> dict[str, list[str]]:
    """The names that stand at the beginnings of each section's lines."""
    parts = re.split(r"^(\w[\w ]*)\n-{3,}\n", inspect.cleandoc(docstring or ""), flags=re.MULTILINE)
    heads = [re.findall(r"^\S.*", body, re.MULTILINE) for body in parts[2::2]]
    return {title: [name for head in of for name in head.split(" : ")[0].split(", ")] for title, of in zip(parts[1::2], heads, strict=True)}


def parameters(function: Callable[..., Any]) -> list[str]:
    """Those of the function as it is written: ``settings``, for example, whose fields are keyword arguments."""
    return [name for name in inspect.signature(inspect.unwrap(function)).parameters if name != "self"]


def raised(function: Callable[..., Any]) -> set[str]:
    """The names of the exceptions in a function's own ``raise`` statements."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function))))
    return {ast.unparse(node.exc).partition("(")[0] for node in ast.walk(tree) if isinstance(node, ast.Raise) and node.exc}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_says_what_it_takes_returns_and_raises(name):
    function = FUNCTIONS[name]
    said = sections(function.__doc__)
    assert said.get("Parameters", []) == parameters(function)
    returned = inspect.signature(inspect.unwrap(function)).return_annotation
    given = "Yields" if inspect.isgeneratorfunction(inspect.unwrap(function)) else "Returns"
    assert said.keys() & {"Returns", "Yields"} == (set() if returned == "None" else {given})
    assert raised(function) <= set(said.get("Raises", []))


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_says_what_it_is_made_of(name):
    kind = CLASSES[name]
    said = sections(kind.__doc__)
    if dataclasses.is_dataclass(kind):
        made_by = vars(kind).get("__post_init__")
        assert said["Attributes"] == list(kind.__annotations__)
    elif made_by := next((vars(base)["__init__"] for base in kind.__mro__ if is_ours(base) and "__init__" in vars(base)), None):
        assert said["Parameters"] == parameters(made_by)
    assert made_by is None or raised(made_by) <= set(said.get("Raises", []))


@pytest.mark.parametrize("package", PAGES)
def test_all_that_a_package_exports_is_on_its_page(package):
    page = (REPOSITORY / "docs" / "api" / f"{PAGES[package]}.md").read_text()
    assert set(exported(package)) <= set(re.findall(r"^::: (\S+)$", page, re.MULTILINE))


def test_a_section_is_read_as_it_is_written():
    text = """Do it.

    Parameters
    ----------
    a, b : int
        From 1
        to: 2.
    c
        Any.

    Raises
    ------
    TypeError, ValueError
        For others.
    """
    assert sections(text) == {"Parameters": ["a", "b", "c"], "Raises": ["TypeError", "ValueError"]}
