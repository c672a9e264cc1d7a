"""Whether measures agree: against rankings known beforehand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import friedmanchisquare, spearmanr

from results.agreement import agreement, cliques, kendall_w, reversals, said, turning
from results.artefacts.agreement import agreement as artefact
from results.artefacts.parts import Run
from results.figures.charts import measures as chart

IMAGES, METHODS = 40, ["alpha", "beta", "gamma", "delta"]


def rows_of(values: dict[str, list[float]], noise: float = 0.05, images: int = IMAGES) -> pd.DataFrame:
    """A run's rows: of each metric a level of each method, and noise over the images."""
    rng = np.random.default_rng(0)
    lines = [
        {"method": method, "configuration": method, "image": f"{i}", "digest": f"d{i}", "seed": 0, "measure": "x", "metric": metric}
        | {"x": np.nan, "value": level + noise * rng.standard_normal()}
        for metric, levels in values.items()
        for method, level in zip(METHODS, levels, strict=True)
        for i in range(images)
    ]
    return pd.DataFrame(lines)


# irof and gini: larger is better. infidelity_scaled and entropy: smaller is
ALIKE = {"irof": [4, 3, 2, 1.0], "gini": [8, 6, 4, 2.0], "infidelity_scaled": [1, 2, 3, 4.0]}
AGAINST = ALIKE | {"entropy": [4, 3, 2, 1.0]}


def test_measures_that_rank_alike_have_a_concordance_of_one_whatever_their_direction():
    of = agreement(rows_of(ALIKE))
    assert of.methods == METHODS
    assert set(of.measures) == set(ALIKE)
    assert of.concordance() == pytest.approx((1, 1, 1))
    ranks = of.rank_table()
    assert (ranks["rank"].to_numpy().reshape(3, 4) == [1, 2, 3, 4]).all()
    assert (ranks["low"] == ranks["rank"]).all()
    pairs = of.pairs()
    assert (pairs["verdict"] == "redundant").all()
    assert pairs["methods"].to_numpy() == pytest.approx(1)
    assert pairs["images"].to_numpy() == pytest.approx(1)
    assert list(of.image_concordance().values()) == pytest.approx([1, 1, 1])
    compared = of.comparisons()
    assert (compared["shown"] == compared["a"]).all()
    assert (compared["better"] == 1).all()
    assert reversals(compared).empty
    words = " ".join(said(of, compared))
    assert "alpha is the best by every measure" in words
    assert "does not turn around" in words
    assert not any("best method changes" in sentence for sentence in turning(rows_of(ALIKE)))


def test_a_measure_against_the_others_contradicts_and_turns_the_ranking_around():
    of = agreement(rows_of(AGAINST))
    pairs = of.pairs().set_index(["a", "b"])
    against = [verdict for pair, verdict in pairs["verdict"].items() if "entropy" in pair]
    assert against == ["contradicting"] * 3
    assert of.matrix().loc["entropy", "irof"] == pytest.approx(-1)
    compared = of.comparisons()
    around = reversals(compared)
    assert len(around) == 6
    assert set(around["b_by"]) == {"entropy"}
    words = " ".join(said(of, compared))
    assert "The best method changes with the measure: alpha by 3, delta by 1 of 4 measures" in words
    assert "turns around with the measure: on 6 of 6 pairs of methods" in words
    assert any("entropy of the map" in sentence for sentence in turning(rows_of(AGAINST)))
    assert of.concordance()[0] == pytest.approx(0.25)  # 2 of the 4 raters cancel: (4 - 2)^2 / 4^2


def test_differences_that_are_noise_are_not_shown_and_join_in_a_clique():
    of = agreement(rows_of({"irof": [1, 1, 1, 5.0], "gini": [1, 1, 1, 5.0]}, noise=1.0))
    compared = of.comparisons()
    of_irof = compared[compared["measure"] == "irof"]
    assert set(of_irof.loc[of_irof["shown"] != "", "shown"]) == {"delta"}
    ranks = of.mean_ranks("irof")
    assert ranks.index[0] == "delta"
    assert cliques(list(ranks.index), of_irof) == [(ranks.index[1], ranks.index[3])]
    assert ((of_irof["low"] <= of_irof["better"]) & (of_irof["better"] <= of_irof["high"])).all()
    table = of.rank_table()
    wide = table[(table["measure"] == "irof") & (table["method"] != "delta")]
    assert (wide["high"] > wide["low"]).all()


