"""An entry of a board is what it says, or is refused with the reason; its mark is of these very rows."""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from results.boards.board import ENTRIES, FOLDER, Board, read_list
from results.boards.entry import ENTRY, Entry, refusals, scores
from results.boards.ranking import entries_of, ranked, section
from results.boards.submit import submit as submit_to
from results.published.manifest import Manifest
from results.store.published import write_rows
from results.store.store import digest
from tests.commands import Said, command
from tests.conftest import REPOSITORY

BOARD = "planted_evidence"
MINE = '''"""A stranger's method: the brightness of an image, which fails on some."""


def bright(model, images, targets, *, rngs):
    if (targets == 3).any():
        raise ValueError("not of this class")
    return images.mean(1)


def none(model, images, targets, *, rngs):
    raise ValueError("of nothing")
'''


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs for the board: ours, a stranger's that fails on some images, and ours with another setting of the measure and fewer images."""
    here = tmp_path_factory.mktemp("boards")
    (here / "mine.py").write_text(MINE)
    for name, arguments in {
        "ours": ["-m", "method=gradcam,random"],
        "theirs": ["method._target_=mine.bright"],
        "fills": ["method=random", "benchmark.evidence.fills=[black]"],
        "few": ["method=random", "dataset.count=40"],
        "none": ["method._target_=mine.none"],
    }.items():
        said = command("benchmarks", f"board={BOARD}", *arguments, f"name={name}", "page=false", cwd=here)
        assert (here / "runs" / name / "jobs").is_dir(), said.stderr
    return here


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with the boards and without entries."""
    shutil.copytree(REPOSITORY / "conf" / "board", tmp_path / "conf" / "board")
    return tmp_path


@pytest.fixture
def entry(runs: Path, root: Path) -> Entry:
    """An entry that the board accepts."""
    (found,) = submit(runs / "runs" / "ours", BOARD, root, methods=["gradcam"])
    assert refusals(found, the_board(root)) == []
    return found


def submit(run: Path, name: str, root: Path, **options) -> list[Entry]:
    return submit_to(run, the_board(root, name), root / ENTRIES, **options)


def the_board(root: Path, name: str = BOARD) -> Board:
    return Board.read(root / FOLDER / f"{name}.yaml")


def forged(entry: Entry, rows: Callable[[pd.DataFrame], pd.DataFrame] = lambda rows: rows, **manifest: object) -> Entry:
    """An entry with other rows or another manifest, whose hashes are right."""
    path = entry.folder / "rows.json"
    found = Manifest.read(path)
    buffer = io.BytesIO()
    changed = rows(pd.read_parquet(path.with_suffix(".parquet")).astype(dict.fromkeys(("key", "image", "status", "metric"), object)))
    write_rows(changed, buffer)
    path.with_suffix(".parquet").write_bytes(buffer.getvalue())
    of_rows = {"sha256": hashlib.sha256(buffer.getvalue()).hexdigest(), "rows": len(changed)}
    found.model_copy(update=of_rows | manifest).write(path)
    return Entry(entry.folder)


def edited(root: Path, change: Callable[[dict], None], name: str = BOARD) -> Board:
    """A board of which something was changed."""
    path = root / FOLDER / f"{name}.yaml"
    content = yaml.safe_load(path.read_text())
    change(content["board"])
    path.write_text(yaml.safe_dump(content))
    return Board.read(path)


def verified(entry: Entry, root: Path, runs: Path, *more: str) -> Said:
    return command("results", "verify", str(entry.folder), "--boards", str(root / FOLDER), "--sample", "3", *more, cwd=runs)


def test_shipped_entries_are_accepted_and_ranked():
    for path in sorted((REPOSITORY / FOLDER).glob("*.yaml")):
        board = Board.read(path)
        entries = entries_of(board, REPOSITORY)
        if entries:
            assert set(ranked(board, entries)["entry"]) == {entry.name for entry in entries}


def test_altered_rows_are_refused_by_their_hash(entry, root):
    path = entry.folder / "rows.parquet"
    rows = pd.read_parquet(path)
    rows.loc[rows["metric"] == "evidence_rank", "value"] = 1.0
    rows.to_parquet(path)
    (reason,) = refusals(Entry(entry.folder), the_board(root))
    assert "rows.parquet is not the file that rows.json describes" in reason


def test_altered_rows_of_a_right_hash_are_found_when_they_are_computed_again(entry, root, runs):
    said = verified(entry, root, runs, "--trust")
    assert said.returncode == 0, said.stderr
    assert re.search(r"3 images match, drawn with --seed \d+", said.stderr)  # which nobody knew before
    assert Entry(entry.folder).verified is None  # the mark is the reviewer's
    said = verified(entry, root, runs, "--trust", "--mark", "--seed", "5")
    assert said.returncode == 0, said.stderr
    assert {name: Entry(entry.folder).verified[name] for name in ("images", "seed")} == {"images": 3, "seed": 5}
    fake = forged(entry, lambda rows: rows.assign(value=rows["value"].where(rows["metric"] != "evidence_rank", 0.99)))
    assert refusals(fake, the_board(root)) == []
    assert fake.verified is None  # the mark is of other rows
    said = verified(fake, root, runs, "--trust", "--mark")
    assert said.returncode == 1
    assert "DOES NOT MATCH (other values of evidence_rank)" in said.stdout
    assert not (fake.folder / "verified.json").exists()


def test_strangers_code_runs_only_where_it_is_trusted(entry, root, runs):
    said = verified(entry, root, runs)
    assert (said.returncode, said.stdout) == (2, "")
    assert "--trust" in said.stderr
    assert Entry(entry.folder).verified is None


def test_cherry_picked_images_are_refused(entry, root, runs):
    with pytest.raises(ValueError, match=r"10 of the board's 50 images are left out or have other contents, such as 00040"):
        submit(runs / "runs" / "few", BOARD, root)
    images = {name: listed[:30] for name, listed in Manifest.read(entry.folder / "rows.json").images.items()}
    fake = forged(entry, lambda rows: rows[rows["image"] < "00030"], images=images)
    assert refusals(fake, the_board(root)) == ["20 of the board's 50 images are left out or have other contents, such as 00030"]
    board = the_board(root)
    fewer = board.model_copy(update={"listed": board.listed[:20]})
    assert refusals(fake, fewer) == ["10 images are not the board's, such as 00020"]


def test_another_budget_is_refused(runs, root):
    board = edited(root, lambda board: board.update(budget=2))
    assert refusals(submit(runs / "runs" / "ours", BOARD, root, methods=["gradcam"])[0], board) == []
    edited(root, lambda board: board.update(budget=1))
    with pytest.raises(ValueError, match=r"gradcam: another budget: \d+ took 2 passes, and the board allows 1"):
        submit(runs / "runs" / "ours", BOARD, root)


def test_another_version_or_setting_of_the_measure_is_refused(entry, root, runs):
    with pytest.raises(ValueError, match="evidence was measured otherwise: fills differs from the board's"):
        submit(runs / "runs" / "fills", BOARD, root)
    with pytest.raises(ValueError, match="certificate was not measured: run it with board=planted_region"):
        submit(runs / "runs" / "ours", "planted_region", root)
    board = edited(root, lambda board: board["definition"]["function"].update(version="1"))
    (reason,) = refusals(entry, board)
    assert reason == "another version of the measure evidence: the board is of version 1, the entry of 2"


def test_a_configuration_that_was_altered_is_refused(entry, root):
    (job,) = Manifest.read(entry.folder / "rows.json").jobs
    job["configs"]["attribution"]["method"]["function"]["version"] = "99"
    (reason,) = refusals(forged(entry, jobs=[job]), the_board(root))
    assert reason == "the configuration of attribution was altered: it has another key"


def test_other_weights_are_refused(entry, root):
    board = edited(root, lambda board: board["model"].update(weights_sha256="0" * 64))
    assert refusals(entry, board) == ["another model: other weights"]
    (job,) = Manifest.read(entry.folder / "rows.json").jobs
    before = dict(job["keys"])
    for name in ("prediction", "attribution"):
        job["configs"][name]["model"]["weights_sha256"] = "0" * 64
        job["keys"][name] = digest(job["configs"][name])
    job["configs"]["evidence"]["attribution"] = job["keys"]["attribution"]
    job["keys"]["evidence"] = digest(job["configs"]["evidence"])
    now = {before[name]: job["keys"][name] for name in before}
    fake = forged(entry, lambda rows: rows.assign(key=rows["key"].map(now)), jobs=[job])
    shutil.copytree(REPOSITORY / FOLDER, root / FOLDER, dirs_exist_ok=True)
    assert refusals(fake, the_board(root)) == ["another model: other weights"]


def test_a_failed_image_is_the_worst_and_one_that_is_hidden_is_refused(runs, root):
    with pytest.raises(ValueError, match="the method, or the maps that it reads, are not of this project: say where they are, --code URL"):
        submit(runs / "runs" / "theirs", BOARD, root)
    (entry,) = submit(runs / "runs" / "theirs", BOARD, root, entry="bright", code="https://example.org/bright")
    board = the_board(root)
    failed = {image for image, _, label, _ in board.listed if label == 3}
    found = scores(entry, board)
    assert (found[list(failed)] == board.worst).all()
    assert len(found) == 50
    rows = entry.rows
    assert set(rows.loc[rows["status"].str.startswith("error"), "image"]) >= failed
    stated = sum(one["images"] for one in entry.manifest.failures)
    assert refusals(forged(entry, failures=[]), board) == [f"{stated} results failed, and the manifest states 0"]
    hidden = forged(entry, lambda rows: rows[~rows["image"].isin(failed) | (rows["metric"] == "prediction")], failures=[])
    assert any("an image was left out of the rows" in reason for reason in refusals(hidden, board))


def test_numbers_that_cannot_be_and_entries_of_another_version_are_refused(entry, root):
    fake = forged(entry, lambda rows: rows.assign(value=rows["value"].where(rows["metric"] != "evidence_rank", 1.5)))
    (reason,) = refusals(fake, the_board(root))
    assert reason.startswith("evidence_rank of ")
    assert reason.endswith(" is 1.5, and a share is from 0 to 1")
    board = edited(root, lambda board: board.update(version=2))
    assert refusals(entry, board) == [f"it is an entry of board {BOARD} version 1, and this is {BOARD} version 2"]
    (entry.folder / ENTRY).unlink()
    assert "it has no entry.yaml" in refusals(Entry(entry.folder), board)[0]


def test_an_image_that_is_said_to_have_failed_is_the_worst_and_has_no_numbers(entry, root, runs):
    """Else its passes would not count, and its score would."""
    board = the_board(root)
    few = entry.rows["image"].unique()[:20]

    def failing(rows: pd.DataFrame) -> pd.DataFrame:
        chosen = rows["image"].isin(few) & (rows["metric"] == "queries")
        return rows.assign(status=rows["status"].where(~chosen, "error: out of memory"))

    fake = forged(entry, failing, failures=[{"method": "gradcam", "model": "planted_cnn", "status": "error", "images": 20}])
    assert any("failed, and has a number of " in reason for reason in refusals(fake, board))
    keys = entry.record["keys"]

    def without_passes(rows: pd.DataFrame) -> pd.DataFrame:
        chosen = rows["image"].isin(few) & (rows["key"] == keys["attribution"])
        rows = rows.assign(status=rows["status"].where(~chosen, "error: out of memory"), value=rows["value"].where(~chosen))
        return rows[~chosen | ~rows["metric"].isin(["queries", "backwards"])]

    (copy,) = submit(runs / "runs" / "ours", BOARD, root, methods=["gradcam"], replace=True)
    fake = forged(copy, without_passes, failures=[{"method": "gradcam", "model": "planted_cnn", "status": "error", "images": 20}])
    reasons = refusals(fake, board)
    assert any("failed, and has numbers of evidence" in reason for reason in reasons)
    assert any("20 images have no row of queries" in reason for reason in reasons)
    every = forged(entry, lambda rows: rows.assign(status="error: out of memory"))
    assert (scores(every, board) == board.worst).all()


def more_of(rows: pd.DataFrame, metric: str, value: float) -> pd.DataFrame:
    return pd.concat([rows, rows[rows["metric"] == metric].head(1).assign(value=value)])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda rows: more_of(rows, "evidence_rank", 1.0), "has several values of evidence_rank"),
        (lambda rows: more_of(rows, "queries", 0.0), "has several values of queries"),
        (lambda rows: rows.assign(value=rows["value"].where(rows["metric"] != "queries", -900)), "is -900, and passes are counted from 0"),
        (lambda rows: rows[rows["metric"] != "backwards"], "50 images have no row of backwards"),
        (lambda rows: rows.drop(rows[rows["metric"] == "evidence_mass"].index[:10]), "10 images have no row of evidence_mass"),
    ],
)
def test_each_number_is_there_once(entry, root, change, reason):
    assert any(reason in said for said in refusals(forged(entry, change), the_board(root)))


def test_a_method_that_fails_on_every_image_is_the_worst(runs, root):
    (found,) = submit(runs / "runs" / "none", BOARD, root, code="https://example.org/mine")
    board = the_board(root)
    assert (scores(found, board) == board.worst).all()
    assert "| 0.000" in section(BOARD, root, root / "docs" / "leaderboard.md")


def test_images_that_are_listed_again_are_refused(entry, root):
    images = {name: [*listed, listed[0]] for name, listed in Manifest.read(entry.folder / "rows.json").images.items()}
    assert any(
        "images are listed more than once, such as 00000" in said for said in refusals(forged(entry, images=images), the_board(root))
    )


def test_other_results_seeds_and_engines_are_refused(entry, root):
    (job,) = Manifest.read(entry.folder / "rows.json").jobs
    more = job | {of: job[of] | {"again": job[of]["evidence"]} for of in ("keys", "configs")}
    assert "it has results that the board does not look at: again" in refusals(forged(entry, jobs=[more]), the_board(root))
    assert refusals(forged(entry, jobs=[job]), edited(root, lambda board: board.update(seed=1))) == ["another seed than the board's, 1: 0"]
    board = edited(root, lambda board: board.update(seed=0) or board["engine"].update(precision="bf16"))
    assert refusals(Entry(entry.folder), board) == ["another engine: precision differs from the board's"]


def test_an_entry_is_its_own_and_says_where_it_is_from(entry, root):
    board = the_board(root)
    about = yaml.safe_load((entry.folder / ENTRY).read_text())
    for said, reason in (
        (about | {"code": "this project"}, "code is 'this project', and should be a URL"),
        (about | {"board_version": "1"}, "it is an entry of board planted_evidence version '1', and this is planted_evidence version 1"),
        ([1], "is not what submit writes"),
    ):
        (entry.folder / ENTRY).write_text(yaml.safe_dump(said))
        assert reason in refusals(Entry(entry.folder), board)[0]
    (entry.folder / ENTRY).write_text("board: [")
    assert "entry.yaml cannot be read" in refusals(Entry(entry.folder), board)[0]
    (entry.folder / ENTRY).write_text(yaml.safe_dump(about))
    shutil.copytree(entry.folder, entry.folder.with_name("mine"))
    with pytest.raises(ValueError, match="mine is refused: it has the rows of gradcam"):
        entries_of(board, root)
    (entry.folder / "rows.parquet").rename(root / "rows.parquet")
    (entry.folder / "rows.parquet").symlink_to(root / "rows.parquet")
    assert refusals(Entry(entry.folder), board) == ["rows.parquet is a link: an entry's files are its own"]


def test_a_mark_that_nobody_could_have_set_is_refused(entry, root):
    sha256 = entry.manifest.sha256
    for said in (
        {"sha256": sha256, "images": 1_000_000_000, "date": "2026-01-01"},
        {"sha256": sha256, "images": 3, "date": "2099-01-01 by Nature"},
        {"sha256": sha256, "images": "3", "date": "2026-01-01"},
        {"sha256": sha256},
        [],
    ):
        (entry.folder / "verified.json").write_text(json.dumps(said))
        with pytest.raises(ValueError, match="is not what verify --mark writes"):
            section(BOARD, root, root / "docs" / "leaderboard.md")


def test_maps_made_elsewhere_are_somebodys_and_their_passes_are_stated(runs, root):
    maps = runs / "maps"
    maps.mkdir(exist_ok=True)
    (maps / "queries.csv").write_text("image,queries\n" + "".join(f"{image},7\n" for image, *_ in the_board(root).listed))
    for image, *_ in the_board(root).listed:
        np.save(maps / f"{image}.npy", np.random.default_rng(0).random((64, 64)))
    said = command("benchmarks", f"board={BOARD}", "method=precomputed", "method.maps=maps", "name=maps", "page=false", cwd=runs)
    assert said.returncode == 0, said.stderr
    with pytest.raises(ValueError, match="the maps that it reads, are not of this project"):
        submit(runs / "runs" / "maps", BOARD, root)
    (found,) = submit(runs / "runs" / "maps", BOARD, root, code="https://example.org/maps")
    assert found.about["code"] == "https://example.org/maps"
    assert "| 7 (stated) |" in section(BOARD, root, root / "docs" / "leaderboard.md")


def test_an_entry_is_replaced_only_where_that_is_asked_for(runs, root):
    (entry,) = submit(runs / "runs" / "ours", BOARD, root, methods=["random"])
    (entry.folder / "verified.json").write_text(json.dumps({"sha256": entry.manifest.sha256, "images": 3, "date": "2026-01-01"}))
    again = submit(runs / "runs" / "ours", BOARD, root, code="https://example.org/mine")
    assert {one.name: one.about["code"] for one in again} == {"gradcam": None, "random": None}  # they are this project's
    assert Entry(entry.folder).verified  # these are the same rows
    (entry.folder / "rows.parquet").write_bytes(b"altered")
    with pytest.raises(ValueError, match="has random with other rows"):
        submit(runs / "runs" / "ours", BOARD, root)
    submit(runs / "runs" / "ours", BOARD, root, methods=["random"], replace=True)
    (entry.folder / "verified.json").write_text(json.dumps({"sha256": entry.manifest.sha256, "images": 3, "date": "2026-01-01"}))
    forged(entry, lambda rows: rows.assign(value=rows["value"].where(rows["metric"] != "seconds", 9.0)))
    with pytest.raises(ValueError, match="has random with other rows: choose the methods that are yours with --methods"):
        submit(runs / "runs" / "ours", BOARD, root)
    (entry,) = submit(runs / "runs" / "ours", BOARD, root, methods=["random"], replace=True)
    assert entry.verified is None


def test_a_refused_run_leaves_nothing(runs, root):
    with pytest.raises(ValueError, match="refused by planted_evidence: random: "):
        submit(runs / "runs" / "few", BOARD, root)
    assert not (root / "docs").exists()
    with pytest.raises(ValueError, match="there is no board none: choose demo_insertion, "):
        submit(runs / "runs" / "few", "none", root)


def test_ranks_are_of_the_means_over_the_same_images(runs, root):
    submit(runs / "runs" / "ours", BOARD, root)
    board = the_board(root)
    entries = entries_of(board, root)
    table = ranked(board, entries).set_index("entry")
    means = {entry.name: scores(entry, board).mean() for entry in entries}
    assert table["mean"].to_dict() == pytest.approx(means)
    assert table["rank"].to_dict() == {"gradcam": 1.0, "random": 2.0}
    assert table.loc["gradcam", ["rank_low", "rank_high"]].tolist() == [1.0, 1.0]
    page = section(BOARD, root, root / "docs" / "leaderboard.md")
    assert page.index("| gradcam |") < page.index("| random |")
    assert "entries/planted_evidence/gradcam/rows.json" in page
    assert "claimed" in page


def test_commands_submit_and_say_why_not(runs, root):
    said = command("results", "submit", "runs/ours", "--board", BOARD, "--out", str(root / ENTRIES), cwd=runs)
    assert said.returncode == 0, said.stderr
    assert said.stdout.count("accepted by planted_evidence") == 2
    said = command("results", "submit", "runs/few", "--board", BOARD, "--out", str(root / ENTRIES), cwd=runs)
    assert (said.returncode, said.stdout, said.stderr.count("\n")) == (2, "", 1)


def test_lists_are_read_as_they_are_written():
    found = read_list(REPOSITORY / FOLDER / "images" / "demo.csv")
    assert found[1][0] == "coffee"
    assert {len(content) for _, content, _, _ in found} == {16}
    assert np.all([label is not None for _, _, label, _ in found])
    assert json.loads(json.dumps(found)) == [list(one) for one in found]


@pytest.mark.parametrize("name", sorted(path.stem for path in (REPOSITORY / FOLDER).glob("*.yaml")))
def test_a_board_states_what_its_runs_are_of(name):
    """Where this fails, a version or setting changed: ``python -m benchmarks.tools.board NAME``, and raise the board's version."""
    from benchmarks.tools.board import images_of, job_of, stated

    board = Board.read(REPOSITORY / FOLDER / f"{name}.yaml")
    if name.startswith("imagenet"):  # needs the files
        job = job_of(name.replace("imagenet", "demo"))
    else:
        job = job_of(name)
        assert [tuple(image) for image in images_of(job)] == board.listed
    assert json.loads(json.dumps(stated(job, board.measure))) == {name: getattr(board, name) for name in ("model", "engine", "definition")}


