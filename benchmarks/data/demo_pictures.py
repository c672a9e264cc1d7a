"""Photographs that installed packages ship, by name. Imports nothing heavy: the commands list them."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from benchmarks.inputs.messages import suggestion

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


def unreadable(photo: Path) -> str | None:
    """Why there is no photograph at a path, or None where there may be one; the names above are photographs, too."""
    if photo.is_dir():
        return f"{photo} is a folder: give one photograph, or run python -m benchmarks dataset=image_folder dataset.root={photo}"
    if str(photo) not in PICTURES and not photo.exists():
        return f"{photo} cannot be read: there is no such file{suggestion(str(photo), PICTURES)}"
    return None


def path_of(name: str) -> Path:
    """Where a photograph lies; its package is not imported."""
    package, _, inside = PICTURES[name][0].partition("/")
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / inside
