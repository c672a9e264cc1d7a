"""Every table and figure between markers is what the published rows say, and a marker that cannot be obeyed is an error."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from results import tables
from results.published import figures, pages
from results.published.experiments import artefacts
from results.published.read import provenance_line, read_rows
from results.published.tables import budgets, measures, methods, paired, quantiles
from results.statistics import compare, holm
from tests.conftest import REPOSITORY

DEMO = REPOSITORY / "docs" / "rows" / "demo.json"
MAKE = "python -m results pages"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with the rows of the demo and one page."""
    (tmp_path / "docs" / "rows").mkdir(parents=True)
    for suffix in (".json", ".parquet"):
        shutil.copy(DEMO.with_suffix(suffix), tmp_path / "docs" / "rows")
    return tmp_path


def page(root: Path, *markers: str) -> Path:
    path = root / "docs" / "page.md"
    path.write_text("Before.\n\n" + "\n".join(f"<!-- rows: {of} -->\n<!-- end of rows -->\n\nBetween.\n" for of in markers))
    return path


def test_the_documents_are_made_of_their_rows():
    found = pages.differences(REPOSITORY)
    assert not found, f"{MAKE} makes them anew:\n" + "\n".join(found)


def test_published_rows_are_small():
    sizes = {path.name: path.stat().st_size for path in DEMO.parent.glob("*.parquet")}
    assert sum(sizes.values()) < 5_000_000, sizes


def test_a_page_is_filled_once_and_for_all_and_a_change_is_shown(root):
    path = page(root, "demo table=methods", "demo figure=means to=images/mar.svg alt='MAR' metric=mar_holds")
    assert len(pages.differences(root)) == 3
    assert {one.name for one in pages.write(root)} == {"page.md", "mar.csv", "mar.svg"}
    assert pages.differences(root) == []
    assert pages.write(root) == []
    text = path.read_text()
    assert "| da\\_minimal |" in text
    assert "![MAR](images/mar.svg)" in text
    assert "[demo](rows/demo.json)" in text
    assert text.count("Between.") == 2
    assert text.count("n = 7 images of demo;") == text.count("Of the same rows, [demo](rows/demo.json).") == 1  # said once a page
    path.write_text(text.replace("| da\\_minimal | 2", "| da\\_minimal | 1"))
    (difference,) = pages.differences(root)
    assert "-| da\\_minimal | 1" in difference
    assert "+| da\\_minimal | 2" in difference


def test_a_figure_of_other_data_is_found(root):
    page(root, "demo figure=curves to=images/x.svg alt='Curves' metric=insertion_consistency")
    pages.write(root)
    data = root / "docs" / "images" / "x.csv"
    data.write_text(data.read_text().replace("0.02", "0.03", 1))
    assert len(pages.differences(root)) == 1
    picture = data.with_suffix(".svg")
    pages.write(root)
    picture.write_text(picture.read_text().replace("data sha256 ", "data sha256 0"))
    assert pages.differences(root) == ["docs/images/x.svg does not show the data of the rows"]


@pytest.mark.parametrize(
    ("marker", "said"),
    [
        ("demo", "either table=KIND or figure=KIND"),
        ("demo table=none", "table=none: choose methods"),
        ("none table=methods", "none.json is not there"),
        ("demo table=methods metrics=nothing", "no such number"),
        ("demo table=methods method=nothing", "no job has method=nothing"),
        ("demo table=methods colour=red", "no job has a setting colour"),
        ("demo table=paired", "paired needs reference="),
        ("demo table=paired reference=nothing", "reference=nothing"),
        ("demo table=paired reference=rise show=product", "choose difference or ratio"),
        ("demo figure=means to=images/x.png alt='x'", "to=images/NAME.svg"),
        ("table=methods demo", "a marker is"),
    ],
)
def test_a_marker_that_cannot_be_obeyed_says_where_and_why(root, marker, said):
    page(root, marker)
    with pytest.raises(ValueError, match=r"^docs/page\.md:3: ") as error:
        pages.made(root)
    assert said in str(error.value)


def test_a_marker_without_an_end_is_found_and_one_in_a_block_of_code_is_none(root):
    path = root / "docs" / "page.md"
    path.write_text("```text\n<!-- rows: demo table=none -->\n<!-- end of rows -->\n```\n")
    assert pages.differences(root) == []
    path.write_text("<!-- rows: demo table=methods -->\n")
    with pytest.raises(ValueError, match="has no <!-- end of rows -->"):
        pages.made(root)


def test_numbers_of_an_earlier_version_are_said_to_be(root):
    path = page(root, "demo table=methods method=da_pos,rise")
    pages.write(root)
    assert "earlier version" not in path.read_text()
    versions = root / "benchmarks" / "keys" / "versions.json"
    versions.parent.mkdir(parents=True)
    versions.write_text('{"rise": {"version": "99"}, "gradcam": {"version": "99"}}')
    assert len(pages.differences(root)) == 1
    pages.write(root)
    assert "**of earlier versions: rise 2, now 99**" in path.read_text()


