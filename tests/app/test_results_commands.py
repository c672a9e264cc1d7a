"""The commands on finished runs, where something is missing."""

from __future__ import annotations

import json
import shutil

import pytest
from PIL import Image

import da.__main__
import results.__main__
from benchmarks.app import explain as explain_command


def test_verify_from_elsewhere_and_where_something_is_gone(bench, place, capsys, monkeypatch):
    code, _, err = bench("method=sobel", "dataset=image_folder", "dataset.root=photos", "benchmark=[]", "name=v")
    assert code == 0, err
    (place / "other").mkdir()
    monkeypatch.chdir(place / "other")
    assert results.__main__.main(["verify", "../runs/v"]) == 0
    capsys.readouterr()
    (place / "photos").rename(place / "moved")
    assert one_line(capsys, "verify", "../runs/v") == (2, "'photos' is not a folder")
    (place / "photos").mkdir()
    Image.new("RGB", (64, 64)).save(place / "photos" / "coffee.png")
    assert one_line(capsys, "verify", "../runs/v") == (2, "the image is gone or has changed")
    shutil.copy(place / "moved" / "coffee.png", place / "photos")
    path = next((place / "runs" / "v" / "jobs").glob("*.json"))
    record = json.loads(path.read_text())
    for where, value, said in (
        ("model", "missing_package.net", "missing_package"),
        ("engine", "benchmarks.engines.none_engine", "none_engine"),
    ):
        changed = json.loads(json.dumps(record))
        changed["config"][where]["_target_"] = value
        path.write_text(json.dumps(changed))
        assert one_line(capsys, "verify", "../runs/v") == (2, said)


def one_line(capsys, *arguments: str) -> tuple[int, str]:
    """The exit code, and the last words of the only line: those that a test asks for."""
    code = results.__main__.main(list(arguments))
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    known = ("'photos' is not a folder", "the image is gone or has changed", "missing_package", "none_engine")
    return code, next((words for words in known if words in err), err)


def test_results_commands_in_one_line(place, capsys):
    (place / "file").write_text("")
    (place / "empty").mkdir()
    for name in ("summary", "verify", "compare", "page", "status", "compact"):
        for given in ("file", "empty", "~/empty", "~nobody_here/x", "absent"):
            try:
                code = results.__main__.main([name, given])
            except SystemExit as ended:
                code = ended.code
            out, err = capsys.readouterr()
            assert (code, out, err.count("\n")) == (2, "", 1), (name, given, err)
            assert err.startswith("error: ")
    for arguments in (["verfy", "x"], ["summary"], ["summary", "x", "--jsn"], ["verify", "x", "--sample", "none"], []):
        with pytest.raises(SystemExit) as ended:
            results.__main__.main(arguments)
        assert ended.value.code == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_a_summary_over_nothing_is_a_failure(bench, place, capsys):
    (place / "photos" / "coffee.png").write_bytes(b"no picture")
    assert bench("method=sobel", "dataset=image_folder", "dataset.root=photos", "benchmark=[]", "name=none")[0] == 1
    assert results.__main__.main(["summary", "runs/none"]) == 1
    assert "error: no image of method sobel, model tiny, dataset image_folder has a number" in capsys.readouterr().err


@pytest.mark.parametrize(("script", "main_of"), [(da.__main__.script, explain_command), (results.__main__.script, results.__main__)])
def test_an_interruption_has_its_code(script, main_of, monkeypatch, capsys):
    def interrupted(arguments: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(main_of, "main", interrupted)
    assert script() == 130
    assert capsys.readouterr().err == "interrupted\n"