def test_kendalls_w_is_friedmans_statistic_and_ties_are_corrected():
    rng = np.random.default_rng(1)
    values = rng.integers(0, 4, (5, 7)).astype(float)  # of 5 methods by 7 raters, with ties
    ranks = pd.DataFrame(values).rank().to_numpy()
    chi = friedmanchisquare(*values).statistic
    assert kendall_w(ranks[None])[0] == pytest.approx(chi / (7 * (5 - 1)))
    assert np.isnan(kendall_w(np.full((1, 3, 2), 2.0))[0])


def test_correlations_are_spearmans_and_an_image_that_a_method_lacks_is_left_out():
    rows = rows_of({"irof": [1, 2, 3, 1.5], "gini": [2, 1, 4, 3.0]}, noise=0.001)
    of = agreement(rows)
    assert of.matrix().loc["irof", "gini"] == pytest.approx(spearmanr([1, 2, 3, 1.5], [2, 1, 4, 3]).statistic)
    fewer = agreement(rows[(rows["metric"] != "gini") | (rows["method"] != "beta") | (rows["image"] != "3")])
    assert np.isfinite(fewer.scores[:, fewer.measures.index("gini")]).all(0).sum() == IMAGES - 1
    assert np.isfinite(fewer.scores[:, fewer.measures.index("irof")]).all(0).sum() == IMAGES
    third = rows_of({"irof": [1, 2, 3, 1.5], "gini": [2, 1, 4, 3.0], "mar": [1, 2, 3, 4.0]})
    missing = agreement(third[(third["metric"] != "mar") | (third["method"] == "alpha")])
    assert missing.left_out == ["mar"]
    assert missing.silent == []
    images = fewer.rank_table().groupby("measure")["images"].unique()
    assert images.map(list).to_dict() == {"gini": [IMAGES - 1], "irof": [IMAGES]}


def test_a_method_without_values_is_left_out_and_named_and_the_others_are_compared():
    rows = rows_of(ALIKE)
    rows.loc[(rows["method"] == "beta") & (rows["image"] != "0"), "value"] = np.nan
    of = agreement(rows)
    assert of.methods == ["alpha", "gamma", "delta"]
    assert of.silent == ["beta"]
    assert "Left out, since no measure has values of them: beta." in turning(rows)


def test_a_number_in_the_units_of_the_map_does_not_rank_methods():
    rows = rows_of(ALIKE | {"infidelity": [4, 3, 2, 1.0]})
    assert set(agreement(rows).measures) == set(ALIKE)


def test_methods_that_tie_for_the_best_are_a_tie_whatever_their_order():
    tied = {"irof": [4, 4, 2, 1.0], "gini": [8, 6, 4, 2.0]}
    words = list(said(agreement(rows_of(tied, 0))))
    assert "The best method is not the same by every measure: alpha by 1, a tie by 1 of 2 measures" in words
    both = {"irof": [4, 4, 2, 1.0], "gini": [8, 8, 4, 2.0]}
    assert "By no measure a single method is the best" in list(said(agreement(rows_of(both, 0))))


def test_what_differs_by_rounding_is_no_improvement_and_no_rank_whatever_the_unit():
    rows = rows_of({"irof": [0, 0, 1e7, 2e7], "gini": [1, 2, 3, 4.0]}, 0)
    at = (rows["metric"] == "irof") & rows["method"].isin(["alpha", "beta"])
    rows.loc[at, "value"] = np.where(rows.loc[at, "method"] == "alpha", 0.15000000000000002e7, 0.14999999999999997e7)
    of = agreement(rows)
    first = of.comparisons().query("measure == 'irof' and a == 'alpha' and b == 'beta'").iloc[0]
    assert first["better"] == 0.5
    assert (of.ranks[0, :, of.measures.index("irof")] == [3.5, 3.5, 2, 1]).all()


