"""What is checked of a job before its sweep begins: what is out of range is refused, and nothing else."""

from __future__ import annotations

import pytest

from benchmarks.jobs.resolve import resolve
from tests.benchmarks.test_conf import configurations
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
