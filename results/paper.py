"""The numbers that the paper prints, beside ours."""

from __future__ import annotations

from importlib.resources import files

import pandas as pd


def published() -> pd.DataFrame:
    """A row a number: ``source, metric, model, dataset, method, k, sp_num, value, unit, n``; ``sp_num`` ``pixels``: no superpixels."""
    with files("results").joinpath("paper.csv").open() as file:
        return pd.read_csv(file, dtype={"k": "Int64", "sp_num": "string", "method": "string"})


def beside(ours: pd.DataFrame, source: str, by: list[str]) -> pd.DataFrame:
    """The paper's numbers of one table joined to ours by the columns ``by``.

    ours: columns ``by, metric, value, low, high, model, dataset, n``. Returns ``by, metric, paper, ours, low, high, setup``; ``setup`` says
    in words where the model, the images or their number differ.
    """
    theirs = published()
    theirs = theirs[theirs["source"] == source]
    joined = theirs.merge(ours, on=[*by, "metric"], how="outer", suffixes=("_paper", ""))
    setups = []
    for row in joined.to_dict("records"):
        parts = [
            f"{name}: paper {_plain(row[f'{name}_paper'])}, ours {_plain(row[name])}"
            for name in ("model", "dataset", "n")
            if name not in by and pd.notna(row[name]) and pd.notna(row[f"{name}_paper"]) and row[name] != row[f"{name}_paper"]
        ]
        setups.append("; ".join(parts))
    columns = {"value_paper": "paper", "value": "ours"}
    return joined.assign(setup=setups).rename(columns=columns)[[*by, "metric", "paper", "ours", "low", "high", "setup"]]


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
