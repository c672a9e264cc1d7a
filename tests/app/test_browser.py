"""``python -m da --app`` in a browser: drop, run, stop, a broken file; and that it does what the command does."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch

from benchmarks.app.browser import server
from benchmarks.app.browser.live import Choice, Run, Seen, configured, decision, hyper_parameters, picture_and_answer
from benchmarks.app.explain_options import RULES
from benchmarks.app.explained import Watched
from benchmarks.engines.engine import Engine
from benchmarks.inputs import own_folders
from benchmarks.inputs.messages import choices
from da.fill import composite
from tests.app.conftest import COFFEE
from tests.commands import QUIET, called
from tests.conftest import REPOSITORY
from tests.helpers import textured

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture
def tiny(place) -> Path:
    own_folders.set_search_path("conf")
    return place


def finished(choice: Choice) -> Run:
    run = Run(choice)
    for _ in run.states():
        pass
    return run


def test_what_is_chosen_is_a_command(tiny):
    assert Choice("coffee").arguments == ["coffee", "--model", "efficientnet_lite0", "--method", "da_pos"]
    chosen = Choice("a b.jpg", "tiny", "da_minimal", "neg", "mean", 50, 1).arguments
    assert chosen == ["a b.jpg", "--model", "tiny", "--method", "da_minimal", "method.rule=negative", "--fill", "mean", "--budget", "50"]
    assert Choice("coffee", "tiny", "rise", "neg", None, 9).arguments[3:] == ["--method", "rise", "--rule", "neg", "--masks", "9"]
    assert Choice("coffee", "tiny", "gradient", "pos", rules=3).arguments[4:] == ["gradient", "--rule", "pos", "--rules", "3"]
    for wrong, said in (({"fill": "mean"}, "fill"), ({"budget": 9}, "budget")):
        with pytest.raises(ValueError, match=f"gradient has no {said}"):
            _ = Choice("coffee", "tiny", "gradient", **wrong).arguments


@pytest.mark.parametrize("method", [name for name in choices("method") if name != "precomputed"])
def test_the_method_and_the_rule_that_run_are_those_that_were_chosen(tiny, method):
    fill = "mean" if "fill" in hyper_parameters(method) else None
    for rule in ("pos", "neg"):
        cfg, asked = configured(Choice("coffee", "tiny", method, rule, fill))
        assert (asked.method, asked.rule) == (method, rule)
        assert str(cfg.method._target_) == hyper_parameters(method)["_target_"]
        assert cfg.method.get("rule", RULES[rule]) == RULES[rule]
        assert fill is None or cfg.method.fill == "mean"
    own = configured(Choice("coffee", "tiny", method))[1].rule
    assert own == ("neg" if method in ("da_neg", "da_minimal_neg") else "pos")


@pytest.mark.parametrize(
    "choice", [Choice("coffee", "tiny", "da_pos", budget=30), Choice("coffee", "tiny", "da_minimal", "neg", budget=40)]
)
def test_it_explains_as_the_command_does(tiny, choice):
    run = finished(choice)
    said = called("da", *choice.arguments, "--config-dir", "conf", "--json", cwd=tiny)
    own_folders.set_search_path("conf")
    answer, (region,) = json.loads(said.stdout), run.found.explanation.regions
    assert (answer["mar"], answer["queries"], answer["class_name"]) == (region.mar, region.queries, run.found.class_name)
    assert run.state.queries >= answer["queries"]


@pytest.mark.parametrize("rule", ["pos", "neg"])
def test_a_pixel_of_the_fills_colour_goes_with_its_neighbour(rule):
    image = textured(1, 8, 8)
    image[..., :4, :] = 0  # a black ground says nothing
    mask = torch.zeros(1, 8, 8, dtype=torch.bool)
    mask[..., :3] = True
    blank, engine = torch.zeros_like(image), Engine(torch.nn.Identity(), 1, image.device, torch.nn.Identity())
    shown = composite(image, blank, mask) if rule == "pos" else composite(blank, image, mask)
    assert torch.equal(Seen.of(Watched(engine, image, 0, rule, "black")).masks(shown), mask)


def test_padding_is_no_query(tiny):
    run = finished(Choice("coffee", "tiny", "occlusion"))
    (region,) = run.found.explanation.regions
    assert 0 <= run.state.queries - region.queries <= 3  # the rule's own questions


def test_a_method_of_the_network_is_counted_and_stopped(tiny):
    run = Run(Choice("coffee", "tiny", "smoothgrad", budget=1_000_000))
    states = run.states()
    while next(states).queries < 5:
        pass
    states.close()
    for _ in range(100):
        if run.error is not None:
            break
        time.sleep(0.1)
    assert type(run.error).__name__ == "StoppedError"
    found = finished(Choice("coffee", "tiny", "gradient")).found  # the network is left as it was
    assert not found.engine.module._forward_pre_hooks


def test_the_live_state_is_accepted_and_shrinks(tiny):
    run = finished(Choice("coffee", "tiny", "da_pos", budget=60))
    areas = [area for _, area in run.state.history]
    assert areas == sorted(areas, reverse=True)
    assert run.state.area == pytest.approx(float(run.state.mask.mean()))
    assert run.state.area >= run.found.explanation.regions[0].mar - 1e-6
    shown = run.found.image * torch.from_numpy(run.state.mask)
    assert int(run.found.engine.forward(shown).argmax()) == run.found.explanation.target


def test_a_run_that_is_stopped_ends_between_two_queries(tiny):
    run = Run(Choice("coffee", "tiny", "da_pos", budget=1_000_000))
    states = run.states()
    while next(states).queries < 5:
        pass
    states.close()
    for _ in range(100):
        before = run.state.queries
        time.sleep(0.1)
        if run.state.queries == before and run.error is not None:
            break
    assert type(run.error).__name__ == "StoppedError"
    assert run.found is None
    assert not [thread for thread in threading.enumerate() if thread.name.endswith("(_work)") and thread.is_alive()]


def test_the_whole_map_keeps_the_class_and_none_of_it_is_nothing(tiny):
    found = finished(Choice("coffee", "tiny", "da_pos", budget=30)).found
    whole, nothing = decision(found, 1.0), decision(found, 0.0)
    assert whole.kept
    assert whole.class_name == found.class_name
    assert whole.probability == pytest.approx(found.confidence, abs=1e-5)
    assert nothing.pixels.max() == 0


def test_what_is_wrong_is_a_sentence(tiny):
    (tiny / "broken.jpg").write_bytes(b"no picture")
    for choice, said in (
        (Choice("broken.jpg", "tiny"), "cannot be read"),
        (Choice("coffee", "tiny", "sag", "neg"), "rule neg"),
        (Choice("coffee", "tiny", fill="mean", rules=2), "give a colour"),
        (Choice("coffee", "tiny", "da_pos", "neg", rules=2), "goes with --rule pos"),
    ):
        with pytest.raises(ValueError, match=said):
            finished(choice)


@pytest.fixture
def private() -> Iterator[Path]:
    """The folder of what is dropped and made; nothing is left of it."""
    with server.private_folder() as folder:
        assert folder.stat().st_mode & 0o077 == 0
        yield folder
    assert not folder.exists()
    assert server.PLACE not in os.environ


def test_results_lie_in_the_servers_own_folder(tiny, private):
    run = finished(Choice("coffee", "tiny", "da_pos", budget=20))
    *_, files, _ = server.result(run.found, picture_and_answer(run.found, private), run.choice, run.state)
    assert all(Path(file).is_relative_to(private) and Path(file).exists() for file in files)


def test_models_that_need_a_file_or_a_name_are_not_offered():
    left_out = {name for name in choices("model") if not server.complete(name)}
    assert left_out == {"onnx", "exported", "open_clip", "torchvision", "transformers", "timm"}


@pytest.fixture
def served(tiny, request) -> Iterator[tuple[str, Path]]:
    """The address of the page, served as users serve it, and the folder of temporary files, in which nothing is left."""
    pytest.importorskip("gradio")
    with socket.socket() as free:
        free.bind((server.LOCAL, 0))
        port = free.getsockname()[1]
    temporary = tiny / "temporary"
    temporary.mkdir()
    environment = os.environ | QUIET | {"PYTHONPATH": str(REPOSITORY), "TMPDIR": str(temporary)}
    command = [sys.executable, "-m", "da", "--app", "--port", str(port), "--config-dir", "conf"]
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # what runs in the background is started without Ctrl-C
    process = subprocess.Popen(command, cwd=tiny, env=environment, stdout=subprocess.PIPE, text=True, preexec_fn=heard)
    url = process.stdout.readline().split()[0]
    assert url.startswith("http://127.0.0.1")
    yield url, temporary
    process.send_signal(signal.SIGTERM if request.node.name == "test_a_run_is_stopped" else signal.SIGINT)
    assert process.wait(60) == 0
    assert not list(temporary.glob("dynamic-ablation-*"))


@pytest.fixture
def page(served) -> Iterator[object]:
    """The page, in a browser that reaches nothing but this machine; fails on any error that it reports."""
    if CHROMIUM is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    url, outside, errors = served[0], [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        shown = browser.new_context(viewport={"width": 1300, "height": 1600}, accept_downloads=True).new_page()

        def route(asked):
            if asked.request.url.startswith((url, "data:", "blob:")):
                asked.continue_()
            else:
                outside.append(asked.request.url)
                asked.abort()

        shown.route("**/*", route)
        shown.on("pageerror", lambda error: errors.append(str(error)))
        shown.goto(url)
        shown.get_by_role("button", name="Explain").wait_for(timeout=120_000)
        yield shown
        browser.close()
    assert outside == []
    assert errors == []


def choose(shown, label: str, value: str) -> None:
    box = shown.get_by_label(label, exact=True)
    box.click()
    box.fill(value)
    shown.get_by_role("option", name=value, exact=True).click()


@pytest.mark.slow
def test_a_photograph_is_dropped_explained_and_downloaded(page, served, tiny, tmp_path):
    choose(page, "Model", "tiny")
    page.locator("#upload input[type=file]").set_input_files(str(tiny / "photos" / "coffee.png"))
    page.locator("#budget input").fill("40")
    page.get_by_role("button", name="Explain").click()
    page.locator("#said").get_by_text("then the image is classified").wait_for(timeout=120_000)
    assert "Verified" in page.locator("#said").inner_text()
    command = page.locator("#command textarea").input_value()
    assert command == "python -m da coffee.png --model tiny --method da_pos --iterations 40"
    for name in ("#live", "#map", "#top"):
        page.locator(f"{name} img").first.wait_for()
    assert page.locator("#decided").inner_text().strip()[0] in "✓✗"
    assert page.get_by_label("Download").or_(page.get_by_title("Download")).count() > 0
    assert page.get_by_label("Share", exact=True).or_(page.get_by_title("Share", exact=True)).count() == 0
    with page.expect_download() as download:
        page.locator("#files a[download$='.json'], #files a[href$='.json']").first.click()
    answer = json.loads(Path(download.value.path()).read_text())
    said = called("da", "photos/coffee.png", *shlex.split(command)[4:], "--config-dir", "conf", "--json", cwd=tiny)
    assert json.loads(said.stdout)["mar"] == answer["mar"]
    page.screenshot(path=str(tmp_path / "explained.png"), full_page=True)
    folders = {path.parent.parent.name for path in served[1].rglob("coffee*.png")} | {path.name for path in served[1].iterdir()}
    assert any(name.startswith("dynamic-ablation-") for name in folders)  # what was dropped, and the picture made of it
    assert not (served[1] / "gradio").exists()
    choose(page, "Method", "da_neg")
    page.get_by_label("what must be there").and_(page.locator(":checked")).wait_for()
    choose(page, "Method", "gradient")
    page.get_by_text("This method has no budget").wait_for()


@pytest.mark.slow
def test_a_run_is_stopped(page):
    choose(page, "Model", "tiny")
    page.locator("#budget input").fill("1000000")
    page.get_by_role("button", name="Explain").click()
    page.locator("#said").get_by_text("queries, ").wait_for(timeout=120_000)
    page.get_by_role("button", name="Stop").click()
    page.locator("#said").get_by_text("Stopped after").wait_for(timeout=20_000)


@pytest.mark.slow
def test_a_broken_file_gets_a_sentence(page, tiny):
    (tiny / "broken.jpg").write_bytes(COFFEE.read_bytes()[:2000])
    page.locator("#upload input[type=file]").set_input_files(str(tiny / "broken.jpg"))
    page.get_by_role("button", name="Explain").click()
    page.locator("#said").get_by_text("Not explained:").wait_for(timeout=60_000)
    assert "broken.jpg cannot be read" in page.locator("#said").inner_text()
