"""Maps and regions that were made elsewhere, read from files."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from da.arguments import LABELS, arguments
from da.passes import passes
from da.types import STATED_QUERIES, Attribution, Images, LabelModel, Rngs, Targets

__version__ = "1"

SUFFIXES = (".npz", ".npy", ".png", ".tif", ".tiff")
QUERIES = "queries.csv"


@passes(lambda **_: (0, 0))
def precomputed(
    model: LabelModel,
    images: Images,
    targets: Targets | None = None,
    *,
    maps: str,
    masks: str | None = None,
    ids: Sequence[str] | None = None,
    every: Sequence[str] | None = None,
    rngs: Rngs | None = None,
    seed: int = 0,
) -> Attribution:
    """Read each image's map, and region where there is one, from a file that is named by the image's id.

    ``ID.npz`` (arrays ``saliency``, and ``kept`` and ``queries`` where they are known), ``ID.npy``, or a grey picture ``ID.png``,
    ``ID.tif``; the id with the image file's own suffix or, where no other image has the same without it, without. A map is of the image
    as the model sees it, after resize and crop, in any resolution of the same proportions: it is resized bilinearly, smoothed where it gets
    smaller, and a region to the nearest.

    Parameters
    ----------
    model : LabelModel
        Asked only for the prediction, where ``targets`` is left out.
    images : Tensor [n, 3, h, w] in [0, 1]
        The images that the maps are of, not normalised.
    targets : Tensor [n], optional
        Not used.
    maps : str
        The folder of the maps. A file ``queries.csv`` in it, with lines ``image,queries``, says what each map cost where its own file
        does not; images are named in it as files are.
    masks : str, optional
        A folder of regions as grey pictures or arrays, of ``.npz`` the array ``kept``; what is not 0 is in the region.
    ids : sequence of str
        The ids of the images.
    every : sequence of str, optional
        The ids of all images that there are maps of, to tell which share a name but for the suffix; left out, ``ids``.
    rngs : sequence of numpy.random.Generator, optional
        Not used: nothing is drawn.
    seed : int
        Not used: nothing is drawn.

    Returns
    -------
    Attribution
        The map as ``saliency``, the region as ``kept``. Extras: ``stated_queries``, the passes that each is said to have taken, NaN where
        nothing is said; in the rows they are the queries.

    Raises
    ------
    TypeError, ValueError
        For arguments of another type, shape or range; for an image without a map, or with several, and for a map that is no grey
        picture or array ``[h, w]`` of finite numbers in the proportions of the image; where some images have a region and others none,
        and for queries that are no number from 0.
    """
    _, images, classes, _ = arguments(LABELS, model, images, targets, rngs, seed)
    if ids is None or len(ids) != len(images):
        raise ValueError(f"ids: give the id of each image, {len(images)} in all, by which its map is named")
    spent, shape = _stated_queries(Path(maps).expanduser()), tuple(images.shape[-2:])
    shared = Counter(_bare(one) for one in (ids if every is None else every))
    found, regions, queries = [], [], []
    for one in ids:
        names = [one] if shared[_bare(one)] > 1 else [*dict.fromkeys((one, _bare(one)))]
        of_map = _arrays(maps, names, "map", "saliency")
        found.append(_resized(of_map["saliency"], shape, f"the map of {one}", "bilinear"))
        region = _arrays(masks, names, "mask", "kept")["kept"] if masks else of_map.get("kept")
        regions.append(None if region is None else _resized(region != 0, shape, f"the mask of {one}", "nearest-exact") > 0)
        stated = of_map["queries"] if "queries" in of_map else next((spent[name] for name in names if name in spent), np.nan)
        queries.append(_number(stated, f"the queries of {one} in {maps}"))
    kept = None if regions[0] is None else torch.stack([region for region in regions if region is not None])
    if any((region is None) != (kept is None) for region in regions):
        raise ValueError(f"some maps in {maps} have a region (kept) and others have none: give it for all, or for none")
    return Attribution(
        torch.stack(found).to(images),
        None if kept is None else kept.to(images.device),
        extras={STATED_QUERIES: torch.tensor(queries)},
        targets=classes,
    )


precomputed.files = ("maps", "masks")  # type: ignore[attr-defined]  # what is in them can change a number


def _stated_queries(folder: Path) -> dict[str, float]:
    if not (folder / QUERIES).is_file():
        return {}
    with (folder / QUERIES).open(encoding="utf-8", newline="") as file:
        lines = csv.DictReader(file)
        if not {"image", "queries"} <= set(lines.fieldnames or ()):
            raise ValueError(f"{folder / QUERIES}: give it the columns image,queries in its first line")
        return {line["image"]: _number(line["queries"], f"the queries of {line['image']} in {folder / QUERIES}") for line in lines}


def _bare(one: str) -> str:
    """An id without the image file's own suffix."""
    return str(Path(one).with_suffix(""))


