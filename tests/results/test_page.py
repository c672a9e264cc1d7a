"""A run as one page: what is in it."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from da.walk import dynamic_ablation
from results import metrics, tables
from results.figures import charts
from results.page import gallery, page
from results.page.replay import replay
from tests.commands import command
from tests.helpers import Labels, PatchNet, textured

RUN = ["benchmarks", "-m", "method=da_pos,gradcam,sobel", "name=shown", "engine=onnxruntime", "benchmark.mar.points=6"]
RUN += ["select.count=4", "select.order=random", "seed=3"]  # of chelsea no state is accepted
RUN += ["per_method={da_pos: {iterations: 120}}"]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    said = command(*RUN, cwd=folder)
    assert said.returncode == 0, said.stderr
    assert "Page: runs/shown/index.html" in said.stdout
    return folder / "runs" / "shown"


def data(path: Path, name: str = "data") -> dict:
    found = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', path.read_text(encoding="utf-8"), re.DOTALL)
    assert found
    return json.loads(found[1])


@pytest.mark.slow
def test_nothing_of_the_page_is_elsewhere(run):
    text = (run / "index.html").read_text(encoding="utf-8")
    links = re.findall(r'(?:src|href)="([^"]*)"', re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL))
    assert links
    assert all(link.startswith(("#", "data:")) for link in links)
    assert "@import" not in text
    assert not re.search(r"url\(", page.files("results.page").joinpath("page.css").read_text())
    table = text[text.index("<table>") : text.index("</table>")]  # without JavaScript
    assert re.findall(r"<td>(\w+)</td>", table)[:1] == ["da_pos"]
    assert table.count("<tr>") == 1 + 3
    assert re.search(r'title="mar_holds">MAR of the ranking, share from which on it holds <span [^>]*title="smaller is better"', table)
    assert re.search(r'insertion AUC, accuracy <span [^>]*title="larger is better"', table)
    images = re.findall(r"<img [^>]*>", text)
    assert images
    assert all('alt="' in image for image in images)


@pytest.mark.slow
def test_the_page_has_the_rows_decisions_and_maps(run):
    rows, shown = pd.read_parquet(run / "rows.parquet"), data(run / "index.html")
    assert [column["name"] for column in shown["columns"]] == ["da_pos", "gradcam", "sobel"]
    for row in shown["rows"]:
        for c, column in enumerate(shown["columns"]):
            of = rows[(rows["image"] == row["id"]) & (rows["method"] == column["method"])]
            game = of[of["metric"] == "insertion_consistency"].sort_values("x")
            cell = row["cells"][str(c)]
            assert cell["consistency"] == "".join(f"{value:g}" for value in game["value"])
            assert column["shares"] == game["x"].tolist()
            single = of[of["metric"].isin(metrics.CATALOGUE) & of["value"].notna()].set_index("metric")["value"]
            assert cell["numbers"] == {name: pytest.approx(value, abs=1e-4) for name, value in single.items()}
            assert {"mar_holds", "insertion_auc", "queries"} <= set(cell["numbers"])
    assert shown["commands"] == ["python -m benchmarks " + " ".join(f"'{a}'" if re.search(r"[{ ]", a) else a for a in RUN[1:])]


@pytest.mark.slow
def test_a_walk_on_the_page_is_the_walk(run):
    """The last state is the stored mask, and every state that counts is there."""
    shown, rows = data(run / "index.html"), pd.read_parquet(run / "rows.parquet")
    walks = 0
    for i, row in enumerate(shown["rows"]):
        text, shares, steps = data(run / "index.html", f"pictures-{i}")["masks"]["0"]
        of = rows[(rows["image"] == row["id"]) & (rows["method"] == "da_pos")].set_index("metric")["value"]
        frames = np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))
        assert len(frames) == frames.shape[1] * len(shares)
        assert shares[-1] == pytest.approx(of["mar"], abs=1e-4)
        if of["accepted"]:
            walks += 1
            assert len(steps) == min(of["accepted"], 64)
    assert walks >= 2


def test_a_replay_needs_no_model_and_is_checked():
    images, net = textured(1, 32, 32), PatchNet(8, 8, 8, 8)
    for rule in ("positive", "negative"):
        settings = {"rule": rule, "k": 3, "sp_num": 60, "alpha_step": 0.2, "fc": 0.9, "iterations": 80, "fill": "black"}
        targets = net(images).argmax(1)
        walked = dynamic_ablation(Labels(net), images, targets, rngs=[np.random.default_rng(3)], **settings)
        assert walked.trace.circles is None
        accepted, kept = walked.trace.accepted[0].numpy(), walked.kept[0].numpy()
        image = images[0].permute(1, 2, 0).numpy()
        again = {"status": "ok", "parameters": settings | {"trace": False}}
        found = replay(image, accepted, kept, rng=np.random.default_rng(3), **again)
        assert found.steps == np.flatnonzero(accepted).tolist()
        total = found.masks.sum(0) / max(found.masks.sum(0).max(), 1)
        np.testing.assert_allclose(total, walked.saliency[0].numpy(), atol=1e-6)
        np.testing.assert_array_equal(found.masks[-1], kept)
        assert replay(image, accepted, kept, rng=np.random.default_rng(4), **again) is None  # another stream is another walk
        few = replay(image, accepted, kept, rng=np.random.default_rng(3), most=2, **again)
        assert few.steps == [found.steps[0], found.steps[-1]]
        assert replay(image, accepted & False, kept, rng=np.random.default_rng(3), **again) is None


def test_a_small_map_keeps_order_values_and_ties():
    y, x = np.mgrid[:64, :64]
    saliency = np.exp(-((x - 20) ** 2 + (y - 40) ** 2) / 200).astype(np.float32)
    levels, values = gallery.rank_map(saliency, 32)
    top = saliency.reshape(32, 2, 32, 2).mean((1, 3)) >= np.quantile(saliency, 0.9)
    chosen = levels >= np.quantile(levels, 0.9)
    assert (top & chosen).sum() / (top | chosen).sum() > 0.9
    assert (values[0], values[-1], len(values)) == (0, 255, gallery.QUANTILES)
    assert values == sorted(values)
    flat, constant = gallery.rank_map(np.zeros((64, 64), np.float32), 32)
    assert (np.ptp(flat), set(constant)) == (0, {0})
    steps = np.zeros((64, 64), np.float32)
    steps[:32] = 1
    assert len(np.unique(gallery.rank_map(steps, 32)[0])) == 2


def test_disagreement_is_one_minus_the_mean_rank_correlation():
    a = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert gallery.disagreement([a, a]) == 0
    assert gallery.disagreement([a, 255 - a]) == 2
    assert gallery.disagreement([a, np.zeros_like(a)]) is None
    assert gallery.disagreement([a]) is None


def sweep() -> pd.DataFrame:
    lines = []
    for k in (1, 2, 4):
        for sp_num in ("50", "100", "null"):
            common = {"dataset": "d", "model": "m", "method": "da_pos", "engine": "e", "seed": 0, "status": "ok"}
            common |= {"param.k": k, "param.sp_num": sp_num, "configuration": f"da_pos k={k} sp_num={sp_num}"}
            lower = 0 if sp_num == "null" else int(sp_num) / 1000
            for i in range(5):
                image = {"image": str(i), "digest": str(i), "x": np.nan}
                lines.append(common | image | {"metric": "mar", "value": k + lower + i})
                lines.append(common | image | {"metric": "seconds", "value": float(k)})
    return pd.DataFrame(lines)


def test_charts_of_a_sweep_show_its_means():
    rows = sweep()
    found = {chart.id: chart for chart in charts.charts(rows)}
    assert found.keys() == {"ablation", "grid", "distributions", "differences"}
    grid = found["grid"].views[0].numbers.set_index("k / sp_num")
    assert grid.loc["2", "100"] == pytest.approx(2 + 0.1 + 2)
    assert list(grid.columns) == ["50", "100", "null"]
    by_k = next(view for view in found["ablation"].views if view.name.endswith("by k, sp_num=100"))
    assert by_k.numbers["mean"].tolist() == pytest.approx([3.1, 4.1, 6.1])
    assert next(view for view in found["ablation"].views if view.name.startswith("seconds by k")).numbers["low"].isna().all()
    compared = found["differences"].views[0].numbers
    assert set(compared["b"]) == {"da_pos k=2 sp_num=100"}
    assert compared.set_index("a").loc["da_pos k=4 sp_num=100", "difference"] == pytest.approx(2)
    assert not any("seconds" in view.name for view in found["distributions"].views)
    for chart in found.values():
        for view in chart.views:
            assert len(pd.read_csv(io.StringIO(view.csv))) == len(view.numbers)


def test_a_band_bridges_images_that_are_not_everywhere():
    rows = pd.DataFrame({"image": ["a", "b", "c", "a", "b"], "x": [0, 0, 0, 1, 1], "value": [1.0, 2, 3, 4, 6]})
    found = tables.mean_curve(rows, "x")
    assert found["mean"].tolist() == [2, 5]
    assert found["images"].tolist() == [3, 2]
    assert (found["low"] <= found["mean"]).all()


@pytest.mark.slow
def test_a_page_is_made_again_from_the_store_also_without_the_photographs(run):
    folder = run.parent.parent
    before = data(run / "index.html")
    (run / "index.html").unlink()
    said = command("results", "page", "runs/shown", "--json", cwd=folder)
    assert said.returncode == 0, said.stderr
    assert json.loads(said.stdout)["bytes"] == (run / "index.html").stat().st_size
    assert data(run / "index.html") == before
    gone = folder / "runs" / "gone"
    shutil.copytree(run, gone)
    for path in (gone / "jobs").glob("*.json"):
        record = json.loads(path.read_text())
        record["config"]["dataset"] = {"_target_": "benchmarks.data.image_folder", "root": str(folder / "nowhere")}
        path.write_text(json.dumps(record))
    said = command("results", "page", "runs/gone", cwd=folder)
    assert said.returncode == 0, said.stderr
    assert "the page shows no photographs of demo" in said.stderr
    assert len(data(gone / "index.html")["rows"]) == 4
    wrong = command("results", "page", "runs/none", cwd=folder)
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
