"""What tests of a page in a browser read from its canvases."""

from __future__ import annotations

# How much of a canvas is not black, and the sum of its colours.
COLOURS = """selector => { const c = document.querySelector(selector), d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
    let lit = 0, sum = 0; for (let i = 0; i < d.length; i += 4) { const v = d[i] + d[i+1] + d[i+2]; lit += v > 0; sum += v; }
    return [lit / (c.width * c.height), sum]; }"""


def colours(shown, selector: str) -> list[float]:
    return shown.evaluate(COLOURS, selector)


def wait_for_colours(shown, selector: str, condition: str) -> None:
    """Wait until a condition on ``lit`` and ``sum`` of a canvas holds."""
    shown.wait_for_function(f"selector => {{ const [lit, sum] = ({COLOURS})(selector); return {condition}; }}", arg=selector)


def first_cell(shown, row: int = 0, column: int = 1) -> str:
    cell = f'#grid .cell[data-row="{row}"][data-column="{column}"]'
    shown.evaluate("row => document.querySelectorAll('#grid .row')[row].scrollIntoView()", row)
    shown.wait_for_selector(f"{cell} canvas[width='224']")
    return cell
