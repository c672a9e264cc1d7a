"""A job's numbers depend on its configuration alone: not on batches, order, shards, or interruptions."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from benchmarks.data.sets import ImageSet, Photograph, demo
from benchmarks.engines.engine import Engine, torch_engine
from benchmarks.jobs.job import Job
from benchmarks.measures.insertion import insertion_game
from benchmarks.measures.mar import minimum_attribution_ratio
from da.rng import image_rng
from da.types import Attribution, LabelModel
from da.walk import dynamic_ablation
from results.store.store import Store
from tests.helpers import forget_sources, planted_model, textured

MEASURES = {
    "insertion": partial(insertion_game, shares=[0.0, 0.1, 0.3, 1.0]),
    "mar": partial(minimum_attribution_ratio, points=6),
}


def job(store: Path, images: ImageSet, model, engine: Engine, method=None, **options) -> Job:
    method = method or partial(dynamic_ablation, iterations=15, k=2, sp_num=50)
    settings = {"engine_identity": {"batch": engine.batch}, "benchmarks": MEASURES, "seed": 0, "batch_size": 4} | options
    return Job(model, engine, images=images, method=method, method_name="m", parameters=method.keywords, store=Store(store), **settings)


def written(a_job: Job) -> pd.DataFrame:
    """All the stored rows, without timings and provenance, in the order of images and metrics."""
    frames = [a_job.rows(name).assign(what=name) for name in a_job.keys]
    rows = pd.concat([frame for frame in frames if len(frame)])
    rows = rows[rows["metric"] != "seconds"].drop(columns="provenance")
    return rows.sort_values(["image", "what", "metric", "x"]).reset_index(drop=True)


@pytest.fixture
def planted(tmp_path):
    model = planted_model()
    photographs = []
    for i, pixels in enumerate(textured(6, 32, 32)):
        path = tmp_path / "images" / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray((pixels.permute(1, 2, 0) * 255).byte().numpy()).save(path)
        photographs.append(Photograph(f"{i}.png", 1, path))
    return ImageSet("planted", tuple(photographs)), model, torch_engine(model, batch=4, device="cpu")


@pytest.mark.slow
def test_batches_order_and_shards_change_no_bit_with_the_real_model(tmp_path, lite0, lite0_engine):
    images = demo()
    whole = job(tmp_path / "whole", images, lite0, lite0_engine, batch_size=7)
    whole.run()
    expected = written(whole)
    turned = replace(images, photographs=images.photographs[::-1])
    one_by_one = job(tmp_path / "one", turned, lite0, lite0_engine, batch_size=1)
    one_by_one.run()
    pd.testing.assert_frame_equal(written(one_by_one), expected)
    for shard in (images.photographs[::2], images.photographs[1::2]):
        job(tmp_path / "shards", replace(images, photographs=shard), lite0, lite0_engine, batch_size=16).run()
    pd.testing.assert_frame_equal(written(job(tmp_path / "shards", images, lite0, lite0_engine)), expected)


def test_interrupted_and_resumed_equals_uninterrupted(tmp_path, planted):
    expected = job(tmp_path / "whole", *planted)
    expected.run()
    passes = iter(range(10**6))

    def forward(images: Tensor) -> Tensor:
        if next(passes) % 23 == 22:
            raise KeyboardInterrupt
        return planted[2].forward(images)

    interruptions, left = 0, []
    while True:
        resumed = job(tmp_path / "broken", planted[0], planted[1], replace(planted[2], forward=forward), batch_size=2)
        left.append(len(resumed.pending()))
        try:
            resumed.run()
            break
        except KeyboardInterrupt:
            interruptions += 1
    assert interruptions >= 3
    assert left == sorted(left, reverse=True)
    assert left[0] == 6 > left[-1]
    pd.testing.assert_frame_equal(written(resumed), written(expected))


def test_a_second_run_computes_nothing_and_more_images_only_the_new(tmp_path, planted):
    images, model, engine = planted
    few = job(tmp_path / "s", replace(images, photographs=images.photographs[:4]), model, engine)
    assert few.run() == 4
    assert job(tmp_path / "s", images, model, engine).pending() == list(job(tmp_path / "s", images, model, engine).contents)[4:]
    assert job(tmp_path / "s", images, model, engine).run() == 2

    def forward(images: Tensor) -> Tensor:
        raise AssertionError("nothing is left to ask")

    assert job(tmp_path / "s", images, model, replace(engine, forward=forward)).run() == 0


def test_a_new_measure_uses_the_stored_maps(tmp_path, planted):
    job(tmp_path / "s", *planted, benchmarks={}).run()
    queries = []
    job(tmp_path / "s", *planted).run(lambda images, asked: queries.append(asked))
    assert sum(queries) == 6 * (4 + 6)


def test_an_image_of_which_a_measure_says_nothing_is_done_all_the_same(tmp_path, planted):
    def of_some(model, images, targets, labels, attribution, *, rngs):
        return pd.DataFrame([(1, "something", float("nan"), 0.5)], columns=["image", "metric", "x", "value"])

    silent = job(tmp_path / "s", *planted, benchmarks={"silent": partial(of_some)}, batch_size=6)
    silent.run()
    assert silent.pending() == []
    values = written(silent).query("what == 'silent'").set_index("image")["value"]
    assert values["1.png"] == 0.5
    assert values.isna().sum() == 5


def test_what_changes_a_number_changes_the_key(tmp_path, planted):
    images, model, engine = planted
    base = job(tmp_path, *planted).keys["attribution"]
    assert job(tmp_path, *planted, batch_size=1).keys["attribution"] == base
    others = [
        job(tmp_path, *planted, seed=1),
        job(tmp_path, *planted, method=partial(dynamic_ablation, iterations=16, k=2, sp_num=50)),
        job(tmp_path, images, replace(model, weights_sha256="other"), engine),
        job(tmp_path, images, replace(model, net={"_target_": "timm.create_model"}), engine),
        job(tmp_path, images, replace(model, preprocessing=replace(model.preprocessing, crop_pct=0.9)), engine),
        job(tmp_path, *planted, engine_identity={"batch": 4, "precision": "bf16"}),
        job(tmp_path, replace(images, name="another"), model, engine),
    ]
    keys = {other.keys["attribution"] for other in others}
    assert len(keys) == len(others)
    assert base not in keys


def test_another_version_of_a_method_or_measure_starts_new_results(tmp_path, planted, monkeypatch):
    before = job(tmp_path, *planted).keys
    monkeypatch.setattr("da.walk.__version__", "of tomorrow")
    method_changed = job(tmp_path, *planted).keys
    assert method_changed["prediction"] == before["prediction"]
    assert all(method_changed[name] != before[name] for name in ("attribution", "insertion", "mar"))
    monkeypatch.undo()
    monkeypatch.setattr("benchmarks.measures.mar.__version__", "of tomorrow")
    measure_changed = job(tmp_path, *planted).keys
    assert {name for name in before if measure_changed[name] != before[name]} == {"mar"}
    (tmp_path / "mine.py").write_text("def mine(model, images, targets, *, rngs):\n    return images.mean(1)\n")
    monkeypatch.syspath_prepend(tmp_path)
    import mine  # type: ignore[import-not-found]

    first = job(tmp_path, *planted, method=partial(mine.mine)).keys["attribution"]
    (tmp_path / "mine.py").write_text("def mine(model, images, targets, *, rngs):\n    return images.mean(1) + 1\n")
    forget_sources()  # as in another process
    assert job(tmp_path, *planted, method=partial(mine.mine)).keys["attribution"] != first


def statuses(a_job: Job) -> dict[str, str]:
    rows = pd.concat([a_job.rows(name) for name in a_job.keys])
    return {image: " | ".join(sorted(set(group["status"]))) for image, group in rows.groupby("image")}


def test_a_method_that_fails_on_one_image_costs_only_that_image(tmp_path, planted):
    images = planted[0]

    def method(model: LabelModel, pixels: Tensor, targets: Tensor, *, rngs) -> Attribution:
        if any(rng.random() == unlucky for rng in rngs):
            raise RuntimeError("no luck")
        return Attribution(pixels.mean(1))

    unlucky = image_rng(0, "method", "3.png").random()
    failing = job(tmp_path / "s", *planted, method=partial(method))
    failing.run()
    expected = dict.fromkeys((photograph.id for photograph in images.photographs), "ok")
    assert statuses(failing) == expected | {"3.png": "error: RuntimeError: no luck | ok"}


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (lambda pixels: pixels.mean(1)[:, :-1], r"saliency of shape \(., 31, 32\)"),
        (lambda pixels: pixels.mean(1) * torch.nan, "not finite"),
        (lambda pixels: "a map", "returned str"),
        (lambda pixels: Attribution(pixels.mean(1), queries=torch.full((len(pixels),), 9)), "reports .* queries and made 0"),
    ],
)
def test_a_wrong_result_is_a_status_that_says_so(tmp_path, planted, result, message):
    def method(model: LabelModel, pixels, targets, *, rngs):
        return result(pixels)

    failing = job(tmp_path / "s", *planted, method=partial(method))
    failing.run()
    rows = failing.store.rows(failing.keys["attribution"], failing.contents)
    assert len(rows) == 6
    assert rows["status"].str.contains(message, regex=True).all()
    assert rows["status"].str.startswith("error: ").all()


def test_a_plain_function_returning_a_tensor_is_a_method_and_sees_the_module(tmp_path, planted):
    def method(model, pixels, targets, *, rngs):
        assert isinstance(model, nn.Module)
        model(pixels)
        return pixels.mean(1)

    plain = job(tmp_path / "s", *planted, method=partial(method))
    plain.run()
    rows = plain.store.rows(plain.keys["attribution"], plain.contents)
    assert set(rows["status"]) == {"ok"}
    assert rows.loc[rows["metric"] == "queries", "value"].tolist() == [1.0] * 6


def test_unreadable_files_and_a_model_that_fails_are_rows(tmp_path, planted):
    images, model, engine = planted
    images.photographs[1].source.write_text("not an image")
    images.photographs[4].source.unlink()

    def forward(pixels: Tensor) -> Tensor:
        logits = engine.forward(pixels)
        fifth = (pixels - textured(6, 32, 32)[5]).abs().amax((1, 2, 3)) < 0.01
        return torch.where(fifth[:, None], torch.nan, logits)

    failing = job(tmp_path / "s", images, model, replace(engine, forward=forward))
    failing.run()
    found = statuses(failing)
    assert found["1.png"].startswith("error: unreadable: 1.png cannot be read")
    assert found["4.png"].startswith("error: unreadable")
    assert found["5.png"].startswith("error: NotFiniteError")
    assert all(found[name] == "ok" for name in ("0.png", "2.png", "3.png"))


def test_gradients_of_a_black_box_are_refused(tmp_path, planted):
    images, model, engine = planted

    def method(model, pixels, targets, *, rngs):
        return pixels.mean(1)

    refused = job(tmp_path / "s", images, replace(model, differentiable=False), engine, method=partial(method))
    refused.run()
    assert all("needs the network's layers or gradients" in status for status in statuses(refused).values())
