"""How small a sufficient region is against the passes that it took, and how far from the proven minimum."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from da.ranking import prefix_shares
from results import tables
from results.artefacts.evaluation import Configuration, by_configuration, mean, what
from results.artefacts.parts import Run, for_each_part
from results.export import comparisons, file, table, to_csv
from results.figures import matplotlib as figures
from results.figures.matplotlib import save
from results.statistics import bootstrap_interval, compare_family

REFERENCE = "da_minimal"  # what the others are compared with


@for_each_part("method", "param")
def race(run: Run) -> Iterator[Path]:
    """MAR against passes, of each method's region or the smallest sufficient share of its map, and paired tests against ``da_minimal``.

    A pass is a forward or a backward one. Where a method ends in no region, the shares of its map that were tried until one sufficed count,
    too. Each is compared with the ``da_minimal`` that took most passes among those that took no more than it, on average or of any
    image, or with the one that took fewest.

    Parameters
    ----------
    run : Run
        A finished run, see ``results.artefacts.parts.Run``.

    Yields
    ------
    Path
        Of each file that it writes.
    """
    found = {of.name: (of, spent(of)) for of in by_configuration(run)}
    found = {name: (of, frame) for name, (of, frame) in found.items() if len(frame)}
    lines = []
    for name, (of, frame) in found.items():
        low, high = bootstrap_interval(frame["mar"].to_numpy())
        statuses = of.rows.drop_duplicates(["image", "digest", "seed"])["status"].str.split(":").str[0].value_counts()
        line: dict[str, Any] = {"method": of.jobs[0]["method"], "configuration": name, "passes": frame["passes"].mean(skipna=False)}
        line |= {"most": frame["passes"].max(skipna=False)}
        line |= {"mar": frame["mar"].mean(), "low": float(low), "high": float(high), "median": frame["mar"].median()}
        lines.append(line | {"images": len(frame), "statuses": ", ".join(f"{count} {status}" for status, count in statuses.items())})
    curves = pd.DataFrame(lines).sort_values(["method", "passes"], key=_in_order, ignore_index=True)
    caption = (
        f"MAR of each method's region, or of the smallest sufficient share of its map, against passes per image (forward and backward; of "
        f"a map with the shares that were tried; none where they are not known of all images, which the figure leaves out): mean and "
        f"95 % bootstrap interval, median. {what(run)}."
    )
    shown = curves.assign(
        passes=curves["passes"].round(),
        median=curves["median"].round(3),
        mar=[mean(found[name][1]["mar"].to_numpy()) for name in curves["configuration"]],
    )
    yield from table(shown.drop(columns=["method", "most", "low", "high"]), run.stem("race"), caption)
    if len(compared := _against_reference(curves, {name: frame for name, (_, frame) in found.items()})):
        caption = f"MAR against {REFERENCE} of no more passes, on average or of any image: paired Wilcoxon tests, corrected by Holm."
        yield from table(comparisons(compared), run.stem("race_tests"), caption)
    curves = curves.drop(columns="most")
    to_csv(curves, file(run.stem("race_curves"), ".csv"))
    yield file(run.stem("race_curves"), ".csv")
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    figures.trade_off(curves[curves["passes"].notna()], figure.subplots())
    yield from save(figure, run.figure("race"))


def spent(of: Configuration) -> pd.DataFrame:
    """Of each image with a MAR, by name and content: ``mar`` and ``passes``, means over seeds; passes are NaN where they are not known."""
    known = of.rows[of.rows["x"].isna() & of.rows["value"].notna()]
    wide = known.pivot_table(index=["image", "digest", "seed"], columns="metric", values="value", sort=False)
    if "mar_first" not in wide:
        return pd.DataFrame(columns=["mar", "passes"])
    region, nothing = wide.get("mar", pd.Series(np.nan, wide.index)), pd.Series(np.nan, wide.index)
    setting = (of.jobs[0]["config"]["benchmark"] or {}).get("mar", {})
    shares = np.array(prefix_shares(setting.get("smallest", 0.002), setting.get("points", 32)))
    tried = np.searchsorted(shares, wide["mar_first"].to_numpy() * (1 - 1e-9)) + 1
    tried = np.minimum(tried, len(shares) - 1)  # the whole image is not asked about
    passes = wide.get("queries", nothing) + wide.get("backwards", 0) + np.where(region.isna(), tried, 0)
    found = pd.DataFrame({"mar": region.fillna(wide["mar_first"]), "passes": passes})
    return found[found["mar"].notna()].groupby(level=["image", "digest"], sort=False).agg("mean", skipna=False)


def _against_reference(curves: pd.DataFrame, frames: dict[str, pd.DataFrame]) -> pd.DataFrame:
    reference = curves[curves["method"] == REFERENCE].sort_values("passes")
    pairs = []
    others = curves[(curves["method"] != REFERENCE) & curves["passes"].notna()]
    for line in others.to_dict("records") if len(reference) else []:
        affordable = reference[(reference["passes"] <= line["passes"]) | (reference["most"] <= line["most"])]
        pairs.append((line["configuration"], (affordable if len(affordable) else reference[:1])["configuration"].iloc[-1]))
    if not pairs:
        return pd.DataFrame()
    wide = pd.DataFrame({name: frame["mar"] for name, frame in frames.items()})
    return tables.comparison_rows(compare_family({str(name): wide[name].to_numpy(dtype=float) for name in wide}, pairs), "mar")


def _in_order(values: pd.Series[Any]) -> pd.Series[Any]:
    return values.map(tables.method_sort_key) if values.name == "method" else values


def _parts(of: Configuration) -> pd.Series[float]:
    """The parts that each image was cut in, by name and content."""
    rows = of.rows[of.rows["metric"].isin(["superpixels", "parts"])]
    return rows.drop_duplicates(["image", "digest"]).set_index(["image", "digest"])["value"]


@for_each_part("method", "param")
def optimality(run: Run) -> Iterator[Path]:
    """MAR over that of the smallest region of the same partition, proven by ``exact``; where it is not proven, over its lower bound.

    Parameters
    ----------
    run : Run
        A finished run with a job of ``exact``, see ``results.artefacts.parts.Run``.

    Yields
    ------
    Path
        Of each file that it writes.

    Raises
    ------
    ValueError
        For a run without ``exact``.
    """
    every = by_configuration(run)
    exact = next((of for of in every if of.jobs[0]["method"] == "exact"), None)
    if exact is None:
        raise ValueError("optimality: the run has no job of method=exact to compare with")
    wide = exact.rows[exact.rows["x"].isna()].pivot_table(index=["image", "digest"], columns="metric", values="value", sort=False)
    proven, lower = wide["mar"][wide["proven"] == 1], wide["mar_lower"]
    proven = proven[proven > 0]  # a vacuous image has no ratio
    lines, ratios = [], {}
    for of in every:
        mar = spent(of)["mar"][_parts(of).eq(wide["superpixels"])]  # of no other partition
        ratio = (mar / proven).dropna()
        bound = (mar / lower[lower > 0]).dropna()
        ratios[of.name] = ratio
        line: dict[str, Any] = {"method": of.name, "proven": len(ratio), "ratio": mean(ratio.to_numpy(), 2, 2), "median": ratio.median()}
        line |= {"minimum reached": f"{100 * (ratio < 1 + 1e-9).mean():.0f} %" if len(ratio) else "–", "largest": ratio.max()}
        lines.append(line | {"of lower bound": mean(bound.to_numpy(), 2, 2), "images": len(bound)})
    caption = (
        f"MAR over the proven minimum of the same partition, mean and 95 % bootstrap interval, and over its lower bound where it is not "
        f"proven; {wide['superpixels'].min():g} to {wide['superpixels'].max():g} segments; images that a method cuts in another number of "
        f"them are left out. {what(run)}."
    )
    yield from table(pd.DataFrame(lines).round(3), run.stem("optimality"), caption)
    gaps = pd.DataFrame(ratios).reset_index().melt(["image", "digest"], var_name="method", value_name="ratio").dropna()
    widest = gaps.sort_values("ratio", ascending=False, kind="stable").drop(columns="digest").head(20)
    yield from table(widest.round(3), run.stem("optimality_gaps"), "The images farthest from the proven minimum.")
    to_csv(gaps, file(run.stem("optimality_images"), ".csv"))
    yield file(run.stem("optimality_images"), ".csv")
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    figures.distributions(ratios, figure.subplots(), "MAR over the proven minimum")
    yield from save(figure, run.figure("optimality"))
