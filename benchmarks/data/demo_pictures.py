"""Photographs that installed packages ship, by name. Imports nothing heavy: the commands list them."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

# The file inside its package, and the ImageNet class. First those on which Dynamic Ablation ends in a small region; of chelsea it accepts
# no state.
PICTURES = {
    "motorcycle": ("skimage/data/motorcycle_left.png", 665),  # moped
    "coffee": ("skimage/data/coffee.png", 967),  # espresso
    "camera": ("skimage/data/camera.png", 872),  # tripod
    "rocket": ("skimage/data/rocket.jpg", 657),  # missile
    "china": ("sklearn/datasets/images/china.jpg", 698),  # palace
    "grace_hopper": ("matplotlib/mpl-data/sample_data/grace_hopper.jpg", 652),  # military uniform
    "chelsea": ("skimage/data/chelsea.png", 285),  # Egyptian cat
}


def path_of(name: str) -> Path:
    """Where a photograph lies; its package is not imported."""
    package, _, inside = PICTURES[name][0].partition("/")
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / inside
