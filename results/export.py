"""Tables for a paper, a page, a spreadsheet or another program: LaTeX (booktabs), Markdown, CSV and Parquet."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

NOTHING = "–"
LINE_WIDTH = 240  # characters of a line that goes to a file or a pipe: no table is cut
NUMBER = re.compile(rf"[-+−]?[\d.]|{NOTHING}$")
LONGTABLE_ROWS = 40  # rows of which a LaTeX table has at most on one page
FORMULA = re.compile("[=+\\-@\t\r\n＝＋－＠]")  # what a spreadsheet takes for the beginning of one
VALUE = re.compile(r"[-+]?[\d.]+(e[-+]?\d+)?( \[[-+\d.e]+, [-+\d.e]+\])?")  # of a table: a number as text, with its interval
LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "–": "--", "−": "$-$", "×": r"$\times$"}
LATEX |= {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "[": "{[}", "*": "{*}"}  # \\[ and \\* are commands
LATEX |= {character: f"\\{character}" for character in "&%$#_{}"}
LATEX |= {"`": r"\textasciigrave{}", '"': r"\texttt{\char34}", "\0": "{}"}  # the last parts two that would join
LATEX |= {"≤": r"$\leq$", "≥": r"$\geq$", "≈": r"$\approx$", "≠": r"$\neq$", "∞": r"$\infty$", "↓": r"$\downarrow$", "↑": r"$\uparrow$"}
GREEK = {"α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "epsilon", "η": "eta", "θ": "theta", "κ": "kappa", "λ": "lambda"}
GREEK |= {"μ": "mu", "ν": "nu", "π": "pi", "ρ": "rho", "σ": "sigma", "τ": "tau", "φ": "phi", "χ": "chi", "ψ": "psi", "ω": "omega"}
GREEK |= {"Δ": "Delta", "Θ": "Theta", "Λ": "Lambda", "Σ": "Sigma", "Φ": "Phi", "Ω": "Omega"}
LATEX |= {character: rf"$\{name}$" for character, name in GREEK.items()}
PLAIN = {*map(chr, [*range(0x20, 0x7F), *range(0xA0, 0x17F)])} - set("«»ÐÞðþĄąĐđĘęĦħĮįĸĿŀŉŊŋŦŧŲų")  # what pdflatex has in a plain article
PLAIN |= set("ƒ‐‑‒–—―‖‘’“”†‡•…‰※⁄←→™€№")


def interval(value: float, low: float, high: float, digits: int = 3, ends: int | None = None) -> str:
    """``0.154 [0.12, 0.19]``: a mean to ``digits`` decimals and its interval to ``ends``; a dash where there is no value.

    ends: left out, one fewer, and as many for a mean below 0.1: ``0.022 [0.018, 0.028]``.

    Without an interval, such as for a single image, the mean alone.
    """
    if pd.isna(value):
        return NOTHING
    if pd.isna(low) or pd.isna(high):
        return f"{value:z.{digits}f}"
    ends = max(digits - (abs(value) >= 0.1), 0) if ends is None else ends
    return f"{value:z.{digits}f} [{low:z.{ends}f}, {high:z.{ends}f}]"


def number(value: float) -> str:
    """A value to three significant digits, whole numbers in full; a dash where there is none."""
    if pd.isna(value):
        return NOTHING
    if abs(value) >= 99.95 or math.isclose(value, round(value), rel_tol=1e-9):
        return f"{value:z.0f}"
    return f"{value:z#.3g}"


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


def comparisons(compared: pd.DataFrame, better: str = "smaller") -> pd.DataFrame:
    """A family of comparisons (``tables.paired``) as text: A, B, their mean difference with its interval, p, effect, images, verdict.

    better: of the numbers, ``smaller`` or ``larger``: the verdict names the one that is. What there is none of, such as the p of a metric
    that is not tested, is a dash.
    """
    difference = [interval(line["difference"], line["low"], line["high"], ends=3) for line in compared.to_dict("records")]
    verdicts = [
        _winner(verdict, *((b, a) if better == "larger" else (a, b)), better)
        for verdict, a, b in zip(compared["verdict"], compared["a"], compared["b"], strict=True)
    ]
    p = [NOTHING if pd.isna(value) else f"{value:.2g}" for value in compared["p_holm"]]
    effect = compared["effect"].round(2) + 0.0  # no -0
    columns = {"A": compared["a"], "B": compared["b"], "A - B": difference, "p (Holm)": p, "effect": effect, "images": compared["n"]}
    return pd.DataFrame(columns | {"verdict": verdicts})


def _winner(verdict: Any, a: str, b: str, better: str) -> str:
    if pd.isna(verdict) or not verdict:
        return NOTHING
    return {"A smaller": f"{a} {better}", "B smaller": f"{b} {better}"}.get(verdict, str(verdict))  # no replacement: a name can be "ViT-B"


def to_csv(frame: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV to a file, see ``csv_text``."""
    path.write_text(csv_text(frame), encoding="utf-8")


