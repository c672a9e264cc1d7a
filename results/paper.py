"""The numbers that the paper prints, beside ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import pandas as pd

PIXELS = "pixels"  # sp_num where there are no superpixels
SETTINGS: dict[str, Any] = {
    "rule": "positive",
    "alpha_step": 0.2,
    "fc": 0.95,
    "iterations": 500,
    "fill": "black",
}
SAME = {"imagenet": ("imagenet", "imagenet_val", "wnid_folder"), "cifar100": ("cifar100", "cifar100_test", "cifar100_folder")}
WORDS = {"dataset": "data set"}


def published() -> pd.DataFrame:
    """A row a number: ``source, metric, model, dataset, method, k, sp_num, value, unit, n``.

    source, with the model or with ``k`` and ``sp_num``, names the cell. Shares are fractions, times are seconds, ``sp_num`` is
    ``pixels`` where there are no superpixels. n: images; for Table 2 it is that of the ablation study it belongs to, since the paper
    does not say it again.
    """
    with files("results").joinpath("paper.csv").open(encoding="utf-8") as file:
        return pd.read_csv(file, dtype={"k": "Int64", "sp_num": "string", "method": "string"})


def join_published(ours: pd.DataFrame, source: str, by: Sequence[str]) -> pd.DataFrame:
    """The paper's numbers of one table joined to ours by the columns ``by``, the paper's in its own order, then ours alone.

    ours: columns ``by, metric, value, low, high, model, dataset, n``, one row a ``by`` and metric; its ``sp_num`` may be a number, or
    missing for pixels. Where it has them, ``k``, ``sp_num`` and those of ``SETTINGS`` are compared as well. Returns ``by, metric, paper,
    ours, low, high, setup``; ``setup`` says in words where the model, the images, their number or a setting differ, or that one side has no
    number.

    Raises ValueError for a source that is not in the paper, and where a cell would stand beside more than one number.
    """
    theirs = _of(source).drop(columns="source")
    if "sp_num" in ours:
        ours = ours.assign(sp_num=ours["sp_num"].map(_sp_num).astype("string"))
    keys = [*by, "metric"]
    for name, frame in (("the paper's", theirs), ("our", ours)):
        if frame.duplicated(keys).any():
            raise ValueError(f"{name} numbers of {source} are not told apart by {', '.join(by)}")
    joined = theirs.merge(ours, on=keys, how="left", suffixes=("_paper", ""))
    alone = ours.merge(theirs[keys], on=keys, how="left", indicator=True).query("_merge == 'left_only'")
    joined = pd.concat([frame for frame in (joined, alone.drop(columns="_merge")) if len(frame)], ignore_index=True)
    joined = joined.assign(**{f"{name}_paper": value for name, value in SETTINGS.items() if name in ours})
    compared = [name for name in ("model", "dataset", "k", "sp_num", *SETTINGS, "n") if name in ours and name not in by]
    setups = [_setup(row, compared) for row in joined.to_dict("records")]
    joined = joined.assign(setup=setups).rename(columns={"value_paper": "paper", "value": "ours"})
    return joined[[*keys, "paper", "ours", "low", "high", "setup"]]


def _setup(row: Mapping[Any, Any], names: Sequence[str]) -> str:
    if pd.isna(row["value"]):
        return "not measured here"
    if pd.isna(row["value_paper"]):
        return "not in the paper"
    different = [name for name in names if pd.notna(row[f"{name}_paper"]) and not _same(name, row[name], row[f"{name}_paper"])]
    return "; ".join(f"{name}: paper {_plain(row[f'{name}_paper'])}, ours {_plain(row[name])}" for name in different)


def paper_value(record: Mapping[str, Any], source: str = "Table 1", metric: str = "mar") -> tuple[float | None, str]:
    """The number that the paper prints for a job's method (and model, or k and sp_num, whichever tells the numbers of ``source`` apart).

    record: the job's. Returns the number, and in words what else differs: ``data set demo, paper imagenet; n 7, paper 500``, empty where
    the model, the data set, the number of images and every hyper-parameter are the paper's. There is no number, and the words say so, for
    what is not in that table. Raises ValueError for a source that is not in the paper.
    """
    ours = _setup_of(record)
    cells = [cell for cell in _of(source).to_dict("records") if cell["metric"] == metric]
    named = {name: {cell[name] for cell in cells if pd.notna(cell[name])} for name in ("model", "dataset", "method", "k", "sp_num")}
    told = [name for name, values in named.items() if len(values) > (name != "method")]  # a method is never another's
    cells = [cell for cell in cells if all(_same(name, ours.get(name), cell[name]) for name in told)]
    if len(cells) != 1:
        return None, "not in the paper"
    (cell,) = cells
    paper = {name: cell[name] for name in ("model", "dataset", "k", "sp_num") if pd.notna(cell[name])}
    paper |= (SETTINGS if "k" in paper else {}) | {"weights": "trained", "n": cell["n"]}
    different = [name for name, value in paper.items() if name in ours and not _same(name, ours[name], value)]
    return cell["value"], "; ".join(f"{WORDS.get(name, name)} {_plain(ours[name])}, paper {_plain(paper[name])}" for name in different)


def is_algorithm_1(record: Mapping[str, Any]) -> bool:
    """Whether a job's method is the one whose MAR the paper prints: Algorithm 1 with Pos-R."""
    return bool(_setup_of(record)["method"] == "da_pos")


