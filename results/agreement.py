"""Whether measures agree on which method is better: ranks of methods by measure, and how alike they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.stats import rankdata

from results import metrics, tables
from results.statistics import CONFIDENCE, LEVEL, NOISE, SAME, bootstrap_interval, compare_family, differences, holm

RESAMPLES = 1000
REDUNDANT = 0.9  # rank correlation above which two measures say the same of methods, with its whole interval
LEAST_METHODS, LEAST_MEASURES, LEAST_IMAGES = 3, 2, 2
MOST_METHODS = 60  # of a page
MOST_NAMED = 3  # pairs of measures in a sentence
ENDS = (50 * (1 - CONFIDENCE), 50 * (1 + CONFIDENCE))


@dataclass(frozen=True)
class Agreement:
    """Values of methods by measure and image, turned so that larger is better.

    scores: ``[methods, measures, images]``, NaN of a measure and image that not all methods have a value of. left_out: the measures that
    not all methods have a value of on two images or more. silent: the methods that have no measure's value on two images or more.
    """

    methods: list[str]
    measures: list[str]
    scores: Float[np.ndarray, "k m n"]
    left_out: list[str]
    silent: list[str] = field(default_factory=list)

    @cached_property
    def means(self) -> Float[np.ndarray, "r k m"]:
        """Means over images: first of all images as they are, then of resamples of the images."""
        n = self.scores.shape[2]
        drawn = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), RESAMPLES)
        weights = np.vstack([np.ones(n), drawn]).astype(float)
        known = np.isfinite(self.scores)
        sums, counts = (weights @ of.reshape(-1, n).T for of in (np.where(known, self.scores, 0), known.astype(float)))
        with np.errstate(invalid="ignore", divide="ignore"):  # a resample may have no image of a measure
            return np.asarray(sums / counts).reshape(-1, *self.scores.shape[:2])

    @cached_property
    def ranks(self) -> Float[np.ndarray, "r k m"]:
        """The rank of each method by each measure, 1 for the best, of the means and of those of the resamples."""
        return _ranked(self.means, 1)

    def rank_table(self) -> pd.DataFrame:
        """``measure, method, rank, low, high, images``, with bootstrap intervals over the images, of which there are so many."""
        low, high = np.nanpercentile(self.ranks[1:], ENDS, axis=0)
        images = np.isfinite(self.scores).all(0).sum(1)
        lines = [
            {"measure": measure, "method": method, "rank": self.ranks[0, i, j], "low": low[i, j], "high": high[i, j], "images": images[j]}
            for j, measure in enumerate(self.measures)
            for i, method in enumerate(self.methods)
        ]
        return pd.DataFrame(lines)

    def concordance(self) -> tuple[float, float, float]:
        """Kendall's W of the measures as raters of the methods, corrected for ties, with its bootstrap interval over the images."""
        found = kendall_w(self.ranks)
        low, high = np.nanpercentile(found[1:], ENDS)
        return float(found[0]), float(low), float(high)

    def image_concordance(self) -> dict[str, float]:
        """Of each measure Kendall's W of the images as raters of the methods: does it rank them alike on every image."""
        found = {}
        for j, measure in enumerate(self.measures):
            of = self.scores[:, j][:, np.isfinite(self.scores[:, j]).all(0)]
            found[measure] = float(kendall_w(_ranked(of[None], 1))[0])
        return found

    def pairs(self) -> pd.DataFrame:
        """Of each two measures their rank correlation (Spearman), with intervals, and what they are to one another.

        ``a, b``; ``methods, low, high``: of the methods' means; ``images, images_low, images_high``: of the methods on an image, mean over
        the images; ``verdict``: ``redundant`` where the interval over the methods' means lies above 0.9, ``contradicting`` where it
        lies below 0, else ``""``; not corrected for the number of pairs.
        """
        of_means = _correlations(self.ranks)
        of_images = _correlations(_ranked(self.scores.transpose(2, 0, 1), 1))
        lines = []
        for i, j in combinations(range(len(self.measures)), 2):
            low, high = np.nanpercentile(of_means[1:, i, j], ENDS) if np.isfinite(of_means[1:, i, j]).any() else (np.nan, np.nan)
            known = of_images[:, i, j][np.isfinite(of_images[:, i, j])]
            ends = bootstrap_interval(known)
            verdict = "redundant" if low > REDUNDANT else "contradicting" if high < 0 else ""
            line = {"a": self.measures[i], "b": self.measures[j], "methods": of_means[0, i, j], "low": low, "high": high}
            line |= {"images": known.mean() if len(known) else np.nan, "images_low": float(ends[0]), "images_high": float(ends[1])}
            lines.append(line | {"verdict": verdict})
        return pd.DataFrame(lines)

    def matrix(self) -> pd.DataFrame:
        """The rank correlation of the methods' means between each two measures."""
        return pd.DataFrame(_correlations(self.ranks[:1])[0], index=self.measures, columns=self.measures)

    def comparisons(self) -> pd.DataFrame:
        """Each two methods by each measure: the share of images on which A is better, half of those without a difference, and a test.

        ``measure, a, b, better, low, high, p_holm, shown, p_all, shown_all``: shown is the method that the test shows to be better, or
        ``""``. The paired Wilcoxon test is corrected by Holm over the pairs of a measure; ``_all``: over those of all measures.
        """
        lines = []
        for j, measure in enumerate(self.measures):
            of = {method: self.scores[i, j] for i, method in enumerate(self.methods)}
            for (a, b), found in compare_family(of).items():
                known = np.isfinite(of[a]) & np.isfinite(of[b])
                better = (1 + np.sign(differences(of[a][known], of[b][known]))) / 2
                low, high = bootstrap_interval(better)
                shown = {"A smaller": b, "B smaller": a}.get(found.verdict, "")
                line = {"measure": measure, "a": a, "b": b, "better": better.mean(), "low": float(low), "high": float(high)}
                lines.append(line | {"p_holm": found.p_holm, "shown": shown, "p_all": found.p})
        compared = pd.DataFrame(lines)
        compared["p_all"] = holm(compared["p_all"].tolist())
        return compared.assign(shown_all=compared["shown"].where(compared["p_all"] < LEVEL, ""))

    def mean_ranks(self, measure: str) -> pd.Series[float]:
        """The mean over images of each method's rank on an image, the best first."""
        of = self.scores[:, self.measures.index(measure)]
        ranks = _ranked(of[:, np.isfinite(of).all(0)][None], 1)[0].mean(1)
        return pd.Series(ranks, index=self.methods).sort_values(kind="stable")


