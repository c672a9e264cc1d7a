"""Numbers that only maps tell, in rows in place of the maps: of the jobs that are chosen, and of no others."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from results.artefacts import likeness
from results.artefacts.likeness import BETWEEN_SEEDS, NEEDED_BY, OF_MAPS
from results.artefacts.parts import StoredAttribution

MAPS = {0: np.arange(16.0).reshape(4, 4), 1: -np.arange(16.0).reshape(4, 4), 2: np.arange(16.0).reshape(4, 4).T}


@pytest.fixture
def records(monkeypatch):
    """One image under three seeds; the maps of the first two are in reverse order."""
    monkeypatch.setattr(
        likeness,
        "stored_attributions",
        lambda record: iter([StoredAttribution(("a", "1"), {"saliency": MAPS[record["seed"]]}, "ok")]),
    )
    named = {"method": "m", "model": "net", "dataset": "set", "engine": "torch", "parameters": {}, "config": {}}
    return [named | {"job": f"job {seed}", "seed": seed} for seed in MAPS]


def test_pairs_of_seeds_are_those_of_the_chosen_jobs(records):
    every = BETWEEN_SEEDS.computed(records)
    spearman = every[every["metric"] == "seeds_spearman"].set_index(["job", "x"])["value"]
    assert spearman["job 0", 1] == pytest.approx(-1)
    assert len(spearman) == 3
    two = BETWEEN_SEEDS.of(every[every["job"] != "job 2"], records[:2])  # as rows of these jobs alone are read
    assert two[two["metric"] == "seeds_spearman"]["value"].tolist() == pytest.approx([-1])
    assert BETWEEN_SEEDS.of(every[every["job"] == "job 0"], records[:1]).empty


def test_what_rows_have_is_not_computed_from_maps_again(records, monkeypatch):
    every = BETWEEN_SEEDS.computed(records)
    monkeypatch.setattr(likeness, "stored_attributions", lambda record: pytest.fail("maps were read"))
    pd.testing.assert_frame_equal(BETWEEN_SEEDS.of(every, records), every)


def test_every_number_of_maps_is_known():
    assert {metric for needed in NEEDED_BY.values() for metric in needed.metrics} == set(OF_MAPS)
