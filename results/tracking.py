"""Weights & Biases: a mirror of the stored rows, never a source."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from results import tables

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
    for record in [*records, None]:
        try:
            name = f"{record['method']} {record['model']} {record['dataset']}" if record else group
            config = record["config"] if record else {}
            run = wandb.init(project=project, group=group, name=name, config=config, mode=mode, dir=str(folder), reinit="finish_previous")
        except Exception as error:
            LOG.warning("W&B is left out: %s", error)
            return
        try:
            _log(run, wandb, _of_job(rows, record) if record else rows, () if record else artefacts, detailed=record is not None)
        except Exception as error:
            LOG.warning("W&B stopped: %s", error)
        finally:
            _finish(run)


def _finish(run: Any) -> None:
    try:
        run.finish()
    except Exception as error:
        LOG.warning("W&B did not finish: %s", error)


def _of_job(rows: pd.DataFrame, record: Mapping[str, Any]) -> pd.DataFrame:
    same = [rows[name] == record[name] for name in ("dataset", "model", "method", "engine", "seed")]
    return rows[pd.concat([*same, rows["hyperparameters"] == tables.hyperparameters(record["parameters"])], axis=1).all(axis=1)]


def _log(run: Any, wandb: Any, rows: pd.DataFrame, artefacts: Sequence[Path], *, detailed: bool) -> None:
    summary = tables.summarise(rows)
    for line in summary.to_dict("records"):
        run.summary.update({f"{line['method']}/{key}": value for key, value in line.items() if isinstance(value, int | float)})
    logged: dict[str, Any] = {"summary": wandb.Table(dataframe=summary.astype(object))}
    if detailed:
        logged["rows"] = wandb.Table(dataframe=rows.drop(columns=["provenance", "hyperparameters"]).astype(object))
    for path in artefacts:
        if path.suffix == ".png":
            logged[f"figures/{path.name}"] = wandb.Image(str(path))
        elif path.suffix == ".csv":
            logged[f"tables/{path.stem}"] = wandb.Table(dataframe=pd.read_csv(path).astype(object))
    run.log(logged)
