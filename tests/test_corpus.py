"""A run over bad files and bad models: each gets its status or its error, and everything else is complete."""

from __future__ import annotations

import os
from dataclasses import replace

import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from torch import Tensor

from benchmarks.bad_input import cause
from benchmarks.configured import composed, load, make_job, plain
from benchmarks.datasets import Photograph, UnreadableError, image_folder, wnid_folder
from benchmarks.engines import torch_engine
from tests import corpus
from tests.conftest import planted_model
from tests.test_job import job, written


def statuses(a_job) -> dict[str, set[str]]:
    rows = written(a_job)
    return rows.groupby("image")["status"].agg(set).to_dict()


def test_a_folder_of_everything(tmp_path):
    expected = corpus.write(tmp_path / "images")
    images = image_folder(str(tmp_path / "images"))
    assert {photograph.id for photograph in images.photographs} == expected.keys()
    model = planted_model()
    run = job(tmp_path / "store", images, model, torch_engine(model, batch=4, device="cpu"), batch_size=7)
    assert run.run() == len(expected)
    found = statuses(run)
    assert found.keys() == expected.keys()
    for name, readable in expected.items():
        if readable:
            assert not any(status.startswith("error") for status in found[name]), (name, found[name])
        else:
            assert all(status.startswith(f"error: unreadable: {name} cannot be read") for status in found[name]), (name, found[name])
    measured = written(run).groupby("image")["what"].agg(set)
    complete = {"prediction", "attribution", *run.benchmarks}
    assert all(measured[name] == complete for name, readable in expected.items() if readable)
    assert run.run() == len(expected) - sum(expected.values())  # those that failed are tried again, and nothing else
    frame = pd.read_csv(written(run).to_csv(tmp_path / "rows.csv", index=False) or tmp_path / "rows.csv")
    assert set(frame["image"]) == expected.keys()


def test_the_eight_orientations_are_one_picture(tmp_path):
    corpus.write(tmp_path / "images")
    upright = Photograph("1", None, tmp_path / "images" / "exif 1.jpg").load()
    sizes = [Photograph(str(i), None, tmp_path / "images" / f"exif {i}.jpg").load().size for i in range(1, 9)]
    assert sizes == [upright.size] * 4 + [upright.size[::-1]] * 4


def test_a_file_without_permission_is_unreadable(tmp_path):
    path = tmp_path / "secret.png"
    path.write_bytes(b"x")
    path.chmod(0)
    tmp_path.chmod(0o755)
    me = os.geteuid()
    if me == 0:
        os.seteuid(65534)  # root may read everything
    try:
        with pytest.raises(UnreadableError, match=r"Permission denied|cannot be read"):
            Photograph("secret.png", None, path).digest()
    finally:
        os.seteuid(me)


def test_an_exception_on_the_37th_call_costs_what_it_must(tmp_path):
    corpus.write(tmp_path / "images")
    images = image_folder(str(tmp_path / "images"))
    model = planted_model()
    engine = torch_engine(model, batch=4, device="cpu")
    calls = iter(range(10**6))

    def forward(pixels: Tensor) -> Tensor:
        if next(calls) == 36:
            raise RuntimeError("the device went away")
        return engine.forward(pixels)

    whole = job(tmp_path / "whole", images, model, engine)
    whole.run()
    failing = job(tmp_path / "failing", images, model, replace(engine, forward=forward))
    failing.run()
    again = job(tmp_path / "failing", images, model, engine)
    again.run()
    pd.testing.assert_frame_equal(written(again), written(whole))


def test_a_model_and_its_classes_must_belong_together(tmp_path):
    one = ["model.weights=random", "engine=torch", "engine.batch=1", f"store={tmp_path}"]
    cfg = composed("model=resnet18", *one)
    cfg.model.classes = ["cat", "dog", "bird"]
    with pytest.raises(
        ValueError, match=r"model\.classes: resnet18 returns scores of shape \[1, 1000\] for 1 images and has 3 class names"
    ):
        load(plain(cfg.model), plain(cfg.engine))
    ten = composed("model=cifar100_vgg16", *one)
    with pytest.raises(ValueError, match=r"dataset demo has labels 285 to 967, and model \w+ 100 classes"):
        make_job(ten)


def test_an_unknown_wnid_names_itself(tmp_path):
    corpus.write(tmp_path / "images" / "n99999999")
    with pytest.raises(ValueError, match="n99999999"):
        wnid_folder(str(tmp_path / "images"))


SMALL = ["engine=torch", "engine.batch=1", "engine.device=cpu", "select.count=1", "method.iterations=3", "method.sp_num=40"]
SMALL += ["method.k=2"]
SMALL += ["benchmark.mar.points=3", "benchmark.insertion.shares=[0,0.5,1]"]
KEYS = [f"method.{name}" for name in ("rule", "k", "sp_num", "alpha_step", "fc", "iterations", "speculate", "fill", "trace")]
KEYS += [
    "seed",
    "batch_size",
    "shard",
    "measure_memory",
    "select.count",
    "select.order",
    "select.correct_for",
    "engine.batch",
    "engine.device",
]
KEYS += [
    "engine.precision",
    "model.weights",
    "dataset._target_",
    "benchmark.mar.points",
    "benchmark.mar.fill",
    "benchmark.insertion.shares",
]
KEYS += ["benchmark.insertion.fill"]
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 6),
    st.sampled_from([0.0, -0.5, 0.5, 1.0, 1.5, 1e-12, float("nan"), float("inf"), -1e9]),
    st.sampled_from(
        ["", "black", "mean", "blur", "positive", "negative", "first", "random", "cpu", "fp32", "1/2", "two", "ü \n", "${nothing}"]
    ),
    st.lists(st.sampled_from([0, 0.25, 1, -1, 2, "a", None]), max_size=3),
    st.just({"a": 1}),
)


@settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(key=st.sampled_from(KEYS), value=VALUES)
@example(key="method.k", value=0)
@example(key="benchmark.insertion.shares", value=[0.5, 0.5])
@example(key="method.fc", value=float("nan"))
def test_any_value_runs_or_its_key_is_named(key, value, tmp_path_factory):
    store = tmp_path_factory.getbasetemp() / "fuzz"
    cfg = composed(*SMALL, f"store={store}")
    try:
        OmegaConf.update(cfg, key, value)
        run = make_job(cfg)
        run.run()
    except Exception as error:
        said = cause(error)
    else:
        found = written(run)
        failures = found.loc[found["status"].str.startswith("error"), "status"]
        if failures.empty:
            assert len(found) == 0 or found["value"].notna().any()
            return
        said = failures.iloc[0]
    name = key.rsplit(".", 1)[-1]
    assert name in said, f"{key}={value!r}: {said}"
