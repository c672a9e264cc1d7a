"""Sweeps that search: what a job returns, a study that goes on after a kill, and a verdict on images that were held back."""

from __future__ import annotations

import json
import os
import pickle
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from benchmarks.app.search.study import alone, opened
from benchmarks.data.sets import image_folder
from benchmarks.jobs.objective import Number, objectives_of
from benchmarks.jobs.selection import part_of
from da.types import Attribution, Images, LabelModel, Rngs, Targets
from results.records import records
from results.tables import load
from tests.app.conftest import COFFEE
from tests.commands import QUIET
from tests.conftest import REPOSITORY

optuna = pytest.importorskip("optuna")

SEARCH = [
    "-m",
    "hydra/sweeper=optuna",
    "dataset=image_folder",
    "dataset.root=photos",
    "benchmark=[mar]",
    "benchmark.mar.points=4",
    "page=false",
]
SEARCH += ["method.iterations=8", "method.k=range(1,5)", "method.fc=interval(0.7,0.99)", "method.sp_num=choice(20,50)", "name=search"]


@pytest.fixture
def photos(place) -> Path:
    """Nine photographs."""
    cup = Image.open(COFFEE).convert("RGB")
    for i in range(8):
        cup.crop((20 * i, 10 * i, 20 * i + 300, 10 * i + 240)).resize((80, 64)).save(place / "photos" / f"{i}.png")
    return place


def study_of(folder: Path):
    return optuna.load_study(study_name="search", storage=f"sqlite:///{folder}/runs/search/study.db")


def trials(folder: Path) -> list[tuple[dict[str, str], list[float] | None]]:
    """What was tried and found, in order, without those that were interrupted."""
    states = optuna.trial.TrialState
    ended = study_of(folder).get_trials(deepcopy=False, states=(states.COMPLETE,))
    return [(trial.user_attrs["given"], trial.values) for trial in ended]  # noqa: PD011


def test_a_search_tunes_on_one_half_and_reports_on_the_other(photos, bench):
    said = bench(*SEARCH, "objective=mar", "hydra.sweeper.trials=6", "hydra.sweeper.startup=3")
    assert said.returncode == 0, said.stderr
    found = trials(photos)
    assert len(found) == 6
    run = photos / "runs" / "search"
    held = {image for record in records(run) for image, _, _ in record["images"]}
    tuned = {image for record in records(run / "trials") for image, _, _ in record["images"]}
    assert (len(held), len(tuned)) == (4, 5)
    assert not held & tuned
    rows = pd.read_parquet(run / "rows.parquet")
    assert set(rows["image"]) == held
    of_trials = {json.dumps(given, sort_keys=True) for given, _ in found}
    numbers = {json.dumps(given, sort_keys=True): value for given, (value,) in found}
    measured = load(run / "trials")
    seen = set()
    for record in records(run / "trials"):  # the number of a trial is the mean over its images
        parameters = json.dumps({f"method.{name}": str(record["parameters"][name]) for name in ("k", "fc", "sp_num")}, sort_keys=True)
        if any(override.startswith("method.k=") for override in record["overrides"]):  # else, of the default
            of_job = measured[(measured["job"] == record["job"]) & (measured["metric"] == "mar") & measured["x"].isna()]
            assert len(of_job) == 5
            assert numbers[parameters] == pytest.approx(of_job["value"].mean())
            seen.add(parameters)
    assert seen == of_trials
    told = json.loads((run / "search.json").read_text())
    best = min(found, key=lambda one: one[1])
    assert (told["best"][0]["given"], told["best"][0]["values"]) == best
    table = pd.read_csv(run / "search.csv")
    assert table["verdict"].isin(["no difference shown", "found is better", "default is better"]).all()
    assert (table["images"] == 4).all()
    assert "held back" in (run / "search.md").read_text()
    assert (run / "figures" / "search_parallel_mar.png").stat().st_size > 5000
    again = bench(*SEARCH, "objective=mar", "hydra.sweeper.trials=6", "hydra.sweeper.startup=3")
    assert again.returncode == 0
    assert "Search: 0 of 6 trials" in again.stderr
    assert again.stderr.count("nothing to compute") == 2
    shown = Image.open(photos / "photos" / "0.png")
    shown.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(photos / "photos" / "0.png")
    edited = (photos / "conf" / "model" / "tiny.yaml").read_text().replace("mean: [0.5, ", "mean: [0.4, ")
    for given, changed in ((["objective=queries"], "objective"), (["objective=mar"], "choice of photographs")):
        other = bench(*SEARCH, *given, "hydra.sweeper.trials=6")
        assert other.returncode == 2
        assert f"is a search with another {changed}: choose another name=" in other.stderr
    shown.save(photos / "photos" / "0.png")
    (photos / "conf" / "model" / "tiny.yaml").write_text(edited)
    other = bench(*SEARCH, "objective=mar", "hydra.sweeper.trials=6")
    assert other.returncode == 2
    assert "is a search with another prediction, by its configuration, files or code" in other.stderr


