"""The store: content-addressed, per image, append-only parts that appear whole or not at all.

``<root>/<key>/config.json`` says what the key stands for. Each part is ``<part>.parquet`` (rows) and, where there are arrays,
``<part>.npz``, written first: a part exists once its Parquet file does.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from results.store import claims
from results.store.claims import ImageKey as ImageKey
from results.store.files import StoreError as StoreError
from results.store.files import write_atomically as write_atomically
from results.store.parts import Arrays as Arrays
from results.store.parts import retried as retried
from results.store.parts import unpacked as unpacked
from results.store.parts import write_part as write_part

LOG = logging.getLogger(__name__)

COLUMNS = ("image", "digest", "status")
FAILED = "error"  # how the status of an image starts that is to be tried again


def digest(config: Mapping[str, Any]) -> str:
    """The key of a configuration: SHA-256 of its canonical JSON.

    Parameters
    ----------
    config : mapping
        All that the numbers depend on, as JSON.

    Returns
    -------
    str
        20 hexadecimal digits.
    """
    return hashlib.sha256(canonical(config).encode()).hexdigest()[:20]


def canonical(config: Mapping[str, Any]) -> str:
    """JSON with sorted keys and no spaces."""
    return json.dumps(config, sort_keys=True, separators=(",", ":"), allow_nan=False)


class Store:
    """Rows and arrays by key and image; rows have the columns ``image`` and ``digest`` (an ImageKey) and ``status``.

    Parameters
    ----------
    root : Path
        The folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self._read: dict[tuple[Path, int], dict[ImageKey, bool]] = {}  # parts read, by path and time: images, and whether they failed

    def put(self, config: Mapping[str, Any], rows: pd.DataFrame, arrays: Arrays | None = None) -> Path:
        """Add a part.

        Parameters
        ----------
        config : mapping
            All that the numbers depend on, as JSON.
        rows : pandas.DataFrame
            Of the part's images.
        arrays : dict of str to ndarray, optional
            Each with one entry per image, in the order of first appearance in the rows.

        Returns
        -------
        Path
            The part's Parquet file.

        Raises
        ------
        StoreError
            Where the disk is full or read-only.
        """
        folder = self.root / digest(config)
        if not (folder / "config.json").exists():
            write_atomically(folder / "config.json", json.dumps(config, indent=1, sort_keys=True).encode())
        images = list(dict.fromkeys(zip(rows["image"], rows["digest"], strict=True)))
        name = hashlib.sha256(json.dumps(images).encode()).hexdigest()[:16]
        table = pa.Table.from_pandas(rows, preserve_index=False)
        return write_part(folder / f"{name}.parquet", table, arrays, finished=[time.time()] * len(images))

    def index(self, key: str) -> dict[ImageKey, Path]:
        """The part that holds each finished image; failed ones are not finished.

        Parameters
        ----------
        key : str
            Of a configuration, see ``digest``.

        Returns
        -------
        dict of ImageKey to Path
        """
        return {image: part for image, (part, failed) in self.states(key).items() if not failed}

    def rows(self, key: str, images: Iterable[ImageKey]) -> pd.DataFrame:
        """The rows of the images that are there, each image's from one part.

        Parameters
        ----------
        key : str
            Of a configuration, see ``digest``.
        images : iterable of ImageKey
            The images to look for.

        Returns
        -------
        pandas.DataFrame
            In the order of ``images``.
        """
        images = list(images)
        return retried(lambda: self._rows(key, images))

    def _rows(self, key: str, images: Sequence[ImageKey]) -> pd.DataFrame:
        index = self.states(key)
        wanted = [image for image in images if image in index]
        frames = []
        for part in dict.fromkeys(index[image][0] for image in wanted):
            rows = pd.read_parquet(part)
            here = pd.MultiIndex.from_frame(rows[["image", "digest"]])
            frames.append(rows[here.isin([image for image in wanted if index[image][0] == part])])
        if not frames:
            return pd.DataFrame()
        place = {image: i for i, image in enumerate(wanted)}
        rows = pd.concat(frames, ignore_index=True)
        order = np.argsort([place[image] for image in zip(rows["image"], rows["digest"], strict=True)], kind="stable")
        return rows.iloc[order].reset_index(drop=True)

    def arrays(self, key: str, image: ImageKey) -> Arrays:
        """One image's arrays.

        Parameters
        ----------
        key : str
            Of a configuration, see ``digest``.
        image : ImageKey
            The image.

        Returns
        -------
        dict of str to ndarray

        Raises
        ------
        KeyError
            Where there are none.
        """
        return self.arrays_of(key, [image])[image]

    def arrays_of(self, key: str, images: Sequence[ImageKey]) -> dict[ImageKey, Arrays]:
        """The arrays of images.

        Parameters
        ----------
        key : str
            Of a configuration, see ``digest``.
        images : sequence of ImageKey
            The images.

        Returns
        -------
        dict of ImageKey to dict of str to ndarray

        Raises
        ------
        KeyError
            Where an image has none.
        """
        return retried(lambda: self._arrays_of(key, images))

    def _arrays_of(self, key: str, images: Sequence[ImageKey]) -> dict[ImageKey, Arrays]:
        index, found = self.index(key), dict[ImageKey, Arrays]()
        for part in dict.fromkeys(index[image] for image in images):
            found |= self._part_arrays(part)
        return {image: found[image] for image in images}

    def _part_arrays(self, part: Path) -> dict[ImageKey, Arrays]:
        """The arrays of every image of a part."""
        columns = pd.read_parquet(part, columns=["image", "digest"])
        images = list(dict.fromkeys(zip(columns["image"], columns["digest"], strict=True)))
        with np.load(part.with_suffix(".npz"), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        return {image: {name: array[i] for name, array in arrays.items()} for i, image in enumerate(images)}

    def states(self, key: str) -> dict[ImageKey, tuple[Path, bool]]:
        """The part that holds each image, and whether the image failed.

        Parameters
        ----------
        key : str
            Of a configuration, see ``digest``.

        Returns
        -------
        dict of ImageKey to (Path, bool)
        """
        return retried(lambda: self._states(key))

    def held(self, key: str, images: Iterable[ImageKey]) -> list[ImageKey]:
        """Those of the images that a live process has claimed.

        Parameters
        ----------
        key : str
            Of a configuration, see ``digest``.
        images : iterable of ImageKey
            The images to look for.

        Returns
        -------
        list of ImageKey
        """
        return claims.held(self.root / key / "claims", images)

    def claimed(self, key: str, images: Sequence[ImageKey]) -> AbstractContextManager[list[ImageKey]]:
        """Hold a claim on those of the images that no other live process holds, see ``claims.claimed``.

        Parameters
        ----------
        key : str
            Of a configuration, see ``digest``.
        images : sequence of ImageKey
            The images to claim.

        Returns
        -------
        context manager
            Of the list of claimed images, in their order.
        """
        return claims.claimed(self.root / key / "claims", images)

    def _states(self, key: str) -> dict[ImageKey, tuple[Path, bool]]:
        found: dict[ImageKey, tuple[Path, bool]] = {}
        for part in sorted((self.root / key).glob("*.parquet")):
            for image, failed in self.images(part).items():
                if image not in found or (found[image][1] and not failed):
                    found[image] = (part, failed)
        return found

    def images(self, part: Path) -> dict[ImageKey, bool]:
        """The images of a part; one that cannot be read is set aside, and its images count as not there.

        Parameters
        ----------
        part : Path
            The part's Parquet file.

        Returns
        -------
        dict of ImageKey to bool
            Whether each image failed.

        Raises
        ------
        FileNotFoundError
            Where there is no such part (any more).
        """
        try:
            version = (part, part.stat().st_mtime_ns)
            if version not in self._read:
                table = pq.read_table(part, columns=list(COLUMNS)).to_pydict()
                rows = zip(*(table[name] for name in COLUMNS), strict=True)
                self._read[version] = {(image, content): status.startswith(FAILED) for image, content, status in rows}
            return self._read[version]
        except FileNotFoundError:
            raise
        except (pa.ArrowException, OSError, KeyError, AttributeError) as error:
            if isinstance(error, OSError) and error.errno:  # the disk or the network, not the file's content
                raise
            aside = part.with_suffix(".parquet.unreadable")
            try:
                part.replace(aside)
            except OSError:
                aside = part
            LOG.warning(
                "%s cannot be read (%s): it is left out, and its images will be computed again", aside, " ".join(str(error).split())[:120]
            )
            return {}
