"""What a method or a measure returned, made an Attribution or rows, or refused in a line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from da.types import Attribution, Images
from results.metrics import is_shipped

COUNTED = ("queries", "backwards", "seconds", "peak_mb")  # numbers of the harness's own
INSTEAD = "return a tensor [n, h, w] or an Attribution"
ROWS = ("image", "metric", "x", "value")


def checked(result: object, images: Images, name: str, theirs: bool = False) -> Attribution:
    """What a method returned as an Attribution of its own memory, the map in single precision.

    theirs: of somebody else's method, which may not return an extra of a name of the shipped measures. Raises TypeError or ValueError for
    another type, shape or length, and for a map whose values single precision cannot tell apart.
    """
    n, _, h, w = images.shape
    if not isinstance(result, Attribution | Tensor | np.ndarray):
        raise TypeError(f"{name} returned {type(result).__name__}: {INSTEAD}")
    saliency = _tensor(result.saliency if isinstance(result, Attribution) else result, "saliency", name)
    _shaped(saliency, "saliency", (n, h, w), name)
    single = _single(saliency, name)
    if not isinstance(result, Attribution):
        return Attribution(single)
    attribution = result
    kept = None if attribution.kept is None else _tensor(attribution.kept, "kept", name)
    if kept is not None:
        _shaped(kept, "kept", (n, h, w), name)
        if not ((kept == 0) | (kept == 1)).all():
            raise ValueError(f"{name} returned a kept with values between or beyond 0 and 1: return a mask of booleans")
        kept = kept.bool().clone()
    status = attribution.status
    if status is not None and (isinstance(status, str) or len(status) != n or not all(isinstance(one, str) for one in status)):
        raise ValueError(f"{name} returned the status {status!r} for {n} images: return a word for each")
    if not isinstance(attribution.extras, Mapping) or any(reserved in attribution.extras for reserved in COUNTED):
        raise ValueError(f"{name} returned extras {list(attribution.extras)}: return numbers by name, other than {', '.join(COUNTED)}")
    if taken := [key for key in attribution.extras if theirs and is_shipped(str(key))]:
        raise ValueError(f"{name} returned the extra {taken[0]}, which is a number of the shipped measures: give it another name")
    queries = None if attribution.queries is None else _numbers(attribution.queries, "queries", n, name)
    extras = {key: _numbers(values, f"extra {key}", n, name) for key, values in attribution.extras.items()}
    return replace(attribution, saliency=single, kept=kept, queries=queries, extras=extras, status=status and tuple(status))


def checked_rows(result: object, n: int, name: str, owners: Mapping[str, str], theirs: bool = False) -> pd.DataFrame:
    """What a measure returned for ``n`` images as rows ``image, metric, x, value``.

    owners: whose a metric is already, such as ``mar`` of ``mar_first``. theirs: of somebody else's measure, which may not return a name of
    the shipped measures, since titles and directions go by it. Raises TypeError or ValueError for anything else than such rows,
    an image that is not one of the ``n``, two values of one image, metric and x, and a metric of somebody else's.
    """
    told = f"return a pandas.DataFrame with the columns {', '.join(ROWS)}, image by its place from 0, x NaN but for a curve"
    if not isinstance(result, pd.DataFrame) or not set(ROWS) <= set(result.columns):
        kind = f"the columns {', '.join(map(str, result.columns))}" if isinstance(result, pd.DataFrame) else type(result).__name__
        raise TypeError(f"{name} returned {kind}: {told}")
    rows = result[list(ROWS)].reset_index(drop=True)
    places = pd.to_numeric(rows["image"], errors="coerce")
    if not places.isin(range(n)).all():
        wrong = rows["image"][~places.isin(range(n))].tolist()[0]
        raise ValueError(f"{name} returned a row of image {wrong!r} where there are {n}: {told}")
    for column in ("x", "value"):
        if not (pd.to_numeric(rows[column], errors="coerce").notna() | rows[column].isna()).all():
            raise TypeError(f"{name} returned a {column} that is no number: {told}")
    rows = rows.astype({"image": int, "x": float, "value": float})
    if np.isinf(rows["value"]).any():
        raise ValueError(f"{name} returned an infinite value: return NaN where a measure has none")
    if not rows["metric"].map(lambda metric: isinstance(metric, str) and bool(metric)).all():
        raise TypeError(f"{name} returned a metric without a name: {told}")
    if (twice := rows.duplicated(["image", "metric", "x"])).any():
        raise ValueError(f"{name} returned several values of {rows['metric'][twice].iloc[0]} for one image: return one")
    for metric in rows["metric"].unique():
        owner = owners.get(metric, "the shipped measures" if theirs and is_shipped(metric) else name)
        if owner != name:
            raise ValueError(f"{name} returned the metric {metric}, which is one of {owner}: give it another name")
    return rows


def _tensor(values: Any, what: str, name: str) -> Tensor:
    try:
        found = torch.from_numpy(np.ascontiguousarray(values)) if isinstance(values, np.ndarray) else values
        if not isinstance(found, Tensor) or found.is_complex() or found.is_quantized or found.layout != torch.strided or found.is_meta:
            raise TypeError
    except TypeError:
        kind = getattr(values, "dtype", type(values).__name__)
        raise TypeError(f"{name} returned a {what} of {kind}: {INSTEAD} of real numbers") from None
    return found.detach()


def _shaped(values: Tensor, what: str, shape: tuple[int, int, int], name: str) -> None:
    if tuple(values.shape) == shape:
        return
    n, h, w = shape
    told = INSTEAD
    if values.ndim == 4 and values.shape[0] == n and values.shape[2:] == (h, w):
        told = f"return {what}[:, 0], [n, h, w]" if values.shape[1] == 1 else "sum over the channels, or take the largest: [n, h, w]"
    raise ValueError(f"{name} returned a {what} of shape {tuple(values.shape)} for {n} images of {h} x {w}: {told}")


def _single(saliency: Tensor, name: str) -> Tensor:
    """A map in single precision, which is stored and ranked, and 0 for -0."""
    single = saliency.to(torch.float32, copy=True) + 0.0
    wide, told = saliency.flatten(1).to(torch.float64), single.flatten(1)
    low, high = wide.amin(1), wide.amax(1)
    differ = high - low > 1e-12 * torch.maximum(low.abs(), high.abs())  # less than that is rounding
    lost = ((told == told[:, :1]).all(1) & differ) | (torch.isinf(told) & torch.isfinite(wide)).any(1)
    if not saliency.is_floating_point():
        lost |= (told.to(torch.float64) != wide).any(1)
    if lost.any():
        kind = str(saliency.dtype).removeprefix("torch.")
        raise ValueError(f"{name} returned a saliency of {kind} whose values are the same or infinite in float32: scale or centre them")
    return single


def _numbers(values: Any, what: str, n: int, name: str) -> Tensor:
    """A number for each image."""
    try:
        found = torch.as_tensor(values).detach()
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"{name} returned {what} that are no numbers: return one for each image") from None
    if tuple(found.shape) not in ((n,), (n, 1)):
        raise ValueError(f"{name} returned {what} of shape {tuple(found.shape)} for {n} images: return one number for each")
    return found.reshape(n)
