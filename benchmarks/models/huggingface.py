"""Image classifiers of ``transformers``: network, preprocessing and class names from a checkpoint's own files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from benchmarks.models.weights import RANDOM, WeightsError

__version__ = "1"

RESAMPLE = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}  # as Pillow counts them
UNREAD = ("do_flip_channel_order", "do_reduce_labels", "do_thumbnail", "do_align_long_axis")


def transformers_net(checkpoint: str, *, weights: str | None = None) -> nn.Module:
    """An image classifier of ``transformers`` (the extra ``transformers``).

    Parameters
    ----------
    checkpoint : str
        A folder with ``config.json`` and ``preprocessor_config.json``, or the name of one on the Hugging Face hub, from its cache or
        downloaded.
    weights : str, optional
        ``"random"`` for the checkpoint's architecture untrained; left out, the checkpoint's own.

    Returns
    -------
    torch.nn.Module
        Of images that are normalised, to an object with ``logits``. It knows its preprocessing and its class names. A checkpoint that
        squeezes a photograph into a square is shown its centre, instead: what is explained is not distorted.

    Raises
    ------
    WeightsError
        Where the package is missing, or there is no such checkpoint.
    ValueError
        For a checkpoint that is no image classifier, or whose preprocessing is no resize, crop and normalisation.
    """
    if weights not in (None, RANDOM):
        raise ValueError(f"model.weights={weights}: a checkpoint brings its own; give model.net.checkpoint=FOLDER, or model.weights=random")
    try:
        with _quietly():
            from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageClassification
    except ImportError:
        raise WeightsError("model=transformers needs transformers: pip install 'dynamic-ablation[transformers]'") from None
    from benchmarks.models.networks import unloaded

    where = str(Path(checkpoint).expanduser()) if Path(checkpoint).expanduser().is_dir() else checkpoint
    try:
        with _quietly():
            config = AutoConfig.from_pretrained(where)
            processor = AutoImageProcessor.from_pretrained(where, backend="pil").to_dict()
            if weights == RANDOM:
                net: nn.Module = unloaded(lambda: AutoModelForImageClassification.from_config(config), weights)
            else:
                net = AutoModelForImageClassification.from_pretrained(where, config=config)
    except (OSError, ValueError, KeyError) as error:
        said = " ".join(str(error).split())[:300]
        raise WeightsError(f"model.net.checkpoint={checkpoint}: transformers finds no image classifier there: {said}") from None
    names = config.id2label
    net.__dict__["pretrained_cfg"] = preprocessing_of(processor, checkpoint) | {"label_names": [names[i] for i in sorted(names)]}
    return net.float()


def preprocessing_of(processor: Mapping[str, Any], checkpoint: str) -> dict[str, Any]:
    """What an image processor does, as timm records it. Raises ValueError for what this application does not do to an image."""

    def refuse(what: str) -> ValueError:
        return ValueError(f"model.net.checkpoint={checkpoint}: its preprocessing {what}, which is not done here")

    for option in UNREAD:
        if processor.get(option):
            raise refuse(f"has {option}")
    whole = abs(processor.get("rescale_factor", 1 / 255) * 255 - 1) < 1e-3 and not processor.get("rescale_offset")
    if not processor.get("do_rescale", True) or not whole:
        raise refuse("does not bring pixels to the range from 0 to 1")
    size = _sides(processor.get("size")) if processor.get("do_resize", True) else None
    crop = _sides(processor.get("crop_size")) if processor.get("do_center_crop") else None
    shown = crop or size
    if shown is None or shown[0] != shown[1]:
        raise refuse(f"leaves images of {shown}")
    share = 1.0
    if "crop_pct" in processor and not crop:  # ConvNeXt: below 384 pixels, resized to size / crop_pct and cropped
        share = float(processor["crop_pct"] or 1) if shown[0] < 384 else 1.0
    elif crop and size:
        share = crop[0] / min(size)
    if share > 1:
        raise refuse("crops more than it resizes to")
    normal = processor.get("do_normalize", True)
    return {
        "input_size": (3, *shown),
        "crop_pct": share,
        "interpolation": RESAMPLE[int(processor.get("resample") or 0)],
        "mean": tuple(processor["image_mean"]) if normal else (0.0,) * 3,
        "std": tuple(processor["image_std"]) if normal else (1.0,) * 3,
    }


def _sides(size: Any) -> tuple[int, int] | None:
    """Height and width of a size, however it is stated."""
    if isinstance(size, int):
        return size, size
    if not isinstance(size, Mapping):
        return None
    if size.get("shortest_edge"):
        return int(size["shortest_edge"]), int(size["shortest_edge"])
    return (int(size["height"]), int(size["width"])) if size.get("height") and size.get("width") else None


@contextmanager
def _quietly() -> Iterator[None]:
    """Without progress bars on standard error."""
    before = os.environ.get("HF_HUB_DISABLE_PROGRESS_BARS")
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    try:
        from transformers.utils import logging

        level = logging.get_verbosity()
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        try:
            yield
        finally:
            logging.set_verbosity(level)
    finally:
        os.environ.pop("HF_HUB_DISABLE_PROGRESS_BARS")
        if before is not None:
            os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = before
