"""Tables for a paper or a page: LaTeX (booktabs) and Markdown."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

NOTHING = "–"
WIDTH = 240  # characters of a line that goes to a file or a pipe: no table is cut
NUMBER = re.compile(rf"[-+−]?[\d.]|{NOTHING}$")
LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "–": "--", "−": "$-$", "×": r"$\times$"}
LATEX |= {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "[": "{[}", "*": "{*}"}  # \\[ and \\* are commands
LATEX |= {character: f"\\{character}" for character in "&%$#_{}"}


def interval(value: float, low: float, high: float, digits: int = 3, ends: int | None = None) -> str:
    """``0.154 [0.12, 0.19]``: a mean to ``digits`` decimals, its interval to ``ends``, left out one fewer; a dash where there is no value.

    Without an interval, such as for a single image, the mean alone.
    """
    if pd.isna(value):
        return NOTHING
    if pd.isna(low) or pd.isna(high):
        return f"{value:z.{digits}f}"
    ends = max(digits - 1, 0) if ends is None else ends
    return f"{value:z.{digits}f} [{low:z.{ends}f}, {high:z.{ends}f}]"


def number(value: float) -> str:
    """A value to three significant digits, whole numbers in full; a dash where there is none."""
    if pd.isna(value):
        return NOTHING
    return f"{value:z.0f}" if abs(value) >= 100 or value == int(value) else f"{value:z#.3g}"


def with_intervals(summary: pd.DataFrame, by: Sequence[str], metrics: Mapping[str, str], digits: int = 3) -> pd.DataFrame:
    """A summary (``tables.summarise``) as text: the columns ``by``, each metric under its heading, images and statuses.

    metrics: from column to heading; ``mar`` takes its interval from ``mar_low`` and ``mar_high``. Raises KeyError for a column
    that is not there.
    """
    shown = {name: summary[name].map(lambda value: NOTHING if pd.isna(value) else str(value)) for name in by}
    for metric, heading in metrics.items():
        ends = (summary[metric], summary[f"{metric}_low"], summary[f"{metric}_high"])
        shown[heading] = pd.Series([interval(*cell, digits) for cell in zip(*ends, strict=True)], index=summary.index)
    return pd.DataFrame(shown | {name: summary[name].astype(str) for name in ("images", "statuses")})


def comparisons(compared: pd.DataFrame) -> pd.DataFrame:
    """A family of comparisons (``tables.paired``) as text: A, B, their mean difference with its interval, p, effect, images, verdict."""
    difference = [interval(line["difference"], line["low"], line["high"], ends=3) for line in compared.to_dict("records")]
    verdicts = [
        verdict.replace("A smaller", f"{a} smaller").replace("B smaller", f"{b} smaller")
        for verdict, a, b in zip(compared["verdict"], compared["a"], compared["b"], strict=True)
    ]
    p = [NOTHING if pd.isna(value) else f"{value:.2g}" for value in compared["p_holm"]]
    effect = compared["effect"].round(2) + 0.0  # no -0
    columns = {"A": compared["a"], "B": compared["b"], "A - B": difference, "p (Holm)": p, "effect": effect, "images": compared["n"]}
    return pd.DataFrame(columns | {"verdict": verdicts})


def to_latex(frame: pd.DataFrame, caption: str = "", label: str = "") -> str:
    """A ``table`` with booktabs rules (``\\usepackage{booktabs}``); every character of a cell prints as it is."""
    head, cells = texts(frame)
    columns = "".join("r" if right else "l" for right in right_aligned(cells, len(head)))
    lines = [" & ".join(map(escape_latex, row)) + r" \\" for row in (head, *cells)]
    body = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule", r"\end{tabular}"]
    top = [r"\begin{table}", r"\centering", *([rf"\caption{{{escape_latex(caption)}}}"] if caption else [])]
    return "\n".join([*top, *([rf"\label{{{label}}}"] if label else []), *body, r"\end{table}"]) + "\n"


def to_markdown(frame: pd.DataFrame, *, escape: bool = True) -> str:
    """A table as GitHub reads it; without escapes as a terminal shows it."""
    head, cells = texts(frame)
    rule = ["---:" if right else "---" for right in right_aligned(cells, len(head))]
    rows = [[escape_markdown(cell) if escape else cell for cell in row] for row in (head, *cells)]
    return "".join(f"| {' | '.join(row)} |\n" for row in (rows[0], rule, *rows[1:]))


def escape_latex(text: str) -> str:
    """Text that LaTeX prints as it is."""
    return "".join(LATEX.get(character, character) for character in text)


def escape_markdown(text: str) -> str:
    """Text that Markdown prints as it is, in one table cell."""
    return re.sub(r"([\\|`*_<>\[\]])", r"\\\1", text)


def texts(frame: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """The head and the cells of a table as text, a dash where there is no value."""
    return [str(name) for name in frame.columns], [[_text(value) for value in row] for row in frame.to_numpy(dtype=object)]


def _text(value: Any) -> str:
    if pd.isna(value):
        return NOTHING
    return f"{value:g}" if isinstance(value, float) else " ".join(str(value).split())


def right_aligned(cells: Sequence[Sequence[str]], columns: int) -> list[bool]:
    """Which columns of a table hold numbers alone."""
    return [bool(cells) and all(NUMBER.match(row[i]) for row in cells) for i in range(columns)]
