"""What code a number depends on: of this project's functions the declared version, of everybody else's the sources."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import inspect
import json
import sys
import sysconfig
from collections.abc import Collection, Iterable, Iterator
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from torch import nn

PROJECT = Path(__file__).resolve().parents[2]
OURS = ("da", "baselines", "benchmarks", "results")
INSTALLED = tuple(Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib"))
BY_NAME = {"import_module", "__import__", "spec_from_file_location", "exec_module", "run_path", "run_module", "exec", "get_method"}
BY_NAME |= {"get_class", "get_object", "find_spec"}  # calls that import what a text names
PACKAGES = {"site-packages", "dist-packages"}
MOST_BYTES = 2**28  # of a file that a source names


def is_ours(module: str) -> bool:
    """Whether a module is this project's own, however it is installed."""
    file = _found(module)[0] if module.partition(".")[0] in OURS else None
    return file is not None and any(file.is_relative_to(PROJECT / name) for name in OURS)


def modules_behind(function: Any) -> set[str]:
    """The modules that a callable is made in: of functions inside partials, decorators, bound methods and callable objects, too."""
    found: set[str] = set()
    waiting, seen = [function], set[int]()
    while waiting:
        one = waiting.pop()
        if id(one) in seen or one is None:
            continue
        seen.add(id(one))
        if isinstance(one, functools.partial):
            waiting += [one.func, *one.args, *one.keywords.values()]
            continue
        if not callable(one):
            continue
        if isinstance(name := getattr(one, "__module__", None), str):
            found.add(name)
        waiting += [getattr(one, "__wrapped__", None), getattr(one, "__self__", None)]
        waiting += [cell.cell_contents for cell in getattr(one, "__closure__", None) or () if _filled(cell)]
        kind = one if inspect.isclass(one) else type(one)
        found |= {base.__module__ for base in kind.__mro__}
    return found - {"builtins"}


def modules_of_network(net: nn.Module) -> set[str]:
    """The modules that the classes of a network's layers, and the functions that the layers hold, are made in."""
    found: set[str] = set()
    for layer in net.modules():
        held = [value for value in vars(layer).values() if callable(value)]
        held += [hook for name in ("_forward_hooks", "_forward_pre_hooks") for hook in getattr(layer, name, {}).values()]
        found |= {base.__module__ for base in type(layer).__mro__} | {name for value in held for name in modules_behind(value)}
    return found - {"builtins"}


def sources(modules: Iterable[str], *, own: bool = False) -> dict[str, str]:
    """SHA-256 of the source of modules and of all that they import, directly or not, the standard library and installed packages apart.

    The packages of ``modules`` themselves count where they are installed, too. So do the files that a source names in a text and,
    where a module imports by a computed name, all Python files of its folder. own: this project's sources alone. By module or file.
    """
    found: dict[str, str] = {}
    waiting = sorted(set(modules))
    tops = {name.partition(".")[0] for name in waiting} - {"torch"}
    while waiting:
        name = waiting.pop()
        for module in (name, *(name.rsplit(".", i)[0] for i in range(1, name.count(".") + 1))):
            file, _ = _found(module)
            if module in found or file is None or not _counts(module, file, tops, own):
                continue
            found[module] = _hash(file)
            imports, files = _named_in(module, file)
            waiting += sorted(imports)
            found |= {} if own else {str(path): _hash(path) for path in files}
    return found


def fingerprint(modules: Iterable[str], *, own: bool = False) -> str:
    """One hash of all the ``sources`` of modules, with their names, wherever they lie; empty where there are none."""
    return _fingerprint(frozenset(modules), own)


def own_hash(module: str) -> str:
    """A hash of a module's own source, empty where it has none."""
    file, _ = _found(module)
    return _hash(file)[:16] if file is not None else ""


@functools.cache
def _fingerprint(modules: frozenset[str], own: bool) -> str:
    found = sorted((Path(name).name, content) for name, content in sources(modules, own=own).items())
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()[:16] if found else ""


def installed(file: Path) -> bool:
    """Whether a file is of the standard library or of an installed package; an editable install's are not."""
    return bool(PACKAGES & set(file.parts)) or any(file.is_relative_to(root) for root in INSTALLED)


