"""Every random number in the harness: a stream of its own for each image and purpose."""

from __future__ import annotations

import hashlib

import numpy as np


def image_rng(seed: int, purpose: str, image_id: str) -> np.random.Generator:
    """The stream of one image for one purpose: the same whatever the batch, order, shard, device or hyper-parameter."""
    digest = hashlib.sha256(f"{seed}\0{purpose}\0{image_id}".encode("utf-8", "surrogateescape")).digest()
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(int.from_bytes(digest, "big"))))