def test_a_listed_data_set_takes_the_files_of_the_list_alone(tmp_path):
    from benchmarks.data import demo, listed

    lines = ["id,digest,label"]
    for photograph in demo().photographs[:2]:
        path = tmp_path / "any" / f"{photograph.id}.png"
        path.parent.mkdir(exist_ok=True)
        photograph.load().save(path)
        lines.append(f"{path.name},{hashlib.sha256(path.read_bytes()).hexdigest()[:16]},{photograph.label}")
    (tmp_path / "any" / "another.png").write_bytes(path.read_bytes())
    names = tmp_path / "names.csv"
    names.write_text("\n".join(lines))
    found = listed(str(tmp_path), files=str(names))
    assert [(one.id, one.label) for one in found.photographs] == [("motorcycle.png", 665), ("coffee.png", 967)]
    assert found.name == "names"
    demo().photographs[2].load().save(path)
    with pytest.raises(ValueError, match=r"1 files have other contents than names\.csv states, such as coffee\.png"):
        listed(str(tmp_path), files=str(names))
    path.unlink()
    with pytest.raises(ValueError, match=r"1 of the 2 files of names\.csv are missing, such as coffee\.png"):
        listed(str(tmp_path), files=str(names))
    with pytest.raises(ValueError, match="is not a folder"):
        listed(str(tmp_path / "none"), files=str(names))
    with pytest.raises(ValueError, match="no such list"):
        listed(str(tmp_path), files="none.csv")
