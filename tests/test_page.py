"""A run as one page: what is in it, and how it behaves in a browser."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from benchmarks.walks import replay
from da.walk import dynamic_ablation
from results import charts, gallery, page, tables
from tests.commands import command
from tests.conftest import Labels, PatchNet, textured

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
RUN = ["benchmarks", "-m", "method=da_pos,gradcam,sobel", "select.count=4", "name=shown", "engine=onnxruntime", "benchmark.mar.points=6"]
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


def test_nothing_of_the_page_is_elsewhere(run):
    text = (run / "index.html").read_text(encoding="utf-8")
    links = re.findall(r'(?:src|href)="([^"]*)"', re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL))
    assert links
    assert all(link.startswith(("#", "data:")) for link in links)
    assert "@import" not in text
    assert not re.search(r"url\(", page.files("results").joinpath("page.css").read_text())
    table = text[text.index("<table>") : text.index("</table>")]  # without JavaScript
    assert re.findall(r"<td>(\w+)</td>", table)[:1] == ["da_pos"]
    assert table.count("<tr>") == 1 + 3
    assert re.search(r'title="mar_holds">MAR of the ranking, share from which on it holds <span [^>]*title="smaller is better"', table)
    assert re.search(r'insertion AUC, accuracy <span [^>]*title="larger is better"', table)
    images = re.findall(r"<img [^>]*>", text)
    assert images
    assert all('alt="' in image for image in images)


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
            assert cell["mar_holds"] == pytest.approx(of.loc[of["metric"] == "mar_holds", "value"].item(), abs=1e-4)
    assert shown["commands"] == ["python -m benchmarks " + " ".join(f"'{a}'" if re.search(r"[{ ]", a) else a for a in RUN[1:])]


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
    levels, values = gallery.encoded(saliency, 32)
    top = saliency.reshape(32, 2, 32, 2).mean((1, 3)) >= np.quantile(saliency, 0.9)
    chosen = levels >= np.quantile(levels, 0.9)
    assert (top & chosen).sum() / (top | chosen).sum() > 0.9
    assert (values[0], values[-1], len(values)) == (0, 255, gallery.KNOTS)
    assert values == sorted(values)
    flat, constant = gallery.encoded(np.zeros((64, 64), np.float32), 32)
    assert (np.ptp(flat), set(constant)) == (0, {0})
    steps = np.zeros((64, 64), np.float32)
    steps[:32] = 1
    assert len(np.unique(gallery.encoded(steps, 32)[0])) == 2


def test_disagreement_is_one_minus_the_mean_rank_correlation():
    a = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert gallery.disagreement([a, a]) == 0
    assert gallery.disagreement([a, 255 - a]) == 2
    assert gallery.disagreement([a, np.zeros_like(a)]) is None
    assert gallery.disagreement([a]) is None


def sweep() -> pd.DataFrame:
    lines = []
    for k in (1, 2, 4):
        for sp_num in (50.0, 100.0, None):
            common = {"dataset": "d", "model": "m", "method": "da_pos", "k": k, "sp_num": sp_num, "engine": "e", "seed": 0, "status": "ok"}
            common["hyperparameters"] = json.dumps({"k": k, "sp_num": sp_num})
            lines += [common | {"image": str(i), "metric": "mar", "x": np.nan, "value": k + (sp_num or 0) / 1000 + i} for i in range(5)]
            lines += [common | {"image": str(i), "metric": "seconds", "x": np.nan, "value": float(k)} for i in range(5)]
    rows = pd.DataFrame(lines)
    return rows.assign(configuration=tables.configurations(rows))


def test_charts_of_a_sweep_show_its_means():
    rows = sweep()
    found = {chart.id: chart for chart in charts.charts(rows)}
    assert found.keys() == {"ablation", "grid", "distributions", "differences"}
    grid = found["grid"].views[0].numbers.set_index("k / sp_num")
    assert grid.loc["2", "100"] == pytest.approx(2 + 0.1 + 2)
    assert list(grid.columns) == ["50", "100", "none"]
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
    found = charts.band(rows, "x")
    assert found["mean"].tolist() == [2, 5]
    assert found["images"].tolist() == [3, 2]
    assert (found["low"] <= found["mean"]).all()


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
        record["config"]["dataset"] = {"_target_": "benchmarks.datasets.image_folder", "root": str(folder / "nowhere")}
        path.write_text(json.dumps(record))
    said = command("results", "page", "runs/gone", cwd=folder)
    assert said.returncode == 0, said.stderr
    assert "the page shows no photographs of demo" in said.stderr
    assert len(data(gone / "index.html")["rows"]) == 4
    wrong = command("results", "page", "runs/none", cwd=folder)
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)


# In a browser


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    if CHROMIUM is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def opened(browser, run):
    """Opens a page from disk without a network; fails on any error that it reports."""
    contexts, errors = [], []

    def show(path: Path = run / "index.html", width: int = 1200, **options: object):
        context = browser.new_context(viewport={"width": width, "height": 900}, offline=True, accept_downloads=True, **options)
        contexts.append(context)
        shown = context.new_page()
        shown.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        shown.on("pageerror", lambda error: errors.append(str(error)))
        shown.goto(path.as_uri())
        return shown

    yield show
    for context in contexts:
        context.close()
    assert errors == []


def colours(shown, selector: str) -> list[int]:
    """How many pixels of a canvas are not black, and the sum of all."""
    return shown.evaluate(
        """selector => { const c = document.querySelector(selector), d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
        let lit = 0, sum = 0; for (let i = 0; i < d.length; i += 4) { const v = d[i] + d[i+1] + d[i+2]; lit += v > 0; sum += v; }
        return [lit / (c.width * c.height), sum]; }""",
        selector,
    )


def first_cell(shown, row: int = 0, column: int = 1) -> str:
    cell = f'#grid .cell[data-row="{row}"][data-column="{column}"]'
    shown.evaluate("document.querySelector('#grid').scrollIntoView()")
    shown.wait_for_selector(f"{cell} canvas[width='224']")
    return cell


def test_charts_are_drawn_toggled_and_saved(opened, tmp_path):
    shown = opened()
    section = shown.locator("#chart-curves")
    section.scroll_into_view_if_needed()
    shown.wait_for_selector("#chart-curves .js-plotly-plot .legend .traces")
    drawn = "document.querySelector('#chart-curves .plot')"
    assert shown.evaluate(f"{drawn}.data.filter(trace => trace.name).map(trace => trace.name)") == ["da_pos", "gradcam", "sobel"]
    titles = section.locator(".modebar-btn").evaluate_all("buttons => buttons.map(button => button.dataset.title).join(' ')")
    assert "Zoom" in titles
    assert not re.search("Share|Cloud|Lasso|Select", titles)
    assert shown.evaluate(f"{drawn}._context.plotlyServerURL") == ""
    section.locator(".legendtoggle").nth(1).click()
    shown.wait_for_function(f"{drawn}._fullData.some(trace => trace.visible === 'legendonly')")
    section.get_by_label("logarithmic x").check()
    shown.wait_for_function(f"{drawn}.layout.xaxis.type === 'log'")
    assert shown.evaluate(f"{drawn}._fullData.filter(trace => trace.visible === 'legendonly')[0].legendgroup") == "gradcam"
    assert section.locator(".xtick").all_text_contents() == ["0.02", "0.05", "0.1", "0.2", "0.5", "1"]
    assert "x is 0" in section.locator(".left-out").inner_text()
    section.locator(".view").select_option(label="insertion consistency")
    shown.wait_for_function(f"{drawn}.layout.yaxis.title.text.includes('keep their class')")
    for kind, start in (("png", b"\x89PNG"), ("csv", b"x,mean,low,high"), ("svg", b"<svg")):
        with shown.expect_download() as download:
            section.locator(f".save[value={kind}]").click()
        download.value.save_as(tmp_path / kind)
        assert download.value.suggested_filename == f"shown_curves_insertion_consistency.{kind}"
        assert (tmp_path / kind).read_bytes().startswith(start)


def test_every_chart_is_there_when_a_page_is_printed(opened):
    shown = opened(color_scheme="dark")
    shown.wait_for_function("window.Plotly")
    shown.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert shown.locator(".chart .plot:has(.main-svg)").count() == shown.locator(".chart").count() > 2
    assert shown.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    shown.evaluate("dispatchEvent(new Event('afterprint'))")
    assert shown.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"


def test_what_is_not_there_is_said_and_not_painted(opened, run):
    """A method without a mask, a constant map, and a walk that accepted nothing."""
    rows = data(run / "index.html")["rows"]
    row = next(i for i, row in enumerate(rows) if row["cells"]["0"]["status"] == "nothing_accepted")
    shown = opened()
    first_cell(shown, row)
    walked, gradcam = (shown.locator(f'#grid .cell[data-row="{row}"][data-column="{column}"]') for column in (0, 1))
    assert "constant map" in walked.inner_text()
    assert shown.locator("#share").is_disabled()
    shown.locator("#controls input[value=mask]").check()
    gradcam.get_by_text("no mask").wait_for()
    assert not gradcam.locator("canvas").is_visible()
    assert walked.locator("canvas").is_visible()
    assert walked.locator(".fact").inner_text().replace("\u200b", "") == "MAR of the mask 100\u00a0%, nothing_accepted"
    walked.click()
    shown.get_by_text("No state was accepted").wait_for()
    assert shown.locator("#large-share").is_disabled()


def test_the_slider_shows_the_top_of_a_map_and_the_decision(opened, run):
    shown = opened()
    cell = first_cell(shown)
    columns, cells = data(run / "index.html")["columns"], data(run / "index.html")["rows"][0]["cells"]
    before = colours(shown, f"{cell} canvas")
    shown.locator("#controls input[value=top]").check()
    for stop in (1, 6, 13):
        shown.locator("#share").fill(str(stop))
        shown.wait_for_timeout(400)
        lit, _ = colours(shown, f"{cell} canvas")
        share = columns[1]["shares"][stop]
        assert lit == pytest.approx(share, abs=0.03)
        kept = cells["1"]["consistency"][stop] == "1"
        assert shown.locator(cell).evaluate("cell => cell.classList.contains('kept')") == kept
        assert f"top {100 * share:g}\u00a0%" in shown.locator(cell).get_attribute("aria-label")
    shown.locator("#controls input[value=map]").check()
    shown.wait_for_timeout(400)
    assert colours(shown, f"{cell} canvas") == before
    shown.locator("#palette").select_option("turbo")
    shown.wait_for_timeout(400)
    assert colours(shown, f"{cell} canvas") != before


def test_images_are_filtered_sorted_and_methods_toggled(opened, run):
    shown = opened()
    first_cell(shown)
    rows = data(run / "index.html")["rows"]
    shown.locator("#search").fill("coffee")
    assert shown.locator("#count").inner_text() == "1 of 4 images, 3 of 3 columns"
    shown.locator("#search").fill("")
    shown.locator("#right").select_option("wrong")
    wrong = [row["id"] for row in rows if row["cells"]["0"]["label"] != row["cells"]["0"]["prediction"]]
    assert shown.locator("#count").inner_text().startswith(f"{len(wrong)} of 4")
    shown.locator("#right").select_option("")
    shown.locator("#class").select_option("espresso")
    assert shown.locator("#count").inner_text().startswith("1 of 4")
    shown.locator("#class").select_option("")
    for status in {cell["status"] for row in rows for cell in row["cells"].values()}:
        shown.locator("#status").select_option(status)
        found = sum(any(cell["status"] == status for cell in row["cells"].values()) for row in rows)
        assert shown.locator("#count").inner_text().startswith(f"{found} of 4")
    shown.locator("#status").select_option("")
    for key, value in (
        ("disagreement", lambda row: -row["disagreement"]),
        ("least", lambda row: np.mean([cell["mar_holds"] for cell in row["cells"].values()])),
    ):
        shown.locator("#sort").select_option(key)
        order = shown.evaluate("[...document.querySelectorAll('#grid .row')].map(row => +row.id.slice(4))")
        assert [value(rows[i]) for i in order] == sorted(map(value, rows))
    shown.locator("#columns input").nth(1).uncheck()
    first_cell(shown, column=2)
    names = shown.locator("#grid .row").first.locator(".cell span:first-of-type").all_inner_texts()
    assert names[1:] == ["da_pos", "sobel"]


def test_keys_move_enlarge_and_walk(opened, run):
    shown = opened()
    first_cell(shown)
    walked = next(i for i in range(4) if len(data(run / "index.html", f"pictures-{i}")["masks"]["0"][2]) > 3)
    focused = "[document.activeElement.dataset.row, document.activeElement.dataset.column].join(' ')"
    shown.locator("#grid").focus()
    shown.keyboard.press("ArrowDown")
    assert shown.evaluate(focused) == "0 "
    for _ in range(walked):
        shown.keyboard.press("ArrowDown")
    shown.keyboard.press("ArrowRight")
    assert shown.evaluate(focused) == f"{walked} 0"
    shown.keyboard.press("Enter")
    shown.wait_for_selector("#large[open]")
    steps, shares = (data(run / "index.html", f"pictures-{walked}")["masks"]["0"][i] for i in (2, 1))
    lit = []
    for state in (0, len(steps) - 1):
        shown.locator("#state").fill(str(state))
        shown.wait_for_timeout(300)
        assert f"step {steps[state] + 1}" in shown.locator("#state-value").inner_text()
        lit.append(colours(shown, "#picture")[1])
    assert (lit[0] > lit[1]) == (shares[0] > shares[-1])
    shown.locator("#close").focus()
    shown.keyboard.press("+")
    shown.wait_for_function("document.querySelector('#decision').textContent.startsWith('At the top 15\\u00a0%')")
    shown.keyboard.press("ArrowRight")
    shown.wait_for_function("document.querySelector('#large-title').textContent.includes('gradcam')")
    with shown.expect_download() as download:
        shown.locator("#save-picture").click()
    assert download.value.suggested_filename.endswith("_gradcam_top.png")
    shown.keyboard.press("Escape")
    shown.wait_for_function("!document.querySelector('#large').open")
    assert shown.evaluate(focused) == f"{walked} 1"


def test_it_copies_its_command(opened, run):
    shown = opened(permissions=["clipboard-read", "clipboard-write"])
    each = [shown.locator(f":is(figure.table, #figures figure, .chart){inside}").count() for inside in ("", ":has(.copy)")]
    assert each[0] == each[1] > 3
    shown.locator(".copy").first.click()
    shown.wait_for_function("document.querySelector('#said').textContent.startsWith('Copied')")
    assert shown.evaluate("navigator.clipboard.readText()") == data(run / "index.html")["commands"][0]


@pytest.mark.parametrize(("scheme", "width"), [("light", 1200), ("dark", 1200), ("light", 390)])
def test_it_fits_light_dark_and_a_telephone(opened, scheme, width):
    shown = opened(width=width, color_scheme=scheme)
    first_cell(shown)
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    background = "getComputedStyle(document.body).backgroundColor"
    dark = shown.evaluate(background) != "rgb(255, 255, 255)"
    assert dark == (scheme == "dark")
    shown.locator("#theme").click()
    assert (shown.evaluate(background) != "rgb(255, 255, 255)") != dark
    shown.reload()
    assert (shown.evaluate(background) != "rgb(255, 255, 255)") != dark
    if width < 640:
        assert shown.locator("#table-headline.wide").count() == 1
        shown.locator("#table-headline .scroll").evaluate("scroll => scroll.scrollLeft = 200")
        assert shown.locator("#table-headline td").first.bounding_box()["x"] < 60
    first_cell(shown)
    controls = "[...document.querySelectorAll('button, select, input, canvas[role]')].filter(e => e.checkVisibility())"
    unnamed = f"{controls}.filter(e => !e.textContent.trim() && !e.labels?.length && !e.getAttribute('aria-label')).length"
    assert shown.evaluate(unnamed) == 0


def test_a_comparison_is_a_page_too(opened, run):
    folder = run.parent.parent
    said = command("results", "compare", "runs/shown", "--methods", "da_pos,sobel", cwd=folder)
    assert said.returncode == 0, said.stderr
    path = run / "compare" / "da_pos-sobel" / "index.html"
    assert f"runs/shown/{path.relative_to(run)}" in said.stdout
    images = pd.read_csv(path.parent / "images.csv")
    assert data(path)["rows"][0]["id"] == images.loc[0, "image"]  # the largest difference first
    shown = opened(path)
    assert shown.title() == "da_pos against sobel"
    about = shown.locator("#overview").inner_text()
    for said in ("with 4 images p cannot be below 0.12", "rank-biserial", "MAR of the ranking, share from which on it holds"):
        assert said in about
    terms = shown.locator("#overview dl dt").all_text_contents()
    assert {"Models", "Images", "Seeds", "Engines"} <= set(terms)
    first_cell(shown)
    shown.locator("#chart-images").scroll_into_view_if_needed()
    shown.wait_for_selector("#chart-images .js-plotly-plot .points path")
