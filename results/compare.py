"""Runs, two by two, or the methods of one, compared on the images that both have."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd

from results import comparability, metrics, tables
from results.comparability import Side
from results.export import comparisons, number, to_csv, to_markdown
from results.naming import varying
from results.records import ID_COLUMNS, no_run_error, records, settings

CAPTION = (
    "A - B over the images that both have: mean and 95 % bootstrap interval; paired Wilcoxon tests, corrected by Holm. Effect: the "
    "rank-biserial correlation, from -1 (A smaller on every image) to 1 (A larger on every image)."
)


@dataclass(frozen=True)
class Comparison:
    """What was found.

    differences: one line per metric and pair of configurations, ``metric, a, b, mean_a, mean_b`` and the columns of ``tables.paired``.
    images: one line per metric, pair and image, ``metric, a, b, image, value_a, value_b, difference``, the largest differences first.
    notes: what else differs between the sides, and which images are not in both. sides: what was compared, two by two.
    """

    differences: pd.DataFrame
    images: pd.DataFrame
    notes: list[str]
    sides: tuple[Side, ...]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The configurations compared."""
        return list(dict.fromkeys(zip(self.differences["a"], self.differences["b"], strict=True)))


def compare(runs: Sequence[Path], methods: Sequence[str] = (), metrics: Sequence[str] = ()) -> Comparison:
    """Compare runs two by two, or methods of one run, metric by metric, paired over images.

    methods: of one run or two, the first is taken from the first run and the others, left out all, from the last; needed for a single run;
    of more runs, those that each is compared with. metrics: left out, the measures (see ``metrics``) that two sides have. Of the settings
    (data set, model, method, hyper-parameters, engine), those that two sides share are held fixed; where they have none in common, each of
    the one side meets each of the other. Images are paired by their content, whatever they are called, and count once, with their mean over
    the seeds.

    The family of Holm's correction is a metric's pairs. Raises ValueError for a run, method or metric that is not there, and where no
    image is in two of the sides.
    """
    if len({Path(run).resolve() for run in runs}) < len(runs):
        raise ValueError(f"{', '.join(map(str, runs))}: a run is compared with others; --methods A,B compares methods of one")
    sides = _sides([Path(run) for run in runs], methods)
    couples = list(combinations(range(len(sides)), 2))
    of_couples = {(i, j): _pairs(sides[i], sides[j]) for i, j in couples}
    pairs: dict[str, list[tuple[str, str]]] = {}
    for found in of_couples.values():
        for metric, several in found.items():
            pairs.setdefault(metric, []).extend(several)
    both = pd.concat([side.rows.assign(side=i) for i, side in enumerate(sides)], ignore_index=True)
    both = tables.over_seeds(both.assign(pair=tables.pairing(both)))
    images = [set(both.loc[both["side"] == i, "pair"]) for i in range(len(sides))]
    if not any(images[i] & images[j] for i, j in couples):
        raise ValueError(
            f"{' and '.join(str(side.folder) for side in sides)} have no images in common: none of the one has the content of one of the "
            "other"
        )
    chosen = _metrics(both, pairs, metrics)
    differences = pd.concat([_with_means(tables.paired(both, metric, "configuration", pairs[metric]), both) for metric in chosen])
    differences = differences[differences["n"] > 0].reset_index(drop=True)
    by_image = pd.concat([_by_image(both, metric, a, b) for metric, a, b in differences[["metric", "a", "b"]].itertuples(index=False)])
    notes = [*_limits(differences), *_unpaired(sides, pairs)]
    for i, j in couples:
        between = f"of {sides[i].folder} (A) and {sides[j].folder} (B): " if len(couples) > 1 else ""
        notes += [f"{between}{said}" for said in comparability.comparison_warnings(sides[i], sides[j])]
    return Comparison(differences, by_image.reset_index(drop=True), notes, sides)


def write(comparison: Comparison, out: Path) -> list[Path]:
    """Write the differences as CSV and Markdown and the images as CSV to a folder, and return the files."""
    out.mkdir(parents=True, exist_ok=True)
    paths = [out / name for name in ("differences.csv", "differences.md", "images.csv")]
    to_csv(comparison.differences, paths[0])
    paths[1].write_text(markdown(comparison), encoding="utf-8")
    to_csv(comparison.images, paths[2])
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
    shown = shown.assign(
        metric=differences["metric"], better=differences["metric"].map(lambda name: metrics.metric_named(name).better), **means
    )
    return shown[["metric", "A", "B", *means, "A - B", "p (Holm)", "effect", "images", "better", "verdict"]]


def default_folder(runs: Sequence[Path], methods: Sequence[str]) -> Path:
    """Where a comparison is written: ``RUN/compare/NAME``, named by the other run and the methods."""
    parts = [*(Path(run).resolve().name for run in runs[1:]), *methods]
    return Path(runs[0]) / "compare" / "-".join(part.replace("/", "_") for part in parts)