def _setup_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """What of a job can be the paper's or not. Methods and data sets by what they do where the record says it, names can be chosen."""
    parts = {name: (record.get("config") or {}).get(name) or {} for name in ("method", "dataset", "model")}
    parameters, target = record.get("parameters") or {}, str(parts["method"].get("_target_") or "")
    found: dict[str, Any] = {name: record[name] for name in ("model", "dataset", "method")}
    if target.startswith("da.") and target.endswith(".dynamic_ablation"):
        found["method"] = "da_pos"
        found |= SETTINGS | {name: parameters[name] for name in SETTINGS if name in parameters}  # left out, it has the paper's
        found |= {"k": parameters.get("k", 4), "sp_num": _sp_num(parameters.get("sp_num", 500))}
        if found["rule"] != SETTINGS["rule"]:
            found["method"] = "da_neg"
    elif target and not target.startswith("baselines."):
        found["method"] = target  # somebody's own under a name of the paper's
    elif found["method"] in ("da_pos", "da_neg"):  # a record without its configuration
        found |= {name: parameters[name] for name in ("k", *SETTINGS) if name in parameters}
        found |= {"sp_num": _sp_num(parameters["sp_num"])} if "sp_num" in parameters else {}
    if str(parts["dataset"].get("_target_")).endswith(".wnid_folder"):
        found["dataset"] = "wnid_folder"
    weights, layers = parts["model"].get("weights"), parts["model"].get("randomise")
    found |= {"weights": "random" if weights == "random" or layers else "trained"}
    return found | ({"n": len(record["images"])} if isinstance(record.get("images"), list) else {})


def _of(source: str) -> pd.DataFrame:
    theirs = published()
    if source not in set(theirs["source"]):
        raise ValueError(f"source={source!r}: choose {', '.join(dict.fromkeys(theirs['source']))}")
    return theirs[theirs["source"] == source]


def _same(name: str, ours: Any, paper: Any) -> bool:
    """Whether a setting is the paper's: the same value, or a data set that is another name of its images."""
    if pd.isna(paper) or not pd.api.types.is_scalar(ours) or pd.isna(ours):
        return False
    return ours in SAME.get(paper, ()) if name == "dataset" else bool(_plain(ours) == _plain(paper))


def _sp_num(value: Any) -> str:
    return PIXELS if pd.isna(value) else _plain(value)


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
