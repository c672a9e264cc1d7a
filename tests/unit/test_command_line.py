"""Command lines as people give them: names and values are text as given."""

from __future__ import annotations

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from benchmarks.inputs import places
from benchmarks.inputs.command_line import as_given, elements, of_single_job, split_flags
from benchmarks.inputs.compose import composed
from benchmarks.inputs.messages import suggestion


def read(override: str) -> object:
    """What Hydra makes of an override."""
    found = OverridesParser.create().parse_override(override)
    return [read(f"x={value}") for value in found.sweep_string_iterator()] if found.is_sweep_override() else found.value()


NAMES = ["2024_11_28", "1e3", "null", "true", "False", "0x10", "007", "1_000", "inf", "-nan", "off", "2024-11-28", "1:30", "-1", ".5", "1."]
NAMES += ["$HOME", "a b", " a ", "a=b", "it's", 'say "x"', "a (1)", "[2024] x", "{a: 1}", "été", "a#b", "a\\b", "~x", "50%", "NULL", "+1"]


@pytest.mark.parametrize("name", NAMES)
def test_names_are_text_as_given(name):
    (given,) = as_given([f"name={name}"])
    assert read(given) == name
    assert as_given([given]) == [given]  # in a worker, or given again
    for key in ("dataset.name", "model.name", "+method_name", "dataset.of.name"):
        if name.lower() != "null" or key != "+method_name":
            assert read(as_given([f"{key}={name}"])[0]) == name
    assert read(as_given([f"name=first,{name.strip()}"])[0]) == ["first", name.strip()]


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("model.weights=null,random", [None, "random"]),
        ("model.weights=1e3", "1e3"),
        ("method_name=null", None),
        ("select.correct_for=[1e3,resnet18]", ["1e3", "resnet18"]),
        ("select.correct_for=null", None),
        ("model.classes=[0,1e3,null,yes,'a,b']", ["0", "1e3", "null", "yes", "a,b"]),
        ("benchmark=[insertion,mar]", ["insertion", "mar"]),
        ("benchmark=[]", []),
        ('dataset.root="a,b"', "a,b"),
        ("dataset.root=a\\,b", "a,b"),
        ("name=choice(1e3,2)", ["1e3", "2"]),
        ("method=007,1e3", ["007", "1e3"]),
        ("dataset@dataset.of=2024", "2024"),
        ("out=runs/${name}_x", "runs/${name}_x"),
        ("seed=1,2", [1, 2]),  # a number stays one
        ("method.k=1e3", 1000.0),
        ("+method.layer=4", 4),
    ],
)
def test_what_is_text_and_what_is_not(override, value):
    assert read(as_given([override])[0]) == value


@pytest.mark.parametrize("name", ["", " ", ".", "..", "a/b", "/a", "store", "a\nb", "x,a/b", "choice(a,..)"])
def test_a_name_that_is_no_folder_of_its_own_is_refused(name):
    with pytest.raises(ValueError, match=r"^name="):
        as_given([f"name={name}"])


@pytest.mark.parametrize("key", ["method_name", "model.name", "dataset.name"])
def test_what_becomes_part_of_the_names_of_files_is_no_path(key):
    with pytest.raises(ValueError, match="leave out the /"):
        as_given([f"{key}=x/../y"])


def test_names_in_files_are_text_or_refused():
    assert composed("name=2024_11_28").out == "runs/2024_11_28"
    assert composed('name="a,b"', "out=x").out == "x"
    with pytest.raises(ValueError, match=r"name=20241128: not text where it is written"):
        places.check_name(20241128)
    with pytest.raises(ValueError, match="is in the store"):
        places.run_folder("/a", "runs/store", "/a/runs/store")
    with pytest.raises(ValueError, match="is in the store"):
        places.run_folder("/a", "s/x", "s")
    assert places.run_folder("/a", "x", "x/store") == "/a/x"


def test_flags_and_overrides_are_told_apart():
    flags, overrides = split_flags(["a=1", "-m", "--cfg", "job", "b=2", "--info", "c=3", "-cd", "x", "--multi", "--config-d", "y"])
    assert flags == [["-m"], ["--cfg", "job"], ["--info"], ["-cd", "x"], ["--multi"], ["--config-d", "y"]]
    assert overrides == ["a=1", "b=2", "c=3"]
    assert of_single_job(["k=1"], ["-m", "-cd", "x", "k=1,2", "hydra.mode=MULTIRUN", "hydra.job.name=a", "-cn", "mine"]) == [
        *["-cd", "x", "-cn", "mine", "hydra.job.name=a", "k=1"]
    ]
    assert elements("a,'b,c',${d:e,f},[g,h],i\\,j") == ["a", "'b,c'", "${d:e,f}", "[g,h]", "i\\,j"]


def test_a_suggestion_is_never_what_was_refused():
    assert suggestion("rise", ["rise", "da_pos"]) == ""
    assert suggestion("rise", ["rise", "rises"]) == " (did you mean rises?)"
