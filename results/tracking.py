"""Weights & Biases: a mirror of the stored rows, never a source."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from results import tables
from results.naming import configuration, naming_columns

LOG = logging.getLogger(__name__)


def mirror(
    rows: pd.DataFrame,
    records: Sequence[Mapping[str, Any]],
    artefacts: Sequence[Path],
    *,
    folder: Path,
    project: str,
    mode: Literal["online", "offline"],
    group: str,
) -> None:
    """One W&B run a job with its configuration, summary and rows, and one named ``group`` with the sweep's tables and pictures.

    A W&B that is missing or fails only warns.
    """
    try:
        import wandb
    except ImportError as error:
        LOG.warning("W&B is left out: %s", error)
        return
    names = naming_columns(records, seeds=True)
    for record in [*records, None]:
        try:
            name = f"{configuration(record, names)} {record['model']} {record['dataset']}" if record else group
            config = record["config"] if record else {}
            run = wandb.init(project=project, group=group, name=name, config=config, mode=mode, dir=str(folder), reinit="finish_previous")
        except Exception as error:
            LOG.warning("W&B is left out: %s", error)
            return
        try:
            _log(
                run, wandb, rows[rows["job"] == record["job"]] if record else rows, () if record else artefacts, detailed=record is not None
            )
        except Exception as error:
            LOG.warning("W&B stopped: %s", error)
        finally:
            _finish(run)


def _finish(run: Any) -> None:
    try:
        run.finish()
    except Exception as error:
        LOG.warning("W&B did not finish: %s", error)


def _log(run: Any, wandb: Any, rows: pd.DataFrame, artefacts: Sequence[Path], *, detailed: bool) -> None:
    summary = tables.summarise(rows)
    names = rows.drop_duplicates(tables.configuration_columns(rows))["configuration"]
    for name, line in zip(names, summary.to_dict("records"), strict=True):
        measured = {key: value for key, value in line.items() if isinstance(value, int | float) and not pd.isna(value)}
        run.summary.update({f"{name}/{key}": value for key, value in measured.items() if value or not str(key).endswith("_n")})
    logged: dict[str, Any] = {"summary": wandb.Table(dataframe=_cells(summary))}
    if detailed:
        logged["rows"] = wandb.Table(dataframe=_cells(rows.drop(columns=["provenance", "hyperparameters"])))
    for path in artefacts:
        if path.suffix == ".png":
            logged[f"figures/{path.name}"] = wandb.Image(str(path))
        elif path.suffix == ".csv":
            logged[f"tables/{path.stem}"] = wandb.Table(dataframe=_cells(_table(path)))
    run.log(logged)


def _cells(frame: pd.DataFrame) -> pd.DataFrame:
    """A frame whose missing values, such as the labels of unlabelled images, are None: W&B writes its tables as JSON."""
    plain = frame.astype(object)
    return plain.where(plain.notna(), None)


def _table(path: Path) -> pd.DataFrame:
    """A table that a run left, from its Parquet file where there is one: a CSV file's texts can be marked for spreadsheets."""
    beside = path.with_suffix(".parquet")
    return pd.read_parquet(beside) if beside.exists() else pd.read_csv(path)