@pytest.mark.parametrize(("images", "turns"), [(7, False), (8, True)])
def test_a_reversal_is_corrected_over_all_the_measures_that_it_is_looked_for_among(images, turns):
    """Of 7 images p is at least 2 / 2^7: 0.047 of a measure's 3 pairs, and 0.094 of the 6 of both."""
    rows = rows_of({"irof": [1, 2, 3, 4.0], "gini": [4, 3, 2, 1.0]}, 0.001, images)
    compared = agreement(rows[rows["method"] != "delta"]).comparisons()
    assert (compared["shown"] != "").all()
    assert len(reversals(compared)) == (3 if turns else 0)


def test_of_many_contradicting_measures_the_worst_are_named_and_the_others_counted():
    up, down = [1, 2, 3, 4.0], [4, 3, 2, 1.0]
    words = turning(rows_of({"irof": up, "gini": down, "sensitivity_n": up, "srg_black": up, "insertion_auc": up, "removable": up}))
    assert sum("contradict one another" in sentence for sentence in words) == 3
    assert "So do 5 more of 15 pairs of measures." in words


@pytest.mark.parametrize("column", ["model", "dataset", "engine", "benchmark.flipping.steps", "model.randomise"])
def test_a_page_says_nothing_of_agreement_over_several_models_data_sets_or_settings_of_measures(column):
    rows = rows_of(AGAINST).assign(**{column: "one", "param.k": "1"})
    rows.loc[rows["method"] == "beta", "param.k"] = "2"  # configurations of methods are told apart
    assert turning(rows)
    assert chart(rows).views
    rows.loc[rows["method"] == "beta", column] = "another"
    assert turning(rows) == []
    assert chart(rows).views == []


def test_too_little_to_compare_is_nothing():
    rows = rows_of(ALIKE)
    assert agreement(rows[rows["method"].isin(METHODS[:2])]) is None
    assert agreement(rows[rows["metric"] == "irof"]) is None
    assert agreement(rows.assign(metric="of somebody's own")) is None  # no direction is known
    assert turning(rows[rows["metric"] == "irof"]) == []
    assert chart(rows[rows["metric"] == "irof"]).views == []
    drawn = chart(rows)
    assert "Kendall's W 1.00" in drawn.views[0].name
    assert drawn.views[0].numbers.shape == (3, 1 + len(METHODS))


@pytest.mark.parametrize("values", [ALIKE, AGAINST])
def test_the_artefact_writes_tables_and_figures_that_say_whether_the_ranking_turns(tmp_path, values):
    rows = rows_of(values, images=12)
    records = [
        {"job": name, "method": name, "model": "net", "dataset": "set", "engine": "torch", "seed": 0, "parameters": {}, "config": {}}
        for name in METHODS
    ]
    run = Run(tmp_path, rows.assign(job=rows["method"]), records, {})
    written = {path.name for path in artefact(run)}
    assert {"agreement.csv", "agreement_measures.csv", "agreement_methods.csv"} <= written
    assert {"agreement.png", "agreement_measures.png"} <= written
    assert ("agreement_reversals.csv" in written) == (values is AGAINST)
    table = pd.read_csv(tmp_path / "agreement.csv")
    assert len(table) == len(values)
    assert table["alpha"].str.startswith("1.0").sum() == 3
    assert table["images"].tolist() == [12] * len(values)
    assert "uncorrected for the" in (tmp_path / "agreement_measures.md").read_text()
    caption = (tmp_path / "agreement.md").read_text()
    assert ("The ranking turns around" in caption) == (values is AGAINST)
    with pytest.raises(ValueError, match="three methods or more"):
        list(artefact(Run(tmp_path, run.rows[run.rows["metric"] == "irof"], records, {})))
