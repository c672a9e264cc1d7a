"""The catalogue of measures: what each number is called, in which unit it is, and which direction is better."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

SHARE = "share of the image"
PROBABILITY = "share of images, or probability"


@dataclass(frozen=True)
class Metric:
    """One number per image.

    title: in tables and charts; heading: in the table that a run prints, empty where it is not in it. better: ``smaller``, ``larger``, or
    empty where neither is known to be. by_request: shown only where it is asked for. cost: what an attribution took, rather than how good
    it is. batched: a batch's mean stands at each of its images, so that they are no sample and have no interval.
    """

    name: str
    title: str
    better: str = ""
    unit: str = ""
    heading: str = ""
    by_request: bool = False
    cost: bool = False
    batched: bool = False


CATALOGUE = {
    metric.name: metric
    for metric in (
        Metric("mar", "MAR of the mask", "smaller", SHARE, "MAR, mask"),
        Metric("mar_first", "MAR of the ranking, smallest share with the class", "smaller", SHARE, by_request=True),
        Metric("mar_holds", "MAR of the ranking, share from which on it holds", "smaller", SHARE, "MAR, ranking"),
        Metric("insertion_auc", "insertion AUC, accuracy", "larger", PROBABILITY, "insertion AUC"),
        Metric("insertion_consistency_auc", "insertion AUC, consistency", "larger", PROBABILITY, "insertion AUC, own class"),
        Metric("eclique_insertion_auc", "insertion AUC as in eclique/RISE", "larger", PROBABILITY),
        Metric("eclique_deletion_auc", "deletion AUC as in eclique/RISE", "smaller", PROBABILITY),
        Metric("region_share", "share of the image in the region", "smaller", SHARE, by_request=True),
        Metric("region_holds", "region satisfies the rule", "larger", PROBABILITY),
        Metric("region_minimal", "region is 1-minimal over superpixels", "larger", PROBABILITY),
        Metric("removable", "removable share of the region", "smaller", "share of the region"),
        Metric("grid_pointing", "grid pointing game", "larger", "share of positive attribution", "grid pointing"),
        Metric("queries", "forward passes", "smaller", "per image", by_request=True, cost=True),
        Metric("backwards", "backward passes", "smaller", "per image", by_request=True, cost=True),
        Metric("seconds", "seconds", "smaller", "per image", by_request=True, cost=True, batched=True),
    )
}
EVIDENCE = {  # of known evidence, where there is any
    metric.name: metric
    for metric in (
        Metric("evidence_mass", "relevance mass in the evidence", "larger", "share of positive attribution", "mass"),
        Metric("evidence_rank", "top pixels in the evidence", "larger", "share of pixels", "rank"),
        Metric("evidence_told", "evidence above distractors", "larger", "share of images", "told"),
        Metric("evidence_recall", "recall of the region", "larger", "share of the evidence", "recall"),
        Metric("evidence_precision", "precision of the region", "larger", "share of the region", "precision"),
        Metric("evidence_share", "the evidence's share of the image", "", SHARE, by_request=True),
        Metric("evidence_parts", "the parts hold", "", "share of images", by_request=True),
        Metric("evidence_ground", "the ground holds", "", "share of images", by_request=True),
        Metric("parts_changed", "lost without parts", "", "share of images", by_request=True),
        Metric("ground_changed", "follows another ground", "", "share of images", by_request=True),
    )
}
POSITIVE = "share of positive attribution"
FURTHER = {  # of further measures, where they were asked for
    metric.name: metric
    for metric in (
        Metric("pointing_hit", "pointing game, within the tolerance", "larger", "share of images", "pointing"),
        Metric("pointing_exact", "pointing game, exact", "larger", "share of images", "pointing, exact"),
        Metric("relevance_mass", "relevance mass in the mask", "larger", POSITIVE, "mass in mask"),
        Metric("relevance_rank", "top pixels in the mask", "larger", "share of the mask", "rank in mask"),
        Metric("topk_intersection", "top k pixels in the mask", "larger", "share of k pixels", "top k"),
        Metric("region_iou", "region over the mask, IoU", "larger", "intersection over union", "IoU"),
        Metric("road_morf", "ROAD, most relevant first", "smaller", "share of images", "ROAD MoRF"),
        Metric("road_lerf", "ROAD, least relevant first", "larger", "share of images", "ROAD LeRF"),
        Metric("road_combined", "ROAD, combined", "larger", "half a difference of probabilities", "ROAD"),
        Metric("irof", "IROF", "larger", "share of the probability", "IROF"),
        Metric("infidelity", "infidelity", "", "squared units of the map", by_request=True),
        Metric("infidelity_scaled", "infidelity of the scaled map", "smaller", "squared probability", "infidelity, scaled"),
        Metric("max_sensitivity", "max-sensitivity", "smaller", "relative change", "max-sensitivity"),
        Metric("faithfulness_correlation", "faithfulness correlation", "larger", "correlation", "faithfulness"),
        Metric("sensitivity_n", "sensitivity-n", "larger", "correlation", "sensitivity-n"),
        Metric("gini", "sparseness, Gini index", "larger", "from 0 to 1", "Gini"),
        Metric("entropy", "entropy of the map", "smaller", "nats", "entropy"),
        Metric("effective_size", "effective size", "smaller", SHARE, "effective size"),
        Metric("effective_complexity", "effective complexity", "smaller", SHARE, by_request=True),
    )
}
BY_FILL = {  # how the names of a measure by fill start
    "morf_": ("most relevant removed first", "smaller", "mean probability"),
    "lerf_": ("least relevant removed first", "larger", "mean probability"),
    "srg_": ("symmetric relevance gain", "larger", "difference of mean probabilities"),
}
CRITERION = "mar_"  # how the names of MAR by criterion and fill start
CURVES = (  # names of numbers at a place x
    "insertion_accuracy", "insertion_consistency", "insertion_score", "deletion_score", "sensitivity_n_correlation",
    *(f"road_{order}_{of}" for order in ("morf", "lerf") for of in ("kept", "score")),
    *(f"{source}_{what}" for source in ("parts", "ground") for what in ("keep", "lose")),
)  # fmt: skip


def is_shipped(name: str) -> bool:
    """Whether a name is one of the shipped measures' metrics, whose titles and directions go by it."""
    return name.startswith((CRITERION, *BY_FILL)) or name in (*CATALOGUE, *EVIDENCE, *FURTHER, *CURVES)


