"""Two runs, or two methods of one, compared on the images that both have."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from results.compare import compare, default_folder, markdown, write
from results.statistics import compare as paired
from results.store.store import Store
from tests.commands import command
from tests.conftest import REPOSITORY

MAR = {"a": 0.2, "b": 0.35, "c": 0.5}


def run(root: Path, name: str, methods: dict[str, float], images: int = 12, first: int = 0, **record: object) -> Path:
    """A finished run in a store of its own, with MAR and an area under the insertion curve that fall with each image."""
    (root / name / "jobs").mkdir(parents=True)
    store = Store(root / "store")
    shown = [[f"i{i:02d}", record.get("content", "d"), 0] for i in range(first, first + images)]
    for method, mar in methods.items():
        rng = np.random.default_rng(len(method))
        rows = []
        for image, content, _ in shown:
            values = {"prediction": 1.0, "confidence": 0.5, "queries": 9.0, "mar": mar + int(image[1:]) / 100 + rng.uniform(0, 0.05)}
            values["insertion_auc"] = 1 - values["mar"]
            rows += [(image, content, "ok", metric, np.nan, value, "{}") for metric, value in values.items()]
        frame = pd.DataFrame(rows, columns=["image", "digest", "status", "metric", "x", "value", "provenance"])
        key = store.put({"run": name, "method": method}, frame, {"saliency": np.zeros((images, 8, 8), np.float32)}).parent.name
        content = {"dataset": "d", "model": "m", "method": method, "engine": "e", "seed": record.get("seed", 0), "parameters": {"k": 4}}
        content |= {
            "store": str(root / "store"),
            "keys": {"attribution": key},
            "images": shown,
            "weights_sha256": record.get("weights", "w"),
        }
        model = {"size": 8, "crop_pct": 1, "interpolation": "bilinear", "mean": [0, 0, 0], "std": [1, 1, 1]}
        settings = {"model": model, "dataset": {"_target_": "benchmarks.data.demo"}, "method": {}}
        content |= {"config": settings | {"benchmark": {"mar": {"points": record.get("points", 32)}}}, "class_names": ["zero", "one"]}
        (root / name / "jobs" / f"{method}.json").write_text(json.dumps(content))
    return root / name


def test_a_method_against_the_field_is_paired_and_corrected(tmp_path):
    found = compare([run(tmp_path, "one", MAR)], ["a"], ["mar"])
    assert found.pairs == [("a", "b"), ("a", "c")]
    both = found.images[found.images["b"] == "b"]
    again = paired(both["value_a"].to_numpy(), both["value_b"].to_numpy())
    line = found.differences.iloc[0]
    assert line["difference"] == pytest.approx(again.difference) == pytest.approx(line["mean_a"] - line["mean_b"])
    assert line["p_holm"] == pytest.approx(2 * again.p)
    assert (line["n"], line["verdict"]) == (12, "A smaller")
    assert both["difference"].abs().is_monotonic_decreasing
    assert "a smaller" in markdown(found)


def test_two_runs_meet_in_their_common_methods_and_images(tmp_path):
    a = run(tmp_path, "one", {"a": 0.2, "b": 0.3})
    b = run(tmp_path, "two", {"a": 0.1, "c": 0.3}, first=4, seed=7, weights="v", points=4)
    found = compare([a, b])
    assert found.pairs == [("one: a benchmark.mar.points=32", "two: a benchmark.mar.points=4")]
    assert set(found.differences["metric"]) == {"mar", "insertion_auc"}
    assert (found.differences["n"] == 8).all()
    assert set(found.images["image"]) == {f"i{i:02d}" for i in range(4, 12)}
    notes = "; ".join(found.notes)
    for said in (
        "4 images are only in A",
        "4 images are only in B",
        "seed differs: A 0; B 7",
        "weights of m differ",
        "benchmark.mar has other",
    ):
        assert said in notes
    assert compare([a, b], ["b", "c"]).pairs == [("one: b benchmark.mar.points=32", "two: c benchmark.mar.points=4")]
    assert compare([a, run(tmp_path, "mine", {"new": 0.1})]).pairs == [("one: a", "mine: new"), ("one: b", "mine: new")]


def test_more_than_two_runs_are_compared_two_by_two_and_are_one_family(tmp_path):
    runs = [run(tmp_path, name, {"a": mar}) for name, mar in (("one", 0.2), ("two", 0.3), ("three", 0.5))]
    found = compare(runs, metrics=["mar"])
    assert found.pairs == [("one: a", "two: a"), ("one: a", "three: a"), ("two: a", "three: a")]
    first = compare(runs[:2], metrics=["mar"]).differences.iloc[0]
    line = found.differences.iloc[0]
    assert (line["difference"], line["p"]) == (first["difference"], first["p"])
    assert line["p_holm"] == pytest.approx(3 * first["p"])
    assert [side.folder for side in found.sides] == runs
    elsewhere = run(tmp_path, "elsewhere", {"a": 0.4}, first=50)
    assert compare([*runs[:2], elsewhere], metrics=["mar"]).pairs == [("one: a", "two: a")]
    with pytest.raises(ValueError, match="has no method b"):
        compare(runs, ["b"])


def test_settings_that_vary_hold_each_other_fixed(tmp_path):
    a, b = run(tmp_path, "one", {"a": 0.2}), run(tmp_path, "two", {"a": 0.2})
    record = json.loads((b / "jobs" / "a.json").read_text())
    for k in (4, 8):
        (b / "jobs" / f"{k}.json").write_text(json.dumps(record | {"parameters": {"k": k}}))
    (b / "jobs" / "a.json").unlink()
    assert compare([a, b]).pairs == [("one: a k=4", "two: a k=4")]
    record = json.loads((a / "jobs" / "a.json").read_text())
    (a / "jobs" / "a.json").write_text(json.dumps(record | {"parameters": {"k": 2}}))
    assert compare([a, b]).pairs == [("one: a k=2", "two: a k=4"), ("one: a k=2", "two: a k=8")]


def test_an_image_of_the_same_name_with_other_content_is_another_image(tmp_path):
    a, b = run(tmp_path, "one", {"a": 0.2}), run(tmp_path, "two", {"a": 0.2}, content="other")
    with pytest.raises(ValueError, match="no images in common"):
        compare([a, b])


def test_too_few_images_for_a_difference_are_said(tmp_path):
    found = compare([run(tmp_path, "one", MAR, images=5)], ["a"], ["mar"])
    assert "with 5 images p cannot be below 0.12 after Holm's correction over 2 pairs, however large the difference" in markdown(found)
    assert found.differences["p_holm"].min() == pytest.approx(2 * 2 / 2**5)
    assert not compare([run(tmp_path, "two", MAR, images=7)], ["a"], ["mar"]).notes


def test_bad_requests_are_said(tmp_path):
    one = run(tmp_path, "one", MAR)
    for arguments, message in (
        (([one],), "say which of its methods to compare, --methods A,B; it has a, b, c"),
        (([one], ["a", "x"]), "has no method x: choose a, b, c"),
        (([one], ["a", "a"]), "two different methods"),
        (([one], ["a", "b"], ["speed"]), "--metrics speed: not measured on both sides; choose insertion_auc, mar"),
        (([one, one],), "a run is compared with others"),
        (([tmp_path],), "holds no run"),
    ):
        with pytest.raises(ValueError, match=message):
            compare(*arguments)


@pytest.mark.slow
def test_the_command_writes_tables_and_prints_markdown_or_json(tmp_path):
    run(tmp_path, "one", MAR)
    said = command("results", "compare", "one", "--methods", "a,c", "--images", "2", cwd=tmp_path)
    assert said.returncode == 0, said.stderr
    assert "| mar | a | c |" in said.stdout
    assert "| insertion_auc | a | c |" in said.stdout
    assert r"| insertion\_auc | a | c |" in (tmp_path / default_folder([Path("one")], ["a", "c"]) / "differences.md").read_text()
    out = tmp_path / default_folder([Path("one")], ["a", "c"])
    found = pd.read_csv(out / "differences.csv")
    assert found["metric"].tolist() == ["mar", "insertion_auc"]
    assert len(pd.read_csv(out / "images.csv")) == 2 * 12
    said = command("results", "compare", "one", "--methods", "a,c", "--json", "--images", "2", "--out", "there", cwd=tmp_path)
    answer = json.loads(said.stdout)
    assert answer["differences"][0]["difference"] == pytest.approx(found["difference"][0])
    assert len(answer["images"]) == 2 * 2
    assert '<td title="mar">MAR of the mask</td><td>a</td><td>c</td>' in (tmp_path / "there" / "index.html").read_text()
    assert (tmp_path / "there" / "differences.md").exists()
    wrong = command("results", "compare", "one", cwd=tmp_path)
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)


def test_what_is_written_is_what_was_found(tmp_path):
    found = compare([run(tmp_path, "one", MAR)], ["a", "b"])
    paths = write(found, tmp_path / "out")
    pd.testing.assert_frame_equal(pd.read_csv(paths[0]), found.differences, check_dtype=False)
    pd.testing.assert_frame_equal(pd.read_csv(paths[2]), found.images, check_dtype=False)


def test_a_reader_that_has_enough_is_no_error(tmp_path):
    run(tmp_path, "one", MAR)
    reading, writing = os.pipe()
    os.close(reading)
    told = [sys.executable, "-m", "results", "compare", "one", "--methods", "a,b"]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    said = subprocess.run(told, cwd=tmp_path, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=120, env=environment)
    assert (said.returncode, said.stderr) == (0, "")
