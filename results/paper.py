"""The numbers that the paper prints, beside ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import pandas as pd

PIXELS = "pixels"  # sp_num where there are no superpixels


def published() -> pd.DataFrame:
    """A row a number: ``source, metric, model, dataset, method, k, sp_num, value, unit, n``.

    source, with the model or with ``k`` and ``sp_num``, names the cell. Shares are fractions, times are seconds, ``sp_num`` is
    ``pixels`` where there are no superpixels. n: images; for Table 2 it is that of the ablation study it belongs to, since the paper
    does not say it again.
    """
    with files("results").joinpath("paper.csv").open(encoding="utf-8") as file:
        return pd.read_csv(file, dtype={"k": "Int64", "sp_num": "string", "method": "string"})


def beside(ours: pd.DataFrame, source: str, by: Sequence[str]) -> pd.DataFrame:
    """The paper's numbers of one table joined to ours by the columns ``by``, the paper's in its own order, then ours alone.

    ours: columns ``by, metric, value, low, high, model, dataset, n``, one row a ``by`` and metric; its ``sp_num`` may be a number, or
    missing for pixels. Returns ``by, metric, paper, ours, low, high, setup``; ``setup`` says in words where the model, the images or their
    number differ, or that one side has no number.

    Raises ValueError for a source that is not in the paper, and where a cell would stand beside more than one number.
    """
    theirs = published()
    if source not in set(theirs["source"]):
        raise ValueError(f"source={source!r}: choose {', '.join(dict.fromkeys(theirs['source']))}")
    theirs = theirs[theirs["source"] == source].drop(columns="source")
    if "sp_num" in by:
        ours = ours.assign(sp_num=ours["sp_num"].map(_sp_num).astype("string"))
    keys = [*by, "metric"]
    for name, frame in (("the paper's", theirs), ("our", ours)):
        if frame.duplicated(keys).any():
            raise ValueError(f"{name} numbers of {source} are not told apart by {', '.join(by)}")
    joined = theirs.merge(ours, on=keys, how="left", suffixes=("_paper", ""))
    alone = ours.merge(theirs[keys], on=keys, how="left", indicator=True).query("_merge == 'left_only'")
    joined = pd.concat([frame for frame in (joined, alone.drop(columns="_merge")) if len(frame)], ignore_index=True)
    setups = [_setup(row, [name for name in ("model", "dataset", "n") if name not in by]) for row in joined.to_dict("records")]
    joined = joined.assign(setup=setups).rename(columns={"value_paper": "paper", "value": "ours"})
    return joined[[*keys, "paper", "ours", "low", "high", "setup"]]


def _setup(row: Mapping[Any, Any], names: Sequence[str]) -> str:
    if pd.isna(row["value"]):
        return "not measured here"
    if pd.isna(row["value_paper"]):
        return "not in the paper"
    different = [name for name in names if row[f"{name}_paper"] != row[name]]
    return "; ".join(f"{name}: paper {_plain(row[f'{name}_paper'])}, ours {_plain(row[name])}" for name in different)


def _sp_num(value: Any) -> str:
    return PIXELS if pd.isna(value) else _plain(value)


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def paper_value(record: Mapping[str, Any], source: str = "Table 1", metric: str = "mar") -> tuple[float | None, str]:
    """The paper's number."""
    theirs = published().query("source == @source and metric == @metric").set_index(["model", "method"])["value"]
    found = theirs.get((record["model"], record["method"]))
    return (None if found is None else float(found)), ""
