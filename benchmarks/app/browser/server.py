"""The page of ``python -m da --app``, made with Gradio: on this machine alone, and telling nobody."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from benchmarks.app.browser.live import (
    Choice,
    Run,
    State,
    StoppedError,
    budget_of,
    decision,
    hyper_parameters,
    own_rule,
    picture_and_answer,
)
from benchmarks.app.explained import Explained, words
from benchmarks.data.demo_pictures import PICTURES
from benchmarks.inputs import own_folders
from benchmarks.inputs.messages import cause, choices
from da.plot import heat_map
from da.rule import picture

QUIET = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}
BUTTONS = ["download", "fullscreen"]  # of a picture; Gradio's default has one that shares it on the web
MISSING = "--app needs Gradio: pip install 'dynamic-ablation[app]'"
LOCAL = "127.0.0.1"
PLACE = "GRADIO_TEMP_DIR"  # the variable that names Gradio's folder
OWN = "the method's own"
OWN_BUDGET = f"Budget (empty or 0: {OWN})"
RUNS: dict[str, Run] = {}  # what goes on, by session


def serve(port: int | None = None) -> int:
    """Serve the page until Ctrl-C or SIGTERM, and return the exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    os.environ.update(QUIET)
    with private_folder():  # which Gradio reads when it is imported
        try:
            import gradio  # noqa: F401
        except ImportError:
            print(f"error: {MISSING}", file=sys.stderr)
            return 2
        page = made()
        try:
            _, url, _ = launched(page, port, inbrowser=port is None)
        except OSError as error:  # the port is taken
            print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
            return 2
        print(f"{url}  (Ctrl-C ends it)", flush=True)
        page.block_thread()
    return 0


@contextmanager
def private_folder() -> Iterator[Path]:
    """Where dropped photographs, pictures and results lie while the page is served: nobody else can read it, and it is removed."""
    before = os.environ.get(PLACE)
    with tempfile.TemporaryDirectory(prefix="dynamic-ablation-") as folder:
        os.environ[PLACE] = folder
        try:
            yield Path(folder)
        finally:
            os.environ.pop(PLACE)
            os.environ.update({PLACE: before} if before else {})


def launched(page: Any, port: int | None, *, inbrowser: bool = False) -> Any:
    """Start to serve, for this machine alone, with letters that are here."""
    import gradio as gr

    theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    return page.launch(
        server_name=LOCAL, server_port=port, share=False, inbrowser=inbrowser, quiet=True, prevent_thread_lock=True, theme=theme,
        footer_links=[], enable_monitoring=False, ssr_mode=False, pwa=False, mcp_server=False,
    )  # fmt: skip


def made() -> Any:
    """The page."""
    import gradio as gr

    for function in (explained, stopped):  # by which Gradio finds that they are to be given it
        function.__annotations__["request"] = gr.Request
    methods = [name for name in choices("method") if name != "precomputed"]
    models = [name for name in choices("model") if complete(name)]
    with gr.Blocks(title="Dynamic Ablation", analytics_enabled=False) as page:
        gr.Markdown("# Dynamic Ablation\nWhich parts of a photograph decide its class? Everything is computed on this machine.")
        found = gr.State(None)
        with gr.Row():
            with gr.Column(scale=1):
                upload = gr.File(label="Drop a photograph", type="filepath", elem_id="upload", height=110)
                there = gr.Dropdown(list(PICTURES), value="coffee", label="or choose one", elem_id="there")
                model = gr.Dropdown(models, value="efficientnet_lite0", label="Model")
                method = gr.Dropdown(methods, value="da_pos", label="Method", elem_id="method")
                rule = gr.Radio([("what suffices", "pos"), ("what must be there", "neg")], value="pos", label="Rule", elem_id="rule")
                fill = gr.Dropdown([(OWN, ""), "black", "mean", "blur"], value="", label="Ablated pixels", elem_id="fill")
                budget = gr.Number(value=None, label=OWN_BUDGET, precision=0, minimum=0, elem_id="budget")  # empty is 0
                rules = gr.Slider(1, 5, value=1, step=1, label="Reasons to look for")
                with gr.Row():
                    run = gr.Button("Explain", variant="primary", elem_id="run")
                    stop = gr.Button("Stop", elem_id="stop")
            with gr.Column(scale=2):
                said = gr.Markdown(elem_id="said")
                live = gr.Image(label="The smallest state accepted so far", interactive=False, elem_id="live", height=320, buttons=BUTTONS)
                with gr.Row():
                    regions = gr.Gallery(label="Reasons", columns=3, elem_id="regions", height=300, buttons=BUTTONS)
                    saliency = gr.Image(label="Map", interactive=False, elem_id="map", height=300, buttons=BUTTONS)
                share = gr.Slider(0.5, 100, value=10, step=0.5, label="Kept share of the map's top, %", elem_id="share")
                with gr.Row():
                    top = gr.Image(label="What the model is shown", interactive=False, elem_id="top", height=300, buttons=BUTTONS)
                    decided = gr.Markdown(elem_id="decided")
                command = gr.Textbox(label="The command that does the same", interactive=False, elem_id="command", buttons=["copy"])
                files = gr.File(label="Picture and JSON", interactive=False, file_count="multiple", elem_id="files")
        shown = [said, live, regions, saliency, command, files, found]
        chosen = [upload, there, model, method, rule, fill, budget, rules]
        done = run.click(explained, chosen, shown, show_progress="hidden")
        done.then(told, [found, share], [top, decided], show_progress="hidden")
        share.release(told, [found, share], [top, decided], show_progress="hidden")
        stop.click(stopped, None, None, queue=False, show_progress="hidden")
        method.change(of_method, method, [rule, fill, budget], queue=False, show_progress="hidden")
        page.unload(stopped)
    return page


