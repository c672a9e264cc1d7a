"""Methods that start from another's attribution, maps made elsewhere, and certificates of anybody's region."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

import baselines
import da
from benchmarks.engines.engine import torch_engine
from benchmarks.measures.certificate import region_certificate
from da.types import Attribution
from tests.benchmarks.test_job import job, planted, written  # noqa: F401 (a fixture)
from tests.helpers import Labels, PatchNet, rngs, textured
from tests.strangers.test_leftovers import classifier

BUDGET = 120
SETTINGS = {"budget": BUDGET, "sp_num": 30}


def reduced_from(start, *of, **options):
    stated = {"start_from": {"_target_": f"baselines.{start.func.__name__}", **start.keywords}, **SETTINGS}
    return replace(job(*of, method=partial(da.reduce, start_from=start, **SETTINGS), **options), parameters=stated)


def unlabelled(images):
    return tuple(replace(photograph, label=None) for photograph in images.photographs)


def numbers(a_job) -> dict[str, dict[str, float]]:
    rows = a_job.rows("attribution")
    return {metric: dict(zip(of["image"], of["value"], strict=True)) for metric, of in rows.groupby("metric")}


@pytest.mark.parametrize("start", [partial(baselines.gradient), partial(baselines.rise, masks=40, cells=4, probability=0.5)])
def test_a_start_is_what_the_method_alone_says_and_its_passes_are_counted(tmp_path, planted, start):  # noqa: F811
    images, model, engine = planted if start.keywords else (replace(planted[0], photographs=unlabelled(planted[0])), *classifier())
    alone = job(tmp_path / "alone", images, model, engine, method=start)
    reduced = reduced_from(start, tmp_path / "reduced", images, model, engine)
    assert alone.run() == reduced.run() == 6
    before, after = numbers(alone), numbers(reduced)
    for image in before["queries"]:
        assert 0 < after["queries"][image] - before["queries"][image] <= BUDGET
        assert after["backwards"][image] == before["backwards"][image]
        key = next(one for one in alone.contents if one[0] == image)
        saliency = torch.from_numpy(alone.store.arrays(alone.keys["attribution"], key)["saliency"])[None]
        shown = alone.contents[key].tensor(model.preprocessing)[None]
        label = Labels(engine.module)
        stream = [alone._rngs("method", [key])[0]]
        again = da.reduce(label, shown, torch.tensor([alone.prediction(key)]), start_from=saliency, rngs=stream, **SETTINGS)
        assert again.extras["start"].item() == pytest.approx(after["start"][image])
        assert sum(map(len, label.shown)) + before["queries"][image] == after["queries"][image]


def test_batches_change_no_number_of_a_method_with_a_start(tmp_path, planted):  # noqa: F811
    images, model, _ = planted
    engine = torch_engine(model, batch=4, device="cpu")
    rise = partial(baselines.rise, masks=40, cells=4, probability=0.5)
    one = reduced_from(rise, tmp_path / "one", images, model, engine, batch_size=6)
    other = reduced_from(rise, tmp_path / "other", images, model, engine, batch_size=1)
    one.run(), other.run()
    assert written(one).equals(written(other))


@pytest.fixture
def maps(tmp_path, planted):  # noqa: F811
    """A folder of maps with regions and stated queries."""
    folder = tmp_path / "maps"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(6):
        saliency = rng.random((32, 32), np.float32)
        np.savez(folder / f"{i}.npz", saliency=saliency, kept=saliency > 0.5, queries=100 + i)
    return folder


def test_maps_made_elsewhere_are_scored_like_any_other(tmp_path, planted, maps):  # noqa: F811
    found = job(tmp_path / "s", *planted, method=partial(baselines.precomputed, maps=str(maps)))
    assert found.run() == 6
    assert found.rows("mar").query("metric == 'mar'")["value"].between(0.3, 0.7).all()
    assert numbers(found)["queries"] == {f"{i}.png": 100 + i for i in range(6)}
    for key in found.contents:
        stored = found.store.arrays(found.keys["attribution"], key)["saliency"]
        assert np.array_equal(stored, np.load(maps / f"{key[0][0]}.npz")["saliency"])


@pytest.mark.parametrize("without", [0, 5])
@pytest.mark.parametrize("batch_size", [6, 4, 1])
def test_where_some_maps_have_no_region_each_image_has_its_own_numbers(tmp_path, planted, maps, without, batch_size):  # noqa: F811
    saliency = np.load(maps / f"{without}.npz")["saliency"]
    np.savez(maps / f"{without}.npz", saliency=saliency, queries=7)
    found = job(tmp_path / "s", *planted, method=partial(baselines.precomputed, maps=str(maps)), batch_size=batch_size)
    assert found.run() == 6
    mar = found.rows("mar")
    assert (mar["status"] == "ok").all()
    assert sorted(mar.loc[mar["metric"] == "mar", "image"]) == [f"{i}.png" for i in range(6) if i != without]
    assert sorted(mar.loc[mar["metric"] == "mar_first", "image"]) == [f"{i}.png" for i in range(6)]
    for key in found.contents:
        of = np.load(maps / f"{key[0][0]}.npz")
        stored = found.store.arrays(found.keys["attribution"], key)
        assert np.array_equal(stored["saliency"], of["saliency"])
        assert ("kept" in stored) == ("kept" in of)


def test_what_a_start_is_said_to_have_cost_is_counted(tmp_path, planted, maps):  # noqa: F811
    start = partial(baselines.precomputed, maps=str(maps))
    known = reduced_from(start, tmp_path / "known", *planted)
    known.run()
    assert all(100 + i < numbers(known)["queries"][f"{i}.png"] <= 100 + i + BUDGET for i in range(6))
    saliency = np.load(maps / "3.npz")["saliency"]
    np.savez(maps / "3.npz", saliency=saliency)
    unknown = reduced_from(start, tmp_path / "unknown", *planted)
    unknown.run()
    assert [image for image, spent in numbers(unknown)["queries"].items() if np.isnan(spent)] == ["3.png"]


def test_another_content_of_the_folder_is_another_result(tmp_path, planted, maps):  # noqa: F811
    method = partial(baselines.precomputed, maps=str(maps))
    before = job(tmp_path / "s", *planted, method=method).keys["attribution"]
    np.savez(maps / "0.npz", saliency=np.zeros((32, 32)), kept=np.ones((32, 32), bool))
    assert job(tmp_path / "s", *planted, method=method).keys["attribution"] != before


def test_a_map_that_is_missing_costs_its_own_image_alone(tmp_path, planted, maps):  # noqa: F811
    (maps / "2.npz").unlink()
    found = job(tmp_path / "s", *planted, method=partial(baselines.precomputed, maps=str(maps)))
    found.run()
    statuses = found.rows("attribution").drop_duplicates("image").set_index("image")["status"]
    assert statuses["2.png"].startswith("error: ValueError: no map of 2.png in ")
    assert (statuses.drop("2.png") == "ok").all()


def read(folder, images, ids, **more):
    return baselines.precomputed(Labels(PatchNet(0, 0, 2, 2)), images, torch.zeros(len(images)).long(), maps=str(folder), ids=ids, **more)


def test_other_resolutions_are_resized_by_the_stated_rule(tmp_path):
    images = textured(1, 32, 48)
    ramp = np.linspace(0, 1, 24, dtype=np.float32)[None].repeat(16, 0)
    np.save(tmp_path / "a.npy", ramp)
    Image.fromarray((ramp * 65535).astype(np.uint16)).save(tmp_path / "b.png")
    Image.fromarray(np.kron(ramp > 0.5, np.ones((4, 4))).astype(np.uint8) * 255).resize((96, 64)).save(tmp_path / "c.tif")
    small = read(tmp_path, images, ["a"]).saliency
    assert small.shape == (1, 32, 48)
    assert torch.equal(small[0].sort(1).values, small[0])
    assert torch.isnan(read(tmp_path, images, ["a"]).extras["stated_queries"]).all()
    picture = read(tmp_path, images, ["b.jpg"]).saliency
    torch.testing.assert_close(picture / 65535, small, atol=1e-4, rtol=0)
    (tmp_path / "queries.csv").write_text("image,queries\nc,37\n")
    masks = tmp_path / "masks"
    masks.mkdir()
    np.save(masks / "c.npy", ramp > 0.5)
    with_mask = read(tmp_path, images, ["c"], masks=str(masks))
    assert with_mask.extras["stated_queries"].tolist() == [37]
    assert with_mask.kept.float().mean().item() == pytest.approx(0.5)
    assert read(tmp_path, images, ["c.jpg"]).extras["stated_queries"].tolist() == [37]  # images are named as files are
    np.savez(masks / "b.npz", kept=ramp > 0.25)
    assert read(tmp_path, images, ["b"], masks=str(masks)).kept.float().mean().item() == pytest.approx(0.75, abs=0.05)


def test_a_file_is_not_the_map_of_two_images(tmp_path):
    images = textured(2, 32, 32)
    np.save(tmp_path / "a.npy", np.zeros((32, 32)))
    with pytest.raises(ValueError, match=r"no map of a\.jpg .*: give one file a\.jpg with"):
        read(tmp_path, images, ["a.jpg", "a.png"])
    with pytest.raises(ValueError, match=r"no map of a\.jpg"):
        read(tmp_path, images[:1], ["a.jpg"], every=["a.jpg", "b.jpg", "a.png"])
    np.save(tmp_path / "a.jpg.npy", np.ones((32, 32)))
    assert read(tmp_path, images[:1], ["a.jpg"], every=["a.jpg", "a.png"]).saliency.min() == 1
    assert read(tmp_path / ".", images[:1], ["a"]).saliency.max() == 0


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda p: np.save(p / "a.npy", np.zeros((32, 32, 3))), r"shape \[32, 32, 3\]: give numbers of shape \[h, w\]"),
        (
            lambda p: np.save(p / "a.npy", np.zeros((20, 32))),
            "20 x 32, the image as the model sees it 32 x 32: give it after resize and crop",
        ),
        (lambda p: np.save(p / "a.npy", np.full((32, 32), np.nan)), "not finite"),
        (lambda p: (np.save(p / "a.npy", np.zeros((32, 32))), np.save(p / "a.jpg.npy", np.zeros((32, 32)))), "several maps"),
        (lambda p: np.savez(p / "a.npz", heat=np.zeros((32, 32)), more=np.zeros(3)), "has no array 'saliency', but heat, more"),
        (lambda p: np.savez(p / "a.npz", kept=np.zeros((32, 32))), "has no array 'saliency', but kept"),
        (lambda p: np.savez(p / "a.npz", saliency=np.zeros((32, 32)), queries=[1, 2, 3]), r"queries of a\.jpg .*\[1, 2, 3\] is no number"),
        (lambda p: np.savez(p / "a.npz", saliency=np.zeros((32, 32)), queries=-5), "-5 is no number of queries"),
        (lambda p: (np.save(p / "a.npy", np.zeros((32, 32))), (p / "queries.csv").write_text("a.jpg,5\n")), "columns image,queries"),
        (lambda p: (np.save(p / "a.npy", np.zeros((32, 32))), (p / "queries.csv").write_text("image,queries\na,x\n")), "'x' is no number"),
        (lambda p: np.save(p / "a.npy", np.zeros((1, 2))), "1 x 2, the image as the model sees it 32 x 32"),
        (lambda p: np.save(p / "a.npy", np.zeros((7, 8))), "7 x 8, the image as the model sees it 32 x 32"),
        (lambda p: Image.new("RGB", (32, 32)).save(p / "a.png"), "colours have no order"),
        (lambda p: (p / "a.npy").write_text("no array"), "cannot be read"),
        (lambda p: None, "no map of a.jpg"),
    ],
)
def test_files_that_are_no_maps_are_refused(tmp_path, made, said):
    made(tmp_path)
    with pytest.raises(ValueError, match=said):
        read(tmp_path, textured(1, 32, 32), ["a.jpg"])


def certified(kept=None, saliency=None, **options):
    net, images = PatchNet(20, 24, 10, 9), textured(2, 64, 64)
    model = Labels(net)
    attribution = Attribution(torch.zeros(2, 64, 64) if saliency is None else saliency, kept)
    settings = {"rngs": rngs(2), "sp_num": 60, "budget": 150} | options
    frame = region_certificate(model, images, torch.ones(2).long(), [1, 1], attribution, **settings)
    return frame.pivot_table(index="image", columns="metric", values="value"), images, model


def test_a_certificate_says_what_holds_what_is_needed_and_what_can_go():
    kept = torch.zeros(2, 64, 64, dtype=torch.bool)
    kept[0, 10:50, 10:50] = True  # the patch and much besides
    kept[1, :10, :10] = True  # nothing of it
    found, images, model = certified(kept)
    assert found["region_holds"].tolist() == [1, 0]
    assert found["region_minimal"].tolist() == [0, 0]
    assert found["region_share"].tolist() == [pytest.approx(1600 / 4096), pytest.approx(100 / 4096)]
    assert found.loc[0, "removable"] > 0.8
    assert np.isnan(found.loc[1, "removable"])
    region = da.minimal_region(model, images, torch.ones(2).long(), rngs=rngs(2), sp_num=60)
    of_minimal, _, _ = certified(region.kept, budget=2)
    assert of_minimal["region_minimal"].tolist() == region.extras["certified"].tolist() == [1, 1]
    assert of_minimal["removable"].tolist() == [0, 0]


def test_of_a_map_the_smallest_share_that_holds_is_certified():
    rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    found, _, _ = certified(saliency=-((rows - 25) ** 2 + (columns - 28) ** 2).expand(2, -1, -1))
    assert found["region_holds"].tolist() == [1, 1]
    assert (found["region_share"] < 0.1).all()


def test_an_image_that_needs_nothing_has_no_certificate():
    """Its class is there on the ablated image: any region holds, and none is needed."""
    images = textured(2, 64, 64)
    model = Labels(PatchNet(20, 24, 10, 9))
    kept = torch.ones(2, 64, 64, dtype=torch.bool)
    frame = region_certificate(model, images, torch.tensor([0, 1]), [0, 1], Attribution(kept.float(), kept), rngs=rngs(2), budget=50)
    assert set(frame["image"]) == {1}
    assert set(frame["metric"]) == {"region_share", "region_holds", "region_minimal", "removable"}