def agreement(rows: pd.DataFrame) -> Agreement | None:
    """What a run's rows (``tables.load``'s) say of methods by measure, a configuration being a method; None where it is too little.

    Measures count that have a direction and are no cost. An image has its mean over the seeds. A method without values is left out, since
    no measure has a value of every method then.
    """
    rows = tables.over_seeds(rows)
    every = list(dict.fromkeys(rows["configuration"]))
    rows = rows[rows["value"].notna() & rows["x"].isna()]
    wanted = [name for name in metrics.titles(rows) if metrics.metric_named(name).better]
    rows = rows[rows["metric"].isin(wanted)].assign(pair=tables.pairing(rows))
    images_of = rows.groupby(["configuration", "metric"])["pair"].nunique().groupby("configuration").max()
    methods = [name for name in every if images_of.get(name, 0) >= LEAST_IMAGES]
    cubes, left_out = {}, []
    images = list(dict.fromkeys(rows["pair"]))
    for name in wanted:
        of = rows[rows["metric"] == name].pivot_table(index="configuration", columns="pair", values="value")
        table = of.reindex(index=methods, columns=images).to_numpy(float)
        common = np.isfinite(table).all(0)
        if common.sum() < LEAST_IMAGES:
            left_out.append(name)
            continue
        sign = -1 if metrics.metric_named(name).better == "smaller" else 1
        cubes[name] = np.where(common, sign * table, np.nan)
    if len(methods) < LEAST_METHODS or len(cubes) < LEAST_MEASURES:
        return None
    return Agreement(methods, list(cubes), np.stack(list(cubes.values()), 1), left_out, [name for name in every if name not in methods])


def agreement_of_one(rows: pd.DataFrame) -> Agreement | None:
    """``agreement`` for a page: None, too, of many methods, and where models, data sets or other settings than the methods' vary."""
    apart = [name for name in tables.configuration_columns(rows) if name != "method" and not name.startswith(("param.", "method."))]
    if rows["configuration"].nunique() > MOST_METHODS or any(tables.varies(rows[name]) for name in apart):
        return None
    return agreement(rows)


