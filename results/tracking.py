"""Weights & Biases: a mirror of the stored rows, never a source."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pandas as pd

LOG = logging.getLogger(__name__)


def mirror(
    rows: pd.DataFrame,
    summary: pd.DataFrame,
    figures: Mapping[str, Path],
    *,
    config: Mapping[str, Any],
    folder: Path,
    project: str,
    mode: Literal["online", "offline"],
    group: str,
) -> None:
    """Log one configuration's summary, rows and pictures as one W&B run. A W&B that is missing or fails only warns."""
    try:
        import wandb

        run = wandb.init(
            project=project, group=group, name=group, config=dict(config), mode=mode, dir=str(folder), reinit="finish_previous"
        )
    except Exception as error:
        LOG.warning("W&B is left out: %s", error)
        return
    try:
        for line in summary.to_dict("records"):
            name = line["method"]
            run.summary.update({f"{name}/{key}": value for key, value in line.items() if isinstance(value, int | float)})
        run.log({"summary": wandb.Table(dataframe=summary.astype(object))})
        run.log({"rows": wandb.Table(dataframe=rows.drop(columns=["provenance", "hyperparameters"]).astype(object))})
        run.log({f"figures/{name}": wandb.Image(str(path)) for name, path in figures.items() if path.suffix == ".png"})
    except Exception as error:
        LOG.warning("W&B stopped: %s", error)
    finally:
        run.finish(quiet=True)
