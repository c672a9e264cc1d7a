"""Insertion and deletion areas against models whose curve is known, and the fields of their preset."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from scipy.ndimage import convolve, gaussian_filter
from torch.nn.functional import conv2d

from benchmarks.data.derived import select
from benchmarks.data.sets import demo
from benchmarks.engines.views import ScoreView
from benchmarks.inputs.compose import resolved_values
from benchmarks.measures.eclique import box_blur, changed_pixels, raster_rank, rise_metrics
from da.types import Attribution
from tests.benchmarks.test_job import job, written
from tests.helpers import configured, rngs, textured

PRESET = resolved_values(instantiate(configured("model=resnet18", "benchmark=[eclique]").benchmark.eclique).keywords)
MEAN = (0.485, 0.456, 0.406)


def visible(images):
    """Probability of class 1: the share of pixels that are exactly as in the textured image; of class 0 the rest."""
    share = (images == textured(1, 32, 32)).all(1).double().mean((1, 2))
    return torch.stack([1 - share, share], 1)


def measured(images, saliency, model=visible, targets=None, labels=None, **options):
    n = len(images)
    targets = torch.ones(n, dtype=torch.long) if targets is None else targets
    fields = PRESET | {"border": MEAN, "deletion_fill": MEAN} | options
    return rise_metrics(model, images, targets, labels or [None] * n, Attribution(saliency), rngs=rngs(n), **fields)


def curve(frame, metric, image=0):
    rows = frame[(frame["metric"] == metric) & (frame["image"] == image)]
    return rows["x"].to_numpy(), rows["value"].to_numpy()


def area(frame, metric, image=0):
    return float(curve(frame, metric, image)[1].item())


def test_the_preset_is_the_repositorys_and_its_colours_are_the_models_mean():
    assert PRESET["step"] == 1792
    assert (PRESET["kernel"], PRESET["sigma"], PRESET["substrate"], PRESET["endpoints"]) == (11, 5, "box_blur", "both")
    assert tuple(PRESET["deletion_fill"]) == tuple(PRESET["border"]) == MEAN


def test_a_score_that_is_the_visible_share_gives_straight_curves():
    images = textured(1, 32, 32)
    frame = measured(images, torch.arange(1024.0).view(1, 32, 32), step=1568, substrate=[0.0, 0.0, 0.0])  # 32 pixels of 1024: 32 even steps
    x, inserted = curve(frame, "insertion_score")
    assert len(x) == 33
    assert inserted == pytest.approx(x)
    assert curve(frame, "deletion_score")[1] == pytest.approx(1 - x)
    assert area(frame, "eclique_insertion_auc") == area(frame, "eclique_deletion_auc") == pytest.approx(0.5)


def test_the_area_counts_a_short_last_step_as_a_whole_one():
    frame = measured(textured(1, 32, 32), torch.rand(1, 32, 32), step=1792, substrate=[0.0, 0.0, 0.0])
    x, values = curve(frame, "insertion_score")
    assert (len(x), x[1], x[-2]) == (29, 37 / 1024, 27 * 37 / 1024)
    assert area(frame, "eclique_insertion_auc") == pytest.approx((values.sum() - values[0] / 2 - values[-1] / 2) / 28)


def test_the_step_scales_with_the_image():
    assert changed_pixels(224 * 224, 1792) == list(range(0, 224 * 224 + 1, 1792))
    assert len(changed_pixels(224 * 224, 224)) == 225
    assert [len(changed_pixels(side * side, 1792)) for side in (32, 224, 240, 260)] == [29] * 4
    assert changed_pixels(4, 1) == [0, 1, 2, 3, 4]
    ends = {name: changed_pixels(224 * 224, 12544, name) for name in ("both", "start", "end", "neither")}
    middle = [12544, 25088, 37632]
    assert ends == {"both": [0, *middle, 50176], "start": [0, *middle], "end": [*middle, 50176], "neither": middle}
    for step in (0, -5):
        with pytest.raises(ValueError, match="step="):
            changed_pixels(100, step)
    with pytest.raises(ValueError, match="no curve"):
        changed_pixels(224 * 224, 50176, "start")


def test_the_most_important_pixels_change_first():
    images = textured(2, 32, 32)
    saliency = torch.zeros(2, 32, 32)
    saliency[0, 8:16, 8:16] = 1
    saliency[1, 20:28, 20:28] = 1

    def patch(shown):
        seen = (shown[:, :, 8:16, 8:16] > 0).all(1).double().mean((1, 2))
        return torch.stack([1 - seen, seen], 1)

    frame = measured(images, saliency, patch, step=3136, deletion_fill="black", substrate="black")  # 64 pixels: the patch
    assert curve(frame, "insertion_score")[1][1] == 1
    assert curve(frame, "deletion_score")[1][1] == 0
    assert area(frame, "eclique_insertion_auc", 0) > area(frame, "eclique_insertion_auc", 1)
    assert area(frame, "eclique_deletion_auc", 0) < area(frame, "eclique_deletion_auc", 1)


def test_blur_in_pixels_with_the_mean_around_is_blur_in_normalised_space_with_zeros_around():
    images = textured(2, 24, 30)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, (0.229, 0.224, 0.225)))
    impulse = np.zeros((11, 11))
    impulse[5, 5] = 1
    kernel = torch.zeros(3, 3, 11, 11)
    for channel in range(3):
        kernel[channel, channel] = torch.from_numpy(gaussian_filter(impulse, 5))
    assert float(kernel[0, 0, 5, 5]) == pytest.approx(0.00883, abs=5e-6)
    assert float(kernel[0, 0, 0, 0]) == pytest.approx(0.00774, abs=5e-6)
    expected = conv2d((images - mean) / std, kernel, padding=5) * std + mean
    torch.testing.assert_close(box_blur(images, 11, 5, MEAN), expected, atol=1e-6, rtol=0)
    black = convolve(images[0, 0].numpy(), kernel[0, 0].numpy(), mode="constant")
    assert box_blur(images[:1], 11, 5, (0, 0, 0))[0, 0].numpy() == pytest.approx(black, abs=1e-6)


def test_the_target_the_score_and_the_order_of_ties_are_fields():
    images, flat = textured(1, 32, 32), torch.zeros(1, 32, 32)
    of_label = measured(images, flat, labels=[0], target="label", substrate="black")
    of_prediction = measured(images, flat, labels=[0], substrate="black")
    assert curve(of_label, "insertion_score")[1] == pytest.approx(1 - curve(of_prediction, "insertion_score")[1])
    logs = measured(images, flat, score="log_probability", substrate="black")
    values = curve(of_prediction, "insertion_score")[1]
    assert curve(logs, "insertion_score")[1][1:] == pytest.approx(np.log(values[1:]))
    assert np.isfinite(logs["value"]).all()
    saliency = torch.tensor([[[1.0, 3.0, 1.0], [3.0, 2.0, 3.0]]])
    assert raster_rank(saliency).tolist() == [[[4, 0, 5], [1, 3, 2]]]
    shown = []

    def top(pixels):
        shown.append((pixels > 0).all(1))
        return visible(pixels)

    measured(images, flat, top, ties="raster", substrate="black", deletion_fill="black", step=1568)
    assert shown[0][1, 0].all()
    assert not shown[0][1, 1:].any()
    with pytest.raises(ValueError, match="no label"):
        measured(images, flat, target="label")
    for field in ("endpoints", "target", "score", "ties"):
        with pytest.raises(ValueError, match=rf"eclique\.{field}='other': choose"):
            measured(images, flat, **{field: "other"})
    with pytest.raises(ValueError, match="must be odd"):
        measured(images, flat, kernel=10)


@pytest.mark.parametrize("n", [1, 4])
def test_queries_are_the_points_of_both_curves_and_passes_are_full(n, lite0_engine, photographs):
    view = ScoreView(lite0_engine)
    images = photographs[:n]
    measured(images, images.mean(1), view, targets=torch.zeros(n, dtype=torch.long), step=12544)
    assert view.queries == n * 2 * 5
    passes = []

    def count(shown):
        passes.append(len(shown))
        return visible(shown)

    many = textured(1, 32, 32).expand(n, -1, -1, -1)
    measured(many, torch.rand(n, 32, 32), count)
    assert sum(passes) == n * 2 * 29
    assert all(size % n == 0 and size <= 64 for size in passes)


def test_a_job_gives_a_score_benchmark_scores_and_batches_change_no_bit(tmp_path, lite0, lite0_engine):
    def brightness(model, pixels, targets, *, rngs):
        return pixels.mean(1)

    images = select(demo(), n=3)
    fields = PRESET | {"step": 12544, "border": lite0.preprocessing.mean, "deletion_fill": lite0.preprocessing.mean}
    options = {"method": partial(brightness), "benchmarks": {"eclique": partial(rise_metrics, **fields)}}
    whole = job(tmp_path / "whole", images, lite0, lite0_engine, batch_size=3, **options)
    queries = []
    whole.run(lambda images, asked: queries.append(asked))
    assert sum(queries) == 3 * 2 * 5
    single = job(tmp_path / "single", images, lite0, lite0_engine, batch_size=1, **options)
    single.run()
    rows = written(whole)
    assert set(rows["status"]) == {"ok"}
    assert {"eclique_insertion_auc", "eclique_deletion_auc"} < set(rows["metric"])
    assert written(single).equals(rows)
