"""What a search chooses from, what it minimises, and the images that it is tuned on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from PIL import Image

from benchmarks.app.search.space import Space, distribution, written
from benchmarks.data.derived import mosaics
from benchmarks.data.photographs import ImageSet, Photograph
from benchmarks.jobs.objective import Objective, objectives_of
from benchmarks.jobs.selection import part_of

pytest.importorskip("optuna")


def overrides(*given: str):
    return OverridesParser.create().parse_overrides(list(given))


@pytest.mark.parametrize(
    ("given", "kind", "low", "high", "step", "log"),
    [
        ("range(1,9)", "IntDistribution", 1, 8, 1, False),
        ("range(1,9,3)", "IntDistribution", 1, 7, 3, False),
        ("range(0.1,0.5,0.1)", "FloatDistribution", 0.1, 0.4, 0.1, False),
        ("interval(1,8)", "IntDistribution", 1, 8, 1, False),
        ("interval(0.8,1)", "FloatDistribution", 0.8, 1.0, None, False),
        ("tag(log,interval(1.0,1000.0))", "FloatDistribution", 1.0, 1000.0, None, True),
    ],
)
def test_ranges_mean_what_they_mean_in_every_sweep(given, kind, low, high, step, log):
    (override,) = overrides(f"x={given}")
    found = distribution(override)
    assert type(found).__name__ == kind
    assert (found.low, found.high, found.log) == (pytest.approx(low), pytest.approx(high), log)
    assert found.step == (pytest.approx(step) if step else None)
    if "range" in given and kind == "IntDistribution":
        assert [str(low + i * step) for i in range((high - low) // step + 1)] == list(override.sweep_string_iterator())


def test_choices_are_written_as_they_were_given():
    space = Space.of({"a": "choice(1,2)", "c": 5}, ["a=black,'a b',[0.1,0.2],null", "b=3"])
    assert space.fixed == ["c=5", "b=3"]
    assert list(space.distributions()["a"].choices) == ["black", "'a b'", "[0.1,0.2]", "null"]
    assert [written(value) for value in (0.123456, 3, "null", 1e-7)] == ["0.1235", "3", "null", "1e-07"]


@pytest.mark.parametrize("given", ["interval(1,1)", "tag(log,interval(0.0,1.0))", "range(5,1)", "interval(2,1)"])
def test_a_range_of_nothing_is_refused(given):
    with pytest.raises(ValueError, match="rises"):
        distribution(overrides(f"x={given}")[0])


def test_an_objective_is_a_statistic_of_a_metric():
    mar, late, own = objectives_of(["mar", "queries:q90", "mine:median:larger"])
    assert (mar, late, own) == (
        Objective("mar", "mean", "smaller"),
        Objective("queries", "q90", "smaller"),
        Objective("mine", "median", "larger"),
    )
    values = np.arange(11.0) ** 2
    assert (mar.of(values), late.of(values), own.of(values)) == (values.mean(), 81, 25)
    assert [one.name for one in (mar, late)] == ["mar", "queries:q90"]
    assert objectives_of(None) == []
    for wrong, said in (
        ("mar:best", "give METRIC"),
        ("mine", "no direction is known of mine"),
        ("mar:mean:up", "give METRIC"),
        (":mean", "give"),
    ):
        with pytest.raises(ValueError, match=said):
            objectives_of(wrong)


def test_the_halves_of_the_images_are_all_of_them_and_depend_on_the_seed():
    images = ImageSet("set", tuple(Photograph(str(i), None, Path(str(i))) for i in range(9)))
    tune, held = (part_of(images, part, 0) for part in ("tune", "held_back"))
    names = [[photograph.id for photograph in half.photographs] for half in (tune, held)]
    assert sorted(names[0] + names[1]) == [str(i) for i in range(9)]
    assert (len(tune), len(held)) == (5, 4)
    assert names[0] == sorted(names[0])
    assert part_of(images, None, 0) is images
    assert any([one.id for one in part_of(images, "tune", seed).photographs] != names[0] for seed in (1, 2))
    with pytest.raises(ValueError, match="cannot be divided"):
        part_of(ImageSet("one", images.photographs[:1]), "tune", 0)


def test_copies_of_a_photograph_are_on_one_side_and_mosaics_are_not_divided(tmp_path):
    for i in range(10):
        Image.new("RGB", (8, 8), (40 * (i % 5), 0, 0)).save(tmp_path / f"{i}.png")
    images = ImageSet("set", tuple(Photograph(str(i), i % 5, tmp_path / f"{i}.png") for i in range(10)))
    for seed in range(4):
        sides = [{photograph.label for photograph in part_of(images, part, seed).photographs} for part in ("tune", "held_back")]
        assert not sides[0] & sides[1]
        assert sides[0] | sides[1] == set(range(5))
    with pytest.raises(ValueError, match="of different content"):
        part_of(ImageSet("one", (images.photographs[0], images.photographs[5])), "tune", 0)
    with pytest.raises(ValueError, match="mosaics cannot be divided"):
        part_of(mosaics(images, count=5), "tune", 0)