def csv_text(frame: pd.DataFrame) -> str:
    """A table as CSV, without its index.

    A text that a spreadsheet would run as a formula, since it begins with ``=``, ``+``, ``-``, ``@`` or a tab (an image's name can), has
    an apostrophe before it. Numbers, and numbers with intervals, are as they are.
    """
    safe = frame.rename(columns=_inert)
    for place in range(frame.shape[1]):
        if not pd.api.types.is_numeric_dtype(column := frame.iloc[:, place]):
            safe.isetitem(place, column.map(_inert).array)
    return str(safe.to_csv(index=False))


def _inert(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    marked = f"'{value}" if FORMULA.match(value) and not VALUE.fullmatch(value) else value
    marked = marked.encode("utf-8", "backslashreplace").decode()  # a file name that is no UTF-8
    return marked.replace("\r", "\\r")  # which pandas does not quote, so that it would end the line


def to_parquet(frame: pd.DataFrame, path: Path) -> None:
    """Rows as Parquet of plain types, so that DuckDB, Polars and others read them: text, 64-bit integers and floats, true or false.

    A column that mixes kinds, such as a hyper-parameter with numbers and names, is text, and so is one without any value. A missing value,
    NaN among them, is null.
    """
    plain = frame.copy(deep=False)
    for place in range(frame.shape[1]):
        plain.isetitem(place, _plain(frame.iloc[:, place]).array)
    plain.to_parquet(path, index=False)


def _plain(column: pd.Series[Any]) -> pd.Series[Any]:
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(object)
    if column.dtype != object:
        return column
    kind = pd.api.types.infer_dtype(column, skipna=True)
    if kind in ("integer", "floating", "mixed-integer-float"):
        return column.astype("Int64" if kind == "integer" else "Float64")
    return column.astype("boolean") if kind == "boolean" else column.map(str, na_action="ignore").astype("string")


def to_latex(frame: pd.DataFrame, caption: str = "", label: str = "", *, long: bool | None = None) -> str:
    r"""A table with booktabs rules (``\usepackage{booktabs}``); every character of a cell prints as it is.

    long: as a ``longtable``, which breaks across pages (``\usepackage{longtable}``); left out, of more than 40 rows. Characters that
    a plain pdflatex does not have, such as Chinese ones, are named in a comment: they take lualatex or xelatex, and a font that has them.
    """
    head, cells = texts(frame)
    alignment = "".join("r" if right else "l" for right in right_aligned(cells, len(head)))
    first, *rows = (" & ".join(map(escape_latex, row)) + r" \\" for row in (head, *cells))
    titles = ([rf"\caption{{{escape_latex(caption)}}}"] if caption else []) + ([rf"\label{{{label}}}"] if label else [])
    lines = []
    if missing := sorted({*caption, *"".join(map("".join, (head, *cells)))} - PLAIN - LATEX.keys()):
        lines.append(
            f"% not in the fonts of a plain pdflatex: {' '.join(missing)} (lualatex or xelatex, fontspec and a font that has them)"
        )
    if len(rows) > LONGTABLE_ROWS if long is None else long:
        lines += [r"% \usepackage{booktabs,longtable}", rf"\begin{{longtable}}{{{alignment}}}"]
        lines += ["\n".join(titles) + r" \\"] if titles else []
        lines += [r"\toprule", first, r"\midrule", r"\endfirsthead", r"\toprule", first, r"\midrule", r"\endhead"]
        lines += [r"\midrule", rf"\multicolumn{{{len(head)}}}{{r}}{{continued on the next page}} \\", r"\endfoot"]
        lines += [r"\bottomrule", r"\endlastfoot", *rows, r"\end{longtable}"]
    else:
        body = [rf"\begin{{tabular}}{{{alignment}}}", r"\toprule", first, r"\midrule", *rows, r"\bottomrule", r"\end{tabular}"]
        lines += [r"\begin{table}", r"\centering", *titles, *body, r"\end{table}"]
    return "\n".join(lines) + "\n"


def to_markdown(frame: pd.DataFrame, *, escape: bool = True) -> str:
    """A table as GitHub reads it; without escapes as a terminal shows it."""
    head, cells = texts(frame)
    rule = ["---:" if right else "---" for right in right_aligned(cells, len(head))]
    rows = [[escape_markdown(cell) if escape else cell for cell in row] for row in (head, *cells)]
    return "".join(f"| {' | '.join(row)} |\n" for row in (rows[0], rule, *rows[1:]))


def escape_latex(text: str) -> str:
    """Text that LaTeX prints as it is, without the ligatures of two hyphens, commas or apostrophes."""
    return "".join(LATEX.get(character, character) for character in re.sub("[-,'](?=[-,'])", "\\g<0>\0", text))


def escape_markdown(text: str) -> str:
    """Text that Markdown prints as it is, in one table cell."""
    return re.sub(r"([\\|`*_<>\[\]])", r"\\\1", text)


def texts(frame: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """The head and the cells of a table as text, a dash where there is no value."""
    return [str(name) for name in frame.columns], [[_text(value) for value in row] for row in frame.to_numpy(dtype=object)]


def _text(value: Any) -> str:
    if pd.isna(value):
        return NOTHING
    return f"{value + 0.0:g}" if isinstance(value, float) else _line(str(value))  # no -0


def _line(text: str) -> str:
    """Text as one line that can be written: control characters, and the bytes of a file's name that is no UTF-8, as numbers."""
    text = " ".join(text.split()).encode("utf-8", "backslashreplace").decode()
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", lambda found: rf"\x{ord(found[0]):02x}", text)


def right_aligned(cells: Sequence[Sequence[str]], columns: int) -> list[bool]:
    """Which columns of a table hold numbers alone."""
    return [bool(cells) and all(NUMBER.match(row[i]) for row in cells) for i in range(columns)]


def file(stem: Path, suffix: str) -> Path:
    """A file's name with a suffix; a dot in the name, such as of fc=0.95, begins none."""
    return stem.with_name(stem.name + suffix)


def table(frame: pd.DataFrame, stem: Path, caption: str) -> Iterator[Path]:
    """Write a table in all its forms, and its caption beside it."""
    to_csv(frame, file(stem, ".csv"))
    to_parquet(frame, file(stem, ".parquet"))
    file(stem, ".md").write_text(f"{caption}\n\n{to_markdown(frame)}", encoding="utf-8")
    file(stem, ".tex").write_text(to_latex(frame, caption, f"tab:{stem.name}"), encoding="utf-8")
    for suffix in (".csv", ".parquet", ".md", ".tex"):
        yield file(stem, suffix)