def metric_named(name: str) -> Metric:
    """What is known of a metric; of one that is not in the catalogue its name, and no direction."""
    if name not in CATALOGUE and name.startswith(CRITERION):
        return Metric(name, f"MAR, {name.removeprefix(CRITERION).replace('_', ', ')}", "smaller", SHARE)
    for start, (title, better, unit) in BY_FILL.items():
        if name.startswith(start) and not name.startswith(f"{start}score_"):
            fill = name.removeprefix(start)
            return Metric(name, f"{title}, {fill}", better, unit)
    return CATALOGUE.get(name) or EVIDENCE.get(name) or FURTHER.get(name) or Metric(name, name)


def single_numbers(rows: pd.DataFrame) -> list[str]:
    """The metrics of a summary: those of the catalogue, and before the costs those that the rows have of other measures, by name.

    rows: ``measure, metric, x``, of which a measure's curve has values of ``x``; without ``measure`` the catalogue's alone.
    """
    others = set[str]()
    if "measure" in rows:
        others = set(rows.loc[(rows["measure"] != "") & rows["x"].isna() & rows["value"].notna(), "metric"]) - set(CATALOGUE)
    return in_order(others)


def in_order(others: set[str]) -> list[str]:
    """The catalogue's metrics with others before the costs."""
    measures = [name for name, metric in CATALOGUE.items() if not metric.cost]
    return [*measures, *sorted(others), *(name for name, metric in CATALOGUE.items() if metric.cost)]


def titles(rows: pd.DataFrame, *, costs: bool = False, by_image: bool = False) -> dict[str, str]:
    """The titles of the metrics that rows have values of. costs: forward passes and seconds, too. by_image: without those of a batch."""
    there = set(rows.loc[rows["value"].notna(), "metric"])
    found = [metric_named(name) for name in single_numbers(rows) if name in there and name != "backwards"]
    return {one.name: one.title for one in found if (costs or not one.cost) and not (by_image and one.batched)}
