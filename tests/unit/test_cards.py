"""The cards of methods are what the code, the configurations and the boards say now."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.tools.card import CARDS, card, docstring, hyperparameters, methods, pages
from tests.conftest import REPOSITORY


def test_every_method_has_its_card_and_each_is_as_it_would_be_made_now():
    found = pages(REPOSITORY)
    there = {path: path.read_text() for path in (REPOSITORY / CARDS).glob("*.md")}
    changed = [path.name for path, text in found.items() if there.get(path) != text]
    assert not changed, "python -m benchmarks.tools.card writes them anew"
    assert there.keys() == found.keys()


def test_a_card_says_what_a_method_sees_and_lacks():
    assert "| sees of the model | the predicted class only |" in card("da_pos", REPOSITORY)
    assert "| sees of the model | probabilities of the classes |" in card("rise", REPOSITORY)
    gradient = card("gradcam", REPOSITORY)
    assert "| sees of the model | the network: its gradients and layers |" in gradient
    assert "| refused on ONNX | needs " in gradient
    assert "## Stability over seeds" in card("da_minimal", REPOSITORY)
    assert "## Stability over seeds" not in gradient  # it has no line in the published table
    assert "Deviations from the paper: noise is drawn once an iteration" in card("igos_pp", REPOSITORY)


def test_hyper_parameters_are_those_of_the_file_with_what_the_docstring_says():
    def function(*, k, fill):
        """Do it.

        Parameters
        ----------
        k : int
            Circles,
            from 1.
        fill : str
            What ``shows``.
        """

    summary, said = docstring(function)
    assert summary == "Do it."
    table = hyperparameters("# of all\n_target_: x\nk: 4   # of the paper\nfill: ${model.mean}\nfc: 1   # a factor\n", said["Parameters"])
    assert "| `k` | `4` | int | Circles, from 1. |" in table
    assert "| `fill` | the model's `mean` | str | What `shows`. |" in table
    assert "| `fc` | `1` |  | a factor |" in table
    assert "_target_" not in table
    assert hyperparameters("_target_: x\n", "") == "None."


def test_a_method_that_is_not_there_is_said(tmp_path: Path):
    with pytest.raises(ValueError, match="there is no method none: choose ablation_cam, "):
        card("none", tmp_path)
    assert "da_minimal" in methods()
