"""Two runs, or the methods of one, compared on the images that both have."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from results import tables
from results.export import comparisons, number, to_markdown
from results.store import FAILED

BY_REQUEST = ("mar_first", "queries", "backwards", "seconds")
CAPTION = (
    "A - B over the images that both have: mean and 95 % bootstrap interval; paired Wilcoxon tests, corrected by Holm. Effect: the "
    "rank-biserial correlation, from -1 (A smaller on every image) to 1 (A larger on every image)."
)
MEASURES = tuple(metric for metric in tables.SUMMARY if metric not in BY_REQUEST)

Records = list[dict[str, Any]]


@dataclass(frozen=True)
class Side:
    """One side of a comparison. folder: the run's; rows: as ``tables.load`` gives them, with the column ``configuration``."""

    folder: Path
    records: Records
    rows: pd.DataFrame


@dataclass(frozen=True)
class Comparison:
    """What was found.

    differences: one line a metric and pair of configurations, ``metric, a, b, mean_a, mean_b`` and the columns of ``tables.paired``.
    images: one line a metric, pair and image, ``metric, a, b, image, value_a, value_b, difference``, the largest differences first. notes:
    what else differs between the two sides, and which images are not in both. sides: what was compared.
    """

    differences: pd.DataFrame
    images: pd.DataFrame
    notes: list[str]
    sides: tuple[Side, Side]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The configurations compared."""
        return list(dict.fromkeys(zip(self.differences["a"], self.differences["b"], strict=True)))


def compare(runs: Sequence[Path], methods: Sequence[str] = (), metrics: Sequence[str] = ()) -> Comparison:
    """Compare the first run with the second, or methods of one run, metric by metric, paired over images.

    methods: the first is taken from the first run and the others, left out all, from the last; needed for a single run. metrics: left
    out, the measures of ``tables.SUMMARY`` that both sides have. Of the settings (data set, model, method, hyper-parameters, seed, engine),
    those that the two sides share are held fixed; where they have none in common, each of the one side meets each of the other.

    The family of Holm's correction is a metric's pairs. Raises ValueError for a run, method or metric that is not there, and where no
    image is in both.
    """
    if len(runs) > 2:
        raise ValueError(f"{len(runs)} runs: compare takes one or two")
    sides = _sides([Path(run) for run in runs], methods)
    pairs = _pairs(*(side.rows for side in sides))
    dropped, both = _same_content(*sides)
    if not set(both.loc[both["side"] == 0, "image"]) & set(both.loc[both["side"] == 1, "image"]):
        raise ValueError(f"{sides[0].folder} and {sides[1].folder} have no images in common")
    chosen = _metrics(both, pairs, metrics)
    differences = pd.concat([_with_means(tables.paired(both, metric, "configuration", pairs[metric]), both) for metric in chosen])
    differences = differences[differences["n"] > 0].reset_index(drop=True)
    images = pd.concat([_by_image(both, metric, a, b) for metric, a, b in differences[["metric", "a", "b"]].itertuples(index=False)])
    return Comparison(differences, images.reset_index(drop=True), [*_limits(differences), *_notes(*sides, dropped)], sides)


def write(comparison: Comparison, out: Path) -> list[Path]:
    """Write the differences as CSV and Markdown and the images as CSV to a folder, and return the files."""
    out.mkdir(parents=True, exist_ok=True)
    paths = [out / name for name in ("differences.csv", "differences.md", "images.csv")]
    comparison.differences.to_csv(paths[0], index=False)
    paths[1].write_text(markdown(comparison), encoding="utf-8")
    comparison.images.to_csv(paths[2], index=False)
    return paths


def markdown(comparison: Comparison, most: int = 5, *, escape: bool = True) -> str:
    """The differences and the images that differ most by the first metric, as Markdown; without escapes for a terminal."""
    texts = [CAPTION, to_markdown(as_text(comparison.differences), escape=escape).rstrip()]
    metric = comparison.differences["metric"].iloc[0]
    of = comparison.images[comparison.images["metric"] == metric].groupby(["a", "b"], sort=False).head(most)
    if len(of := of[of["difference"] != 0]):
        shown = of[["a", "b", "image", "value_a", "value_b", "difference"]].round(4)
        texts += [
            f"Where {metric} differs most:",
            to_markdown(shown.set_axis(["A", "B", "image", "of A", "of B", "A - B"], axis=1), escape=escape).rstrip(),
        ]
    return "\n\n".join([*texts, *(f"Note: {note}." for note in comparison.notes)]) + "\n"


def as_text(differences: pd.DataFrame) -> pd.DataFrame:
    """``Comparison.differences`` for readers."""
    shown = comparisons(differences)
    means = {f"mean {side.upper()}": differences[f"mean_{side}"].map(number) for side in ("a", "b")}
    shown = shown.assign(metric=differences["metric"], better=differences["metric"].map(tables.better), **means)
    return shown[["metric", "A", "B", *means, "A - B", "p (Holm)", "effect", "images", "better", "verdict"]]


def default_folder(runs: Sequence[Path], methods: Sequence[str]) -> Path:
    """Where a comparison is written: ``RUN/compare/NAME``, named by the other run and the methods."""
    parts = [*(Path(run).resolve().name for run in runs[1:]), *methods]
    return Path(runs[0]) / "compare" / "-".join(part.replace("/", "_") for part in parts)


def _sides(runs: Sequence[Path], methods: Sequence[str]) -> tuple[Side, Side]:
    of_runs = [tables.records(run) for run in runs]
    varying = tables.varying_parameters([record for jobs in of_runs for record in jobs])
    loaded = [tables.load(run, varying) for run in runs]
    for run, rows in zip(runs, loaded, strict=True):
        if rows.empty:
            raise tables.nothing(run)
    there = [list(dict.fromkeys(rows["method"])) for rows in loaded]
    if len(runs) == 1 and not methods:
        raise ValueError(f"{runs[0]}: say which of its methods to compare, --methods A,B; it has {', '.join(there[0])}")
    for i, names in ((0, methods[:1]), (-1, methods[1:])):
        if unknown := [name for name in names if name not in there[i]]:
            raise ValueError(f"{runs[i]} has no method {', '.join(unknown)}: choose {', '.join(there[i])}")
    if len(runs) == 1:
        others = methods[1:] or [name for name in there[0] if name != methods[0]]
        if not others or methods[0] in others:
            raise ValueError(f"{runs[0]}: --methods needs two different methods; it has {', '.join(there[0])}")
        chosen = [methods[:1], others]
    else:
        chosen = [methods[:1] or there[0], methods[1:] or there[1]]
    frames = [rows[rows["method"].isin(names)] for rows, names in zip((loaded[0], loaded[-1]), chosen, strict=True)]
    shown = [name for name in tables.groups(frames[0]) if name != "method" and len(_distinct(pd.concat(frames), name)) > 1]
    shown += [name for name in ("seed", "engine") if any(len(_distinct(frame, name)) > 1 for frame in frames)]  # else a note says it
    prefixes = ["", ""] if len(runs) == 1 else _names(runs)
    sides = []
    for folder, jobs, frame, prefix in zip((runs[0], runs[-1]), (of_runs[0], of_runs[-1]), frames, prefixes, strict=True):
        mine = [record for record in jobs if record["method"] in set(frame["method"])]
        sides.append(Side(folder, mine, frame.assign(configuration=prefix + tables.configurations(frame, shown))))
    return sides[0], sides[1]


def _names(runs: Sequence[Path]) -> list[str]:
    names = [run.resolve().name for run in runs]
    return [f"{name}: " for name in (names if len(set(names)) == len(names) else map(str, runs))]


def _distinct(rows: pd.DataFrame, name: str) -> set[str]:
    return set(rows[name].map(tables.word))


def _pairs(a: pd.DataFrame, b: pd.DataFrame) -> dict[str, list[tuple[str, str]]]:
    """The configurations to compare by metric: equal in every setting in which the two sides have a value in common."""
    settings = tables.settings(a)
    shared = [name for name in settings if _distinct(a, name) & _distinct(b, name)]
    left, right = (
        rows.drop_duplicates(["configuration", "metric"])[["configuration", "metric", *shared]].assign(
            **{name: rows[name].map(tables.word) for name in shared}
        )
        for rows in (a, b)
    )
    found = left.merge(right, on=["metric", *shared], suffixes=("_a", "_b"))
    return {
        str(metric): list(zip(group["configuration_a"], group["configuration_b"], strict=True)) for metric, group in found.groupby("metric")
    }


def _same_content(a: Side, b: Side) -> tuple[int, pd.DataFrame]:
    """The rows of both sides, without the images that bear one name and have different contents; and how many those are."""
    contents = [
        {(record["dataset"], image): content for record in side.records for image, content, _ in record["images"]} for side in (a, b)
    ]
    different = {image for key, content in contents[0].items() if contents[1].get(key, content) != content for image in key[1:]}
    rows = pd.concat([a.rows.assign(side=0), b.rows.assign(side=1)], ignore_index=True)
    return len(different), rows[~rows["image"].isin(different)]


def _metrics(rows: pd.DataFrame, pairs: Mapping[str, Sequence[tuple[str, str]]], wanted: Sequence[str]) -> list[str]:
    single = set(rows.loc[rows["x"].isna() & rows["value"].notna(), "metric"]) & pairs.keys()
    if unknown := [metric for metric in wanted if metric not in single]:
        raise ValueError(f"--metrics {','.join(unknown)}: not measured on both sides; choose {', '.join(sorted(single))}")
    chosen = list(wanted) or [metric for metric in MEASURES if metric in single]
    if not chosen:
        raise ValueError(f"no measure is on both sides; name what to compare by --metrics: {', '.join(sorted(single)) or 'nothing is'}")
    return chosen


def _with_means(compared: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    means: dict[str, list[float]] = {"a": [], "b": []}
    for line in compared.to_dict("records"):
        common = _by_image(rows, line["metric"], line["a"], line["b"])
        for side, values in means.items():
            values.append(common[f"value_{side}"].mean())
    front = ["metric", "a", "b", "mean_a", "mean_b"]
    compared = compared.assign(mean_a=means["a"], mean_b=means["b"])
    return compared[[*front, *(name for name in compared.columns if name not in front)]]


def _by_image(rows: pd.DataFrame, metric: str, a: str, b: str) -> pd.DataFrame:
    of = rows[(rows["metric"] == metric) & rows["value"].notna()]
    left, right = (of[of["configuration"] == name].set_index("image")["value"] for name in (a, b))
    both = pd.DataFrame({"value_a": left, "value_b": right}).dropna().rename_axis("image").reset_index()
    both = both.assign(metric=metric, a=a, b=b, difference=both["value_a"] - both["value_b"])
    both = both.sort_values("difference", key=lambda values: -values.abs(), kind="stable")
    return both[["metric", "a", "b", "image", "value_a", "value_b", "difference"]]


def _limits(differences: pd.DataFrame) -> Iterator[str]:
    """What no test can show: n images have p >= 2 / 2^n before Holm's correction over a metric's pairs, and a batch's mean is no sample."""
    pairs = differences.groupby("metric")["n"].transform("size")
    for n, several in sorted(set(zip(differences["n"], pairs, strict=True))):
        if (least := min(1.0, several * 2 / 2**n)) > 0.05:
            family = f" after Holm's correction over {several} pairs" if several > 1 else ""
            yield f"with {n} images p cannot be below {least:.2g}{family}, however large the difference"
    for metric in sorted(set(tables.BATCHED) & set(differences["metric"])):
        yield f"{metric} is a batch's mean at each of its images: its interval and its p say nothing"