def test_few_revisions_are_named_and_many_are_counted():
    rows = read_rows(DEMO, {"method": "da_pos"})
    found = {}
    for several in (["a" * 40], ["a" * 40, "b" * 40], ["a" * 40, "b" * 40, "c" * 40]):
        computed = [{"git": one, "clean": one[0] != "a", "torch": "2"} for one in several]
        line = provenance_line(replace(rows, manifest=rows.manifest.model_copy(update={"computed_by": computed})), "x.json", {})
        found[len(several)] = next(word for word in line.split("; ") if "revision" in word)
    assert found[1] == f"revision {'a' * 10} with changes that are not in it"
    assert found[2] == f"{found[1]}, {'b' * 10}"
    assert found[3] == "3 revisions (1 with changes that are not in them)"


def test_tables_say_what_the_summary_says():
    rows = read_rows(DEMO)
    summary = tables.summarise(rows.frame).set_index("method")
    table = methods(rows).set_index("method")
    assert list(table.index) == list(summary.index)
    for name, line in summary.iterrows():
        assert table.loc[name, "passes"] == f"{line['queries'] + line['backwards']:.0f}"
        assert table.loc[name, "MAR, ranking"].startswith(f"{line['mar_holds']:.3f} [{line['mar_holds_low']:.2f}, ")
        assert table.loc[name, "n"] == line["images"]
    certified = rows.frame[(rows.frame["method"] == "da_minimal") & (rows.frame["metric"] == "certified")]["value"]
    assert table.loc["da_minimal", "certified"] == f"{int(certified.sum())} of {len(certified)}"
    assert set(measures(rows)["method"]) == set(summary.index)


def test_a_table_of_pairs_is_corrected_over_its_lines():
    rows = read_rows(DEMO, {"method": "da_pos,rise,random"})
    table = paired(rows, reference="random").set_index("method")
    wide = tables.paired_values(rows.frame, "mar_holds", "method")
    assert table.loc["da_pos", "difference"].startswith(f"{(wide['da_pos'] - wide['random']).mean():.3f} [")
    every = tables.paired(rows.frame, "mar_holds", pairs=[("da_pos", "random"), ("rise", "random")]).set_index("a")
    assert table["p (Holm)"].to_dict() == {name: f"{every.loc[name, 'p_holm']:.2g}" for name in ("da_pos", "rise")}
    ratio = paired(rows, reference="random", show="ratio").set_index("method")["ratio"]
    assert ratio["da_pos"].startswith(f"{wide['da_pos'].mean() / wide['random'].mean():.2f} [")


def test_pairs_of_several_models_are_apart_and_corrected_together():
    rows = read_rows(DEMO, {"method": "da_pos,rise,random"})
    other = [record | {"job": f"{record['job']}'", "model": "other"} for record in rows.records if record["method"] != "da_pos"]
    frame = rows.frame[rows.frame["method"] != "da_pos"]
    both = replace(rows, frame=pd.concat([rows.frame, frame.assign(job=frame["job"] + "'")]), records=[*rows.records, *other])
    with pytest.raises(ValueError, match="several values of model"):
        paired(both, reference="random")
    alone, table = paired(rows, reference="random"), paired(both, reference="random", apart="model")
    assert table["model"].tolist() == ["efficientnet_lite0", "efficientnet_lite0", "other"]
    same = [name for name in alone if name not in ("p (Holm)", "verdict")]
    pd.testing.assert_frame_equal(table.loc[:1, same], alone[same])
    assert table.loc[2, same].tolist() == alone.set_index("method", drop=False).loc["rise", same].tolist()
    many = methods(both, apart="model")
    pd.testing.assert_frame_equal(many[many["model"] == "efficientnet_lite0"].drop(columns="model"), methods(rows))
    assert many.loc[many["model"] == "other", "method"].tolist() == ["rise", "random"]
    values = tables.paired_values(rows.frame, "mar_holds", "method")
    p = [compare(values[name].to_numpy(), values["random"].to_numpy()).p for name in ("da_pos", "rise", "rise")]
    assert table["p (Holm)"].tolist() == [f"{one:.2g}" for one in holm(p)]
    with pytest.raises(ValueError, match="apart=seed: choose model, dataset or model,dataset"):
        paired(both, reference="random", apart="seed")


def test_a_table_of_budgets_has_a_column_a_budget():
    table = budgets(read_rows(DEMO)).set_index("method")
    assert {"250", "251", "no budget"} <= set(table.columns)
    assert table.loc["da_pos", "251"] != "–"
    assert table.loc["da_minimal", "250"] != "–"
    assert table.loc["gradcam", "no budget"].endswith(" at 2")


