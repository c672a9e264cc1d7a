"""Tables as LaTeX and Markdown."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from results.export import escape_latex, interval, number, to_latex, to_markdown, with_intervals
from results.tables import groups, summarise
from tests.test_results import frame

TABLE = pd.DataFrame({"method": ["da_pos", "a|b"], "MAR": ["0.154 [0.12, 0.19]", "–"], "n": [32, None]})  # 32.0


def test_intervals_are_one_decimal_shorter_than_the_mean():
    assert interval(0.1543, 0.1249, 0.191) == "0.154 [0.12, 0.19]"
    assert interval(-0.0001, -0.0021, 0.0004, ends=3) == "0.000 [-0.002, 0.000]"
    assert [number(value) for value in (1.23456, 0.00123456, 5001, 7.0, -0.0, float("nan"))] == ["1.23", "0.00123", "5001", "7", "0", "–"]
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
    summary = summarise(frame())
    shown = with_intervals(summary, groups(summary), {"mar": "MAR", "insertion_auc": "insertion AUC"})
    assert list(shown) == ["dataset", "model", "method", "MAR", "insertion AUC", "images", "statuses"]
    assert re.fullmatch(r"0\.145 \[0\.1\d, 0\.1\d\]", shown["MAR"][0])
    assert shown["insertion AUC"].tolist() == ["–", "–"]
    assert shown["statuses"].tolist() == ["10 ok", "9 ok, 1 error"]
    assert to_latex(shown).count(r"\\") == 3
    with pytest.raises(KeyError):
        with_intervals(summary, ["method"], {"absent": "x"})
