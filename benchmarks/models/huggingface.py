"""Image classifiers of ``transformers``: network, preprocessing and class names from a checkpoint's own files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import nn
from torchvision.transforms.functional import InterpolationMode, center_crop, resize

from benchmarks.models.weights import RANDOM, WeightsError

__version__ = "1"

RESAMPLE = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}  # as Pillow counts them
UNREAD = ("do_flip_channel_order", "do_reduce_labels", "do_thumbnail", "do_align_long_axis", "do_pad")


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
        Where the package is missing, there is no such checkpoint, or it has no trained weights for a part of the classifier.
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
    lacking: list[str] = []
    try:
        with _quietly():
            config = AutoConfig.from_pretrained(where)
            processor = AutoImageProcessor.from_pretrained(where, backend="pil")
            if weights == RANDOM:
                net: nn.Module = unloaded(lambda: AutoModelForImageClassification.from_config(config), weights)
            else:
                load: Any = AutoModelForImageClassification.from_pretrained
                net, found = load(where, config=config, output_loading_info=True, ignore_mismatched_sizes=True)
                lacking = sorted(str(name) for kind in ("missing_keys", "mismatched_keys") for name in found[kind])
    except Exception as error:  # of whatever library reads the files
        said = " ".join(str(error).split())[:300]
        raise WeightsError(f"model.net.checkpoint={checkpoint}: transformers finds no image classifier there: {said}") from None
    if lacking:  # transformers draws them at random
        some = ", ".join(lacking[:3]) + (f" and {len(lacking) - 3} more" if len(lacking) > 3 else "")
        raise WeightsError(
            f"model.net.checkpoint={checkpoint} has no weights for {some}: give a checkpoint whose classifier has been trained, "
            "or model.weights=random"
        )
    names = config.id2label
    shown = preprocessing_of(processor.to_dict(), checkpoint)
    check_processor(processor, shown, checkpoint)
    net.__dict__["pretrained_cfg"] = shown | {"label_names": [names[i] for i in sorted(names)]}
    return net.float()


def preprocessing_of(processor: Mapping[str, Any], checkpoint: str) -> dict[str, Any]:
    """What an image processor states that it does, as timm records it. Raises ValueError for what is not done to an image here."""

    def refuse(what: str) -> ValueError:
        return ValueError(f"model.net.checkpoint={checkpoint}: its preprocessing {what}, which is not done here")

    if "data_config" in processor:  # of timm, which transformers wraps
        return _of_timm(processor["data_config"], refuse)
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
        share = float(processor["crop_pct"] or 224 / 256) if shown[0] < 384 else 1.0
    elif crop and size:
        share = crop[0] / min(size)
    if share > 1:
        raise refuse("crops more than it resizes to")
    normal: dict[str, tuple[float, ...]] = {"mean": (0.0,) * 3, "std": (1.0,) * 3}
    if processor.get("do_normalize", True):
        normal = {name: _three(processor.get(f"image_{name}")) for name in normal}
    if () in normal.values():
        raise refuse("normalises by values that it does not state")
    resample = processor.get("resample")
    if resample not in (None, *RESAMPLE):
        raise refuse(f"has resample={resample}")
    return {"input_size": (3, *shown), "crop_pct": share, "interpolation": RESAMPLE[2 if resample is None else resample]} | normal


def _of_timm(stated: Mapping[str, Any], refuse: Callable[[str], ValueError]) -> dict[str, Any]:
    """The same of a checkpoint of timm, whose settings have the names that are used here."""
    if stated.get("crop_mode", "center") not in ("center", "squash"):
        raise refuse(f"has crop_mode={stated['crop_mode']}")
    if stated["input_size"][1] != stated["input_size"][2]:
        raise refuse(f"leaves images of {tuple(stated['input_size'][1:])}")
    return {name: stated[name] for name in ("input_size", "crop_pct", "interpolation", "mean", "std")}


def check_processor(processor: Any, shown: Mapping[str, Any], checkpoint: str) -> None:
    """Compare what an image processor makes of pictures with what ``shown`` says: its class may do more than it states.

    The pictures are ramps of colour, twice as large as the input, of which one is wider; that one may be squeezed into a square. Raises
    ValueError where a value differs by more than rounding and a shift of one and a half pixels.
    """
    side, mean, std = shown["input_size"][1], *(np.array(shown[name])[:, None, None] for name in ("mean", "std"))
    shorter, how = round(side / shown["crop_pct"]), InterpolationMode(shown["interpolation"])
    for width in (2 * side, 3 * side):
        try:
            down, across = np.mgrid[0 : 2 * side, 0:width] * (255 / np.array([2 * side, width])[:, None, None])
            picture = Image.fromarray(np.stack([down, across, 255 - (down + across) / 2], 2).astype(np.uint8))
            resized = [resize(picture, sides, how, antialias=True) for sides in ([shorter], [shorter, shorter])]
            ours = [np.asarray(center_crop(one, [side, side]), float).transpose(2, 0, 1) for one in resized]
            theirs = (np.asarray(processor(picture, return_tensors="pt")["pixel_values"][0]) * std + mean) * 255
            miss = min(float(np.abs(theirs - one).max()) for one in ours)
        except Exception:  # such as of images that it leaves in another shape
            miss = np.inf
        if miss > 2 + 1.5 * 255 / side:
            raise ValueError(
                f"model.net.checkpoint={checkpoint}: its {type(processor).__name__} does something else to an image than resize it, crop "
                "the centre and normalise as it states, which is not done here"
            )


def _three(values: Any) -> tuple[float, ...]:
    """Three numbers as they are stated, none of what is anything else."""
    return tuple(values) if isinstance(values, list | tuple) and len(values) == 3 else ()


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