def test_what_an_experiment_makes_of_rows_is_shown(root):
    shutil.copytree(REPOSITORY / "conf" / "experiment", root / "conf" / "experiment")
    of = "demo experiment=fig5_imagenet method=da_pos,rise"
    path = page(root, f"{of} table=fig5_auc")
    pages.write(root)
    text, rows = path.read_text(), read_rows(DEMO, {"method": "rise"})
    assert "Unmasked accuracy" in text
    mean = rows.frame[rows.frame["metric"] == "insertion_auc"]["value"].mean()
    assert f"| rise | {mean:.3f} " in text
    path = page(root, f'{of} figure=fig5 to=fig5.png alt="Curves"')
    pages.write(root)
    assert "![Curves](fig5.png)" in path.read_text()
    drawn = pd.read_csv(root / "docs" / "fig5.csv")
    expected = tables.curves(read_rows(DEMO, {"method": "da_pos,rise"}).frame, "insertion_accuracy")
    np.testing.assert_allclose(drawn["mean"], expected["mean"])
    assert pages.differences(root) == []
    (root / "docs" / "fig5.csv").write_text("")
    assert len(pages.differences(root)) == 1
    page(root, f"{of} table=fig6")
    with pytest.raises(ValueError, match="table fig6 is not made of these rows; there are fig5_auc, fig5_tests"):
        pages.made(root)
    page(root, "demo experiment=none table=fig6")
    with pytest.raises(ValueError, match="experiment=none: choose agreement, "):
        pages.made(root)


def test_quantiles_are_of_the_images_of_a_configuration():
    rows = read_rows(DEMO, {"method": "da_pos,da_minimal"})
    table = quantiles(rows, metric="mar", at="0,0.5,1").set_index("method")
    mars = rows.frame[(rows.frame["method"] == "da_minimal") & (rows.frame["metric"] == "mar")]["value"]
    assert table.loc["da_minimal", ["0", "0.5", "1"]].astype(float).tolist() == pytest.approx([*mars.quantile([0, 0.5, 1])], rel=0.01)
    assert table.loc["da_minimal", "n"] == len(mars) == 7


def test_what_rows_a_table_is_of_is_said_again_after_others(root):
    path = page(root, *(f"demo table=methods method=da_pos{images}" for images in ("", " images=1-2", "", "")))
    pages.write(root)
    assert path.read_text().count("n = 7 images of demo;") == 2
    assert path.read_text().count("Of the same rows") == 1


@pytest.mark.parametrize(
    ("marker", "said"),
    [
        ("table=quantiles metric=marr", "metrics=marr: the rows have no such number; choose "),
        ("table=quantiles at=0.5,2", "at=0.5,2: give shares from 0 to 1"),
        ("table=methods to=images/x.svg", "to=images/x.svg: a figure alone has to= and alt="),
        ("table=methods images=", "images=: a figure alone has to= and alt=, and no word is empty"),
        ("experiment=stability table=stability", "experiment=stability: results.artefacts.stability cannot be made of these rows: "),
        ("experiment=grid_pointing table=grid_pointing", "results.artefacts.pointing cannot be made of these rows: 'pointing'"),
    ],
)
def test_a_marker_that_cannot_be_obeyed_is_said_with_its_place(root, marker, said):
    shutil.copytree(REPOSITORY / "conf" / "experiment", root / "conf" / "experiment")
    page(root, f"demo {marker}")
    with pytest.raises(ValueError, match=r"^docs/page.md:3: ") as error:
        pages.made(root)
    assert said in str(error.value)


def test_some_of_the_images_are_those_of_the_order_of_the_run(root):
    every, some = read_rows(DEMO), read_rows(DEMO, part="2-4")
    order = [image for image, *_ in every.records[0]["images"]]
    assert list(dict.fromkeys(some.frame["image"])) == order[1:4]
    assert some.images == 3
    path = page(root, "demo table=methods method=da_pos images=2-4")
    pages.write(root)
    assert "n = 3 images of demo, 2-4 of the order;" in path.read_text()
    for wrong in ("0-3", "3-2", "2-8", "3"):
        with pytest.raises(ValueError, match=f"images={wrong}: give the first and the last, such as 1-7"):
            read_rows(DEMO, part=wrong)


def test_jobs_of_more_images_are_of_one_table_where_all_have_the_same_ones():
    path = REPOSITORY / "docs" / "rows" / "race_first.json"
    every, some = (artefacts(read_rows(path, part=part), "race", REPOSITORY).tables for part in ("", "1-24"))
    assert "race" not in every  # a table a number of images
    assert "| rex |" in some["race"]
    assert "| da\\_pos iterations=499 |" in some["race"]
    assert read_rows(path, part="1-24").images == 24


def test_the_data_of_figures_are_those_of_the_tables():
    rows = read_rows(DEMO)
    expected = tables.curves(rows.frame, "insertion_consistency")
    found = figures.curves(rows, metric="insertion_consistency")
    assert found["method"].tolist() == expected["method"].tolist()
    np.testing.assert_allclose(found["mean"], expected["mean"])
    spent = figures.trade_off(rows)
    assert spent[spent["method"] == "da_pos"]["passes"].tolist() == [251]
    assert pd.Index(figures.means(rows)["method"]).is_unique