def test_several_objectives_have_a_front(photos, bench):
    several = [
        "objective=[mar,queries]",
        "method.iterations=choice(3,8,20)",
        "hydra.sweeper.trials=6",
        "hydra.sweeper.best=2",
        "name=front",
    ]
    said = bench(*SEARCH, *several)
    assert said.returncode == 0, said.stderr
    run = photos / "runs" / "front"
    told = json.loads((run / "search.json").read_text())
    assert [one["metric"] for one in told["objectives"]] == ["mar", "queries"]
    values = np.array([one["values"] for one in told["best"]])
    assert 1 <= len(values) <= 2
    assert not ((values[:, None] < values[None]).all(2)).any()  # none is better in both
    assert set(pd.read_csv(run / "search.csv")["measure"]) == {"MAR of the mask", "forward passes"}
    assert (run / "figures" / "search_front.png").exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["objective=null"], "needs to know what to search for: add objective=mar"),
        (["objective=mar", "method.k=2", "method.fc=0.9", "method.sp_num=20"], "has nothing to search"),
        (["objective=mar", "select.part=tune"], "divides the images itself"),
        (["objective=mar", "hydra.sweeper.trials=0"], "hydra.sweeper.trials=0: give at least 1"),
        (["objective=mine"], "no direction is known of mine"),
        (["objective=mar", "method.k=interval(4,1)"], "give an interval that rises"),
        (["objective=mar", "method.alpha_step=-1"], "method: alpha_step=-1"),
        (["objective=mar", "seed=range(0,3)"], "seed cannot be searched"),
        (["objective=mar", "select.count=range(4,8)"], "select.count cannot be searched"),
        (["objective=mar", "dataset.root=choice(photos,other)"], "dataset.root cannot be searched"),
        (["objective=choice(mar,queries)"], "needs to know what to search for"),
    ],
)
def test_a_search_that_cannot_be_is_refused_before_it_begins(photos, bench, given, said):
    ended = bench(*SEARCH, *given)
    assert ended.returncode == 2, ended.stderr
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


def test_what_fails_for_the_default_ends_a_search_before_its_first_trial(photos, bench):
    ended = bench(*SEARCH, "objective=insertion_auc", "hydra.sweeper.trials=2")
    assert ended.returncode == 1
    assert "the default failed on the images to tune on, so nothing is searched: objective=insertion_auc: no image" in ended.stderr
    assert trials(photos) == []


def halves(folder: Path) -> list[list[str]]:
    """Names of the photographs to tune on, and of those held back."""
    images = image_folder(str(folder / "photos"))
    return [[one.id for one in part_of(images, part, 0).photographs] for part in ("tune", "held_back")]


def truncated(folder: Path, side: int) -> str:
    """Cut off a photograph that is then in this half, and return the start of its name."""
    for path in sorted((folder / "photos").glob("*.png")):
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        if path.stem in str(halves(folder)[side]):
            return path.stem
        path.write_bytes(whole)
    raise AssertionError


def test_an_image_held_back_that_cannot_be_read_is_a_status_of_the_report(photos, bench):
    truncated(photos, 1)
    said = bench(*SEARCH, "objective=mar", "hydra.sweeper.trials=2")
    assert said.returncode == 0, said.stderr
    table = pd.read_csv(photos / "runs" / "search" / "search.csv")
    assert len(table) == 1
    assert (table["images"] == len(halves(photos)[1]) - 1).all()
    assert "x error: unreadable" in said.stdout


def test_an_image_to_tune_on_that_cannot_be_read_is_named_before_the_first_trial(photos, bench):
    name = truncated(photos, 0)
    said = bench(*SEARCH, "objective=mar", "hydra.sweeper.trials=2")
    assert said.returncode == 1
    assert f"1 of {len(halves(photos)[0])} images failed ({name}" in said.stderr
    assert "nothing is searched" in said.stderr
    assert trials(photos) == []


def test_where_the_default_is_the_best_the_table_says_so(photos, bench):
    given = [one for one in SEARCH if not one.startswith("method.")]
    said = bench(
        *given, "method.iterations=choice(8)", "method.iterations=8", "method.k=choice(4)", "objective=mar", "hydra.sweeper.trials=1"
    )
    assert said.returncode == 0, said.stderr
    assert "the default, and 0 found" in said.stderr
    assert pd.read_csv(photos / "runs" / "search" / "search.csv")["verdict"].tolist() == ["is the default"]