def _counts(module: str, file: Path, tops: Collection[str], own: bool) -> bool:
    if own or is_ours(module):
        return is_ours(module)
    standard = any(file.is_relative_to(root) for root in INSTALLED) and not PACKAGES & set(file.parts)
    return not installed(file) or (module.partition(".")[0] in tops and not standard)


def _found(name: str) -> tuple[Path | None, tuple[str, ...]]:
    """The file of a module, None where it has none, and the folders of a package; without importing it."""
    try:
        if (module := sys.modules.get(name)) is not None:
            file, folders = getattr(module, "__file__", None), tuple(getattr(module, "__path__", ()))
        else:
            parent = name.rpartition(".")[0]
            spec = PathFinder.find_spec(name, list(_found(parent)[1])) if parent else importlib.util.find_spec(name)
            file, folders = (spec.origin, tuple(spec.submodule_search_locations or ())) if spec else (None, ())
    except (ImportError, ValueError, AttributeError):  # such as a relative name that leads nowhere
        return None, ()
    path = Path(file).resolve() if file else None
    return (path if path is not None and path.is_file() else None), folders


@functools.cache  # what this process has imported, even if the file is edited meanwhile
def _hash(file: Path) -> str:
    content = file.read_bytes()
    return hashlib.sha256(content.replace(b"\r\n", b"\n") if file.suffix == ".py" else content).hexdigest()


@functools.cache
def _named_in(module: str, file: Path) -> tuple[frozenset[str], frozenset[Path]]:
    """The modules that a source imports, as far as its text says, and the files that it names."""
    if file.suffix != ".py":
        return frozenset(), frozenset()
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    imports: set[str] = set()
    files: set[Path] = set()
    try:
        tree = ast.parse(file.read_bytes())
    except SyntaxError:  # such as of another version of Python, behind a condition
        return frozenset(), frozenset()
    by_name, texts, folders = set(BY_NAME), set[str](), {file.parent}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            by_name |= {alias.asname for alias in node.names if alias.asname and alias.name in BY_NAME}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), package) if node.level else node.module or ""
            imports |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Call) and _called(node) in by_name and not is_ours(module):
            named = [value for argument in node.args for value in [getattr(argument, "value", None)] if isinstance(value, str)]
            given = [getattr(keyword.value, "value", None) for keyword in node.keywords if keyword.arg == "package"] or [
                *named[1:],
                package,
            ]
            imports |= {importlib.util.resolve_name(name, str(given[0])) if name.startswith(".") else name for name in named}
            imports |= {name.rpartition(".")[0] for name in named} - {""}
            if not named:
                files |= {path for path in file.parent.rglob("*.py") if not _left_out(path, file.parent)}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and not is_ours(module):
            texts.add(node.value)
            folders |= {Path(folder) for folder in _folders_of(node.value)}
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) and not is_ours(module):
            parts = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant) and isinstance(part.value, str)]
            texts |= {"/".join(parts), "/".join(parts[::-1])}  # folder / "data" / "table.csv"
    files |= {path for text in texts for folder in folders for path in _files_called(text, folder)}
    return frozenset(imports), frozenset(files - {file})


def _folders_of(text: str) -> tuple[str, ...]:
    """The folders of a package of somebody's own that a text names."""
    if not text.replace(".", "").isidentifier():
        return ()
    file, folders = _found(text)
    return folders if file is not None and not installed(file) else ()


def _left_out(path: Path, folder: Path) -> bool:
    """Whether a file is of an environment or a hidden folder, rather than of its owner's code."""
    return installed(path) or any(part.startswith(".") for part in path.relative_to(folder).parts)


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def _files_called(text: str, folder: Path) -> Iterator[Path]:
    """The files that a text in a source may mean: beside the source, or in the working folder."""
    if len(text) > 255 or not text.isprintable() or not ("." in text or "/" in text):
        return
    for path in {folder / text.lstrip("/"), Path(text).expanduser() if text.startswith("~/") else Path(text)}:
        try:
            if path.is_file() and path.stat().st_size <= MOST_BYTES:
                yield path.resolve()
        except OSError:
            continue


def _filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False