def _sides(runs: Sequence[Path], methods: Sequence[str]) -> tuple[Side, ...]:
    of_runs = [[record | {"job": f"{i} {record['job']}"} for record in records(run)] for i, run in enumerate(runs)]
    there = [list(dict.fromkeys(str(record["method"]) for record in jobs)) for jobs in of_runs]
    if len(runs) == 1 and not methods:
        raise ValueError(f"{runs[0]}: say which of its methods to compare, --methods A,B; it has {', '.join(there[0])}")
    wanted = [list(methods)] * len(runs) if len(runs) > 2 else [list(methods[:1]), list(methods[1:])]
    for run, has, names in zip((runs[0], runs[-1]) if len(runs) < 3 else runs, there if len(runs) > 1 else there * 2, wanted, strict=True):
        if unknown := [name for name in names if name not in has]:
            raise ValueError(f"{run} has no method {', '.join(unknown)}: choose {', '.join(has)}")
    if len(runs) == 1:
        others = methods[1:] or [name for name in there[0] if name != methods[0]]
        if not others or methods[0] in others:
            raise ValueError(f"{runs[0]}: --methods needs two different methods; it has {', '.join(there[0])}")
        runs, of_runs, chosen = [*runs, *runs], of_runs * 2, [list(methods[:1]), list(others)]
        prefixes = ["", ""]
    else:
        chosen = [names or has for names, has in zip(wanted, there, strict=True)]
        prefixes = _names(runs)
    jobs = [[record for record in of if record["method"] in names] for of, names in zip(of_runs, chosen, strict=True)]
    sides = []
    for i, (folder, prefix) in enumerate(zip(runs, prefixes, strict=True)):
        rows = tables.load(folder, jobs[i], among=[record for j, others in enumerate(jobs) if j != i for record in others])
        if rows.empty:
            raise no_run_error(folder)
        sides.append(Side(folder, jobs[i], rows.assign(configuration=prefix + rows["configuration"])))
    return tuple(sides)


def _names(runs: Sequence[Path]) -> list[str]:
    names = [run.resolve().name for run in runs]
    return [f"{name}: " for name in (names if len(set(names)) == len(names) else map(str, runs))]


def _pairs(a: Side, b: Side) -> dict[str, list[tuple[str, str]]]:
    """The configurations to compare by metric: equal in every setting in which the two sides have a value in common.

    A setting that one of two methods does not have is not compared; of one method, not to have it is a value like any other.
    """
    names = varying([*a.records, *b.records])
    left, right = (_configurations(side, names) for side in (a, b))
    methods = {of["method"] for of in left.values()} & {of["method"] for of in right.values()}
    found: dict[str, list[tuple[str, str]]] = {}
    measured = [side.rows[side.rows["value"].notna()].groupby("configuration")["metric"].unique() for side in (a, b)]
    for one, of_one in left.items():
        for other, of_other in right.items():
            if methods and of_one["method"] != of_other["method"]:
                continue
            if all(_agree(name, of_one, of_other, left, right) for name in (*ID_COLUMNS, *names) if name != "method"):
                there = [set(of.get(name, ())) for of, name in zip(measured, (one, other), strict=True)]
                for metric in sorted(there[0] & there[1]):
                    found.setdefault(metric, []).append((one, other))
    return found


def _configurations(side: Side, names: Sequence[str]) -> dict[str, dict[str, str]]:
    """The settings of a side's configurations as JSON."""
    of_job = {record["job"]: settings(record) for record in side.records}
    jobs = side.rows.drop_duplicates("configuration")[["configuration", "job"]].itertuples(index=False)
    return {name: {key: json.dumps(of_job[job][key]) for key in (*ID_COLUMNS, *names) if key in of_job[job]} for name, job in jobs}


def _agree(name: str, a: Mapping[str, str], b: Mapping[str, str], left: Mapping[str, Any], right: Mapping[str, Any]) -> bool:
    """Whether a setting lets two configurations meet: it is the same, or the two sides have no value of it in common."""
    same_method = a["method"] == b["method"]
    if a.get(name) == b.get(name) or not (same_method or (name in a and name in b)):
        return True
    sides = ([of for of in side.values() if not same_method or of["method"] == a["method"]] for side in (left, right))
    values = [{of.get(name) for of in side} - (set() if same_method else {None}) for side in sides]
    return not values[0] & values[1]


def _unpaired(sides: Sequence[Side], pairs: Mapping[str, Sequence[tuple[str, str]]]) -> Iterator[str]:
    """Which configurations are in no pair."""
    met = {name for several in pairs.values() for pair in several for name in pair}
    for i, side in enumerate(sides):
        alone = [name for name in dict.fromkeys(side.rows["configuration"]) if name not in met]
        if alone:
            where = "AB"[i] if len(sides) == 2 else str(side.folder)
            yield f"not compared, since the other side has nothing of the same settings: {', '.join(alone)} of {where}"


def _metrics(rows: pd.DataFrame, pairs: Mapping[str, Sequence[tuple[str, str]]], wanted: Sequence[str]) -> list[str]:
    single = set(rows.loc[rows["x"].isna() & rows["value"].notna(), "metric"]) & pairs.keys()
    if unknown := [metric for metric in wanted if metric not in single]:
        raise ValueError(f"--metrics {','.join(unknown)}: not measured on both sides; choose {', '.join(sorted(single))}")
    chosen = list(wanted) or [name for name in metrics.single_numbers(rows) if name in single and not metrics.metric_named(name).by_request]
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
    left, right = (of[of["configuration"] == name].set_index("pair") for name in (a, b))
    both = pd.DataFrame({"image": left["image"], "value_a": left["value"], "value_b": right["value"]}).dropna().reset_index(drop=True)
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
    for metric in sorted(name for name in set(differences["metric"]) if metrics.metric_named(name).batched):
        yield f"{metric} is a batch's mean at each of its images: it has no interval and no test"
