"""Measures as people write them: a table of numbers, or a line that says what to return; no number under somebody else's name."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from benchmarks.jobs.result_checks import checked_rows
from da import exact_region
from da.types import Attribution
from results import tables
from results.summary import summary
from tests.benchmarks.test_job import MEASURES, job, planted
from tests.commands import called

__all__ = ["planted"]

METHOD = """
def few(model, images):
    return images.mean(1)

def half(model, images, targets, *, rngs):
    return images.mean(1)
"""
MEASURE = """
import pandas as pd

def rough(model, images, targets, labels, attribution, *, rngs, name="rough", times=1):
    return pd.DataFrame([(i, name, None, 0.5) for i in range(len(images))] * times, columns=["image", "metric", "x", "value"])

def wrong(model, images, targets, labels, attribution, *, rngs):
    return attribution.saliency.mean((1, 2))

def without(model, images, targets, labels, attribution):
    return None
"""


def rows(**change) -> pd.DataFrame:
    return pd.DataFrame({"image": [0, 1], "metric": "m", "x": np.nan, "value": 0.5} | change)


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (torch.zeros(2), "f returned Tensor: return a pandas.DataFrame with the columns image, metric, x, value"),
        (rows().drop(columns="x"), "f returned the columns image, metric, value"),
        (rows(image=["a.png", "b.png"]), "a row of image 'a.png' where there are 2"),
        (rows(image=[0, 2]), "a row of image 2 where there are 2"),
        (rows(value=["high", "low"]), "a value that is no number"),
        (rows(value=np.inf), "an infinite value: return NaN"),
        (rows(metric=[1, 2]), "a metric without a name"),
        (rows(image=[1, 1]), "several values of m for one image"),
        (rows(metric="mar_first"), "the metric mar_first, which is one of mar: give it another name"),
    ],
)
def test_what_is_no_table_of_numbers_is_refused(returned, said):
    with pytest.raises((TypeError, ValueError), match=said):
        checked_rows(returned, 2, "f", {"mar_first": "mar"})


def test_a_curve_and_missing_values_are_kept():
    found = checked_rows(rows(image=[0, 0], x=[0.0, 1.0], value=[None, 1]), 2, "f", {"m": "f"})
    assert found["x"].tolist() == [0, 1]
    assert np.isnan(found["value"][0])


def test_what_a_measure_returns_wrongly_is_its_rows_error_and_nobody_elses_number(tmp_path: Path, planted):
    def broken(model, images, targets, labels, attribution, *, rngs):
        return attribution.saliency

    found = job(tmp_path, *planted, benchmarks=MEASURES | {"mine": partial(broken)})
    found.run()
    statuses = found.rows("mine")["status"]
    assert len(statuses) == 6
    assert statuses.str.startswith("error: TypeError: mine returned Tensor").all()
    assert (found.rows("mar")["status"] == "ok").all()


def test_a_name_of_the_catalogue_or_of_another_measure_is_refused(tmp_path: Path, planted):
    def one(model, images, targets, labels, attribution, *, rngs, name, value=7.0):
        return pd.DataFrame([(i, name, np.nan, value) for i in range(len(images))], columns=["image", "metric", "x", "value"])

    mine = {
        "a": partial(one, name="mar_first"),
        "b": partial(one, name="new"),
        "c": partial(one, name="new", value=8.0),
        "d": partial(one, name="queries"),
    }
    found = job(tmp_path, *planted, benchmarks=mine)
    found.run()
    assert found.rows("a")["status"].str.contains("mar_first, which is one of the shipped measures").all()
    assert (found.rows("b")["status"] == "ok").all()
    assert found.rows("c")["status"].str.contains("new, which is one of b").all()
    assert found.rows("d")["status"].str.contains("queries, which is one of the harness").all()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(METHOD + MEASURE)
    (tmp_path / "conf" / "benchmark").mkdir(parents=True)
    return tmp_path


def bench(place: Path, *arguments: str):
    return called("benchmarks", "method._target_=mine.half", "select.count=2", "page=false", *arguments, cwd=place)


@pytest.mark.parametrize(
    "name",
    ["entropy", "gini", "lerf_mine", "morf_score_grey", "srg_x", "mar_mine", "irof", "evidence_mass", "road_morf_kept", "infidelity"],
)
def test_every_name_that_has_a_title_or_a_direction_of_ours_is_refused(tmp_path: Path, planted, name):
    def theirs(model, images, targets, labels, attribution, *, rngs):
        return rows(metric=name).iloc[: len(images)]

    def method(model, images, targets, *, rngs):
        return Attribution(images.mean(1), extras={name: torch.ones(len(images))})

    found = job(tmp_path / "measure", *planted, benchmarks={"theirs": partial(theirs)})
    found.run()
    assert found.rows("theirs")["status"].str.contains(f"{name}, which is one of the shipped measures: give it another name").all()
    found = job(tmp_path / "method", *planted, method=partial(method), benchmarks={})
    found.run()
    assert found.rows("attribution")["status"].str.contains(f"the extra {name}, which is a number of the shipped measures").all()


def test_numbers_of_our_own_methods_are_theirs_to_name(tmp_path: Path, planted):
    found = job(tmp_path, *planted, method=partial(exact_region, sp_num=6, budget=40), benchmarks={})
    found.run()
    rows = found.rows("attribution")
    assert not rows["status"].str.startswith("error").any()
    assert "mar_lower" in set(rows["metric"])


def test_a_function_is_named_and_nothing_else_is_needed(place):
    said = bench(place, "benchmark=[]", "+benchmark.mine._target_=mine.rough")
    assert said.returncode == 0, said.stderr
    assert summary(place / "runs" / "default")["rough"].tolist() == [0.5]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["+benchmark.m._target_=mine.rouhg"], "mine.rouhg: mine has no rouhg (did you mean rough?)"),
        (["+benchmark.m._target_=mine.without"], "write it as (model, images, targets, labels, attribution, *, rngs)"),
        (
            ["method._target_=mine.few"],
            "method: few is called as few(model, images, targets, rngs=...): write it as (model, images, targets, *, rngs)",
        ),
        (["+benchmark.m._target_=mine.rough", "+benchmark.m.nmae=a"], "(did you mean name?)"),
    ],
)
def test_a_function_that_is_none_is_refused_before_anything_is_computed(place, arguments, said):
    found = bench(place, *arguments)
    assert found.returncode == 1
    assert said in found.stderr
    assert not (place / "store").exists() or not list((place / "store").glob("*/*.parquet"))


def test_a_file_that_does_not_say_where_it_belongs_is_told_so(place):
    (place / "conf" / "benchmark" / "mine.yaml").write_text("_target_: mine.rough\n")
    said = bench(place, "--config-dir", "conf", "benchmark=[mine]")
    assert said.returncode in (1, 2)
    assert "begins with the line '# @package benchmark.NAME'" in said.stderr


def test_rows_of_two_measures_under_one_name_are_not_averaged(place):
    for measure in ("a", "b"):  # each alone, so that neither could know of the other
        assert bench(place, "benchmark=[]", f"+benchmark.{measure}._target_=mine.rough", "name=run").returncode == 0
    said = bench(place, "benchmark=[]", "+benchmark.a._target_=mine.rough", "+benchmark.b._target_=mine.rough", "name=both")
    assert "rough is the name of a metric of several measures (a, b): rename it in one of them" in said.stderr + said.stdout
    for read in (tables.load, summary):
        with pytest.raises(ValueError, match="several measures"):
            read(place / "runs" / "both")
