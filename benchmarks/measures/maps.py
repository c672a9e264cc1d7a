"""What the measures of maps have in common: signs and scales, the class that is asked about, and rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from da.types import Images, Saliency, ScoreModel, Targets

CHUNK = 64  # images shown at a time, about
SIGNS = ("positive", "absolute", "signed")
UNSIGNED = SIGNS[:2]  # of measures that ask for shares of a total


def chosen(where: str, value: str, choices: Sequence[str]) -> str:
    """A choice, as it was given. Raises ValueError for one that is not there; where: its name in the configuration."""
    if value not in choices:
        raise ValueError(f"{where}={value!r}: choose {', '.join(choices)}")
    return value


def signed(saliency: Saliency, sign: str, where: str, choices: Sequence[str] = SIGNS) -> Float[Tensor, "n h w"]:
    """Maps in double precision with their ``positive`` values alone, all as ``absolute`` values, or ``signed`` as they are."""
    chosen(where, sign, choices)
    values = saliency.double()
    return values.clamp_min(0) if sign == "positive" else values.abs() if sign == "absolute" else values


def explained_class(targets: Targets, labels: Sequence[int | None], target: str, where: str) -> Targets:
    """The class whose score a measure asks for: the ``predicted`` one, or the ``label``. Raises ValueError for an image without a label."""
    if chosen(f"{where}.target", target, ("predicted", "label")) == "predicted":
        return targets
    known = [label for label in labels if label is not None]
    if len(known) < len(labels):
        raise ValueError(f"{where}.target=label: an image has no label")
    return torch.tensor(known).to(targets)


def class_scores(model: ScoreModel, classes: Targets, versions: Iterator[Images]) -> Float[Tensor, "n s"]:
    """The probability of each image's class in each of its versions. versions: ``[n, 3, h, w]`` each, shown in whole rounds."""
    found, waiting = list[Tensor](), list[Tensor]()

    def ask() -> None:
        scores = model(torch.cat(waiting)).gather(1, classes.repeat(len(waiting))[:, None])
        found.append(scores.view(len(waiting), -1).double())
        waiting.clear()

    for images in versions:
        waiting.append(images)
        if len(waiting) * len(images) >= CHUNK:
            ask()
    if waiting:
        ask()
    return torch.cat(found).T


def area_under(curve: Float[Tensor, "n s"], x: Sequence[float]) -> Float[Tensor, " n"]:
    """The area under each curve by the trapezium rule, over the range of x."""
    return torch.trapezoid(curve, torch.tensor(x).to(curve), dim=1) / (x[-1] - x[0])


def one_number_each(values: Mapping[str, Float[Tensor, " n"]], saliency: Saliency) -> pd.DataFrame:
    """Rows ``image, metric, x, value`` with one number per image and metric, NaN where the map has values that are not finite."""
    whole = torch.isfinite(saliency).flatten(1).all(1).cpu()
    rows = []
    for metric, of in values.items():
        numbers = of.detach().double().cpu().where(whole & torch.isfinite(of.cpu()), torch.nan).tolist()
        rows += [(i, metric, np.nan, number) for i, number in enumerate(numbers)]
    return pd.DataFrame(rows, columns=["image", "metric", "x", "value"])


def curve_each(metric: str, curve: Float[Tensor, "n s"], x: Sequence[float], saliency: Saliency) -> pd.DataFrame:
    """Rows ``image, metric, x, value`` of a curve per image, NaN where the map has values that are not finite."""
    whole = torch.isfinite(saliency).flatten(1).all(1).tolist()
    rows = [(i, metric, at, v if whole[i] else np.nan) for i, of in enumerate(curve.tolist()) for at, v in zip(x, of, strict=True)]
    return pd.DataFrame(rows, columns=["image", "metric", "x", "value"])
