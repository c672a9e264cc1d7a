"""Whatever changes a number changes its key; whatever differs between jobs is a column."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path

import pytest

from benchmarks.jobs.resolve import make_job, resolve
from benchmarks.keys import identity, sources
from results.naming import columns, configuration, naming_columns, varying
from results.records import records
from tests.conftest import REPOSITORY
from tests.helpers import configured, forget_sources


def job(method: str, seed: int = 0, **parameters: object) -> dict[str, object]:
    model = {"name": "m", "mean": [0.5], "size": parameters.pop("size", 64)}
    config = {"model": model, "method": {"_target_": method}, "benchmark": {"mar": {"points": 3}}, "select": {"count": None}}
    named = {"dataset": "d", "model": "m", "method": method, "engine": "e", "seed": seed}
    return named | {"parameters": parameters, "config": config}


@pytest.mark.parametrize(("one", "other"), [(1, "1"), (1, 1.0), (None, "null"), (True, 1), ([1], "[1]")])
def test_values_that_read_alike_are_two_lines(one, other):
    jobs = [job("a", k=one), job("a", k=other)]
    names = varying(jobs)
    assert names == ["param.k"]
    assert len({columns(of, names)["param.k"] for of in jobs}) == len({configuration(of, naming_columns(jobs)) for of in jobs}) == 2


def test_a_hyper_parameter_that_runs_with_the_seed_is_none_of_it():
    assert varying([job("a", seed=1, k=1), job("a", seed=2, k=2)]) == ["param.k"]


def test_a_job_computed_again_takes_the_place_of_its_record_of_the_earlier_form(tmp_path):
    (tmp_path / "jobs").mkdir()
    old = job("a", k=1) | {"store": "s", "keys": {}, "images": []}
    new = old | {"version": 2, "place": [1.0, 0], "config": old["config"] | {"select": {"count": None, "new": 3}}}
    for name, record in (("old", old), ("new", new), ("other", job("a", k=2) | {"store": "s", "keys": {}, "images": []})):
        (tmp_path / "jobs" / f"{name}.json").write_text(json.dumps(record))
    assert [record["job"] for record in records(tmp_path)] == ["other", "new"]


def test_columns_are_the_settings_in_which_jobs_differ():
    assert varying([job("a", k=1), job("b", masks=4)]) == []
    assert varying([job("a", k=1), job("a")]) == ["param.k"]
    assert varying([job("a", k=None), job("a")]) == ["param.k"]
    assert varying([job("a", seed=0, mask_seed=0), job("a", seed=1, mask_seed=1)]) == []
    assert varying([job("a", fill=[0.5], size=64), job("a", fill=[0.5], size=32)]) == ["model.size"]
    jobs = [job("a", k=4), job("a", k=0.1), job("b", size=32)]
    assert [configuration(one, naming_columns(jobs)) for one in jobs] == ["a k=4 model.size=64", "a k=0.1 model.size=64", "b model.size=32"]
    rise = {"_target_": "m.rise", "cells": 7}
    jobs = [job("a", start=start) for start in (rise | {"masks": 1}, rise | {"masks": 2}, {"_target_": "m.gradcam", "layer": "net"})]
    names = [configuration(one, naming_columns(jobs)) for one in jobs]
    assert names == ["a start=m.rise start.masks=1", "a start=m.rise start.masks=2", "a start=m.gradcam"]


def test_a_job_is_named_by_what_differs_between_jobs_of_its_own_method():
    jobs = [job("a", masks=4), job("a", masks=8), job("b", masks=4), job("c", masks=None)]
    assert [configuration(one, naming_columns(jobs)) for one in jobs] == ["a masks=4", "a masks=8", "b", "c"]
    assert [columns(one, naming_columns(jobs))["param.masks"] for one in jobs] == [4, 8, 4, "null"]


def test_a_name_is_copied_and_sent_to_another_process_with_what_it_knows():
    jobs = [job("a", k=1), job("a", k="1"), job("b", k=2)]
    (name,) = varying(jobs)
    for copied in (copy.deepcopy(name), pickle.loads(pickle.dumps(name))):
        assert [configuration(one, [copied]) for one in jobs] == ["a k=1", 'a k="1"', "b"]


def test_records_of_a_later_form_are_refused(tmp_path):
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "x.json").write_text(json.dumps({"version": 99}))
    with pytest.raises(ValueError, match="later version of this program"):
        records(tmp_path)


def test_functions_of_one_name_are_told_apart(tmp_path, monkeypatch):
    """What a module makes of one function, and functions of one name in files that import each other."""
    made = "def factory(v):\n    def method(model, images, targets, *, rngs):\n        return images[:, 0] * v\n    return method\n"
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "__init__.py").write_text(made + "f3, f4 = factory(3), factory(4)\n")
    for name, other in (("left", "right"), ("right", "left")):
        (tmp_path / "made" / f"{name}.py").write_text(f"from . import {other}\ndef method():\n    return '{name}'\n")
    monkeypatch.syspath_prepend(tmp_path)
    for pair in (("made.f3", "made.f4"), ("made.left.method", "made.right.method")):
        assert len({json.dumps(identity.configuration_identity({"_target_": target})) for target in pair}) == 2
        values = [{"_target_": "da.dynamic_ablation", "fill": {"_target_": "hydra.utils.get_object", "path": path}} for path in pair]
        assert identity.configuration_identity(values[0]) != identity.configuration_identity(values[1])


def test_declared_versions_fit_the_sources():
    """A source of ours that changed: raise the ``__version__`` of what it can change, then run python -m benchmarks.tools.versions."""
    stated = json.loads((Path(identity.__file__).parent / identity.VERSIONS).read_text())
    assert stated == identity.current_versions(), "raise __version__ where numbers can change, then: python -m benchmarks.tools.versions"


def test_sources_follow_imports_and_files_beside_them(tmp_path, monkeypatch):
    package = tmp_path / "mypkg"
    (package / "deep").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "deep" / "__init__.py").write_text("")
    (package / "method.py").write_text(
        "from . import near\nfrom .deep.far import far\nimport numpy\n"
        "def method():\n    import mypkg.lazy\n    from importlib import import_module\n    import_module('mypkg.by_name')\n"
        "    open('table.csv')\n    open(folder / 'data' / 'deep.csv')\n"
    )
    for name in ("near", "lazy", "by_name", "never"):
        (package / f"{name}.py").write_text(f"{name} = 1\n")
    (package / "deep" / "far.py").write_text("far = 1\n")
    (package / "table.csv").write_text("1,2\n")
    (package / "data").mkdir()
    (package / "data" / "deep.csv").write_text("3\n")
    monkeypatch.syspath_prepend(tmp_path)
    found = {Path(name).name for name in sources.sources({"mypkg.method"})}
    assert found == {
        "mypkg",
        "mypkg.method",
        "mypkg.near",
        "mypkg.deep",
        "mypkg.deep.far",
        "mypkg.lazy",
        "mypkg.by_name",
        "table.csv",
        "deep.csv",
    }
    before = sources.fingerprint({"mypkg.method"})
    (package / "near.py").write_text("far = 1\n")
    (package / "deep" / "far.py").write_text("near = 1\n")
    forget_sources()
    assert sources.fingerprint({"mypkg.method"}) != before  # the same texts under other names
    (package / "broken.py").write_text("def (")
    (package / ".venv").mkdir()
    (package / ".venv" / "other.py").write_text("other = 1\n")
    (package / "method.py").write_text("from importlib import import_module\ndef method(name):\n    import_module(name)\n")
    forget_sources()
    found = sources.sources({"mypkg.method", "mypkg.broken"})
    assert str(package / "never.py") in found
    assert str(package / ".venv" / "other.py") not in found


def test_stated_or_left_out_a_default_has_one_key():
    given = {"_target_": "da.dynamic_ablation", "k": 4}
    assert identity.configuration_identity(given) == identity.configuration_identity(given | {"fc": 0.95})
    assert identity.configuration_identity(given) != identity.configuration_identity(given | {"fc": 0.9})


def test_recorded_configurations_keep_their_keys(tmp_path):
    """Keys of ten configurations; one changes only with a version that is raised on purpose."""
    stated = json.loads((REPOSITORY / "tests" / "reference" / "keys.json").read_text())
    assert len(stated) == 10
    for text, keys in stated.items():
        assert make_job(resolve(configured(*text.split(), f"store={tmp_path}"))).keys == keys, text