def explained(
    upload: str | None, there: str, model: str, method: str, rule: str, fill: str, budget: int | None, rules: int, request: Any = None
) -> Iterator[tuple[Any, ...]]:
    """Explain a photograph, showing how far it is; what is wrong is said in a sentence."""
    choice = Choice(upload or there, model, method, rule, fill or None, int(budget) if budget else None, int(rules))
    run, session = Run(choice), str(getattr(request, "session_hash", ""))
    RUNS[session] = run
    nothing = (None, None, None, "", None, None)
    yield "Loading …", *nothing
    try:
        for state in run.states():
            yield progress(state), state.shown, None, None, "", None, None
        assert run.found is not None
        answer = picture_and_answer(run.found, Path(os.environ[PLACE]))
    except StoppedError:
        yield f"Stopped after {run.state.queries} queries.", run.state.shown, None, None, "", None, None
        return
    except Exception as error:
        yield f"**Not explained:** {cause(error)}", *nothing
        return
    finally:
        RUNS.pop(session, None)
    yield result(run.found, answer, choice, run.state)


def result(found: Explained, answer: dict[str, Any], choice: Choice, state: State) -> tuple[Any, ...]:
    """What is shown of a finished explanation."""
    text = "\n".join(line for line in words(answer).splitlines() if not line.startswith("Picture:"))
    name = Path(answer["picture"])
    (name.with_suffix(".json")).write_text(json.dumps(answer | {"picture": name.name}, indent=1), encoding="utf-8")
    pixels, reasons = found.pixels, found.explanation.regions
    masks = [(picture(pixels, region.mask), f"{100 * region.mar:.1f} %, {region.status}") for region in reasons]
    of_map = heat_map(pixels, reasons[0].attribution.saliency[0].cpu().numpy())
    arguments = [Path(choice.photo).name if Path(choice.photo).exists() else choice.photo, *choice.arguments[1:]]
    command = shlex.join(["python", "-m", "da", *arguments])
    return text.replace("\n", "  \n"), state.shown, masks, of_map, command, [str(name), str(name.with_suffix(".json"))], found


def progress(state: State) -> str:
    """How far it is, in words."""
    if state.pixels is None:
        return "Loading the model …"
    reached = f", {len(state.history)} smaller states, now {100 * state.area:.1f} % of the image" if state.area else ""
    return f"{state.queries} queries{reached}"


def told(found: Explained | None, share: float) -> tuple[Any, str]:
    """The top of the map, and what the model says of it."""
    if found is None:
        return None, ""
    of = decision(found, share / 100)
    mark, verb = ("✓", "still") if of.kept else ("✗", "now")
    return of.pixels, f"{mark} {verb} classified **{of.class_name}** ({of.probability:.2f})"


def stopped(request: Any = None) -> None:
    """Stop what goes on in a session."""
    if (run := RUNS.get(str(getattr(request, "session_hash", "")))) is not None:
        run.stop.set()


def complete(model: str) -> bool:
    """Whether a model's configuration leaves nothing to be given, as a file or a name is on the command line."""
    path = next(path for path in own_folders.files("model") if path.stem == model)
    return "'???'" not in str(OmegaConf.to_container(OmegaConf.load(path), resolve=False))


def of_method(method: str) -> tuple[Any, Any, Any]:
    """The rule, the fill and the budget as the method has them: what has no effect cannot be chosen."""
    import gradio as gr

    keys, name = hyper_parameters(method), budget_of(method)
    fills = f"{OWN} ({keys['fill']})" if "fill" in keys else "none: the rule is tested with black"
    label = f"{name.capitalize()} (empty or 0: {keys[name]})" if name else "This method has no budget"
    return (
        gr.update(value=own_rule(method) or "pos"),
        gr.update(choices=[(fills, ""), *(("black", "mean", "blur") if "fill" in keys else ())], value="", interactive="fill" in keys),
        gr.update(label=label, interactive=name is not None, value=None),
    )
