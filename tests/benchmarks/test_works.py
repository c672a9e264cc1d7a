"""The table of what works on which model is the truth."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from benchmarks.tools.works import CLIP_NEEDS, FAMILIES, NEEDS, PAGE, methods, read, table, written
from tests.conftest import REPOSITORY

STATED = read((REPOSITORY / PAGE).read_text())
QUICK = ["gradient", "gradcam", "guided_backprop", "attention_rollout", "deeplift", "rise"]


def test_every_method_has_a_row_and_no_reason_is_empty():
    assert list(STATED) == methods()
    assert all(cell for row in STATED.values() for cell in row.values())
    assert read(f"<!-- begin: python -m benchmarks.tools.works -->\n{written(STATED)}\n<!-- end -->") == STATED


@pytest.mark.parametrize("family", ["CNN", "ViT"])
def test_some_rows_are_current(family):
    found = table(QUICK, [family])
    assert {name: row[family] for name, row in found.items()} == {name: STATED[name][family] for name in QUICK}


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_the_whole_table_is_current(family):
    if family == "CLIP":
        pytest.importorskip(CLIP_NEEDS)
    names = [name for name in STATED if name not in NEEDS or find_spec(NEEDS[name])]
    found = table(names, [family])
    assert {name: row[family] for name, row in found.items()} == {name: STATED[name][family] for name in names}
