"""Too few samples for a map to mean what its method says."""

from __future__ import annotations

import logging
from functools import cache

FEW_SAMPLES = "few_samples"  # the status of such an image's map


@cache
def warn_once(message: str) -> None:
    """Say it once in this process."""
    logging.getLogger(__name__).warning(message)
