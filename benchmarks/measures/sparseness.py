"""How concentrated a map is, whatever the model."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch

from benchmarks.measures.maps import UNSIGNED, one_number_each, signed
from da.passes import passes
from da.types import Attribution, Images, LabelModel, Rngs, Targets

__version__ = "1"


@passes(lambda **_: (0, 0))
def sparseness(
    model: LabelModel,
    images: Images,
    targets: Targets,
    labels: Sequence[int | None],
    attribution: Attribution,
    *,
    rngs: Rngs,
    sign: str,
    threshold: float,
) -> pd.DataFrame:
    """Gini index, entropy and effective size of a map, and the share of its pixels above a threshold.

    No forward pass.

    Parameters
    ----------
    model : LabelModel
        Not used.
    images : Tensor [n, 3, h, w] in [0, 1]
        Not used.
    targets : Tensor [n]
        Not used.
    labels : sequence of int or None
        Not used.
    attribution : Attribution
        What the method said of the images.
    rngs : sequence of numpy.random.Generator
        Not used.
    sign : {"positive", "absolute"}
        The values of a map that count.
    threshold : float
        As a share of the largest value, from 0 and below 1.

    Returns
    -------
    pandas.DataFrame
        Rows ``image, metric, x, value``: ``gini``, from 0 of a constant map to nearly 1 of a single pixel; ``entropy`` in nats;
        ``effective_size``, its exponential as a share of the pixels, from nearly 0 to 1; ``effective_complexity``, the share of the
        pixels above the threshold. NaN of a map without values that count.

    Raises
    ------
    ValueError
        For a parameter out of range.

    References
    ----------
    Gini index: Chalasani et al., ICML 2020. Entropy: Bhatt, Weller and Moura, IJCAI 2020. Effective complexity: Nguyen and Martinez,
    arXiv:2007.07584.
    """
    if not 0 <= threshold < 1:
        raise ValueError(f"benchmark.sparseness.threshold={threshold}: from 0 and below 1")
    values = signed(attribution.saliency, sign, "benchmark.sparseness.sign", UNSIGNED).flatten(1)
    total = values.sum(1, keepdim=True)
    shares = (values / total.where(total > 0, torch.nan)).sort(1)[0]
    pixels = values.shape[1]
    place = torch.arange(1, pixels + 1, dtype=torch.float64, device=values.device)
    entropy = torch.special.entr(shares).sum(1)
    found = {
        "gini": ((2 * place - pixels - 1) * shares).sum(1) / pixels,
        "entropy": entropy,
        "effective_size": entropy.exp() / pixels,
        "effective_complexity": (values > threshold * values.amax(1, keepdim=True)).double().mean(1).where(total[:, 0] > 0, torch.nan),
    }
    return one_number_each(found, attribution.saliency)