def _number(stated: object, what: str) -> float:
    """What is said of queries. Raises ValueError for what is no number from 0, or NaN where it is not known."""
    values = np.asarray(stated)
    try:
        number = float(values.reshape(()))
    except (TypeError, ValueError):
        raise ValueError(f"{what}: {values.tolist()!r} is no number") from None
    if number < 0 or np.isinf(number):
        raise ValueError(f"{what}: {number:g} is no number of queries: give one from 0")
    return number


def _arrays(folder: str, names: Sequence[str], what: str, wanted: str) -> dict[str, NDArray[np.generic]]:
    """The arrays of an image's file, which has one of the names; that of a picture, or of a file with one array, as ``wanted``."""
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise ValueError(f"{folder} is no folder: give the one that the {what}s are in")
    there = [path for name in names for suffix in SUFFIXES if (path := root / f"{name}{suffix}").is_file()]
    if len(there) != 1:
        several = ", ".join(path.name for path in there)
        found = f"several {what}s ({several})" if there else f"no {what}"
        raise ValueError(f"{found} of {names[0]} in {folder}: give one file {' or '.join(names)} with .npz, .npy, .png or .tif behind it")
    (path,) = there
    try:
        if path.suffix != ".npz":
            return {wanted: np.load(path, allow_pickle=False) if path.suffix == ".npy" else _grey(path)}
        with np.load(path, allow_pickle=False) as file:
            arrays: dict[str, NDArray[np.generic]] = {name: file[name] for name in file.files}
    except (OSError, ValueError, BadZipFile) as error:
        raise ValueError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    if wanted not in arrays:
        if len(arrays) != 1 or "kept" in arrays or "queries" in arrays:
            raise ValueError(f"{path} has no array '{wanted}', but {', '.join(arrays) or 'none'}")
        return {wanted: next(iter(arrays.values()))}
    return arrays


def _grey(path: Path) -> NDArray[np.generic]:
    from PIL import Image

    with Image.open(path) as picture:
        if picture.mode not in ("1", "L", "I", "F") and not picture.mode.startswith("I;16"):
            raise ValueError(f"a picture of mode {picture.mode}: give grey values, since colours have no order")
        return np.asarray(picture)


def _resized(values: NDArray[np.generic], shape: tuple[int, ...], what: str, mode: str) -> Tensor:
    """An array ``[h, w]`` in another resolution."""
    if values.ndim != 2 or values.dtype.kind not in "buif":
        raise ValueError(f"{what} is an array of {values.dtype} and shape {[*values.shape]}: give numbers of shape [h, w]")
    if not np.isfinite(values.astype(float)).all():
        raise ValueError(f"{what} has values that are not finite")
    (h, w), (height, width) = values.shape, shape
    if 2 * abs(h * width - w * height) > max(width, height):  # more than the rounding of one side
        raise ValueError(f"{what} is {h} x {w}, the image as the model sees it {height} x {width}: give it after resize and crop")
    as_float = torch.from_numpy(values.astype(np.float32))
    if (h, w) == (height, width):
        return as_float
    smaller = {"antialias": True, "align_corners": False} if mode == "bilinear" else {}
    return nn.functional.interpolate(as_float[None, None], (height, width), mode=mode, **smaller)[0, 0]
