"""The measure against known evidence, by hand; and what it needs of the harness: evidence that travels, and is part of the keys."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from baselines import sobel_edges
from benchmarks.data import Evidence, image_folder
from benchmarks.engines.engine import torch_engine
from benchmarks.inputs.parameters import takes_evidence
from benchmarks.jobs.resolve import make_job, resolve
from benchmarks.measures import insertion_game, known_evidence
from da.types import Attribution
from results.records import images_of, records, stored_as
from tests.benchmarks.test_job import job
from tests.commands import command
from tests.helpers import configured, planted_model, rngs

FILLS = ["black", "mean", "blur", "noise"]
RED, BLUE, GREEN = (torch.tensor(colour).view(3, 1, 1) for colour in ((1.0, 0, 0), (0, 0, 1.0), (0, 1.0, 0)))


class Counts:
    """Class 1 where at least so many pixels are pure of each colour, else 0; ``queries`` counts images."""

    def __init__(self, **needed: int) -> None:
        self.needed, self.queries = needed, 0

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        self.queries += len(images)
        colours = {"red": RED, "blue": BLUE, "green": GREEN}
        counts = [(images == colours[name]).all(1).sum((1, 2)) >= count for name, count in self.needed.items()]
        return torch.stack(counts).all(0).long()


def scene(*places: tuple[int, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """A grey image of 16 x 16 pixels, green on the right, with squares of 4 x 4 pixels at these columns; and their masks."""
    image, masks = torch.full((3, 16, 16), 0.4), []
    image[:, :, 12:] = GREEN
    for left, colour in places:
        image[:, 2:6, left : left + 4] = colour
        mask = torch.zeros(16, 16, dtype=torch.bool)
        mask[2:6, left : left + 4] = True
        masks.append(mask)
    return image, torch.stack(masks)


def ground() -> torch.Tensor:
    mask = torch.zeros(16, 16, dtype=torch.bool)
    mask[:, 12:] = True
    return mask


def measured(model: Counts, image: torch.Tensor, evidence: Evidence | None, saliency: torch.Tensor, kept: torch.Tensor | None = None):
    attribution = Attribution(saliency[None], None if kept is None else kept[None])
    target = model(image[None])
    model.queries = 0
    frame = known_evidence(model, image[None], target, [None], attribution, rngs=rngs(1), evidence=[evidence], fills=FILLS)
    single = frame[frame["x"].isna()]
    assert not single.duplicated(["image", "metric"]).any()
    return frame, dict(zip(single["metric"], single["value"], strict=True))


def test_parts_that_are_used_are_scored():
    image, parts = scene((1, RED))
    saliency = torch.zeros(16, 16)
    saliency[2:6, 1:3] = 2  # half of the part: 8 pixels of 2
    saliency[0, 12:] = 1  # 4 pixels of the ground
    saliency[1, 12:] = -5
    kept = torch.zeros(16, 16, dtype=torch.bool)
    kept[2:6, 2:8] = True
    model = Counts(red=12)
    frame, found = measured(model, image, Evidence(parts, (0,), ground=ground()), saliency, kept)
    assert model.queries == 4 * 4
    conditions = frame[frame["x"].notna()].pivot_table(index="metric", columns="x", values="value")
    assert (conditions.loc[["parts_keep", "parts_lose"]] == 1).all(None)
    assert (conditions.loc["ground_keep"] == 0).all()
    assert list(conditions.columns) == [0, 1, 2, 3]
    assert (found["evidence_parts"], found["evidence_ground"]) == (1, 0)
    assert found["evidence_share"] == 16 / 256
    assert found["evidence_mass"] == 16 / 20
    assert 8 / 16 <= found["evidence_rank"] <= 12 / 16  # 8 and 4 on top, and 4 of the ties
    assert found["evidence_told"] == 1
    assert found["evidence_recall"] == 12 / 16
    assert found["evidence_precision"] == 12 / 24


def test_a_model_that_goes_by_the_ground_is_scored_against_it():
    image, parts = scene((1, RED))
    saliency = torch.zeros(16, 16)
    saliency[:, 12:] = 1
    saliency[2:6, 1:5] = 1
    other = image.clone()
    other[:, :, 12:] = BLUE
    _, found = measured(Counts(green=60), image, Evidence(parts, (0,), None, ground(), other, 0), saliency, ground())
    assert (found["evidence_parts"], found["evidence_ground"], found["ground_changed"]) == (0, 1, 1)
    assert found["evidence_mass"] == 64 / 80
    assert found["evidence_told"] == 0.5
    assert (found["evidence_recall"], found["evidence_precision"]) == (1, 1)
    _, found = measured(Counts(green=60), image, Evidence(parts, (0,), None, ground(), other, 3), saliency)
    assert (found["ground_changed"], found["evidence_ground"]) == (0, 0)  # it has not the class of that ground
    assert "evidence_mass" not in found


def test_evidence_is_told_from_all_that_it_is_not():
    image, parts = scene((1, RED), (7, BLUE))
    evidence = Evidence(parts[:1], (0,), ground=ground(), distractors=parts[1])
    for values, told in (((3, 2, 1), 1), ((2, 3, 1), 0), ((2, 1, 3), 0), ((2, 2, 1), 0.5), ((2, -9, -9), 1)):
        saliency = sum(value * mask.float() for value, mask in zip(values, (*parts, ground()), strict=True))
        assert measured(Counts(red=12), image, evidence, saliency)[1]["evidence_told"] == told


def test_evidence_that_does_not_hold_is_not_scored_and_of_nothing_there_is_no_row():
    image, parts = scene((1, RED))
    for model in (Counts(red=0), Counts(red=12, green=60)):  # the class is never lost; part and ground together
        _, found = measured(model, image, Evidence(parts, (0,), ground=ground()), torch.rand(16, 16))
        assert (found["evidence_parts"], found["evidence_ground"]) == (0, 0)
        assert not {"evidence_mass", "evidence_rank", "evidence_share"} & found.keys()
    still, _ = scene((1, RED))
    _, found = measured(Counts(red=12), image, Evidence(parts, (0,), absent=still), torch.rand(16, 16))
    assert (found["parts_changed"], found["evidence_parts"]) == (0, 0)  # red is there without the part
    frame, _ = measured(Counts(red=12), image, None, torch.rand(16, 16))
    assert frame.empty


def test_copies_are_each_enough_and_necessary_parts_are_both_needed():
    image, parts = scene((1, RED), (7, RED))
    kept = parts[1]
    model = Counts(red=12)
    _, found = measured(model, image, Evidence(parts, (0, 0)), torch.rand(16, 16), kept)
    assert found["evidence_parts"] == 1
    assert found["evidence_recall"] == 1  # of one of them
    assert model.queries == 4 * (2 + 1)
    _, found = measured(Counts(red=20), image, Evidence(parts, (0, 0)), torch.rand(16, 16))
    assert found["evidence_parts"] == 0  # it needs both
    image, parts = scene((1, RED), (7, BLUE))
    model = Counts(red=12, blue=12)
    _, found = measured(model, image, Evidence(parts, (0, 1)), torch.rand(16, 16), kept)
    assert found["evidence_parts"] == 1
    assert found["evidence_recall"] == 0.5
    assert model.queries == 4 * (1 + 2)
    _, found = measured(Counts(red=12), image, Evidence(parts, (0, 1)), torch.rand(16, 16))
    assert found["evidence_parts"] == 0  # without the blue one the class stays


def test_maps_at_the_edge():
    image, parts = scene((1, RED))
    evidence = Evidence(parts, (0,), ground=ground())
    nothing = torch.zeros(16, 16, dtype=torch.bool)
    for saliency in (torch.zeros(16, 16), -torch.rand(16, 16)):
        _, found = measured(Counts(red=12), image, evidence, saliency, nothing)
        assert np.isnan([found["evidence_mass"], found["evidence_told"], found["evidence_precision"]]).all()
        assert found["evidence_recall"] == 0
        assert 0 <= found["evidence_rank"] <= 1
    asked = Counts(red=1), image[None], torch.ones(1).long(), [None], Attribution(torch.rand(1, 16, 16))
    for fills, said in (([], r"fills=\[\]"), (["grey"], "benchmark.evidence.fills='grey'")):
        with pytest.raises(ValueError, match=said):
            known_evidence(*asked, rngs=rngs(1), evidence=[evidence], fills=fills)


def test_an_image_does_not_depend_on_its_batch():
    one, two = scene((1, RED)), scene((7, RED))
    images, known = torch.stack([one[0], two[0]]), [Evidence(one[1], (0,), ground=ground()), Evidence(two[1], (0,))]
    maps = torch.rand(2, 16, 16)
    model = Counts(red=12)

    def rows(chosen: list[int]) -> pd.DataFrame:
        streams = [np.random.default_rng(i) for i in chosen]
        asked = images[chosen], model(images[chosen]), [None] * len(chosen), Attribution(maps[chosen])
        found = known_evidence(model, *asked, rngs=streams, evidence=[known[i] for i in chosen], fills=FILLS)
        return found.assign(image=[chosen[i] for i in found["image"]]).sort_values(["image", "metric", "x"], ignore_index=True)

    pd.testing.assert_frame_equal(rows([0, 1]), rows([1, 0]))
    pd.testing.assert_frame_equal(rows([0, 1]), pd.concat([rows([0]), rows([1])], ignore_index=True))


def test_only_a_measure_is_given_evidence():
    assert takes_evidence(partial(known_evidence, fills=["black"]))
    assert not takes_evidence(insertion_game)
    assert not takes_evidence(lambda model, images, targets, *, rngs, evidence=3: None)  # a method's own parameter


@pytest.fixture
def folders(tmp_path):
    """Three noisy photographs and the masks of two of them."""
    rng = np.random.default_rng(0)
    for i in range(3):
        for folder in ("photos", "masks"):
            (tmp_path / folder).mkdir(exist_ok=True)
        Image.fromarray(rng.integers(60, 255, (32, 32, 3), dtype=np.uint8)).save(tmp_path / "photos" / f"{i}.png")
        mask = np.zeros((32, 32), np.uint8)
        mask[8:16, 8:16] = 255  # where the planted model looks
        if i:
            Image.fromarray(mask).save(tmp_path / "masks" / f"{i}.png")
    return tmp_path


def test_new_masks_are_measured_anew_and_nothing_else(folders):
    model = planted_model()
    engine = torch_engine(model, batch=4, device="cpu")
    benchmarks = {"evidence": partial(known_evidence, fills=["black"])}

    def run(masks: bool = True) -> pd.DataFrame:
        images = image_folder(str(folders / "photos"), masks=str(folders / "masks") if masks else None)
        a_job = job(folders / "store", images, model, engine, partial(sobel_edges), benchmarks=benchmarks if masks else {})
        calls.append(a_job.run())
        made.append(set(a_job.store.index(a_job.keys["attribution"]).values()))
        return a_job.rows("evidence") if masks else pd.DataFrame()

    calls, made = [], []
    run(masks=False)
    rows = run()
    assert calls == [3, 3]
    assert made[0] == made[1]  # the maps that were there
    share = rows[rows["metric"] == "evidence_share"].set_index("image")["value"]
    assert share.to_dict() == {"1.png": 1 / 16, "2.png": 1 / 16}
    assert rows.loc[rows["image"] == "0.png", "value"].isna().all()  # nothing is known of it, and it is not tried again
    run()
    assert calls[-1] == 0
    mask = np.zeros((32, 32), np.uint8)
    mask[4:20, 8:16] = 255
    Image.fromarray(mask).save(folders / "masks" / "2.png")
    share = run()
    assert calls[-1] == 1
    assert made[-1] == made[0]
    assert share[share["metric"] == "evidence_share"].set_index("image")["value"].to_dict() == {"1.png": 1 / 16, "2.png": 1 / 8}
    (folders / "masks" / "2.png").write_text("broken")
    rows = run()
    assert rows.loc[rows["image"] == "2.png", "status"].str.contains("cannot be read").all()


def test_keys_of_measures_hold_label_and_evidence():
    image = ("a", "0123")
    assert stored_as("attribution", image, 3, "ff") == image
    assert stored_as("mar", image, None) == image
    assert len({stored_as("mar", image, *more) for more in ((None,), (3,), (3, "ff"), (None, "ff"), (None, "3"), (4, "ff"))}) == 6


def test_images_without_evidence_are_refused():
    with pytest.raises(ValueError, match=r"benchmark\.evidence compares with known evidence, and demo has none: choose dataset=planted"):
        make_job(resolve(configured("benchmark=evidence", "method=sobel")))


@pytest.mark.slow
def test_the_experiment(tmp_path):
    said = command("benchmarks", "experiment=evidence", "scale=smoke", "select.count=3", cwd=tmp_path)
    assert said.returncode == 0, said.stderr
    out = tmp_path / "runs" / "evidence"
    parts = {name: pd.read_csv(out / f"evidence_{name}.csv").set_index("method") for name in ("planted_cnn", "planted_confounded")}
    for table in parts.values():
        assert len(table) == 16
        assert (table["scored"] >= 2).all()
        assert table.loc["da_minimal", "recall"] != "–"
    conditions = pd.read_csv(out / "evidence_conditions_planted_confounded.csv")
    held = conditions[conditions["holds"].notna()].set_index("evidence")["holds"]
    assert held["parts"] == 0
    assert held["ground"] > 0.5
    assert len(list((out / "figures").glob("evidence*.png"))) == 4
    (record, *_) = records(out)
    assert len({content for _, content in images_of(record, "evidence")}) == 3
    said = command("results", "verify", "runs/evidence", "--sample", "2", cwd=tmp_path)
    assert said.returncode == 0, said.stdout