def said(of: Agreement, compared: pd.DataFrame | None = None) -> Iterator[str]:
    """In words, whether the ranking of methods turns around with the measure. compared: ``Agreement.comparisons``, for what tests show."""
    w, low, high = of.concordance()
    yield f"Kendall's W of {len(of.measures)} measures on {len(of.methods)} methods is {w:.2f} ({low:.2f} to {high:.2f}); 1: all rank alike"
    best: dict[str, int] = {}
    for j in range(len(of.measures)):
        first = np.flatnonzero(of.ranks[0, :, j] == of.ranks[0, :, j].min())
        name = of.methods[first[0]] if len(first) == 1 else "a tie"
        best[name] = best.get(name, 0) + 1
    if best.keys() == {"a tie"}:
        yield "By no measure a single method is the best"
    elif len(best) > 1:
        counts = ", ".join(f"{name} by {count}" for name, count in sorted(best.items(), key=lambda item: -item[1]))
        changes = "changes with the measure" if len(best.keys() - {"a tie"}) > 1 else "is not the same by every measure"
        yield f"The best method {changes}: {counts} of {len(of.measures)} measures"
    else:
        yield f"{next(iter(best))} is the best by every measure"
    pairs = of.pairs()
    against = pairs[pairs["verdict"] == "contradicting"].sort_values("methods", kind="stable")
    for a, b in against[["a", "b"]].to_numpy()[:MOST_NAMED]:
        yield f"{metrics.metric_named(a).title} and {metrics.metric_named(b).title} contradict one another: one ranks against the other"
    if len(against) > MOST_NAMED:
        yield f"So do {len(against) - MOST_NAMED} more of {len(pairs)} pairs of measures"
    if compared is not None:
        around = reversals(compared)
        every = len(of.methods) * (len(of.methods) - 1) // 2
        turned = "turns around" if len(around) else "does not turn around"
        yield f"The ranking {turned} with the measure: on {len(around)} of {every} pairs of methods, measures show opposite differences"
    if of.silent:
        yield f"Left out, since no measure has values of them: {', '.join(of.silent)}"


def turning(rows: pd.DataFrame) -> list[str]:
    """For a run's page: what ``said`` says of measures that rank methods differently, without tests; nothing where there are too few."""
    of = agreement_of_one(rows)
    return [] if of is None else [f"{sentence}." for sentence in list(said(of))[1:] if "best by every" not in sentence]


def reversals(compared: pd.DataFrame) -> pd.DataFrame:
    """The pairs of methods of which one measure shows the one to be better, and another the other: ``a, b, a_by, b_by``.

    Corrected over the pairs of all measures, since it looks among all of these.
    """
    lines = []
    for (a, b), group in compared[compared["shown_all"] != ""].groupby(["a", "b"], sort=False):
        if len(set(group["shown_all"])) > 1:
            by = {name: ", ".join(group.loc[group["shown_all"] == name, "measure"]) for name in (a, b)}
            lines.append({"a": a, "b": b, "a_by": by[a], "b_by": by[b]})
    return pd.DataFrame(lines, columns=["a", "b", "a_by", "b_by"])


def cliques(order: list[str], compared: pd.DataFrame) -> list[tuple[str, str]]:
    """The longest stretches of an order within which no two methods are shown to differ: the first and last of each."""
    apart = {frozenset(pair) for pair in compared.loc[compared["shown"] != "", ["a", "b"]].to_numpy().tolist()}
    found: list[tuple[int, int]] = []
    for i in range(len(order)):
        last = i
        while last + 1 < len(order) and all(frozenset((order[j], order[last + 1])) not in apart for j in range(i, last + 1)):
            last += 1
        if last > i and not (found and found[-1][1] >= last):
            found.append((i, last))
    return [(order[i], order[j]) for i, j in found]


def kendall_w(ranks: Float[np.ndarray, "r k m"]) -> Float[np.ndarray, " r"]:
    """Kendall's coefficient of concordance of m raters of k things, corrected for ties: NaN where all raters tie everything."""
    k, m = ranks.shape[1:]
    middle = (k + 1) / 2
    between = ((ranks.sum(2) - m * middle) ** 2).sum(1)
    within = ((ranks - middle) ** 2).sum((1, 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(between / (m * within))


def _ranked(values: Float[np.ndarray, "r k m"], axis: int) -> Float[np.ndarray, "r k m"]:
    """Ranks along an axis, 1 for the largest, ties at their mean; NaN where any value along it is.

    Neighbours are tied that are the same up to rounding, as in ``results.statistics.differences``.
    """
    order = np.argsort(values, axis=axis)
    rising = np.take_along_axis(values, order, axis)
    near = np.maximum(SAME * np.abs(rising), NOISE * np.nanmax(np.abs(values), axis=axis, keepdims=True, initial=0))
    place = np.empty_like(values)
    np.put_along_axis(place, order, (np.diff(rising, axis=axis, prepend=-np.inf) > near).cumsum(axis).astype(float), axis)
    return np.asarray(rankdata(np.where(np.isnan(values), np.nan, -place), axis=axis, nan_policy="propagate"))


def _correlations(ranks: Float[np.ndarray, "r k m"]) -> Float[np.ndarray, "r m m"]:
    """Pearson's correlation of ranks over the methods, of each two measures: NaN where one ties all of them."""
    centred = ranks - ranks.mean(1, keepdims=True)
    size = np.sqrt((centred**2).sum(1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.einsum("rki,rkj->rij", centred, centred) / (size[:, :, None] * size[:, None, :]))
