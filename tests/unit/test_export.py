"""Tables as LaTeX and Markdown."""

from __future__ import annotations

import io
import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest

from results.export import (
    LATEX,
    PLAIN,
    comparisons,
    csv_text,
    escape_latex,
    interval,
    number,
    to_csv,
    to_latex,
    to_markdown,
    with_intervals,
)
from results.tables import configuration_columns, summarise
from tests.unit.test_results import frame as results_frame

TABLE = pd.DataFrame({"method": ["da_pos", "a|b"], "MAR": ["0.154 [0.12, 0.19]", "–"], "n": [32, None]})  # 32.0


def test_intervals_are_one_decimal_shorter_than_a_mean_that_is_not_small():
    assert interval(0.1543, 0.1249, 0.191) == "0.154 [0.12, 0.19]"
    assert interval(0.0224, 0.0175, 0.0281) == "0.022 [0.018, 0.028]"
    assert interval(-0.0001, -0.0021, 0.0004, ends=3) == "0.000 [-0.002, 0.000]"
    assert [number(value) for value in (1.23456, 0.00123456, 5001, 7.0, -0.0, float("nan"))] == ["1.23", "0.00123", "5001", "7", "0", "–"]
    assert [number(value) for value in (99.94, 99.96, -99.97, 501.0000000001, 1e-10)] == ["99.9", "100", "-100", "501", "1.00e-10"]
    assert number(np.inf) == "inf"
    assert interval(23.81, 22.5, 25.04, digits=1) == "23.8 [22, 25]"
    assert interval(0.5, np.nan, np.nan) == "0.500"
    assert interval(np.nan, np.nan, np.nan) == "–"


def test_latex():
    assert to_latex(TABLE, "Share of pixels, 95 %", "tab:mar") == "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            r"\caption{Share of pixels, 95 \%}",
            r"\label{tab:mar}",
            r"\begin{tabular}{lrr}",
            r"\toprule",
            r"method & MAR & n \\",
            r"\midrule",
            r"da\_pos & 0.154 {[}0.12, 0.19] & 32 \\",
            r"a\textbar{}b & -- & -- \\",
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )
    assert escape_latex(r"a_b & 5 % {x} \ ^ ~ $1 #2") == r"a\_b \& 5 \% \{x\} \textbackslash{} \textasciicircum{} \textasciitilde{} \$1 \#2"
    assert escape_latex("[0.1] <*>") == r"{[}0.1] \textless{}{*}\textgreater{}"  # a row may start with it, after \\


def test_long_tables_break_across_pages():
    frame = pd.DataFrame({"image": [f"photo_{i}" for i in range(41)], "MAR": np.arange(41) / 10})
    lines = to_latex(frame, "Every image", "tab:images").splitlines()
    assert lines[:4] == [
        r"% \usepackage{booktabs,longtable}",
        r"\begin{longtable}{lr}",
        r"\caption{Every image}",
        r"\label{tab:images} \\",
    ]
    assert lines[-2:] == [r"photo\_40 & 4 \\", r"\end{longtable}"]
    assert lines.count(r"image & MAR \\") == 2  # of the first page, of the others
    assert r"\begin{tabular}" in to_latex(frame[:40])
    assert r"\begin{longtable}" in to_latex(frame[:2], long=True)
    assert r"\begin{tabular}" in to_latex(frame, long=False)


def test_what_tex_cannot_print_is_named():
    assert "%" not in to_latex(pd.DataFrame({"méthode": ["α ≤ 2 × µ ↓", "Łódź"]}))
    assert to_latex(pd.DataFrame({"image": ["猫", "犬猫"]}), "«»").startswith("% not in the fonts of a plain pdflatex: « » 犬 猫 (lualatex")


AWKWARD = [
    "[0.1]",
    "*",
    "a--b---c,,d''e",
    r"~^\textbf{x} %$#_{}&",
    "`\"'",
    "<a|b>",
    "é µ × – − ↓ ↑ ² α ≤",
    "=1+1",
    "-x",
    "\ttab",
    "\x07bell",
    "\udce9",
]


@pytest.mark.skipif(
    not shutil.which("pdflatex"), reason="no TeX is installed: apt-get install texlive-latex-base texlive-latex-recommended"
)
@pytest.mark.parametrize("rows", [12, 200])
def test_tables_compile(tmp_path, rows):
    """With every character that is said to print, and none missing in the fonts."""
    characters = sorted(PLAIN | LATEX.keys())
    frame = pd.DataFrame({"name": pd.Series((AWKWARD * 20)[:rows], dtype=object), "value": np.linspace(-1, 1, rows)})
    if rows > 100:
        frame["character"] = [f"{c}{c} x{c}" for c in (characters * 2)[:rows]]
        frame["more"] = [f"{c}{c} x{c}" for c in (characters * 2)[rows : 2 * rows]]
    document = to_latex(frame, "Share of pixels, 95 % [-- 'a' ↓]", "tab:a")
    (tmp_path / "a.tex").write_text(
        "\\documentclass{article}\\usepackage{booktabs,longtable}\\begin{document}" + document + "\\end{document}", encoding="utf-8"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "a.tex"]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=60)
    assert said.returncode == 0, said.stdout[-2000:]
    assert "Missing character" not in (tmp_path / "a.log").read_text(errors="replace")
    assert ("(1 page" in said.stdout) == (rows < 100)