def test_a_run_of_other_jobs_is_not_mixed_with_a_search(photos, bench):
    plain = [one for one in SEARCH if not one.startswith(("-m", "hydra", "method."))]
    assert bench(*plain, "method=centre").returncode == 0
    refused = bench(*SEARCH, "objective=mar", "hydra.sweeper.trials=1")
    assert refused.returncode == 2
    assert "holds jobs that are not of a search" in refused.stderr


def level(model: LabelModel, images: Images, targets: Targets, *, rngs: Rngs, value: float = 0.2) -> Attribution:
    """A map that is the same everywhere."""
    return Attribution(torch.full_like(images[:, 0], value))


def of_low_maps(model, images, targets, labels, attribution, *, rngs) -> pd.DataFrame:
    """A measure that has no value for the darkest image where the map is above 0.5."""
    low = attribution.saliency.mean((1, 2))
    values = low.where((low < 0.5) | (images.mean((1, 2, 3)) > 0.1), torch.nan)
    return pd.DataFrame({"image": range(len(values)), "metric": "low", "x": np.nan, "value": values.tolist()})


def test_a_trial_of_other_images_than_the_default_has_no_number(photos, bench):
    for group, name, target in (("method", "level", "level"), ("benchmark", "low", "of_low_maps")):
        (photos / "conf" / group).mkdir()
        text = f"# @package {group}{'.low' if group == 'benchmark' else ''}\n_target_: tests.app.test_search.{target}\n_partial_: true\n"
        (photos / "conf" / group / f"{name}.yaml").write_text(text + ("value: 0.2\n" if group == "method" else ""))
    given = [one for one in SEARCH if not one.startswith(("method.", "benchmark"))]
    given += ["method=level", "method.value=choice(0.1,0.9)", "benchmark=[low]", "hydra.sweeper.trials=4"]
    for shade in range(20):
        Image.new("RGB", (80, 64), (shade, 0, 0)).save(photos / "photos" / "dark.png")
        if "dark" in " ".join(halves(photos)[0]):
            break
    said = bench(*given, "objective=low:mean:smaller", "name=low")
    assert said.returncode == 0, said.stderr
    assert "failed: of other images than the default (" in said.stderr
    study = optuna.load_study(study_name="search", storage=f"sqlite:///{photos}/runs/low/study.db")
    values = {trial.user_attrs["given"]["method.value"]: trial.state.name for trial in study.trials}
    assert values["0.9"] == "FAIL"


def test_a_number_keeps_its_images_on_the_way_from_a_worker():
    number = pickle.loads(pickle.dumps([Number(0.25, [("a", "1"), ("b", "2")])]))[0]
    assert number == 0.25
    assert number.images == {("a", "1"), ("b", "2")}
    assert json.dumps(number) == "0.25"


def test_a_study_keeps_its_directions(tmp_path):
    with alone(tmp_path):
        opened(tmp_path, objectives_of("mine:mean:smaller"), {"objective": "mine"})
        with pytest.raises(ValueError, match="another objective"):
            opened(tmp_path, objectives_of("mine:mean:larger"), {"objective": "mine"})


@pytest.mark.slow
def test_a_study_that_was_killed_goes_on_as_if_it_had_not_been(photos):
    given = ["--config-dir", "conf", "model=tiny", *SEARCH, "objective=mar", "hydra.sweeper.trials=8", "hydra.sweeper.startup=3"]
    command = [sys.executable, "-m", "benchmarks", *given]
    environment = os.environ | QUIET | {"PYTHONPATH": str(REPOSITORY)}
    whole = photos / "whole"
    for name in ("conf", "photos"):
        (whole / name).parent.mkdir(exist_ok=True)
        os.symlink(photos / name, whole / name)
    assert subprocess.run(command, cwd=whole, env=environment, capture_output=True).returncode == 0
    for after in (2, 5):  # trials
        process = subprocess.Popen(command, cwd=photos, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        while process.poll() is None and begun(photos / "runs" / "search" / "study.db") <= after:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = subprocess.run(command, cwd=photos, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert trials(photos) == trials(whole)
    states = {trial.state.name for trial in study_of(photos).trials}
    assert "RUNNING" not in states
    assert (photos / "runs" / "search" / "search.csv").read_text() == (whole / "runs" / "search" / "search.csv").read_text()


def begun(study: Path) -> int:
    """How many trials a study has begun, of one that another process writes."""
    try:
        with sqlite3.connect(f"file:{study}?mode=ro", uri=True) as opened:
            return int(opened.execute("select count(*) from trials").fetchone()[0])
    except sqlite3.Error:
        return 0