def _notes(a: Side, b: Side, dropped: int) -> list[str]:
    """What a reader must know before believing a difference."""
    notes = []
    names = [set(zip(side.rows["dataset"], side.rows["image"], strict=True)) for side in (a, b)]
    for only, which in ((names[0] - names[1], "A"), (names[1] - names[0], "B")):
        if only:
            notes.append(f"{len(only)} images are only in {which} and not compared")
    if dropped:
        notes.append(f"{dropped} images bear the same name and have different contents: left out")
    failed = []
    for side in (a, b):
        errors = side.rows[side.rows["status"].str.startswith(FAILED)]
        failed.append(len(errors.drop_duplicates(["configuration", "image"])))
    if any(failed):
        notes.append(f"computations that failed and are not compared: {failed[0]} in A, {failed[1]} in B")
    for name in ("engine", "seed"):
        found = [sorted({str(record[name]) for record in side.records}) for side in (a, b)]
        if found[0] != found[1]:
            notes.append(f"{name} differs: A {', '.join(found[0])}; B {', '.join(found[1])}")
    weights = [{record["model"]: record.get("weights_sha256") for record in side.records} for side in (a, b)]
    notes += [f"the weights of {model} differ" for model in weights[0].keys() & weights[1].keys() if weights[0][model] != weights[1][model]]
    return notes + [f"benchmark.{name} has other settings in B: its numbers measure other things" for name in _other_measures(a, b)]


def _other_measures(a: Side, b: Side) -> list[str]:
    found: list[dict[str, set[str]]] = [{}, {}]
    for side, settings in zip((a, b), found, strict=True):
        for record in side.records:
            for name, benchmark in record["config"]["benchmark"].items():
                settings.setdefault(name, set()).add(json.dumps(benchmark, sort_keys=True))
    return sorted(name for name in found[0].keys() & found[1].keys() if found[0][name] != found[1][name])
