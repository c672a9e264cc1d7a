"""The bar of a notebook's cell; that of a terminal is looked at where the application is."""

from __future__ import annotations

import io

from rich.console import Console

from benchmarks.app.progress import Bar, NotebookBar, bar


def test_a_notebook_has_a_bar_of_its_own():
    assert isinstance(bar(Console(force_jupyter=True)), NotebookBar)
    assert isinstance(bar(Console(file=io.StringIO())), Bar)


def test_it_counts_images_queries_and_what_is_there_already(capsys):
    counting = NotebookBar()
    counting.expect(10)
    counting.job("first", 5, done=2)
    counting.advance(0, 300)
    counting.advance(3, 0)
    counting.job("second", 5, done=5)
    assert (counting.shown.n, counting.shown.total) == (10, 10)
    counting.stop()
    said = capsys.readouterr().err
    assert "second" in said
    assert "300 queries" in said
    alone = NotebookBar()
    alone.job("first", 5, done=0)
    alone.job("second", 3, done=1)
    assert (alone.shown.n, alone.shown.total) == (1, 8)


def test_one_of_several_processes_draws_nothing(capsys):
    quiet = NotebookBar()
    quiet.silence()
    quiet.job("nobody looks", 5, done=0)
    quiet.advance(1, 1)
    quiet.stop()
    assert capsys.readouterr().err == ""
