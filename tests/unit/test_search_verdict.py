"""What is said of a search: each line of its table is of what was searched for, on images held back, and all lines are one family."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from results.artefacts.parts import Run
from results.artefacts.search import drawn, search
from results.statistics import bootstrap_of

BASE = np.linspace(0.2, 0.6, 10)
MEAN = {"metric": "mar", "name": "mar", "statistic": "mean", "better": "smaller"}
MEDIAN = MEAN | {"name": "mar:median", "statistic": "median"}


def run_of(folder: Path, values: dict[str, np.ndarray], objectives: list[dict[str, str]], best: list[str], metric: str = "mar") -> Run:
    """A finished search: jobs by name with their values on the images held back, of which ``best`` were found."""
    frames = [
        pd.DataFrame({"image": [f"{i}" for i in range(len(of))], "job": job, "metric": metric, "x": np.nan, "value": of})
        for job, of in values.items()
    ]
    records = [{"job": job, "overrides": [f"method={job}"]} for job in values]
    trials = [{"trial": i, "given": {"method": job}, "overrides": [f"method={job}", "hydra.x=1"]} for i, job in enumerate(best)]
    told = {"objectives": objectives, "study": "study.db", "default": ["method=default"], "best": trials}
    (folder / "search.json").write_text(json.dumps(told))
    return Run(folder, pd.concat(frames), records, {})


def lines(run: Run) -> pd.DataFrame:
    list(search(run))
    found = pd.read_csv(run.out / "search.csv")
    return found.set_index(found["found"].str.removeprefix("method="))


def test_every_line_is_corrected_for_all_of_them(tmp_path):
    one = lines(run_of(tmp_path, {"default": BASE, "a": BASE - 0.1 * BASE}, [MEAN], ["a"]))
    values = {"default": BASE, "a": BASE - 0.1 * BASE, "b": BASE - 0.2 * BASE}
    two = lines(run_of(tmp_path, values, [MEAN], ["a", "b"]))
    assert one["p (Holm)"].tolist() == [0.002]
    assert two["p (Holm)"].tolist() == [0.0039, 0.0039]
    assert set(two["verdict"]) == {"found is better"}
    assert set(two["images"]) == {10}


def test_a_found_default_and_a_job_that_failed_have_a_line_each(tmp_path):
    found = lines(run_of(tmp_path, {"default": BASE, "a": BASE + 0.1}, [MEAN], ["default", "gone", "a"]))
    assert found["verdict"].to_dict() == {"default": "is the default", "gone": "not computed", "a": "default is better"}


def test_the_verdict_is_of_the_statistic_that_was_searched_for(tmp_path):
    default = np.linspace(0.2, 0.6, 20)
    changed = default - 0.05
    changed[-1] = 5  # the mean is worse by far, the median better
    by_mean = lines(run_of(tmp_path, {"default": default, "a": changed}, [MEAN], ["a"])).loc["a"]
    by_median = lines(run_of(tmp_path, {"default": default, "a": changed}, [MEDIAN], ["a"])).loc["a"]
    assert by_mean["verdict"] == "no difference shown"
    assert by_median["verdict"] == "found is better"
    assert by_median["measure"] == "MAR of the mask, median"
    assert float(by_median["found - default"].split()[0]) == pytest.approx(np.median(changed) - np.median(default), abs=1e-3)
    assert float(by_median["value"].split()[0]) == pytest.approx(np.median(changed), abs=1e-3)


def test_both_sides_are_of_the_images_that_both_have(tmp_path):
    changed = BASE - 0.05
    changed[:3] = np.nan
    found = lines(run_of(tmp_path, {"default": BASE, "a": changed}, [MEAN], ["a"])).loc["a"]
    assert found["images"] == 7
    assert float(found["default"].split()[0]) == pytest.approx(BASE[3:].mean(), abs=1e-3)


def test_what_is_measured_by_batch_has_numbers_and_no_test(tmp_path):
    seconds = {"metric": "seconds", "name": "seconds", "statistic": "mean", "better": "smaller"}
    found = lines(run_of(tmp_path, {"default": BASE, "a": BASE / 2}, [seconds], ["a"], "seconds")).loc["a"]
    assert (found["verdict"], found["p (Holm)"], found["value"]) == ("not tested", "–", 0.2)


def test_an_interval_of_any_statistic_holds_it():
    values = np.random.default_rng(0).normal([0.0, 1.0], 1.0, (200, 2))
    low, high = bootstrap_of(lambda drawn: np.median(drawn, axis=0), values)
    assert (low < np.median(values, axis=0)).all()
    assert (np.median(values, axis=0) < high).all()
    assert (np.abs(high - low - 2 * 1.96 * 1.2533 / np.sqrt(200)) < 0.15).all()
    assert np.isnan(bootstrap_of(lambda drawn: np.median(drawn, axis=0), values[:1])).all()


def test_what_optuna_cannot_draw_costs_no_table(tmp_path, capsys):
    optuna = pytest.importorskip("optuna")
    run = run_of(tmp_path, {"default": BASE, "a": BASE}, [MEAN], ["a"])
    assert [path.name for path in search(run)] == ["search.csv", "search.parquet", "search.md", "search.tex"]
    assert "Note: no figures of the study" in capsys.readouterr().out  # there is none
    study = optuna.create_study(storage=f"sqlite:///{tmp_path / 'study.db'}", study_name="search")
    whole, one = optuna.distributions.IntDistribution(1, 900), optuna.distributions.CategoricalDistribution(["0.9"])
    for k in (1, 3, 7):
        given = {"k": k, "n": 10 * k, "fc": "0.9"}
        study.add_trial(optuna.trial.create_trial(params=given, distributions={"k": whole, "n": whole, "fc": one}, value=float(k)))
    names = {path.name for path in drawn(run, json.loads((tmp_path / "search.json").read_text()))}
    assert names == {f"search_{kind}_mar.{form}" for kind in ("importance", "parallel") for form in ("png", "pdf")}
    assert "Note" not in capsys.readouterr().out
