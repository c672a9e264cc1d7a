"""What is checked of a job before its sweep begins: what is out of range is refused, and nothing else."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from benchmarks.engines.loading import load
from benchmarks.jobs.resolve import resolve
from benchmarks.tools.works import NEEDS, PAGE, read
from tests.benchmarks.test_conf import configurations
from tests.conftest import REPOSITORY
from tests.helpers import configured

SMALL = ("model=planted_cnn", "dataset=planted")


@pytest.mark.parametrize("name", configurations("benchmark"))
def test_no_measure_as_shipped_is_refused(name):
    assert name in resolve(configured(*SMALL, "method=centre", f"benchmark=[{name}]"))["benchmark"]


@pytest.mark.parametrize("given", ["sensitivity.draws=0", "localisation.tolerance=0", "mar.points=0"])
def test_a_measure_that_is_given_more_by_the_harness_is_checked_like_the_others(given):
    name = given.partition(".")[0]
    with pytest.raises(ValueError, match=given.partition(".")[2].partition("=")[0]):
        resolve(configured(*SMALL, "method=centre", f"benchmark=[{name}]", f"benchmark.{given}"))


@pytest.mark.parametrize("name", sorted(name for name, row in read((REPOSITORY / PAGE).read_text()).items() if row["CNN"] == "works"))
def test_no_method_as_shipped_is_refused_and_none_is_computed(name):
    if name in NEEDS and not find_spec(NEEDS[name]):
        pytest.skip(f"needs {NEEDS[name]}")
    plain = resolve(configured(*SMALL, "method=centre", "benchmark=[mar]"))
    _, engine = load(plain.model_json, plain.engine_json)
    shown = list[int]()
    handle = engine.module.register_forward_hook(lambda module, inputs, output: shown.append(len(output)))
    try:
        config = resolve(configured(*SMALL, f"method={name}", "benchmark=[mar]"))
    finally:
        handle.remove()
    read = "layer" in config.method or "layer" in config.method.get("start_from", {})
    assert len(shown) <= read  # one pass, in which DeepLift shows the image and its reference


@pytest.mark.parametrize("given", ["per_method={sag: {fill: black}}", "variation={fill: black}", "method.fill=black"])
def test_a_measure_that_refers_to_the_method_sees_what_it_is_given(given):
    config = resolve(configured(*SMALL, "method=sag", "benchmark=[certificate]", given))
    assert config.method["fill"] == config["benchmark"]["certificate"]["fill"] == "black"
