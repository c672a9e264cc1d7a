"""How a run's page behaves in a browser."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.commands import command
from tests.results import test_page
from tests.results.canvases import colours, first_cell, wait_for_colours
from tests.results.test_page import data

pytestmark = pytest.mark.slow

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

run = test_page.run  # the same fixture


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
        share = columns[1]["shares"][stop]
        wait_for_colours(shown, f"{cell} canvas", f"Math.abs(lit - {share}) <= 0.03")
        kept = cells["1"]["consistency"][stop] == "1"
        assert shown.locator(cell).evaluate("cell => cell.classList.contains('kept')") == kept
        assert f"top {100 * share:g}\u00a0%" in shown.locator(cell).get_attribute("aria-label")
    shown.locator("#controls input[value=map]").check()
    wait_for_colours(shown, f"{cell} canvas", f"lit === {before[0]} && sum === {before[1]}")
    shown.locator("#palette").select_option("turbo")
    wait_for_colours(shown, f"{cell} canvas", f"sum !== {before[1]}")


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
        ("least", lambda row: np.mean([cell["numbers"]["mar_holds"] for cell in row["cells"].values()])),
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
        said = f"{state + 1} of {len(steps)}: step {steps[state] + 1}, "
        shown.wait_for_function("said => document.querySelector('#state-value').textContent.startsWith(said)", arg=said)
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


def test_the_gallery_is_printed_with_every_picture(opened):
    shown = opened()
    shown.evaluate("() => { window.print = () => { window.printed = true; }; }")
    shown.locator("#print").click()
    shown.wait_for_function("window.printed")
    shown.emulate_media(media="print")
    cells = shown.locator("#grid .cell canvas")
    columns = 1 + shown.locator("#columns input").count()
    assert cells.count() == columns * shown.locator("#grid .row").count()
    for place in range(cells.count()):
        lit = cells.nth(place).evaluate("c => c.width > 1 || c.hidden")
        assert lit
    assert shown.locator("#gallery").is_visible()
    assert not shown.locator("#headline").is_visible()
    assert not shown.locator("#controls").is_visible()
    shown.emulate_media(media="screen")
    shown.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert shown.locator("#headline, main > section").first.is_visible()
    assert not shown.evaluate("document.body.classList.contains('printing-gallery')")


def test_a_status_other_than_ok_is_written_on_the_tile(opened, run, tmp_path):
    text, told = (run / "index.html").read_text(encoding="utf-8"), data(run / "index.html")
    told["rows"][0]["cells"]["0"]["status"] = "nothing_accepted"  # whatever became of these photographs
    start = text.index(">", text.index('id="data"')) + 1
    path = tmp_path / "index.html"
    path.write_text(text[:start] + json.dumps(told).replace("</", "<\\/") + text[text.index("</script>", start) :], encoding="utf-8")
    shown = opened(path)
    first_cell(shown)
    cells = {(i, column): cell["status"] for i, row in enumerate(told["rows"]) for column, cell in row["cells"].items()}
    for (row, column), status in cells.items():
        shown.evaluate(f"document.querySelector('#row-{row}').scrollIntoView()")
        badge = shown.locator(f'#grid .cell[data-row="{row}"][data-column="{column}"] .badge')
        badge.wait_for(state="hidden" if status == "ok" else "visible")
        assert badge.is_visible() == (status != "ok")
        assert status == "ok" or badge.inner_text() == status.split(":")[0].replace("_", " ")
