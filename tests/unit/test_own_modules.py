"""Modules of one name that tests write into folders of their own."""

from __future__ import annotations

from importlib import import_module

import pytest


@pytest.mark.parametrize("value", [1, 2])
@pytest.mark.parametrize("name", ["of_one_name", "of_a_package.one_name"])
def test_a_test_imports_its_own(name, value, tmp_path, monkeypatch):
    path = tmp_path / f"{name.replace('.', '/')}.py"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"value = {value}\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert import_module(name).value == value
