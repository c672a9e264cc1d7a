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


# irof and gini: larger is better. infidelity and entropy: smaller is
ALIKE = {"irof": [4, 3, 2, 1.0], "gini": [8, 6, 4, 2.0], "infidelity": [1, 2, 3, 4.0]}
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
    caption = (tmp_path / "agreement.md").read_text()
    assert ("The ranking turns around" in caption) == (values is AGAINST)
    with pytest.raises(ValueError, match="three methods or more"):
        list(artefact(Run(tmp_path, run.rows[run.rows["metric"] == "irof"], records, {})))