def test_a_spreadsheet_runs_no_name_as_a_formula(tmp_path):
    names = ["=1+1.jpg", "+x", "-2+3", "@sum", "\ttab", "\rreturn", "＝x", "cat", "a=b", "'=x", "", None]
    frame = pd.DataFrame({"image": names, "value": np.linspace(-1, 1, len(names)), "=head": range(len(names))})
    frame["A - B"] = ["-0.100 [-0.15, -0.05]", "-0.5", "–", "1e-05", "-3", "-1e-05", "+2", "-0.1 [x]", "x", "-", "-.5", "-1.5 [-2, 3]"]
    text = csv_text(frame)
    back = pd.read_csv(io.StringIO(text, newline=""), keep_default_na=False)
    assert back["image"].tolist() == ["'=1+1.jpg", "'+x", "'-2+3", "'@sum", "'\ttab", r"'\rreturn", "'＝x", "cat", "a=b", "'=x", "", ""]
    assert back["value"].tolist() == frame["value"].tolist()
    assert list(back) == ["image", "value", "'=head", "A - B"]
    same = frame["A - B"].tolist()
    same[7], same[9] = "'-0.1 [x]", "'-"
    assert back["A - B"].tolist() == same
    to_csv(frame, tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_bytes().decode() == text
    assert frame["image"].tolist()[:2] == ["=1+1.jpg", "+x"]  # the frame itself stays


def test_numbers_are_written_as_pandas_writes_them():
    frame = summarise(results_frame())
    assert csv_text(frame) == frame.to_csv(index=False)
    assert csv_text(frame[:0]) == frame[:0].to_csv(index=False)
    twice = pd.DataFrame([["=a", -1.0, True]], columns=["x", "x", "y"])
    assert csv_text(twice) == "x,x,y\n'=a,-1.0,True\n"


def test_names_and_verdicts_are_not_mixed_up():
    """The verdict "ViT-B smaller" holds "B smaller", which once named the other model."""
    line = {"a": "ViT-B", "b": "ViT-L", "difference": -0.1, "low": -0.2, "high": -0.05, "p_holm": 0.01, "effect": -1.0, "n": 9}
    assert comparisons(pd.DataFrame([line | {"verdict": "A smaller"}]))["verdict"].tolist() == ["ViT-B smaller"]
    assert comparisons(pd.DataFrame([line | {"verdict": "B smaller"}]))["verdict"].tolist() == ["ViT-L smaller"]
    assert comparisons(pd.DataFrame([line | {"verdict": "B smaller"}]), "larger")["verdict"].tolist() == ["ViT-B larger"]
    assert comparisons(pd.DataFrame([line | {"a": "A smaller", "verdict": "B smaller"}]))["verdict"].tolist() == ["ViT-L smaller"]


def test_what_was_not_tested_is_a_dash():
    """Seconds: a difference of means and nothing else."""
    nothing = dict.fromkeys(("low", "high", "p_holm", "effect"), np.nan)
    shown = comparisons(pd.DataFrame([{"a": "x", "b": "y", "difference": -0.0001, "n": 7, "verdict": None, **nothing}]))
    assert to_markdown(shown).splitlines()[-1] == "| x | y | 0.000 | – | – | 7 | – |"


def test_markdown():
    assert to_markdown(TABLE).splitlines() == [
        "| method | MAR | n |",
        "| --- | ---: | ---: |",
        r"| da\_pos | 0.154 \[0.12, 0.19\] | 32 |",
        r"| a\|b | – | – |",
    ]
    assert to_markdown(pd.DataFrame({"note": ["two\nlines"]})).endswith("| two lines |\n")
    assert to_markdown(TABLE[:0]) == "| method | MAR | n |\n| --- | --- | --- |\n"


def test_a_summary_is_printed_with_its_intervals_and_statuses():
    summary = summarise(results_frame())
    shown = with_intervals(summary, configuration_columns(summary), {"mar": "MAR", "insertion_auc": "insertion AUC"})
    assert list(shown) == ["dataset", "model", "method", "MAR", "insertion AUC", "images", "statuses"]
    assert re.fullmatch(r"0\.145 \[0\.1\d, 0\.1\d\]", shown["MAR"][0])
    assert shown["insertion AUC"].tolist() == ["–", "–"]
    assert shown["statuses"].tolist() == ["10 ok", "9 ok, 1 error"]
    assert to_latex(shown).count(r"\\") == 3
    with pytest.raises(KeyError):
        with_intervals(summary, ["method"], {"absent": "x"})
