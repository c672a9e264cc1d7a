"""Figures that a conference takes."""

from __future__ import annotations

import matplotlib as mpl
from matplotlib.figure import Figure

from results.figures import matplotlib as figures
from results.figures.matplotlib import save


def test_fonts_can_be_embedded(tmp_path):
    """As TrueType; Type 3, matplotlib's own choice, is what conferences reject. The setting does not outlive the call."""
    before = dict(mpl.rcParams)
    figure = Figure(figsize=(2, 2))
    figure.subplots().set(title="MAR ↓ $\\alpha$ é", xlabel="share")
    png, pdf = save(figure, tmp_path / "figures" / "a")
    assert b"/Type3" not in pdf.read_bytes()
    assert b"/CIDFontType2" in pdf.read_bytes()
    assert png.read_bytes().startswith(b"\x89PNG")
    assert b"/FontType 42" in figures.to_file(figure, tmp_path / "a.ps").read_bytes()
    assert dict(mpl.rcParams) == before
    figure.savefig(tmp_path / "type3.pdf")
    assert b"/Type3" in (tmp_path / "type3.pdf").read_bytes()  # that the test would see it
