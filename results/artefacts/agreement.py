"""Whether the measures of a run agree on its methods."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from results.agreement import Agreement, cliques, reversals, said
from results.agreement import agreement as agreement_of
from results.artefacts.evaluation import what
from results.artefacts.parts import Run, for_each_part
from results.export import interval, table
from results.figures import matplotlib as figures
from results.figures.matplotlib import save
from results.metrics import metric_named

COLUMNS = 3  # diagrams beside one another


@for_each_part("method", "param")
def agreement(run: Run) -> Iterator[Path]:
    """Kendall's W, rank correlations of measures, ranks of methods, probabilities of improvement, and critical-difference diagrams.

    Parameters
    ----------
    run : Run
        A finished run, see ``results.artefacts.parts.Run``.

    Yields
    ------
    Path
        Of each file that it writes.

    Raises
    ------
    ValueError
        For a run of fewer than three methods, or two measures.
    """
    of = agreement_of(run.rows)
    if of is None:
        raise ValueError("agreement compares three methods or more by two measures or more, on images that all methods have a value of")
    compared = of.comparisons()
    words = ". ".join(said(of, compared))
    left = f" Measures left out, since not all methods have a value: {', '.join(of.left_out)}." if of.left_out else ""
    yield from table(_rank_table(of), run.stem("agreement"), _ranks_caption(run, words) + left)
    pairs = of.pairs()
    yield from table(_pair_table(pairs), run.stem("agreement_measures"), _pairs_caption(pairs))
    yield from table(_comparison_table(compared), run.stem("agreement_methods"), _comparisons_caption(run))
    if len(around := reversals(compared)):
        caption = (
            "Pairs of methods on which measures show opposite differences: the measures by which A is better, and those by which B is. The "
            "paired Wilcoxon test is corrected by Holm over the pairs of all measures."
        )
        yield from table(around, run.stem("agreement_reversals"), caption)
    side = 2.4 + 0.32 * len(of.measures)
    figure = Figure(figsize=(side + 1.5, side), layout="constrained")
    figures.correlation_grid(of.matrix(), figure.subplots(), "Spearman's correlation of the methods' means")
    yield from save(figure, run.figure("agreement_measures"))
    rows = -(-len(of.measures) // COLUMNS)
    figure = Figure(figsize=(4.6 * COLUMNS, rows * (0.9 + 0.11 * len(of.methods))), layout="constrained")
    axes = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for measure, ax in zip(of.measures, axes, strict=False):
        ranks = of.mean_ranks(measure)
        figures.critical_differences(
            ranks, cliques(list(ranks.index), compared[compared["measure"] == measure]), ax, metric_named(measure).title
        )
    for ax in axes[len(of.measures) :]:
        ax.set_axis_off()
    yield from save(figure, run.figure("agreement"))


def _rank_table(of: Agreement) -> pd.DataFrame:
    ranks = of.rank_table()
    ranks["shown"] = _intervals(ranks, ["rank", "low", "high"], 1, ends=1)
    wide = ranks.pivot_table(index="measure", columns="method", values="shown", aggfunc="first", sort=False)[of.methods]
    over_images = of.image_concordance()
    lines = pd.DataFrame(
        {"measure": [metric_named(name).title for name in wide.index], "better": [metric_named(name).better for name in wide.index]}
    )
    lines["images"] = ranks.drop_duplicates("measure").set_index("measure").loc[wide.index, "images"].to_numpy()
    lines["W over images"] = [round(over_images[name], 3) for name in wide.index]
    return pd.concat([lines, wide.reset_index(drop=True)], axis=1)


def _pair_table(pairs: pd.DataFrame) -> pd.DataFrame:
    lines = pairs.sort_values("methods", ascending=False, kind="stable")
    return pd.DataFrame(
        {
            "measure": [metric_named(name).title for name in lines["a"]],
            "and": [metric_named(name).title for name in lines["b"]],
            "over methods": _intervals(lines, ["methods", "low", "high"], 3),
            "over images": _intervals(lines, ["images", "images_low", "images_high"], 3),
            "verdict": lines["verdict"].to_numpy(),
        }
    )


def _comparison_table(compared: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "measure": [metric_named(name).title for name in compared["measure"]],
            "A": compared["a"],
            "B": compared["b"],
            "A is better": _intervals(compared, ["better", "low", "high"], 2),
            "p (Holm)": [f"{p:.2g}" if np.isfinite(p) else "" for p in compared["p_holm"]],
            "shown": compared["shown"],
        }
    )


def _ranks_caption(run: Run, words: str) -> str:
    return (
        "Ranks of methods by the mean of each measure, 1 for the best, with 95 % bootstrap intervals over the images that all methods "
        f"have a value of: {what(run)}. W over images: whether a measure ranks the methods alike on every image. {words}. W counts each "
        "line once: a measure under several fills counts several times, and so does what is no measure of faithfulness, such as "
        "sparseness, where it was asked for."
    )


def _pairs_caption(pairs: pd.DataFrame) -> str:
    counts = {word: int((pairs["verdict"] == word).sum()) for word in ("redundant", "contradicting")}
    return (
        "Rank correlation (Spearman) of each two measures, with 95 % bootstrap intervals over the images. Over methods: of the methods' "
        "means. Over images: of the methods on each image, mean over the images. Redundant: the interval over methods lies above 0.9 "
        f"({counts['redundant']} pairs); contradicting: it lies below 0 ({counts['contradicting']} pairs); "
        f"uncorrected for the {len(pairs)} pairs."
    )


def _comparisons_caption(run: Run) -> str:
    return (
        f"Each two methods by each measure: the share of images on which A is better, half of those without a difference, {what(run)}. The "
        "paired Wilcoxon test is corrected by Holm over the pairs of a measure; shown: the method that it shows to be better at 5 %."
    )


def _intervals(frame: pd.DataFrame, columns: list[str], digits: int, ends: int | None = None) -> list[str]:
    return [interval(value, low, high, digits, ends) for value, low, high in frame[columns].to_numpy(float)]
