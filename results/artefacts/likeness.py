"""Numbers that only maps tell: how alike they are under several seeds, and to those of the trained model, and their entropy.

They are rows ``job, image, digest, metric, x, value``; published rows have them in place of the maps. ``x`` of what is of two seeds is the
second of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.stats import entropy, spearmanr
from skimage.metrics import structural_similarity

from da.ranking import importance_rank
from da.rng import image_rng
from da.types import OK
from results.artefacts.parts import StoredAttribution, stored_attributions
from results.naming import configuration, naming_columns

Record = dict[str, Any]
Records = list[Record]
Numbers = Iterator[tuple[str, tuple[str, str], str, float, float]]  # job, image, metric, x, value

TOP = 0.1  # the share of top pixels that is compared
BINS = 100
COLUMNS = ["job", "image", "digest", "metric", "x", "value"]


@dataclass(frozen=True)
class OfMaps:
    """Some numbers of maps. metrics: their names; compute: from the records of a run, whose maps are stored."""

    metrics: tuple[str, ...]
    compute: Callable[[Records], Numbers]

    def of(self, rows: pd.DataFrame, records: Records) -> pd.DataFrame:
        """The numbers that rows have already of these records, else those of the stored maps."""
        known = rows[rows["metric"].isin(self.metrics)]
        of_records = known["x"].isna() | known["x"].isin([record["seed"] for record in records])
        return known.loc[of_records, COLUMNS] if len(known) else self.computed(records)

    def computed(self, records: Records) -> pd.DataFrame:
        """The numbers of the stored maps."""
        lines = [(job, *image, metric, x, value) for job, image, metric, x, value in self.compute(records) if np.isfinite(value)]
        return pd.DataFrame(lines, columns=COLUMNS).astype({"x": float, "value": float})


def alike(records: Records, but: Sequence[str] = ()) -> dict[str, Records]:
    """The records that differ in the seed alone, or in ``but``, by the name of what they have in common.

    A hyper-parameter such as ``mask_seed`` is a seed, too.
    """
    names = [name for name in naming_columns(records) if not name.endswith("seed") and name not in but]
    found: dict[str, Records] = {}
    for record in records:
        found.setdefault(configuration(record, names), []).append(record)
    return found


def _between_seeds(records: Records) -> Numbers:
    """The likeness of each image's maps, of their top pixels and of the regions under every two seeds."""
    for jobs in alike(records).values():
        by_image: dict[tuple[str, str], list[tuple[Record, dict[str, NDArray[Any]]]]] = {}
        for record in jobs:
            for shown in stored_attributions(record):
                top = top_pixels(shown.arrays["saliency"], TOP, image_rng(record["seed"], "ties", shown.key[0]))
                region = {"region": np.unpackbits(shown.arrays["kept"]) > 0} if "kept" in shown.arrays and shown.status == OK else {}
                by_image.setdefault(shown.key, []).append((record, {"map": shown.arrays["saliency"], "top": top, **region}))
        for image, several in by_image.items():
            for (one, a), (other, b) in combinations(several, 2):
                yield one["job"], image, "seeds_spearman", other["seed"], spearman(a["map"], b["map"])
                yield one["job"], image, "seeds_top_iou", other["seed"], iou(a["top"], b["top"])
                if "region" in a and "region" in b:
                    yield one["job"], image, "seeds_region_iou", other["seed"], iou(a["region"], b["region"])


def _to_the_trained(records: Records) -> Numbers:
    """The likeness of each map of a randomised network to that of the trained one, of the same image and seed."""
    for jobs in alike(of_one_model(records), ["model.randomise"]).values():
        trained = {
            (record["seed"], shown.key): shown for record in jobs if randomised(record) is None for shown in stored_attributions(record)
        }
        for record in jobs:
            for shown in stored_attributions(record) if randomised(record) is not None else ():
                if (of := trained.get((record["seed"], shown.key))) is not None:
                    yield from _likenesses(record["job"], shown, of)


def _likenesses(job: str, shown: StoredAttribution, trained: StoredAttribution) -> Numbers:
    a, b = trained.arrays["saliency"], shown.arrays["saliency"]
    yield job, shown.key, "trained_spearman", np.nan, spearman(a, b)
    yield job, shown.key, "trained_ssim", np.nan, ssim(a, b)


def _entropies(records: Records) -> Numbers:
    for record in records:
        for shown in stored_attributions(record):
            yield record["job"], shown.key, "map_entropy", np.nan, discrete_entropy(shown.arrays["saliency"])


BETWEEN_SEEDS = OfMaps(("seeds_region_iou", "seeds_top_iou", "seeds_spearman"), _between_seeds)
TO_THE_TRAINED = OfMaps(("trained_spearman", "trained_ssim"), _to_the_trained)
ENTROPY = OfMaps(("map_entropy",), _entropies)
OF_MAPS = (*BETWEEN_SEEDS.metrics, *TO_THE_TRAINED.metrics, *ENTROPY.metrics)
NEEDED_BY = {"stability": BETWEEN_SEEDS, "sanity": TO_THE_TRAINED, "randomisation": ENTROPY}  # by the artefact


def randomised(record: dict[str, Any]) -> Any:
    """The layers of a job's network that are randomised, none of the trained one's."""
    return record["config"]["model"].get("randomise")


def of_one_model(records: Records) -> Records:
    """Records whose randomised networks have the name of the trained one, without the layers that are randomised."""
    return [record | {"model": record["config"]["model"]["name"]} for record in records]


def spearman(a: Float[np.ndarray, "h w"], b: Float[np.ndarray, "h w"]) -> float:
    """Spearman's rank correlation of two maps; NaN where one is constant."""
    if a.min() == a.max() or b.min() == b.max():
        return float("nan")
    return float(spearmanr(a.ravel(), b.ravel()).statistic)


def ssim(a: Float[np.ndarray, "h w"], b: Float[np.ndarray, "h w"]) -> float:
    """Structural similarity of two maps, each scaled to its own range; NaN where one is constant."""
    if a.min() == a.max() or b.min() == b.max():
        return float("nan")
    scaled = [(m - m.min()) / (m.max() - m.min()) for m in (a, b)]
    return float(structural_similarity(*scaled, data_range=1.0))


def top_pixels(saliency: Float[np.ndarray, "h w"], share: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """The top share of the pixels, ties broken at random as in the insertion game."""
    rank = importance_rank(torch.from_numpy(saliency)[None], [rng])[0].numpy()
    return np.asarray(rank < round(share * saliency.size))


def iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Intersection over union; 1 where both are empty."""
    union = (a | b).sum()
    return float((a & b).sum() / union) if union else 1.0


def discrete_entropy(saliency: Float[np.ndarray, "h w"]) -> float:
    """The entropy in nats of a map's histogram of 100 bins between its least and largest value; 0 of a map with one value."""
    return float(entropy(np.histogram(saliency.astype(np.float64), bins=BINS)[0]))  # between neighbours in float32 there are no bins
